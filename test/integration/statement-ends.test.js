// Transactions that their users end by a statement, and then by a method: the method says what the
// server has done, whether or not the statement was awaited.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { clusterAndPool } from '../support/pools.js';

const { pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 2 });
await pool.query('DROP TABLE IF EXISTS ends; CREATE TABLE ends (key text)');
beforeEach(() => pool.query('DELETE FROM ends'));

const INSERT = 'INSERT INTO ends VALUES ($1)';
const keys = async () => (await pool.query('SELECT key FROM ends ORDER BY 1')).map((r) => r.key);

const OVER = 'HYPERION_TRANSACTION_OVER';
const UNDONE = { commit: `${OVER} not-committed`, rollback: 'resolves', keys: [] };
const UNKNOWN = { commit: `${OVER} unknown`, rollback: `${OVER} unknown` };
const STANDS = { ...UNKNOWN, keys: ['first'] };
const GOES_ON = { commit: 'resolves', rollback: 'resolves' };

/** What becomes of a transaction that has such a text in it. */
const ENDS = {
  ROLLBACK: UNDONE,
  'ABORT WORK': UNDONE,
  '/* enough */ rollback': UNDONE,
  'SELECT 1; ROLLBACK': UNDONE,
  COMMIT: STANDS,
  END: STANDS,
  'SELECT 1; COMMIT': STANDS,
  "ROLLBACK; INSERT INTO ends VALUES ('aside')": { ...UNKNOWN, keys: ['aside'] },
  'COMMIT; SELECT 1/0': STANDS,
  // The server is in a transaction again, which the method ends.
  'ROLLBACK AND CHAIN': { ...GOES_ON, keys: [] },
  'ROLLBACK; BEGIN': { ...GOES_ON, keys: [] },
  'COMMIT AND CHAIN': { ...GOES_ON, keys: ['first'] },
  // Refused before it is sent.
  "PREPARE TRANSACTION 'ends'": { ...GOES_ON, keys: { commit: ['first'], rollback: [] } },
};

const settled = (promise) =>
  promise.then(
    () => 'resolves',
    ({ code, outcome }) => `${code} ${outcome}`,
  );

/** Has `work` done in a transaction, by each way to have one. */
const WAYS = {
  'pool.begin': async (work) => work(await pool.begin()),
  'connection.begin': async (work) => {
    const connection = await pool.connect();
    try {
      return await work(await connection.begin(), connection);
    } finally {
      await connection.release();
    }
  },
  'pool.transaction': async (work) => {
    let said;
    await pool.transaction(async (tx) => (said = await work(tx))).catch(() => {});
    return said;
  },
};

for (const [text, expected] of Object.entries(ENDS)) {
  for (const [way, begin] of Object.entries(WAYS)) {
    for (const method of ['commit', 'rollback']) {
      for (const isAwaited of [true, false]) {
        const how = isAwaited ? 'awaited' : 'not awaited';
        test(`${method}() of ${way} behind ${text}, ${how}, says what was done`, async () => {
          const said = await begin(async (tx, view = tx) => {
            await tx.query(INSERT, ['first']);
            const ended = view.query(text).catch(() => {});
            if (isAwaited) await ended;
            const result = await settled(tx[method]());
            await ended;
            return result;
          });
          assert.equal(said, expected[method]);
          assert.deepEqual(await keys(), expected.keys[method] ?? expected.keys);
          assert.equal(pool.status().inUse, 0);
        });
      }
    }
  }
}

test('what is asked behind such a statement does not run outside of the transaction', async () => {
  const tx = await pool.begin();
  await tx.query(INSERT, ['first']);
  const [ended, behind, committed] = await Promise.allSettled([
    tx.query('ROLLBACK'),
    tx.query(INSERT, ['behind']),
    tx.commit(),
  ]);
  assert.equal(ended.status, 'fulfilled');
  assert.deepEqual([behind.reason.code, behind.reason.outcome], [OVER, 'not-sent']);
  assert.deepEqual([committed.reason.code, committed.reason.outcome], [OVER, 'not-committed']);
  assert.deepEqual(await keys(), []);
});

test('a callback that ends its transaction by a statement is no success', async () => {
  for (const [text, outcome] of [
    ['ROLLBACK', 'not-committed'],
    ['COMMIT', 'unknown'],
  ]) {
    const awaited = pool.transaction((tx) => tx.query(text), { retries: 2 });
    await assert.rejects(awaited, { code: OVER, outcome });
    const unawaited = pool.transaction(async (tx) => {
      await tx.query(INSERT, [text]);
      tx.query(text).catch(() => {});
    });
    await assert.rejects(unawaited, { code: 'HYPERION_QUERY_NOT_AWAITED', outcome });
  }
  assert.deepEqual(await keys(), ['COMMIT']);
});

test('a block that has committed by a statement ends without an error', async () => {
  const tx = await pool.begin();
  await tx.query(INSERT, ['first']);
  await tx.query('COMMIT');
  await tx[Symbol.asyncDispose]();
  assert.deepEqual(await keys(), ['first']);
  assert.equal(pool.status().inUse, 0);
});
