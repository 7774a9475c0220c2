// Prepared statements: which ones the pool keeps, which ones it closes, and how it replaces one
// that the server no longer accepts.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool, isRetryable } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

const open = (options) => createPool(cluster.options({ poolSize: 1, ...options }));
/** The session's prepared statements. This question itself is not prepared. */
const prepared = async (pool) => {
  const sql = 'SELECT statement FROM pg_prepared_statements ORDER BY prepare_time, name';
  return (await pool.query(sql, [], { prepare: false })).map(({ statement }) => statement);
};
/** The first use describes a statement, and the second use prepares it. */
const twice = async (pool, sql, params) => {
  await pool.query(sql, params);
  return pool.query(sql, params);
};

test('a statement is prepared once a connection, by its text, and whatever its parameters are', async () => {
  const pool = open();
  for (const value of [1, 2, null]) await pool.query('SELECT $1::int AS n', [value]);
  await twice(pool, 'SELECT 2');
  assert.deepEqual(await prepared(pool), ['SELECT $1::int AS n', 'SELECT 2']);
  await pool.end();
});

test('the least recently used statements are closed on the server', async () => {
  const pool = open({ statementCacheSize: 3 });
  for (const n of [1, 2, 3]) await twice(pool, `SELECT ${n}`);
  await pool.query('SELECT 1');
  await twice(pool, 'SELECT 4');
  assert.deepEqual(await prepared(pool), ['SELECT 1', 'SELECT 3', 'SELECT 4']);
  for (let n = 0; n < 50; n++) await twice(pool, `SELECT ${n} AS n`);
  assert.deepEqual(
    await prepared(pool),
    [47, 48, 49].map((n) => `SELECT ${n} AS n`),
  );
  await pool.end();
});

test('prepare: false leaves nothing behind, and takes nothing away', async () => {
  const pool = open();
  for (let n = 0; n < 3; n++) {
    assert.deepEqual(await pool.query('SELECT $1::int AS n', [n], { prepare: false }), [{ n }]);
  }
  assert.deepEqual(await prepared(pool), []);
  await twice(pool, 'SELECT $1::int AS n', [1]);
  await pool.query('SELECT $1::int AS n', [2], { prepare: false });
  await assert.rejects(pool.query('SELEC', [], { prepare: false }), { code: '42601' });
  assert.deepEqual(await prepared(pool), ['SELECT $1::int AS n']);
  assert.deepEqual(await pool.query('SELECT $1::int AS n', [3]), [{ n: 3 }]);
  await pool.end();
});

test('statementCacheSize: 0 prepares nothing under a name', async () => {
  const pool = open({ statementCacheSize: 0 });
  for (let n = 0; n < 3; n++)
    assert.deepEqual(await pool.query('SELECT $1::int AS n', [n]), [{ n }]);
  const numbers = Array.from({ length: 100 }, (_, n) => n);
  const rows = await Promise.all(numbers.map((n) => pool.query('SELECT $1::int AS n', [n])));
  assert.deepEqual(
    rows.map(([{ n }]) => n),
    numbers,
  );
  assert.deepEqual(await prepared(pool), []);
  await pool.end();
});

test('more texts than are remembered still run, and leave no more behind than they may', async () => {
  const pool = open({ statementCacheSize: 20 });
  for (let n = 0; n < 1200; n++) {
    assert.deepEqual(await twice(pool, `SELECT ${n} AS n`), [{ n }]);
  }
  assert.deepEqual(await pool.query('SELECT 3 AS n'), [{ n: 3 }]);
  assert.equal((await prepared(pool)).length, 20);
  await pool.end();
});

const SHIFTING = 'SELECT * FROM shifting';
const reset = (pool) =>
  pool.query(
    'DROP TABLE IF EXISTS shifting; CREATE TABLE shifting (a int); INSERT INTO shifting VALUES (1)',
  );
let column = 0;
const alter = (pool) => pool.query(`ALTER TABLE shifting ADD COLUMN c${++column} int DEFAULT 2`);

test('0A000 a changed result is healed without anybody noticing, on all connections', async () => {
  const [pool, other] = [open({ poolSize: 4 }), open()];
  await reset(other);
  const ask = () => Promise.all(Array.from({ length: 40 }, () => pool.query(SHIFTING)));
  for (let round = 0; round < 10; round++) {
    await ask();
    await alter(other);
    for (const rows of await ask()) assert.equal(rows[0][`c${column}`], 2);
  }
  await other.end();
  await pool.end();
});

test('0A000 what was prepared before is closed, however often that happens', async () => {
  const pool = open({ statementCacheSize: 4 });
  await reset(pool);
  for (let round = 0; round < 20; round++) {
    await twice(pool, SHIFTING);
    await alter(pool);
  }
  await twice(pool, SHIFTING);
  assert.ok((await prepared(pool)).length <= 4);
  await pool.end();
});

test('0A000 on a dedicated connection outside of a transaction is healed in its session', async () => {
  const [pool, other] = [open(), open()];
  await reset(other);
  const connection = await pool.connect();
  const pid = async () => (await connection.query('SELECT pg_backend_pid() AS pid'))[0].pid;
  const session = await pid();
  await twice(connection, SHIFTING);
  await alter(other);
  const [row] = await connection.query(SHIFTING);
  assert.equal(row[`c${column}`], 2);
  assert.equal(await pid(), session);
  await connection.release();
  await other.end();
  await pool.end();
});

test('0A000 in a transaction is told, can be retried, and the next use works', async () => {
  const [pool, other] = [open(), open()];
  await reset(other);
  await twice(pool, SHIFTING);
  const run = async (tx) => {
    await tx.query('SELECT 1');
    return tx.query(SHIFTING);
  };
  await alter(other);
  const error = await pool.transaction(run).catch((e) => e);
  assert.equal(error.code, '0A000');
  assert.equal(error.outcome, 'not-committed');
  assert.match(error.hint, /prepared anew when the transaction is repeated/);
  assert.equal(isRetryable(error), true);
  assert.equal((await pool.query(SHIFTING))[0][`c${column}`], 2);
  await twice(pool, SHIFTING);
  await alter(other);
  const [row] = await pool.transaction(run, { retries: 1 });
  assert.equal(row[`c${column}`], 2);
  await other.end();
  await pool.end();
});

test('0A000 in the first statement of a transaction is healed', async () => {
  const [pool, other] = [open(), open()];
  await reset(other);
  await twice(pool, SHIFTING);
  await alter(other);
  const [row] = await pool.transaction((tx) => tx.query(SHIFTING));
  assert.equal(row[`c${column}`], 2);
  await other.end();
  await pool.end();
});

/** In a function, so that no command tag shows it. */
const DROP_ALL = 'SELECT drop_prepared()';
const makeDropper = (pool) =>
  pool.query(
    `CREATE OR REPLACE FUNCTION drop_prepared() RETURNS int LANGUAGE plpgsql AS
     $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$`,
  );

test('26000 a statement that somebody dropped is prepared again', async () => {
  const pool = open();
  await makeDropper(pool);
  for (const drop of ['DEALLOCATE ALL', 'DISCARD ALL', 'DISCARD PLANS', DROP_ALL, DROP_ALL]) {
    for (let n = 0; n < 3; n++) {
      assert.deepEqual(await pool.query('SELECT $1::int AS n', [n]), [{ n }], drop);
    }
    await pool.query(drop, [], { prepare: false });
  }
  // Several at the same time, whose statements are all gone.
  await pool.query(DROP_ALL, [], { prepare: false });
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  const rows = await Promise.all(numbers.map((n) => pool.query('SELECT $1::int AS n', [n])));
  assert.deepEqual(
    rows.map(([{ n }]) => n),
    numbers,
  );
  await pool.end();
});

test('26000 in a transaction is told, and the next use works', async () => {
  const pool = open();
  // Behind a function in the text of a statement, statements are prepared anew. A trigger is in no
  // text.
  await pool.query(
    `DROP TABLE IF EXISTS dropping; CREATE TABLE dropping ();
     CREATE OR REPLACE FUNCTION drop_by_trigger() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$;
     CREATE TRIGGER dropping AFTER INSERT ON dropping EXECUTE FUNCTION drop_by_trigger()`,
  );
  await twice(pool, 'SELECT $1::int AS n', [1]);
  const failed = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO dropping DEFAULT VALUES', [], { prepare: false });
    await tx.query('SELECT $1::int AS n', [2]);
  });
  await assert.rejects(failed, {
    code: '26000',
    outcome: 'not-committed',
    hint: /dropped its prepared statements/,
  });
  assert.deepEqual(await pool.query('SELECT $1::int AS n', [3]), [{ n: 3 }]);
  const again = await pool.transaction((tx) => tx.query('SELECT $1::int AS n', [4]));
  assert.deepEqual(again, [{ n: 4 }]);
  await pool.end();
});

test('XX000, 42704 a type that was dropped and made anew is healed, on all connections', async () => {
  const [pool, other] = [open({ poolSize: 2 }), open()];
  const make = (kind) => other.query(`CREATE ${kind}`);
  const kinds = [
    ["TYPE made AS ENUM ('a')", 'TYPE made', 'a'],
    ['DOMAIN made AS text', 'DOMAIN made', 'a'],
    ['TYPE made AS (x int)', 'TYPE made', '(1)'],
  ];
  for (const [kind, name, value] of kinds) {
    const uses = [
      ['SELECT $1::made::text AS it', [value]],
      ['SELECT ($1::made[])[1]::text AS it', [[value]]],
      ['SELECT NULL::made AS it', []],
    ];
    await make(kind);
    for (const [sql, params] of uses) await twice(pool, sql, params);
    await other.query(`DROP ${name}`);
    for (const [sql, params] of uses) {
      await assert.rejects(pool.query(sql, params), { code: '42704' }, sql);
    }
    await make(kind);
    for (const [sql, params] of uses) await twice(pool, sql, params);
    await other.query(`DROP ${name}`);
    await make(kind);
    for (const [sql, params] of uses) {
      // One use on the connection that has it prepared, and one on a new connection.
      const all = await Promise.all([1, 2].map(() => pool.query(sql, params)));
      assert.deepEqual(
        all.flat(),
        [1, 2].map(() => ({ it: params.length === 0 ? null : value })),
      );
    }
    await other.query(`DROP ${name}`);
  }
  await other.end();
  await pool.end();
});
