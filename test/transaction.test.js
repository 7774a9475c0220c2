// pool.transaction: BEGIN, the callback on one connection, COMMIT; ROLLBACK when it throws.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';

let cluster;
let pool;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  pool = createPool(cluster.options({ poolSize: 3 }));
  await pool.query(
    `DROP TABLE IF EXISTS accounts;
     CREATE TABLE accounts (id int PRIMARY KEY, balance int CHECK (balance >= 0))`,
  );
});
beforeEach(() => pool.query('DELETE FROM accounts; INSERT INTO accounts VALUES (1, 100), (2, 0)'));
after(async () => {
  await pool?.end();
  await cluster?.close();
});

const balances = async () =>
  (await pool.query('SELECT balance FROM accounts ORDER BY id')).map(({ balance }) => balance);
const transfer = async (tx, amount) => {
  await tx.query('UPDATE accounts SET balance = balance + $1 WHERE id = 2', [amount]);
  await tx.query('UPDATE accounts SET balance = balance - $1 WHERE id = 1', [amount]);
};

test('what the callback resolves to is what the transaction resolves to, committed', async () => {
  const result = await pool.transaction(async (tx) => {
    await transfer(tx, 30);
    return 'done';
  });
  assert.equal(result, 'done');
  assert.deepEqual(await balances(), [70, 30]);
  assert.equal(pool.status().inUse, 0);
});

test('what the callback throws is thrown, rolled back', async () => {
  const reason = new Error('changed my mind');
  const transaction = pool.transaction(async (tx) => {
    await transfer(tx, 30);
    throw reason;
  });
  await assert.rejects(transaction, (error) => error === reason);
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('an error of the server rolls back', async () => {
  await assert.rejects(
    pool.transaction((tx) => transfer(tx, 500)),
    { code: '23514' },
  );
  assert.deepEqual(await balances(), [100, 0]);
});

test('an error that the callback swallows does not become a commit', async () => {
  const transaction = pool.transaction((tx) => transfer(tx, 500).catch(() => 'all is well'));
  await assert.rejects(transaction, {
    name: 'TransactionError',
    code: 'HYPERION_TRANSACTION_ROLLED_BACK',
    outcome: 'not-committed',
  });
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('a transaction sees its own writes on its own connection, nobody else does', async () => {
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = 1 WHERE id = 1');
    assert.deepEqual(await balances(), [100, 0]);
    const [{ a }] = await tx.query('SELECT pg_backend_pid() AS a');
    const [{ b }] = await tx.query('SELECT pg_backend_pid() AS b');
    assert.equal(a, b);
  });
  assert.deepEqual(await balances(), [1, 0]);
});

test('more transactions than connections wait for their turn', async () => {
  const moves = Array.from({ length: 50 }, () => pool.transaction((tx) => transfer(tx, 2)));
  await Promise.all(moves);
  assert.deepEqual(await balances(), [0, 100]);
});

test('a query for the lock of an open transaction does not hold up those behind it', async () => {
  // Enough quick statements that the pool pipelines them.
  const touch = () => pool.query('UPDATE accounts SET balance = balance WHERE id = 2');
  for (let n = 0; n < 20; n++) await touch();
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = balance WHERE id = 2');
    const blocked = touch();
    // Each of these must find its way past the blocked one, or this transaction would never end.
    for (let n = 0; n < 20; n++) {
      await pool.query('UPDATE accounts SET balance = balance WHERE id = 1');
    }
    setImmediate(() => blocked.catch(() => {}));
  });
  assert.deepEqual(await balances(), [100, 0]);
});

test('a finished transaction says so', async () => {
  let kept;
  await pool.transaction(async (tx) => {
    kept = tx;
  });
  await assert.rejects(kept.query('SELECT 1'), { name: 'TransactionError' });
});

test('a transaction whose session is ended fails as not committed', async () => {
  const transaction = pool.transaction(async (tx) => {
    await transfer(tx, 30);
    const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
    await cluster.query(cluster.primary, `SELECT pg_terminate_backend(${pid}, 5000)`);
    await tx.query('SELECT 1');
  });
  await assert.rejects(transaction, { name: 'ConnectionError', outcome: 'not-committed' });
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});
