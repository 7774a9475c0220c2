// Servers that the pool asks for their role, because they do not report it or the pool does not
// trust the report. The pool asks no question in a transaction that a caller began by a statement.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  await cluster.query(cluster.primary, 'DROP TABLE IF EXISTS asked; CREATE TABLE asked (key int)');
});
after(() => cluster?.close());

async function connect(t) {
  const pool = createPool(cluster.options({ poolSize: 1, roleCheck: 'query' }));
  const fences = [];
  pool.on('fence', (event) => fences.push(event));
  const connection = await pool.connect();
  t.after(async () => {
    await connection.release();
    await pool.end();
    assert.deepEqual(fences, []);
  });
  return connection;
}

const ENDS = ['ROLLBACK', '/* the last */ abort', 'COMMIT', 'END', 'ROLLBACK AND CHAIN'];
for (const end of [...ENDS, 'ROLLBACK TO SAVEPOINT s', 'ROLLBACK; SELECT 1']) {
  test(`${end} ends a failed transaction, and the connection stays`, async (t) => {
    const connection = await connect(t);
    const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
    await connection.query('BEGIN');
    await connection.query('SAVEPOINT s');
    await assert.rejects(connection.query('SELECT 1/0'), { code: '22012' });
    const failed = { code: '25P02', outcome: 'not-committed' };
    await assert.rejects(connection.query('SELECT 2'), failed);
    await connection.query(end);
    const after = await connection.query('SELECT pg_backend_pid() AS pid');
    assert.deepEqual(after, [{ pid }]);
    await connection.query('ROLLBACK');
  });
}

test('SET TRANSACTION is the first statement of its transaction', async (t) => {
  const connection = await connect(t);
  for (const begin of ['BEGIN', 'START TRANSACTION']) {
    await connection.query(begin);
    await connection.query('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE');
    const [level] = await connection.query('SHOW transaction_isolation');
    assert.deepEqual(level, { transaction_isolation: 'serializable' });
    await connection.query('COMMIT');
  }
});

test('a transaction that reads alone is no fence', async (t) => {
  const connection = await connect(t);
  await connection.query('BEGIN READ ONLY');
  await connection.query('SELECT 1');
  await connection.query('SELECT 2');
  await connection.query('COMMIT');
  await connection.query('INSERT INTO asked VALUES (1)');
});

test('statements that are asked together run in the transaction that one of them begins', async (t) => {
  const connection = await connect(t);
  const level = 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY';
  const texts = ['SELECT 1', 'BEGIN', level, 'SELECT 2', 'SELECT 1/0', 'SELECT 3', 'ROLLBACK'];
  const all = [...texts, 'INSERT INTO asked VALUES (2)'].map((text) => connection.query(text));
  const settled = await Promise.allSettled(all);
  const codes = settled.map(({ reason }) => reason?.code);
  const none = undefined;
  assert.deepEqual(codes, [none, none, none, none, '22012', '25P02', none, none]);
});
