// The pool's own question for users' types between the statements of a text, in sessions whose
// settings have such a text sent in steps: it waits for no lock for long, leaves the user's
// lock_timeout as it was, and ends no transaction.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const TEXT = "SELECT 1 AS one; SELECT ARRAY['2024-02-01']::asked.day[] AS days";
const READ = [[{ one: 1 }], [{ days: ['2024-02-01'] }]];
const WAITS = { timeout: 120_000 };

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  for (const sql of [
    'DROP SCHEMA IF EXISTS asked CASCADE',
    'CREATE SCHEMA asked',
    'CREATE DOMAIN asked.day AS date',
    'CREATE TABLE asked.kept (id int)',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
});
after(() => cluster?.close());

/** A pool whose only session has looked up the type, and has not told the pool what it is. */
async function open(t, options) {
  const pool = openPool(
    t,
    cluster.options({ poolSize: 1, parameters: { DateStyle: 'German' }, ...options }),
  );
  await pool.query("SELECT 1; SELECT ARRAY['2024-02-01']::asked.day[]::text");
  return pool;
}

async function locked(t) {
  const session = await cluster.openSession(cluster.primary);
  t.after(() => session.close());
  await session.lock('pg_catalog.pg_type');
  return session;
}

const plain = (results) => results.map((rows) => [...rows]);

test('a lock on pg_type holds up no text for as long as it is held', WAITS, async (t) => {
  const pool = await open(t);
  const locker = await locked(t);
  await assert.rejects(pool.query(TEXT), (error) => {
    assert.deepEqual([error.code, error.outcome], ['55P03', 'not-committed']);
    assert.match(error.hint, /the pool's own question/);
    return true;
  });
  assert.deepEqual([...(await pool.query('SHOW lock_timeout'))], [{ lock_timeout: '0' }]);
  await locker.unlock();
  assert.deepEqual(plain(await pool.query(TEXT)), READ);
});

test('a text is answered whose question meets a lock that is released', WAITS, async (t) => {
  const pool = await open(t);
  const locker = await locked(t);
  const answer = pool.query(TEXT);
  const waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'pg_type'::regclass";
  await waitUntil('the question waits', async () => (await locker.query(waits)).length > 0);
  await locker.unlock();
  assert.deepEqual(plain(await answer), READ);
});

test('a lock on pg_type ends no transaction around a text', WAITS, async (t) => {
  const pool = await open(t);
  const locker = await locked(t);
  await pool.transaction(async (tx) => {
    await tx.query('INSERT INTO asked.kept VALUES (1)');
    await assert.rejects(tx.query(`INSERT INTO asked.kept VALUES (2); ${TEXT}`), {
      ...{ code: 'HYPERION_UNREADABLE_VALUE', outcome: 'unknown' },
    });
    await tx.query('INSERT INTO asked.kept VALUES (3)');
    assert.deepEqual([...(await tx.query('SHOW lock_timeout'))], [{ lock_timeout: '0' }]);
    await locker.unlock();
    assert.deepEqual(plain(await tx.query(TEXT)), READ);
  });
  const kept = await pool.query('SELECT id FROM asked.kept ORDER BY id');
  assert.deepEqual(
    kept.map(({ id }) => id),
    [1, 2, 3],
  );
});

test('a lock on pg_type ends no transaction that the text itself has begun', WAITS, async (t) => {
  const pool = await open(t);
  const locker = await locked(t);
  const connection = await pool.connect();
  const unread = connection.query(`BEGIN; INSERT INTO asked.kept VALUES (7); ${TEXT}; SELECT 2`);
  await assert.rejects(unread, { code: 'HYPERION_UNREADABLE_VALUE', outcome: 'unknown' });
  await locker.unlock();
  await connection.query('COMMIT');
  const kept = await connection.query('SELECT id FROM asked.kept WHERE id = 7');
  assert.equal(kept.length, 1);
  await connection.release();
});

for (const [name, begin, expected] of [
  ['outside of a transaction', '', ['5s', '0']],
  ['in a transaction of its own', 'BEGIN;', ['5s', '5s']],
]) {
  for (const set of ['SET', 'SET LOCAL']) {
    test(`${set} lock_timeout means what it says behind the question, ${name}`, async (t) => {
      const pool = await open(t);
      const connection = await pool.connect();
      const text = `SELECT 0; ${begin} ${set} lock_timeout = '5s'; ${TEXT}; SHOW lock_timeout`;
      const [{ lock_timeout: during }] = (await connection.query(text)).at(-1);
      const [{ lock_timeout: behind }] = await connection.query('SHOW lock_timeout');
      if (begin !== '') await connection.query('COMMIT');
      const [{ lock_timeout: last }] = await connection.query('SHOW lock_timeout');
      const isLocal = set === 'SET LOCAL';
      assert.equal(during, expected[0]);
      assert.equal(behind, isLocal ? expected[1] : '5s');
      assert.equal(last, isLocal ? '0' : '5s');
      await connection.release();
    });
  }
}

test('a schema that the role may not use ends no transaction', async (t) => {
  for (const sql of [
    'DROP SCHEMA IF EXISTS hidden CASCADE',
    'DROP ROLE IF EXISTS unwelcome',
    "CREATE ROLE unwelcome LOGIN PASSWORD 'unwelcome'",
    'CREATE SCHEMA hidden',
    'GRANT USAGE ON SCHEMA asked TO unwelcome',
    'GRANT ALL ON asked.kept TO unwelcome',
    'DELETE FROM asked.kept',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
  const role = { user: 'unwelcome', password: 'unwelcome' };
  const text = 'SELECT 1 AS one; SELECT days FROM asked.seen; SELECT 2';
  const single = 'SELECT days FROM asked.seen';
  for (const [n, type] of ['hidden.day', 'asked.over_hidden'].entries()) {
    for (const [m, sql] of [text, single].entries()) {
      const pool = await open(t, role);
      await pool.transaction(
        async (tx) => {
          await tx.query('INSERT INTO asked.kept VALUES ($1)', [10 * n + m]);
          for (const made of [
            'CREATE DOMAIN hidden.day AS date',
            'CREATE DOMAIN asked.over_hidden AS hidden.day[]',
            `CREATE TABLE asked.seen (days ${type === 'hidden.day' ? 'hidden.day[]' : type})`,
            'GRANT SELECT ON asked.seen TO unwelcome',
          ]) {
            await cluster.query(cluster.primary, made);
          }
          await tx.query(sql).catch(({ code }) => assert.equal(code, 'HYPERION_UNREADABLE_VALUE'));
          assert.deepEqual([...(await tx.query('SELECT 3 AS three'))], [{ three: 3 }]);
        },
        { isolation: 'repeatable read' },
      );
      await cluster.query(cluster.primary, 'DROP TABLE asked.seen');
      await cluster.query(cluster.primary, 'DROP DOMAIN asked.over_hidden, hidden.day');
      await pool.end();
    }
  }
  const kept = await cluster.query(cluster.primary, 'SELECT id FROM asked.kept ORDER BY id');
  assert.deepEqual(kept.flat().map(Number), [0, 1, 10, 11]);
  await cluster.query(cluster.primary, 'DROP SCHEMA hidden CASCADE');
});
