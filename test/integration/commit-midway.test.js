// A transaction whose user commits in the middle of it by a statement, and that goes on: what was
// committed is there, so that nothing is run again, and no error says that it has had no effect.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isRetryable } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

const { pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 2 });
await pool.query('DROP TABLE IF EXISTS midway; CREATE TABLE midway (key text)');

const INSERT = 'INSERT INTO midway VALUES ($1)';
const FAIL = `DO $$ BEGIN RAISE EXCEPTION 'collided' USING ERRCODE = '40001'; END $$`;

const COMMITS = {
  'COMMIT AND CHAIN': ['COMMIT AND CHAIN'],
  'END AND CHAIN': ['END AND CHAIN'],
  'COMMIT; BEGIN': ['COMMIT; BEGIN'],
  'a text with both in it': ["INSERT INTO midway VALUES ('aside'); COMMIT; BEGIN; SELECT 1"],
  'COMMIT; BEGIN and a failure': ['COMMIT; BEGIN; SELECT 1/0'],
  COMMIT: ['COMMIT'],
  'COMMIT and BEGIN': ['COMMIT', 'BEGIN'],
};

const FAILURES = {
  'a failure': (tx) => tx.query(FAIL),
  'a failure that is swallowed': (tx) => tx.query(FAIL).catch(() => {}),
  'a lost connection': async (tx) => {
    const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
    const lost = tx.query('SELECT pg_sleep(60)', [], { readOnly: true });
    lost.catch(() => {});
    await pool.query('SELECT pg_terminate_backend($1)', [pid]);
    await lost;
  },
  'an error of the callback': () => {
    throw Object.assign(new Error('mine'), { code: '40001' });
  },
  'a query that is not awaited': (tx) => void tx.query('SELECT pg_sleep(0.05)').catch(() => {}),
  'its limit': (tx) => tx.query('SELECT pg_sleep(60)'),
};

for (const [name, statements] of Object.entries(COMMITS)) {
  for (const [failure, fail] of Object.entries(FAILURES)) {
    test(`what was committed by ${name} is not done twice for ${failure}`, async () => {
      const key = `${name}, ${failure}`;
      let runs = 0;
      const work = async (tx) => {
        runs += 1;
        await tx.query(INSERT, [key]);
        for (const statement of statements) {
          await tx.query(statement).catch(({ outcome }) => assert.equal(outcome, 'unknown'));
        }
        return fail(tx);
      };
      const timeoutMs = failure === 'its limit' ? 300 : 60_000;
      const error = await pool.transaction(work, { retries: 2, timeoutMs }).catch((e) => e);
      assert.equal(runs, 1);
      assert.ok(error instanceof Error, 'it is no success');
      if (error.message !== 'mine') {
        assert.equal(error.outcome, 'unknown', error.code);
        assert.ok(!isRetryable(error));
      }
      const rows = await pool.query('SELECT FROM midway WHERE key = $1', [key]);
      assert.equal(rows.length, 1);
    });
  }
}

test('a transaction without callback says so, too, and the next one on its connection does not', async () => {
  const connection = await pool.connect();
  const tx = await connection.begin();
  await tx.query(INSERT, ['begin']);
  await tx.query('COMMIT AND CHAIN');
  await assert.rejects(tx.query('SELECT 1/0'), { code: '22012', outcome: 'unknown' });
  await assert.rejects(tx.commit(), {
    ...{ code: 'HYPERION_TRANSACTION_ROLLED_BACK', outcome: 'unknown' },
  });
  await assert.rejects(connection.query('SELECT 1/0'), { outcome: 'not-committed' });
  await assert.rejects(
    connection.transaction((next) => next.query('SELECT 1/0')),
    { code: '22012', outcome: 'not-committed' },
  );
  await connection.release();
});

test('a commit in a savepoint stands, whatever is thrown behind it', async () => {
  let runs = 0;
  const work = async (tx) => {
    runs += 1;
    await tx.savepoint(async (inner) => {
      await inner.query(INSERT, ['savepoint']);
      await inner.query('COMMIT AND CHAIN');
    });
  };
  // The server no longer has the savepoint.
  await assert.rejects(pool.transaction(work, { retries: 2 }), {
    code: '3B001',
    outcome: 'unknown',
  });
  assert.equal(runs, 1);
});

test('what was rolled back in the middle is run again', async () => {
  let runs = 0;
  const work = async (tx) => {
    runs += 1;
    await tx.query(INSERT, ['rolled back']);
    await tx.query('ROLLBACK AND CHAIN');
    await tx.query(FAIL);
  };
  await assert.rejects(pool.transaction(work, { retries: 2 }), {
    ...{ code: '40001', outcome: 'not-committed' },
  });
  assert.equal(runs, 3);
  const rows = await pool.query("SELECT FROM midway WHERE key = 'rolled back'");
  assert.equal(rows.length, 0);
});
