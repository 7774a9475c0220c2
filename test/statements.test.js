// What the text of a statement tells, and what a statement leaves behind: what no pool can run is refused before it is
// sent, a transaction that a call leaves open is nobody else's, sessions are handed on clean, and outcomes are true.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool, isRetryable } from '../js/index.mjs';
import { startCluster } from './cluster/index.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(cluster.primary, 'CREATE TABLE orders (id int)');
});
after(() => cluster?.close());

const open = (t, options) => {
  const pool = createPool(cluster.options({ poolSize: 1, ...options }));
  t.after(() => pool.end());
  return pool;
};
const errorOf = (promise) =>
  promise.then(
    (value) => assert.fail(`resolved: ${JSON.stringify(value)}`),
    (error) => error,
  );
const told = ({ name, code, outcome }) => ({ name, code, outcome });
const orders = async (id) => {
  const sql = `SELECT count(*) FROM orders WHERE id = ${id}`;
  return Number((await cluster.query(cluster.primary, sql))[0][0]);
};

const LEFT_OPEN = { name: 'TransactionError', code: 'HYPERION_TRANSACTION_LEFT_OPEN' };

test('a text that leaves a transaction open is refused before it is sent', async (t) => {
  const pool = open(t);
  for (const sql of [
    'BEGIN',
    '/* a */ start transaction isolation level serializable',
    'SELECT 1; BEGIN',
    'BEGIN; INSERT INTO orders VALUES (1)',
    'BEGIN; INSERT INTO orders VALUES (1); COMMIT AND CHAIN',
  ]) {
    const error = await errorOf(pool.query(sql));
    assert.deepEqual(told(error), { ...LEFT_OPEN, outcome: 'not-sent' }, sql);
    assert.match(error.message, /pool\.transaction/);
  }
  assert.equal(await orders(1), 0);
  await pool.query('BEGIN; INSERT INTO orders VALUES (2); COMMIT');
  assert.equal(await orders(2), 1);
  const connection = await pool.connect();
  await connection.query('BEGIN');
  await connection.query('INSERT INTO orders VALUES (3)');
  await connection.query('COMMIT');
  await connection.query('BEGIN');
  await connection.query('INSERT INTO orders VALUES (4)');
  await connection.release();
  await pool.query('INSERT INTO orders VALUES (5)');
  assert.deepEqual(await Promise.all([3, 4, 5].map(orders)), [1, 0, 1]);
});

// Where a backslash may escape a quote, a text does not show what is in it.
const UNCLEAR = String.raw`SELECT 'a\' AS a`;

test('a transaction that a call leaves open unseen is rolled back before others have the connection', async (t) => {
  const pool = open(t);
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  const sql = `${UNCLEAR}; BEGIN; INSERT INTO orders VALUES (10)`;
  const write = 'INSERT INTO orders VALUES ($1)';
  const [error, first, second] = await Promise.all([
    errorOf(pool.query(sql)),
    pool.query(write, [11]),
    pool.query(write, [12]),
  ]);
  assert.deepEqual(told(error), { ...LEFT_OPEN, outcome: 'not-committed' });
  assert.deepEqual([first.rowCount, second.rowCount], [1, 1]);
  assert.deepEqual(await Promise.all([10, 11, 12].map(orders)), [0, 1, 1]);
  assert.notEqual((await pool.query('SELECT pg_backend_pid() AS pid'))[0].pid, pid);
  const committed = `${UNCLEAR}; BEGIN; INSERT INTO orders VALUES (13); COMMIT; BEGIN`;
  assert.equal((await errorOf(pool.query(committed))).outcome, 'unknown');
  assert.equal(await orders(13), 1);
});

test('a script that fails in its own transaction leaves nothing open', async (t) => {
  const pool = open(t, { resetOnRelease: false });
  const sql = 'BEGIN; INSERT INTO orders VALUES (20); SELECT 1/0; COMMIT';
  const error = await errorOf(pool.query(sql));
  assert.deepEqual([error.code, error.outcome], ['22012', 'not-committed']);
  await pool.query('INSERT INTO orders VALUES (21)');
  assert.deepEqual(await Promise.all([20, 21].map(orders)), [0, 1]);
});

test('a script that fails says what is true of it', async (t) => {
  const pool = open(t);
  const outcome = async (sql) => (await errorOf(pool.query(sql))).outcome;
  const insert = 'INSERT INTO orders VALUES (30)';
  assert.equal(await outcome('select 1; selec'), 'not-committed');
  assert.equal(await outcome(`${insert}; SELECT 1/0`), 'not-committed');
  assert.equal(await outcome(`BEGIN; ${insert}; ROLLBACK; SELECT 1/0`), 'not-committed');
  assert.equal(await orders(30), 0);
  assert.equal(await outcome(`BEGIN; ${insert}; COMMIT; SELECT 1/0`), 'unknown');
  assert.equal(await orders(30), 1);
});

test('comments in front and semicolons in strings hide nothing of a lost statement in a transaction', async (t) => {
  for (const sql of [
    '/* app */ INSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
    '-- name: save\nINSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
    "INSERT INTO orders SELECT 40 FROM pg_sleep(0.3) WHERE ';commit' <> ''",
    'INSERT INTO orders VALUES (41); INSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
  ]) {
    const pool = open(t);
    let attempts = 0;
    await pool.transaction(
      async (tx) => {
        attempts += 1;
        const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
        const running = tx.query(sql);
        if (attempts === 1) {
          const end = `SELECT pg_terminate_backend(${pid})`;
          setTimeout(() => cluster.query(cluster.primary, end), 50);
        }
        await running;
      },
      { retries: 3 },
    );
    assert.equal(attempts, 2, sql);
  }
  assert.equal(await orders(40), 4);
});

test('a call that is declared to change nothing is never of unknown outcome', async (t) => {
  const pool = open(t);
  for (let lost = 0; lost < 2; lost += 1) {
    const sql = 'SELECT pg_terminate_backend(pg_backend_pid())';
    const error = await errorOf(pool.query(sql, [], { readOnly: true }));
    assert.deepEqual([error.code, error.outcome], ['HYPERION_CONNECTION_LOST', 'not-committed']);
    assert.ok(isRetryable(error));
  }
});

test('PREPARE TRANSACTION is not for a transaction that ends by methods', async (t) => {
  const pool = open(t);
  const error = await errorOf(pool.transaction((tx) => tx.query("PREPARE TRANSACTION 'x'")));
  assert.deepEqual(told(error), {
    name: 'TransactionError',
    code: 'HYPERION_PREPARE_TRANSACTION',
    outcome: 'not-sent',
  });
});
