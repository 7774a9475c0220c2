// 42P05: something else has prepared a statement in the session under the name that the pool would
// give its next one. The pool takes another name, and never runs the stranger. On real servers.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool: other } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });
// In a function, so that no text shows what it does to the session.
await other.query(`
  DROP TABLE IF EXISTS named; CREATE TABLE named (key text);
  CREATE OR REPLACE FUNCTION take_names(prefix text, first int, count int) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
      FOR n IN first .. first + count - 1 LOOP
        EXECUTE format('PREPARE %I AS SELECT ''a stranger'' AS v, ''a stranger'' AS key', prefix || n);
      END LOOP;
    END $$`);

const open = (t) => openPool(t, cluster.options({ poolSize: 1 }));
const unprepared = (on, sql, params) => on.query(sql, params, { prepare: false });

/** The names of the session's statements, the latest last: the pool's own, or those of strangers. */
async function namesOf(on, areStrangers = [false]) {
  const sql = `SELECT name FROM pg_prepared_statements WHERE from_sql = ANY ($1)
                ORDER BY substring(name from '\\d+$')::int`;
  return (await unprepared(on, sql, [areStrangers])).map(({ name }) => name);
}

/** The first use describes a statement, and the second use prepares it. */
async function twice(on, sql, params) {
  await on.query(sql, params);
  return on.query(sql, params);
}

/** Prepares strangers under the next `count` names of the pool's session. */
async function takeNames(on, count) {
  await twice(on, "SELECT 'to see a name' AS v");
  const [, prefix, number] = /^(.*_)(\d+)$/.exec((await namesOf(on, [true, false])).at(-1));
  const first = Number(number) + 1;
  await unprepared(on, 'SELECT take_names($1, $2, $3)', [prefix, first, count]);
  return Array.from({ length: count }, (_, n) => `${prefix}${first + n}`);
}

const pidOf = async (on) => (await unprepared(on, 'SELECT pg_backend_pid() AS pid'))[0].pid;

test('a statement whose name is taken gets another one, in the same session', async (t) => {
  const pool = open(t);
  const pid = await pidOf(pool);
  const taken = await takeNames(pool, 3);
  for (let n = 1; n <= 6; n += 1) {
    for (let use = 0; use < 3; use += 1) {
      const sql = `SELECT $1::int AS v, ${n} AS statement`;
      assert.deepEqual(await pool.query(sql, [use]), [{ v: use, statement: n }]);
    }
  }
  assert.equal(await pidOf(pool), pid);
  assert.deepEqual(await namesOf(pool, [true]), taken);
  // Behind the one statement that showed the names, the pool has tried those that were taken.
  const all = await namesOf(pool, [true, false]);
  assert.deepEqual(await namesOf(pool), [all[0], ...all.slice(1 + taken.length)]);
  assert.equal(all.length, 1 + taken.length + 6);
});

test('many at the same time get their own answers, and writes are done once', async (t) => {
  const pool = open(t);
  await takeNames(pool, 20);
  await other.query('TRUNCATE named');
  const numbers = Array.from({ length: 40 }, (_, n) => n);
  const insert = (n) => `INSERT INTO named VALUES ($1) RETURNING key, ${n % 10} AS statement`;
  for (let use = 0; use < 3; use += 1) {
    const asked = numbers.map((n) => pool.query(insert(n), [`${use}.${n}`]));
    const read = numbers.map((n) => pool.query(`SELECT $1::int AS v, ${n % 10} AS read`, [n]));
    const rows = (await Promise.all(asked)).flat();
    assert.deepEqual(
      rows,
      numbers.map((n) => ({ key: `${use}.${n}`, statement: n % 10 })),
    );
    assert.deepEqual(
      (await Promise.all(read)).flat(),
      numbers.map((n) => ({ v: n, read: n % 10 })),
    );
  }
  const [counted] = await other.query(
    'SELECT count(*)::int AS rows, count(DISTINCT key)::int AS keys FROM named',
  );
  assert.deepEqual(counted, { rows: 3 * 40, keys: 3 * 40 });
});

test('the first statement of a transaction and a dedicated connection heal too', async (t) => {
  const pool = open(t);
  await takeNames(pool, 2);
  await pool.query("SELECT 'first' AS v");
  const rows = await pool.transaction((tx) => tx.query("SELECT 'first' AS v"));
  assert.deepEqual(rows, [{ v: 'first' }]);
  const connection = await pool.connect();
  const pid = await pidOf(connection);
  await takeNames(connection, 2);
  for (let use = 0; use < 3; use += 1) {
    assert.deepEqual(await connection.query("SELECT 'dedicated' AS v"), [{ v: 'dedicated' }]);
  }
  assert.equal(await pidOf(connection), pid);
  await connection.release();
});

test('in the middle of a transaction it is told, and a repetition heals it', async (t) => {
  const pool = open(t);
  await pool.query("SELECT 'within' AS v");
  await takeNames(pool, 1);
  const work = async (tx) => {
    await unprepared(tx, "INSERT INTO named VALUES ('within')");
    return tx.query("SELECT 'within' AS v");
  };
  await other.query('TRUNCATE named');
  const told = await pool.transaction(work).then(
    () => null,
    (error) => error,
  );
  assert.deepEqual([told?.code, told?.outcome], ['42P05', 'not-committed']);
  assert.match(told.hint, /pooler/);
  assert.deepEqual(await other.query('SELECT FROM named'), []);
  await takeNames(pool, 1);
  assert.deepEqual(await pool.transaction(work, { retries: 1 }), [{ v: 'within' }]);
  assert.equal((await other.query('SELECT FROM named')).length, 1);
});
