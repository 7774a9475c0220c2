// Types that other clients change. Where a server refuses what a pool's connections knew of them,
// the pool asks again, and no valid statement fails.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool, isRetryable } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

const { cluster, pool: ddl } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const open = (options) => createPool(cluster.options({ poolSize: 1, ...options }));

const times = async (count, run) => {
  for (let n = 0; n < count; n++) await run(n);
};

/** The ways in which a statement is sent. */
const WAYS = {
  default: [{}, {}],
  'prepare: false': [{}, { prepare: false }],
  'statementCacheSize: 0': [{ statementCacheSize: 0 }, {}],
  'another style': [{ parameters: { IntervalStyle: 'iso_8601', extra_float_digits: '0' } }, {}],
};

const AT = new Date('2024-06-01T12:00:00Z');
const ID = '8a1f6c1e-0000-4000-8000-000000000001';

/**
 * Types for a former text column, with a value of each. This client reads no binary form of most of
 * them.
 */
const UNREAD = [
  ['inet', '1.1.1.1'],
  ['cidr', '1.1.1.0/24'],
  ['tsvector', "'1'"],
  ['xml', '<a/>'],
  ['unread_enum', '1'],
  ['unread_domain', '1.1.1.1'],
  ['jsonb', '1'],
];

for (const [way, [options, choices]] of Object.entries(WAYS)) {
  test(`results are read, whatever their columns have become: ${way}`, async () => {
    const pool = open({ ...options, poolSize: 3 });
    await ddl.query(`DROP TABLE IF EXISTS u; DROP DOMAIN IF EXISTS unread_domain;
      DROP TYPE IF EXISTS unread_enum; CREATE TYPE unread_enum AS ENUM ('1');
      CREATE DOMAIN unread_domain AS inet`);
    for (const [type, value] of UNREAD) {
      await ddl.query(`DROP TABLE IF EXISTS u; CREATE TABLE u (v text, n int DEFAULT 1)`);
      const statements = [
        (on) => on.query('INSERT INTO u (v) VALUES ($1) RETURNING v', [value], choices),
        (on) => on.query('INSERT INTO u (v) VALUES ($1) RETURNING *', [value], choices),
        (on) => on.query('UPDATE u SET n = 2 WHERE n = 1 RETURNING *', [], choices),
        (on) => on.query('SELECT * FROM u', [], choices),
        (on) => on.query('SELECT v FROM u', [], choices),
        (on) => on.query('SELECT v FROM u WHERE n > $1', [0], choices),
        (on) => on.query('SELECT max(n) AS n, v FROM u GROUP BY v::text, v', [], choices),
      ];
      const all = () => Promise.all([...statements, ...statements].map((run) => run(pool)));
      await times(3, all);
      await ddl.query('TRUNCATE u');
      // GROUP BY does not accept xml.
      if (type === 'xml') statements.pop();
      await ddl.query(`INSERT INTO u (v) VALUES ($1)`, [value]);
      await ddl.query(`ALTER TABLE u ALTER v TYPE ${type} USING v::${type}`);
      const again = [...statements, ...statements].map((run) => run(pool));
      const first = pool.transaction((tx) => statements[4](tx));
      for (const { status, reason } of await Promise.allSettled([...again, first])) {
        assert.equal(status, 'fulfilled', `${type}: ${reason?.code} ${reason?.message}`);
      }
      const [{ count }] = await ddl.query('SELECT count(*) FROM u');
      assert.equal(count, 5n, type);
    }
    await pool.end();
  });
}

test('a read on a dedicated connection is right behind a change, and in its turn', async () => {
  const pool = open();
  await ddl.query('DROP TABLE IF EXISTS u; CREATE TABLE u (v text); INSERT INTO u VALUES (NULL)');
  const look = (on) => on.query('SELECT v FROM u');
  for (const [type, value] of [...UNREAD, ['text', 'x'], ['bytea', Buffer.from('a')]]) {
    await times(3, () => look(pool));
    await ddl.query(`ALTER TABLE u ALTER v TYPE ${type} USING NULL`);
    await pool.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
    const connection = await pool.connect();
    await connection.query('SELECT 1');
    const write = () => connection.query('UPDATE u SET v = $1', [value]);
    const [[read]] = await Promise.all([look(connection), look(connection), write()]);
    assert.equal(read.v, null, type);
    assert.notEqual((await look(connection))[0].v, null, type);
    await connection.release();
    await ddl.query('UPDATE u SET v = NULL');
  }
  await pool.end();
});

/**
 * The type of a column that becomes text, a value of it, a text that the type refuses, and the
 * error's code.
 */
const REFUSALS = [
  ['int', '1', 'x', '22P02'],
  ['int', '1', '99999999999', '22003'],
  ['date', '2024-01-01', 'x', '22007'],
  ['date', '2024-01-01', '2024-13-45', '22008'],
  ['timestamptz', '2024-01-01', '2024-01-01 00:00:00 Nowhere/At', '22023'],
  ['timestamptz', '2024-01-01', '2024-01-01 00:00:00+99:00', '22009'],
  ['xml', '<a/>', '<a', '2200N'],
  ['tsquery', 'a', 'a &', '42601'],
  ['regclass', 'pg_class', 'no_such_table', '42P01'],
  ['regproc', 'pg_backend_pid', 'no_such_function', '42883'],
  ['regproc', 'pg_backend_pid', 'abs', '42725'],
  ['regtype', 'int4', 'no_such_type', '42704'],
  ['int4range', '[1,5]', '[5,1]', '22000'],
  ['jsonb', '"a"', '"\\u0000"', '22P05'],
  ['small_domain', '1', '100', '23514'],
  ['jsonb', '1', '['.repeat(1_000_000), '54001'],
];

test('a value that was refused as what its parameter once was is asked anew, whatever the server says', async () => {
  await ddl.query(
    'DROP TABLE IF EXISTS w; DROP DOMAIN IF EXISTS small_domain; CREATE DOMAIN small_domain AS int CHECK (VALUE < 10)',
  );
  for (const [type, first, second, code] of REFUSALS) {
    const what = `${type}, ${second.slice(0, 40)}`;
    for (const [options, choices] of Object.values(WAYS)) {
      const pool = open(options);
      const insert = (on, v) => on.query('INSERT INTO w (v) VALUES ($1)', [v], choices);
      await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${type})`);
      await times(2, () => insert(pool, first));
      await times(2, () => assert.rejects(insert(pool, second), { code }, what));
      await ddl.query('ALTER TABLE w ALTER v TYPE text USING NULL; TRUNCATE w');
      await insert(pool, second);
      await times(2, async () => {
        await ddl.query(`ALTER TABLE w ALTER v TYPE ${type} USING NULL`);
        await assert.rejects(insert(pool, second), { code }, what);
        await insert(pool, first);
        await ddl.query('ALTER TABLE w ALTER v TYPE text USING NULL');
        await pool.transaction((tx) => insert(tx, second));
        await insert(pool, second);
      });
      const saved = await ddl.query('SELECT count(*)::int AS n FROM w WHERE v = $1', [second]);
      assert.deepEqual([...saved], [{ n: 2 }], what);
      await pool.end();
    }
  }
});

test('a value whose form is that of an earlier type is written anew where it is refused', async () => {
  const pool = open();
  for (const [from, first, to, second, read] of [
    ['timestamptz', AT, 'jsonb', AT, AT.toISOString()],
    ['timestamptz', AT, 'json', AT, AT.toISOString()],
    ['timestamp', AT, 'jsonb', [AT], [AT.toISOString()]],
    ['boolean', true, 'jsonb', true, true],
    ['text', 'x', 'uuid', ID, ID],
    ['jsonb', 'true', 'text', 'x', 'x'],
    ['int', 1, 'text', 'x', 'x'],
  ]) {
    await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${from})`);
    const insert = (v) => pool.query('INSERT INTO w (v) VALUES ($1)', [v]);
    await times(2, () => insert(first));
    // Another session was described the statement too, and has not prepared it.
    await pool.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
    await ddl.query(`DROP TABLE w; CREATE TABLE w (v ${to})`);
    await times(3, () => insert(second));
    const rows = await ddl.query('SELECT v FROM w', [], { prepare: false });
    assert.deepEqual([...rows], [{ v: read }, { v: read }, { v: read }], `${from} to ${to}`);
  }
  await pool.end();
});

test('types that change back and forth within a second are told each time', async () => {
  const pool = open({ poolSize: 2 });
  await ddl.query('DROP TABLE IF EXISTS w; CREATE TABLE w (v text)');
  const find = () => pool.query('SELECT count(*) FROM w WHERE v = $1', [ID]);
  const both = () => Promise.all([find(), find(), find(), find()]);
  await times(3, both);
  await times(6, async () => {
    await ddl.query('ALTER TABLE w ALTER v TYPE uuid USING v::uuid');
    await times(2, both);
    await ddl.query('ALTER TABLE w ALTER v TYPE text');
    await times(2, both);
  });
  await pool.end();
});

test('a transaction that fails by a type from before is run again, and one that is wrong is not', async () => {
  for (const [from, first, to, value, using = 'NULL'] of [
    ['text', ID, 'uuid', ID, 'v::uuid'],
    ['text', '2024-06-01', 'timestamptz', '2024-06-01', 'v::timestamptz'],
    ['int', 1, 'text', 'x'],
    ['int', 1, 'uuid', ID],
    ['boolean', true, 'int', 5],
    ['timestamptz', AT, 'jsonb', AT],
    ...REFUSALS.slice(0, -1).map(([type, valid, text]) => [type, valid, 'text', text]),
  ]) {
    const pool = open({ poolSize: 3 });
    const what = `${from} becomes ${to}`;
    await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${from})`);
    const find = (on, v) => on.query('SELECT 1 FROM w WHERE v = $1', [v]);
    const insert = (on, v) => on.query('INSERT INTO w (v) VALUES ($1)', [v]);
    const runs = /^(xml|json|reg)/.test(from) || to === 'jsonb' ? [insert] : [find, insert];
    for (const run of runs) {
      await times(3, () => Promise.all([1, 2, 3].map(() => run(pool, first))));
    }
    await ddl.query(`TRUNCATE w; ALTER TABLE w ALTER v TYPE ${to} USING ${using}`);
    let count = 0;
    const transfer = async (tx) => {
      count += 1;
      await tx.query('SELECT 1');
      for (const run of runs) await run(tx, value);
    };
    await pool.transaction(transfer, { retries: runs.length });
    assert.ok(count > 1 && count <= 1 + runs.length, `${what}: run ${count} times`);
    assert.equal((await ddl.query('SELECT 1 FROM w')).length, 1, what);
    await pool.transaction(transfer);
    await pool.end();
  }
});

test('a value that is wrong has its transaction run once more at most', async () => {
  const pool = open({ poolSize: 3 });
  await ddl.query('DROP TABLE IF EXISTS w; CREATE TABLE w (v int)');
  const insert = (on, v) => on.query('INSERT INTO w (v) VALUES ($1)', [v]);
  const most = [2, 1, 2, 1];
  for (const after of [null, 5]) {
    await times(4, () => Promise.all([1, 2, 3].map((v) => insert(pool, v))));
    for (const retries of [5, 0]) {
      let count = 0;
      const wrong = async (tx) => {
        count += 1;
        await tx.query('SELECT 1');
        await insert(tx, 'x');
      };
      // Other callers use the same statement meanwhile.
      const busy = after === null ? [] : [1, 2, 3].map(() => times(20, () => insert(pool, after)));
      const failing = assert.rejects(pool.transaction(wrong, { retries }), (error) => {
        assert.equal(error.code, '22P02');
        assert.equal(error.outcome, 'not-committed');
        if (retries > 0) assert.equal(isRetryable(error), false);
        return true;
      });
      await Promise.all([failing, ...busy]);
      const limit = most.shift();
      assert.ok(count <= limit, `run ${count} times and not ${limit}`);
    }
  }
  await pool.end();
});

test('what a statement was refused for in a transaction is healed for whoever repeats it himself', async () => {
  const pool = open({ poolSize: 2 });
  await ddl.query('DROP TABLE IF EXISTS w; CREATE TABLE w (v int)');
  const insert = (on, v) => on.query('INSERT INTO w (v) VALUES ($1)', [v]);
  await times(3, () => Promise.all([1, 2].map((v) => insert(pool, v))));
  await ddl.query('ALTER TABLE w ALTER v TYPE text');
  const connection = await pool.connect();
  for (let attempt = 0; ; attempt++) {
    const tx = await connection.begin();
    try {
      await tx.query('SELECT 1');
      await insert(tx, 'x');
      await tx.commit();
      break;
    } catch (error) {
      assert.ok(isRetryable(error) && attempt === 0, error);
      assert.match(
        error.hint,
        /described anew when the statement, or its transaction, is repeated/,
      );
      await tx.rollback();
    }
  }
  await connection.release();
  await pool.end();
});

test('statements side by side behind names that moved go by what they mean now', async () => {
  const tables = (n) =>
    `DROP SCHEMA IF EXISTS moved${n} CASCADE; CREATE SCHEMA moved${n}; CREATE TABLE moved${n}.m `;
  await ddl.query(tables(0) + '(a int); INSERT INTO moved0.m VALUES (1)');
  await ddl.query(
    tables(1) + `(a text, b inet, c int); INSERT INTO moved1.m VALUES ('x', '::1', 3)`,
  );
  const expect = [[{ a: 1 }], [{ a: 'x', b: '::1', c: 3 }]];
  const look = (on) => on.query('SELECT * FROM m');
  const find = (on, n) => on.query('SELECT * FROM m WHERE a = $1', [n === 0 ? 1 : 'x']);
  for (const options of [{}, { statementCacheSize: 0 }, { pipelining: 'off' }]) {
    const pool = open({ ...options, searchPath: 'moved0' });
    await times(2, () => Promise.all([look(pool), find(pool, 0)]));
    const all = async (on, n) => {
      const asked = [look(on), find(on, n), look(on), find(on, n), look(on)];
      for (const rows of await Promise.all(asked)) assert.deepEqual([...rows], expect[n]);
    };
    for (const move of [
      (on, n) => on.query(`SET search_path TO moved${n}`),
      (on, n) => on.query(`SELECT set_config('search_path', 'moved${n}', false)`),
      (on, n) => on.query(`SELECT 1; SET search_path TO moved${n}`),
    ]) {
      const connection = await pool.connect();
      await times(2, async () => {
        await times(2, async (n) => {
          await Promise.all([move(connection, n), all(connection, n)]);
          await all(connection, n);
        });
        await connection.transaction(async (tx) => {
          await all(tx, 1);
          await Promise.all([move(tx, 0), all(tx, 0)]);
          await Promise.all([move(tx, 1), all(tx, 1)]);
        });
        await all(connection, 1);
      });
      await connection.release();
      await pool
        .transaction(async (tx) => {
          await all(tx, 0);
          await Promise.all([move(tx, 1), all(tx, 1)]);
          throw new Error('enough');
        })
        .catch((error) => assert.equal(error.message, 'enough', error.stack));
      await all(pool, 0);
      await pool.transaction(async (tx) => {
        await Promise.all([tx.query('ALTER TABLE m ADD COLUMN z inet'), look(tx), look(tx)]);
        const [asked] = await Promise.all([look(tx), tx.query('ALTER TABLE m DROP COLUMN z')]);
        assert.deepEqual([...asked], [{ a: 1, z: null }]);
        await all(tx, 0);
      });
      await all(pool, 0);
    }
    await pool.end();
  }
});

const SLEEP = 'SELECT pg_sleep(0.01)';

test('no value is sent in the form of a type that nobody has told on its connection', async () => {
  const pool = open({ poolSize: 2 });
  for (const [from, value, to] of [
    ['timestamptz', AT, 'bytea'],
    ['timestamp', AT, 'bytea'],
    ['date', AT, 'bytea'],
    ['float8', 1.5, 'bytea'],
    ['float8', 1.5, 'interval'],
    ['numeric', -1, 'interval'],
    ['bigint', -1, 'oid'],
    ['numeric', 1.5, 'xid'],
    ['boolean', true, 'xid'],
  ]) {
    for (const isPrepared of [false, true]) {
      await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${from})`);
      // Both connections take part. A connection that has the statement described and not prepared
      // writes parameters for a while by that description.
      while (pool.status().available < 2) {
        await Promise.all([SLEEP, SLEEP].map((sql) => pool.query(sql)));
      }
      const insert = () => pool.query('INSERT INTO w (v) VALUES ($1)', [value]);
      await times(4, () => Promise.all([insert(), insert()]));
      // Other sessions were described the statement too, and have not prepared it.
      if (!isPrepared) {
        const end = () =>
          pool.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {});
        await Promise.all([end(), end()]);
      }
      await ddl.query(`DROP TABLE w; CREATE TABLE w (v ${to})`);
      const what = `${from} becomes ${to}, ${isPrepared}`;
      await times(3, () =>
        assert.rejects(
          Promise.all([insert(), insert()]),
          { code: isPrepared ? /^(HYPERION_PARAMETER|22003)$/ : 'HYPERION_PARAMETER' },
          what,
        ),
      );
      assert.deepEqual([...(await ddl.query('SELECT v FROM w'))], [], what);
    }
  }
  await pool.end();
});

/** Types that a server casts silently, and a value whose text changes by that. */
const SILENT = [
  ['int', '1', 'text', '01234'],
  ['numeric', '1', 'text', '1e3'],
  ['float8', '1', 'numeric', '0.1000000000000000055511151231257827'],
  ['name', 'x', 'text', 'x'.repeat(70)],
  ['"char"', 'x', 'text', 'xyz'],
  ['jsonb', '1', 'json', '{"b":1,  "a":1, "a":2}'],
  ['boolean', 'true', 'text', 'yes'],
  ['uuid', ID, 'text', ID.toUpperCase()],
];

test('what a cast would change in silence is saved as it is, unprepared or behind DDL by the pool itself', async () => {
  for (const [way, options, choices] of [
    ['prepare: false', {}, { prepare: false }],
    ['statementCacheSize: 0', { statementCacheSize: 0 }, {}],
    ['own DDL', {}, {}],
  ]) {
    const pool = open({ ...options, poolSize: 2 });
    const changer = way === 'own DDL' ? pool : ddl;
    for (const [from, first, to, value] of SILENT) {
      await ddl.query(`DROP TABLE IF EXISTS w; CREATE TABLE w (v ${from})`);
      const insert = (v) => pool.query('INSERT INTO w (v) VALUES ($1)', [v], choices);
      await times(3, () => Promise.all([insert(first), insert(first)]));
      await changer.query(`ALTER TABLE w ALTER v TYPE ${to} USING NULL`);
      await times(2, () => Promise.all([insert(value), insert(value)]));
      const saved = await ddl.query('SELECT DISTINCT v::text FROM w WHERE v IS NOT NULL');
      assert.deepEqual([...saved], [{ v: value }], `${way}: ${from} to ${to}`);
    }
    await pool.end();
  }
});
