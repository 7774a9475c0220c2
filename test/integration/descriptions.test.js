// Descriptions of statements that no longer hold: results of a named cursor or statement (FETCH,
// EXECUTE), parameters whose types have changed, columns that come and go, and names of prepared
// statements that others use.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

const { cluster, pool: ddl } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const open = (options) => createPool(cluster.options({ poolSize: 1, ...options }));

const AT = new Date('2024-06-01T12:00:00Z');
/** The text of a timestamp and of a timestamptz. */
const LOCAL = '2024-06-01T12:00:00';
const ZONED = '2024-06-01T12:00:00Z';
/** Types of the same binary length: only a wrong value would show that one is read as another. */
const CURSORS = [
  ['SELECT 42::int AS age', [{ age: 42 }]],
  ['SELECT 9.5::real AS price', [{ price: 9.5 }]],
  [`SELECT timestamptz '2024-06-01 12:00:00Z' AS at`, [{ at: ZONED }]],
  ['SELECT 5::bigint AS id', [{ id: 5n }]],
  ['SELECT 0.5::float8 AS f', [{ f: 0.5 }]],
  [`SELECT 'x' AS name, 'y' AS pw`, [{ name: 'x', pw: 'y' }]],
  [`SELECT 'y' AS pw, 'x' AS name`, [{ pw: 'y', name: 'x' }]],
  [`SELECT '{1,2}'::int[] AS a, NULL::int AS n, true AS b`, [{ a: [1, 2], n: null, b: true }]],
  ['SELECT WHERE false', []],
];

/**
 * When a server casts a value that was sent with an outdated type: only where the statement was
 * prepared, or always.
 */
const PREPARED = 1;
const ALWAYS = 2;

/** The ways in which a statement is sent. */
const WAYS = {
  default: [{}, {}],
  'prepare: false': [{}, { prepare: false }],
  'statementCacheSize: 0': [{ statementCacheSize: 0 }, {}],
  'another style': [{ parameters: { IntervalStyle: 'iso_8601', extra_float_digits: '0' } }, {}],
};

const times = async (count, run) => {
  for (let n = 0; n < count; n++) await run(n);
};

for (const [way, [options, choices]] of Object.entries(WAYS)) {
  test(`FETCH brings what its cursor has: ${way}`, async () => {
    const pool = open(options);
    for (const fetch of ['FETCH ALL FROM c', '/* x */ -- y\n fetch forward 100 from c']) {
      const page = (select) =>
        pool.transaction(async (tx) => {
          await tx.query(`DECLARE c CURSOR FOR ${select}`, [], choices);
          return tx.query(fetch, [], choices);
        });
      await times(2, async () => {
        for (const [select, rows] of CURSORS) {
          await times(2, async () => assert.deepEqual([...(await page(select))], rows, select));
        }
      });
    }
    await pool.end();
  });

  test(`EXECUTE brings what its statement has: ${way}`, async () => {
    const pool = open(options);
    const connection = await pool.connect();
    await times(2, async () => {
      for (const [select, rows] of CURSORS) {
        await connection.query(`PREPARE p AS ${select}`, [], choices);
        await times(3, async () => {
          assert.deepEqual([...(await connection.query('EXECUTE p', [], choices))], rows, select);
        });
        const [plan] = await connection.query('EXPLAIN EXECUTE p', [], choices);
        assert.equal(typeof plan['QUERY PLAN'], 'string');
        await connection.query('DEALLOCATE p', [], choices);
      }
    });
    await connection.release();
    await pool.end();
  });

  test(`SHOW, CALL and functions bring what they have: ${way}`, async () => {
    const pool = open(options);
    const ask = (sql) => pool.query(sql, [], choices);
    await ddl.query('DROP PROCEDURE IF EXISTS told; DROP FUNCTION IF EXISTS tell');
    for (const [type, value, read] of [
      ['int', '42', 42],
      ['real', '9.5', 9.5],
      ['text', `'x'`, 'x'],
    ]) {
      await ddl.query(
        `CREATE PROCEDURE told(INOUT v ${type}) LANGUAGE plpgsql AS $$ BEGIN v := ${value}; END $$;
         CREATE FUNCTION tell() RETURNS TABLE (v ${type}) LANGUAGE sql AS $$ SELECT ${value}::${type} $$`,
      );
      await times(3, async () => {
        assert.deepEqual([...(await ask('CALL told(NULL)'))], [{ v: read }]);
        assert.deepEqual([...(await ask('SELECT * FROM tell()'))], [{ v: read }]);
        assert.deepEqual([...(await ask('SHOW port'))], [...(await ask('SHOW port'))]);
      });
      await ddl.query('DROP PROCEDURE told; DROP FUNCTION tell');
    }
    await pool.end();
  });

  test(`parameters are of the type that a column has: ${way}`, async () => {
    const pool = open(options);
    // The old type, the value that is saved with it, the new type, the value that is saved with
    // that one, and that value's text.
    const table = [
      ['int', 1, 'bigint', 3_000_000_000, 3_000_000_000n],
      ['int', 1, 'bigint', '3000000000', 3_000_000_000n],
      ['int', 1, 'bigint', 3_000_000_000n, 3_000_000_000n],
      ['int', -1, 'numeric', -1.5, '-1.5'],
      ['int', 1, 'float8', 1.5, 1.5],
      ['int', 1, 'text', 'x', 'x'],
      ['int', 1, 'text', 2, '2'],
      ['bigint', -1n, 'float8', -0.5, -0.5],
      ['bigint', -1, 'int', -2, -2],
      ['real', 0.1, 'float8', 0.1, 0.1, PREPARED],
      ['float8', 1.5, 'bigint', -2, -2n],
      ['numeric', -1.5, 'int', -2, -2],
      ['text', 'x', 'jsonb', '{"a":1}', { a: 1 }],
      ['text', 'x', 'jsonb', { a: 1 }, { a: 1 }],
      ['text', 'x', 'text[]', ['a', 'b,c'], ['a', 'b,c']],
      ['text', 'x', 'bytea', Buffer.from([0, 255]), Buffer.from([0, 255])],
      ['bytea', Buffer.from([0]), 'text', 'x', 'x', PREPARED],
      ['int[]', [1], 'jsonb', [1, [2]], [1, [2]]],
      ['jsonb', [1], 'int[]', [1, 2], [1, 2]],
      ['int[]', [1], 'bigint[]', [3_000_000_000], [3_000_000_000n]],
      ['json', { a: 1 }, 'text', 'x', 'x'],
      [
        'text',
        'x',
        'uuid',
        '8a1f6c1e-0000-4000-8000-000000000001',
        '8a1f6c1e-0000-4000-8000-000000000001',
      ],
      ['boolean', true, 'text', 'x', 'x'],
      ['timestamp', AT, 'timestamptz', AT, ZONED, PREPARED],
      ['timestamptz', AT, 'timestamp', AT, LOCAL, PREPARED],
      ['timestamp', AT, 'text', AT, AT.toISOString(), PREPARED],
      ['timestamp[]', [AT], 'timestamptz[]', [AT], [ZONED], ALWAYS],
      ['date', AT, 'timestamptz', AT, ZONED, PREPARED],
      ['timestamp', AT, 'bigint', 757_382_400_000_000, 757_382_400_000_000n],
    ];
    const isKept = way === 'default' || way === 'another style';
    for (const [from, first, to, second, read, cast] of table) {
      for (const isPrepared of [false, true]) {
        // The server parses the statement with the old type and casts the value without an error.
        if (cast === ALWAYS || (cast === PREPARED && isKept && isPrepared)) continue;
        await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${from})`);
        const zone = { parameters: { TimeZone: 'America/New_York', ...options.parameters } };
        const local = open({ ...options, ...zone });
        const insert = (v) => local.query('INSERT INTO w (v) VALUES ($1)', [v], choices);
        await times(2, () => insert(first));
        // Another session was described the statement too, and has not prepared it.
        if (!isPrepared)
          await local.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
        await ddl.query(`DROP TABLE w; CREATE TABLE w (v ${to})`);
        await times(3, () => insert(second));
        const rows = await pool.query('SELECT v FROM w', [], { prepare: false });
        assert.deepEqual([...rows], [{ v: read }, { v: read }, { v: read }], `${from} to ${to}`);
        await local.end();
      }
    }
    await pool.end();
  });
}

test('another search_path in the same session is other tables, with and without DDL', async () => {
  await ddl.query(
    `DROP SCHEMA IF EXISTS a CASCADE; DROP SCHEMA IF EXISTS b CASCADE;
     CREATE SCHEMA a; CREATE TABLE a.ev (n int, at timestamp, list timestamp[]);
     CREATE SCHEMA b; CREATE TABLE b.ev (n bigint, at timestamptz, list timestamptz[])`,
  );
  const parameters = { TimeZone: 'America/New_York', search_path: 'a' };
  for (const choices of [{}, { prepare: false }]) {
    const pool = open({ parameters });
    const save = (on, n) =>
      on.query('INSERT INTO ev (n, at, list) VALUES ($1, $2, $3)', [n, AT, [AT]], choices);
    const look = (schema) => ddl.query(`SELECT n, at, list FROM ${schema}.ev ORDER BY n`);
    await times(3, (n) => save(pool, n));
    await times(2, async (round) => {
      await pool.transaction(async (tx) => {
        await save(tx, 10 + round);
        await tx.query(
          round === 0
            ? 'SET LOCAL search_path TO b'
            : `SELECT set_config('search_path', 'b', true)`,
        );
        await save(tx, 3_000_000_000 + round);
        await save(tx, 4_000_000_000 + round);
        await tx.query('SAVEPOINT s');
        await tx.query('SET LOCAL search_path TO a');
        await save(tx, 20 + round);
        await tx.query('ROLLBACK TO s');
        await save(tx, 5_000_000_000 + round);
      });
      await save(pool, 30 + round);
    });
    const connection = await pool.connect();
    await connection.query('SET search_path TO b');
    await save(connection, 6_000_000_000);
    await connection.release();
    await save(pool, 40);
    const expect = (at, numbers) => numbers.map((n) => ({ n, at, list: [at] }));
    assert.deepEqual([...(await look('a'))], expect(LOCAL, [0, 1, 2, 10, 11, 30, 31, 40]));
    const large = [3, 3, 4, 4, 5, 5, 6].map((g, k) => BigInt(g) * 1_000_000_000n + BigInt(k % 2));
    assert.deepEqual([...(await look('b'))], expect(ZONED, large));
    await pool.end();
    await ddl.query('TRUNCATE a.ev, b.ev');
  }
});

test('temporary tables and functions that are made anew have other parameters', async () => {
  const pool = open({ parameters: { TimeZone: 'America/New_York' } });
  const connection = await pool.connect();
  for (const [type, value, read] of [
    ['timestamp', AT, LOCAL],
    ['timestamptz', AT, ZONED],
    ['int', 1, 1],
    ['bigint', 3_000_000_000, 3_000_000_000n],
    ['text', 'x', 'x'],
    ['timestamp', AT, LOCAL],
  ]) {
    await connection.query(`CREATE TEMP TABLE made (v ${type})`);
    await times(2, () => connection.query('INSERT INTO made (v) VALUES ($1)', [value]));
    assert.deepEqual(
      [...(await connection.query('SELECT v FROM made'))],
      [{ v: read }, { v: read }],
    );
    await connection.query('DROP TABLE made');
    await pool.query(`DROP FUNCTION IF EXISTS give`).catch(() => {});
    await ddl.query(
      `DROP FUNCTION IF EXISTS give; CREATE FUNCTION give(v ${type}) RETURNS ${type} LANGUAGE sql AS 'SELECT v'`,
    );
    await times(2, async () => {
      assert.deepEqual(
        [...(await connection.query('SELECT give($1) AS v', [value]))],
        [{ v: read }],
      );
    });
  }
  await connection.release();
  await pool.end();
});

test('DDL by one connection of a pool is known to the others at once', async () => {
  const pool = open({ poolSize: 4, parameters: { TimeZone: 'America/New_York' } });
  const count = 20;
  const save = () => pool.query('INSERT INTO dated (at) VALUES ($1)', [AT]);
  const saveMany = () => Promise.all(Array.from({ length: count }, save));
  for (const begin of ['', 'BEGIN;']) {
    await pool.query('DROP TABLE IF EXISTS dated; CREATE TABLE dated (at timestamp)');
    await saveMany();
    await saveMany();
    await pool.query(
      `${begin} ALTER TABLE dated ALTER at TYPE timestamptz USING at AT TIME ZONE 'UTC'; ${begin && 'COMMIT'}`,
    );
    await saveMany();
    const rows = await pool.query('SELECT at, count(*)::int AS n FROM dated GROUP BY at');
    assert.deepEqual([...rows], [{ at: ZONED, n: 3 * count }]);
  }
  await pool.query('TRUNCATE dated');
  await pool.transaction(async (tx) => {
    await tx.query(`ALTER TABLE dated ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC'`);
    await tx.query('INSERT INTO dated (at) VALUES ($1)', [AT]);
  });
  await saveMany();
  const rows = await pool.query('SELECT at, count(*)::int AS n FROM dated GROUP BY at');
  assert.deepEqual([...rows], [{ at: LOCAL, n: count + 1 }]);
  await pool.end();
});

test('what does not fit is refused by the type that the server has now', async () => {
  const pool = open();
  await ddl.query('DROP TABLE IF EXISTS w; CREATE TABLE w (v int)');
  const insert = (v) => pool.query('INSERT INTO w (v) VALUES ($1)', [v]);
  const refused = (v, code, message) =>
    times(3, () => assert.rejects(insert(v), { code, message, outcome: /^not-/ }));
  await times(2, () => insert(1));
  await refused(1.5, 'HYPERION_PARAMETER', /of type int4: a number with a fraction/);
  await refused('x', '22P02', /integer/);
  await ddl.query('ALTER TABLE w ALTER v TYPE smallint');
  // It was prepared anew after the last refusal.
  await refused(100_000, /^(22003|HYPERION_PARAMETER)$/, /type (smallint|int2: .*type's range)/);
  await times(2, () => insert(1));
  await ddl.query('ALTER TABLE w ALTER v TYPE int; TRUNCATE w');
  await insert(100_000);
  await ddl.query('ALTER TABLE w ALTER v TYPE text');
  await refused([1], 'HYPERION_PARAMETER', /of type text: an array fits/);
  await insert('x');
  assert.equal((await pool.query('SELECT v FROM w')).length, 2);
  await pool.end();
});

test('in a transaction a type that has changed is told by the server, and the next use is right', async () => {
  const pool = open();
  await ddl.query('DROP TABLE IF EXISTS w; CREATE TABLE w (v int)');
  const insert = (on, v) => on.query('INSERT INTO w (v) VALUES ($1)', [v]);
  await times(2, () => insert(pool, 1));
  await ddl.query('TRUNCATE w; ALTER TABLE w ALTER v TYPE numeric');
  const rows = await pool.transaction(async (tx) => {
    // The pool has replaced the first statement, and with it the others that would be refused here.
    await insert(tx, '1.5');
    await insert(tx, 2.5);
    return tx.query('SELECT v FROM w');
  });
  assert.deepEqual(
    rows.map(({ v }) => v),
    ['1.5', '2.5'],
  );
  await pool.end();
  const second = open();
  await times(2, () => insert(second, 1));
  await ddl.query('TRUNCATE w; ALTER TABLE w ALTER v TYPE text');
  const run = async (tx) => {
    await tx.query('SELECT 1');
    await insert(tx, 'x');
    return tx.query('SELECT v FROM w');
  };
  await assert.rejects(second.transaction(run), { code: '22P02' });
  const saved = await second.transaction(run);
  assert.deepEqual([...saved], [{ v: 'x' }]);
  await second.end();
});

for (const [way, [options, choices]] of Object.entries(WAYS)) {
  test(`a transaction with DDL of its own reads what is there: ${way}`, async () => {
    const pool = open(options);
    await ddl.query('DROP TABLE IF EXISTS d; CREATE TABLE d (a int); INSERT INTO d VALUES (1)');
    const ask = (on) => on.query('SELECT * FROM d', [], choices);
    await times(3, () => ask(pool));
    await times(2, async (round) => {
      const rows = await pool.transaction(
        async (tx) => {
          await tx.query('SELECT 1');
          if (round === 0) await ask(tx);
          await tx.query(`ALTER TABLE d ADD COLUMN x${round} float8 DEFAULT 0.5`);
          return ask(tx);
        },
        { retries: way === 'default' ? 1 : 0 },
      );
      const columns = round === 0 ? { x0: 0.5 } : { x0: 0.5, x1: 0.5 };
      assert.deepEqual([...rows], [{ a: 1, ...columns }]);
    });
    await ddl.query('ALTER TABLE d DROP COLUMN x0');
    const rows = await pool.transaction(async (tx) => ask(tx));
    assert.deepEqual([...rows], [{ a: 1, x1: 0.5 }]);
    await pool.end();
  });
}

test('behind a failure in a transaction each statement is refused for that', async () => {
  const pool = open({ maxUses: 1 });
  const ask = (on) => on.query('SELECT 41 AS x');
  await times(3, () => ask(pool));
  const run = async (tx) => {
    await tx.query('SELECT 1');
    const all = [tx.query('SELECT 1/0'), ask(tx), ask(tx), ask(tx)];
    const codes = (await Promise.allSettled(all)).map(({ reason }) => reason.code);
    assert.deepEqual(codes, ['22012', '25P02', '25P02', '25P02']);
    await assert.rejects(ask(tx), { code: '25P02' });
    throw new Error('enough');
  };
  await assert.rejects(pool.transaction(run), /enough/);
  assert.deepEqual([...(await ask(pool))], [{ x: 41 }]);
  await pool.end();
});

test('whatever was not prepared behind a failure in a transaction is refused for that', async () => {
  const pool = open({ maxUses: 1 });
  await ddl.query(
    'DROP TABLE IF EXISTS kept, gone; CREATE TABLE kept (a int); CREATE TABLE gone (a int)',
  );
  // Without rows to describe, each of them is prepared by the flight that runs it.
  const one = (on) => on.query('DELETE FROM kept WHERE a = $1', [1]);
  const two = (on) => on.query('UPDATE kept SET a = $1', [2]);
  const gone = (on) => on.query('DELETE FROM gone WHERE a = $1', [1]);
  for (const ask of [one, two, gone]) await times(3, () => ask(pool));
  await ddl.query('DROP TABLE gone');
  const failures = [
    ['22012', (tx) => [tx.query('SELECT 1/0'), ...[one, two, one, two, one].map((ask) => ask(tx))]],
    ['42P01', (tx) => [gone, gone, one, gone, one].map((ask) => ask(tx))],
  ];
  for (const [code, run] of failures) {
    const transaction = pool.transaction(async (tx) => {
      await tx.query('SELECT 1');
      const errors = (await Promise.allSettled(run(tx))).map(({ reason }) => reason);
      const [first, ...others] = errors;
      assert.equal(first.code, code);
      for (const other of others) {
        assert.deepEqual(
          [other.code, other.cause, other.outcome],
          ['25P02', first, 'not-committed'],
        );
      }
      await assert.rejects(one(tx), { code: '25P02' });
      throw new Error('enough');
    });
    await assert.rejects(transaction, /enough/);
  }
  // What ends a part of it is heard, whatever became of its name.
  await pool.transaction(async (tx) => {
    await one(tx);
    await tx.savepoint((inner) => inner.query('SELECT 1/0')).catch(() => {});
    assert.equal((await one(tx)).command, 'DELETE');
  });
  await pool.end();
});

test('a name that is taken is left alone, and another one is used', async () => {
  const pool = open();
  const connection = await pool.connect();
  const names = async () => {
    const sql = `SELECT name FROM pg_prepared_statements WHERE name LIKE 'h%' ORDER BY name`;
    return (await connection.query(sql, [], { prepare: false })).map(({ name }) => name);
  };
  const ask = (n) => connection.query('SELECT $1::int AS n', [n]);
  await times(2, ask);
  const [first] = await names();
  const next = first.replace(/\d+$/, (digits) => Number(digits) + 1);
  assert.match(first, /^h[0-9a-f]{16}_\d+$/);
  await connection.query(`PREPARE ${next} AS SELECT 'mine' AS it`);
  for (let n = 0; n < 3; n++) {
    assert.deepEqual([...(await connection.query('SELECT $1::int AS m', [n]))], [{ m: n }]);
  }
  assert.deepEqual([...(await connection.query(`EXECUTE ${next}`))], [{ it: 'mine' }]);
  const last = next.replace(/\d+$/, (digits) => Number(digits) + 1);
  assert.deepEqual(await names(), [first, next, last]);
  await connection.release();
  const other = open();
  const second = await other.connect();
  await second.query('SELECT 1 AS a');
  await second.query('SELECT 1 AS a');
  const [{ name }] = await second.query('SELECT name FROM pg_prepared_statements', [], {
    prepare: false,
  });
  assert.notEqual(name.split('_')[0], first.split('_')[0]);
  await second.release();
  await other.end();
  await pool.end();
});
