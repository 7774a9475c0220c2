// Changes that give a name another meaning: tables that shadow others, rights on schemas, DDL in a
// transaction with an unusual end. A statement that was prepared before must not keep the old
// meaning.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

const { cluster, pool: admin } = await clusterAndPool(
  { nodes: 1, settings: { max_prepared_transactions: 2 } },
  { poolSize: 1 },
);

const open = (options) => createPool(cluster.options(options));
const column = async (sql) => (await admin.query(sql, [], { rowMode: 'array' })).map(([v]) => v);

for (const make of [
  'SELECT * INTO TEMP stock FROM stock',
  '; (SELECT * INTO LOCAL TEMPORARY stock FROM stock)',
  'CREATE TEMP TABLE stock AS TABLE stock',
  'EXPLAIN (ANALYZE) CREATE TEMP TABLE stock AS TABLE stock',
  'EXPLAIN ANALYZE SELECT * INTO TEMP stock FROM stock',
]) {
  test(`a temporary table stands in front of another one at once: ${make}`, async () => {
    await admin.query(`DROP TABLE IF EXISTS stock; CREATE TABLE stock (id int);
      INSERT INTO stock SELECT generate_series(1, 5)`);
    const pool = open({ poolSize: 1 });
    const remove = 'DELETE FROM stock WHERE id > $1';
    try {
      // The server itself notices the first temporary table of a session.
      await pool.query('CREATE TEMP TABLE first (a int); DROP TABLE first');
      await pool.query(remove, [100]);
      await pool.query(remove, [100]);
      await pool.transaction(async (tx) => {
        await tx.query(make);
        assert.equal((await tx.query(remove, [0])).rowCount, 5);
        await tx.query('DROP TABLE pg_temp.stock');
      });
    } finally {
      await pool.end();
    }
    assert.deepStrictEqual(await column('SELECT count(*) FROM stock'), [5n]);
  });
}

test('what stands behind DEALLOCATE ALL in one flight is prepared anew', async () => {
  const pool = open({ poolSize: 1 });
  try {
    for (const all of ['DEALLOCATE ALL', 'deallocate prepare all', 'DEALLOCATE ALL; SELECT 1']) {
      const connection = await pool.connect();
      for (const use of [1, 2])
        assert.equal((await connection.query('SELECT 1 AS a'))[0].a, 1, use);
      const asked = [all, 'SELECT 1 AS a', 'SELECT 2 AS b'].map((sql) => connection.query(sql));
      const [, one, two] = await Promise.all(asked);
      assert.deepStrictEqual([...one, ...two], [{ a: 1 }, { b: 2 }]);
      await connection.release();
    }
  } finally {
    await pool.end();
  }
});

/**
 * DDL on one connection, in a transaction with an unusual end. Other connections have prepared
 * statements.
 */
const ENDS = {
  'COMMIT AND CHAIN': async (connection, alter) => {
    await connection.query('BEGIN');
    await connection.query(alter);
    await connection.query('COMMIT AND CHAIN');
  },
  'COMMIT AND CHAIN in a script': (connection, alter) =>
    connection.query(`BEGIN; ${alter}; COMMIT AND CHAIN`),
  'the next transaction begins in the same flight': (connection, alter) =>
    Promise.all(['BEGIN', alter, 'COMMIT', 'BEGIN'].map((sql) => connection.query(sql))),
  'the session ends behind it': async (connection, alter) => {
    const end = 'SELECT pg_terminate_backend(pg_backend_pid())';
    await assert.rejects(connection.query(`BEGIN; ${alter}; COMMIT; ${end}`), {
      outcome: 'unknown',
    });
  },
  'the session ends in the middle of the code': async (connection, alter) => {
    const end = 'PERFORM pg_terminate_backend(pg_backend_pid())';
    const code = `DO $$ BEGIN ${alter}; COMMIT; ${end}; END $$`;
    await assert.rejects(connection.query(code), { outcome: 'unknown' });
  },
};

for (const [name, end] of Object.entries(ENDS)) {
  test(`DDL is known to the other connections of the pool where ${name}`, async () => {
    await admin.query('DROP TABLE IF EXISTS altered; CREATE TABLE altered (v int)');
    const pool = open({ poolSize: 2 });
    const [changes, writes] = await Promise.all([pool.connect(), pool.connect()]);
    try {
      const insert = (v) => writes.query('INSERT INTO altered VALUES ($1)', [v]);
      for (const v of ['1', '2']) await insert(v);
      await end(changes, 'ALTER TABLE altered ALTER v TYPE text');
      await insert('012');
      assert.deepStrictEqual(await column('SELECT v FROM altered'), ['1', '2', '012']);
    } finally {
      await Promise.all([changes, writes].map((lease) => lease.release(true)));
      await pool.end();
    }
  });
}

test('a table that COMMIT PREPARED shows stands in front at once', async () => {
  await admin.query(`DROP SCHEMA IF EXISTS front CASCADE; DROP TABLE IF EXISTS passed;
    CREATE SCHEMA front; CREATE TABLE passed (v text)`);
  const pool = open({ poolSize: 3, searchPath: 'front, public' });
  const leases = await Promise.all([pool.connect(), pool.connect(), pool.connect()]);
  const [changes, writes, other] = leases;
  try {
    const insert = (v) => writes.query('INSERT INTO passed VALUES ($1)', [v]);
    await changes.query(`BEGIN; CREATE TABLE front.passed (v text); PREPARE TRANSACTION 'passed'`);
    for (const v of ['1', '2']) await insert(v);
    await other.query(`COMMIT PREPARED 'passed'`);
    await insert('3');
    assert.deepStrictEqual(await column('SELECT v FROM front.passed'), ['3']);
  } finally {
    await Promise.all(leases.map((lease) => lease.release(true)));
    await pool.end();
    await admin.query('DROP SCHEMA front CASCADE');
  }
});

/**
 * Statements that give names another meaning in one session. A dedicated connection runs them one
 * after the other.
 */
const MOVES = [
  ['SELECT set_config($1, $2, false)', ['search_path', 'moved']],
  ['EXPLAIN ANALYZE SELECT set_config($1, $2, false)', ['search_path', 'moved']],
  ['UPDATE pg_settings SET setting = $2 WHERE name = $1', ['search_path', 'moved']],
  [`SELECT pg_catalog."set_config"('search' || '_path', 'moved', false)`],
  [
    `SELECT query_to_xml($1, true, false, '')`,
    ["SELECT set_config('search_path', 'moved', false)"],
  ],
  [`PREPARE move AS SELECT set_config('search' || '_path', 'moved', false)`, [], 'EXECUTE move'],
  ['SELECT set_config($1, $2, false)', ['role', 'moved']],
  [`SELECT set_config('session_authorization', 'moved', false)`],
  [`SET session_authorization = 'moved'`],
  [`SET "role" = 'moved'`],
];

test('a session whose names mean other tables goes by these at once, however that was said', async () => {
  await admin.query(`DROP SCHEMA IF EXISTS moved CASCADE; DROP ROLE IF EXISTS moved;
    CREATE ROLE moved; CREATE SCHEMA moved AUTHORIZATION moved`);
  const pool = open({ poolSize: 1 });
  for (const [sql, values, then] of MOVES) {
    await admin.query(`DROP TABLE IF EXISTS public.shown, moved.shown;
      CREATE TABLE public.shown (v int); CREATE TABLE moved.shown (v text);
      GRANT ALL ON public.shown, moved.shown TO moved; ALTER ROLE moved SET search_path = moved`);
    const connection = await pool.connect();
    try {
      // The path finds both tables, the one of "$user" first.
      await connection.query(`SET search_path = '$user', public`);
      const insert = (v) => connection.query('INSERT INTO shown VALUES ($1)', [v]);
      for (const v of ['1', '2']) await insert(v);
      await connection.query(sql, values);
      if (then !== undefined) await connection.query(then);
      await insert('012');
      assert.deepStrictEqual(await column('SELECT v FROM moved.shown'), ['012'], sql);
    } finally {
      await connection.release(true);
    }
  }
  await pool.end();
  await admin.query('DROP TABLE public.shown; DROP SCHEMA moved CASCADE; DROP ROLE moved');
});

test('a write that waits for DDL of its own pool is written as the table is behind that', async () => {
  await admin.query('DROP TABLE IF EXISTS waited; CREATE TABLE waited (v int)');
  const pool = open({ poolSize: 3 });
  try {
    const writer = await pool.connect();
    const ways = [writer, pool].map(
      (way) => (v) => way.query('INSERT INTO waited VALUES ($1)', [v]),
    );
    for (const insert of ways) for (const v of ['1', '1', '1']) await insert(v);
    let waiting;
    await pool.transaction(async (tx) => {
      await tx.query('ALTER TABLE waited ALTER v TYPE text');
      waiting = Promise.all(ways.map((insert, n) => insert(`0${n}`)));
      let count = 0;
      const locked = `SELECT count(*)::int AS n FROM pg_locks WHERE NOT granted`;
      while (count < ways.length) [{ n: count }] = await admin.query(locked);
    });
    await waiting;
    await writer.release();
  } finally {
    await pool.end();
  }
  assert.deepStrictEqual(await column("SELECT v FROM waited WHERE v <> '1' ORDER BY v"), [
    '00',
    '01',
  ]);
});

test('a right on a schema that is granted puts its tables in front', async (t) => {
  const role = 'moved';
  await admin.query(`DROP SCHEMA IF EXISTS front CASCADE; DROP SCHEMA IF EXISTS behind CASCADE;
    DROP ROLE IF EXISTS ${role}; CREATE ROLE ${role};
    CREATE SCHEMA front; CREATE SCHEMA behind;
    CREATE TABLE front.noted (v text); CREATE TABLE behind.noted (v text);
    GRANT USAGE ON SCHEMA behind TO ${role}; GRANT ALL ON front.noted, behind.noted TO ${role}`);
  t.after(() => admin.query(`DROP SCHEMA front, behind CASCADE; DROP ROLE ${role}`));
  const pool = open({ poolSize: 1, searchPath: 'front, behind' });
  const connection = await pool.connect();
  try {
    const insert = (v) => connection.query('INSERT INTO noted VALUES ($1)', [v]);
    await connection.query(`SET ROLE ${role}`);
    for (const v of ['1', '2']) await insert(v);
    await Promise.all([
      ...['RESET ROLE', `GRANT USAGE ON SCHEMA front TO ${role}`, `SET ROLE ${role}`].map((sql) =>
        connection.query(sql),
      ),
      insert('3'),
    ]);
    await connection.query('RESET ROLE');
    assert.deepStrictEqual(await column('SELECT v FROM behind.noted'), ['1', '2']);
    assert.deepStrictEqual(await column('SELECT v FROM front.noted'), ['3']);
  } finally {
    await connection.release(true);
    await pool.end();
  }
});

/** DDL through the pool that turns a column into text: the table, the column and the SQL. */
const CHANGES = [
  ['readings', 'temp', 'ALTER TABLE readings ALTER temp TYPE text'],
  ['temp', 'v', 'ALTER TABLE temp ALTER v TYPE text'],
  ['temporary', 'v', 'DROP TABLE temporary; CREATE TABLE temporary (v text)'],
  ['readings', 'v', 'CALL change_readings()'],
  ['temp', 'v', 'DROP TABLE temp; SELECT NULL::text AS v INTO temp FROM generate_series(1, 0)'],
  [
    'readings',
    'v',
    `INSERT INTO others SELECT 1; INSERT INTO others VALUES ${'(1),'.repeat(5000)} (1);
     ALTER TABLE readings ALTER v TYPE text`,
  ],
  [
    'readings',
    'v',
    String.raw`INSERT INTO texts VALUES (E'it'
      '\'s'); ALTER TABLE readings ALTER v TYPE text; INSERT INTO texts VALUES ('')`,
  ],
];

for (const [table, name, change] of CHANGES) {
  test(`what the pool itself changes is known to all its connections: ${change.slice(0, 60)}`, async () => {
    await admin.query(`DROP TABLE IF EXISTS readings, temp, temporary, others, texts;
      CREATE TABLE ${table} (${name} int); CREATE TABLE others (a int); CREATE TABLE texts (a text);
      CREATE OR REPLACE PROCEDURE change_readings() LANGUAGE plpgsql
        AS $$ BEGIN ALTER TABLE readings ALTER v TYPE text; END $$`);
    const pool = open({ poolSize: 3 });
    try {
      const sql = `INSERT INTO ${table} (${name}) VALUES ($1)`;
      const write = () => Promise.all([1, 2, 3].map(() => pool.query(sql, ['007'])));
      for (let use = 0; use < 3; use++) await write();
      await admin.query(`TRUNCATE ${table}`);
      await pool.query(change);
      for (let use = 0; use < 2; use++) await write();
    } finally {
      await pool.end();
    }
    const saved = await column(`SELECT DISTINCT ${name} FROM ${table}`);
    assert.deepStrictEqual(saved, ['007']);
  });
}
