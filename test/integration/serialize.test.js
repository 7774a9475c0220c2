// A `serialize` of the user's: which types it gets, and where its values are sent.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import process from 'node:process';
import { test } from 'node:test';

import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool: admin } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

test('the first use reads arrays of domains as each later one, whatever style the session has', async (t) => {
  await admin.query(`
    CREATE DOMAIN part AS float8;
    CREATE DOMAIN moment AS timestamptz;
    CREATE DOMAIN length AS interval;
    CREATE TABLE parts (id int, parts part[], moments moment[], lengths length[]);
    INSERT INTO parts
      VALUES (1, ARRAY[0.1::float8 + 0.2], '{2024-02-03 04:05:06+00}', '{1 day 02:00}')`);
  t.after(() => admin.query('DROP TABLE parts; DROP DOMAIN part, moment, length'));
  const row = {
    parts: [0.30000000000000004],
    moments: ['2024-02-03T04:05:06Z'],
    lengths: ['1 day 02:00:00'],
  };
  for (const parameters of [
    { extra_float_digits: '0' },
    { DateStyle: 'German' },
    { DateStyle: 'SQL, DMY' },
    { IntervalStyle: 'iso_8601' },
  ]) {
    const types = { int4: { serialize: String } };
    for (const sql of [
      'SELECT parts, moments, lengths FROM parts WHERE id = $1',
      `INSERT INTO parts SELECT $1 + 1, parts, moments, lengths FROM parts WHERE id = 1
       RETURNING parts, moments, lengths`,
    ]) {
      const pool = openPool(t, cluster.options({ poolSize: 1, parameters, types }));
      for (let use = 0; use < 3; use++) {
        assert.deepEqual(await pool.query(sql, [1]), [row], `${JSON.stringify(parameters)} ${sql}`);
      }
    }
  }
});

const WRITERS = {
  int4: { serialize: ({ n }) => String(n) },
  int8: { serialize: ({ n }) => String(n) },
  text: { serialize: ({ n }) => `T${n}` },
  jsonb: { serialize: (value) => JSON.stringify(value) },
};
const INSERT = 'INSERT INTO notes (v) VALUES ($1)';
const saved = async () => {
  const rows = await admin.query('SELECT v::text AS v FROM notes ORDER BY ctid');
  return rows.map(({ v }) => v);
};

test('objects that no serialize writes are saved as the same JSON as without one', async (t) => {
  const own = (value, json) => Object.defineProperty(value, 'toJSON', { value: () => json });
  const makers = [
    () => own({ a: 1 }, { b: 2 }),
    () => ({ x: own({ a: 1 }, { b: 2 }) }),
    () => ({ d: own(new Date(0), 'own'), m: own(new Map(), 'map'), b: own(Buffer.from('a'), 9) }),
    () => ({ a: [own([1], 9)] }),
    () => own(new Map(), { map: 1 }),
    () => new Proxy({ a: 1 }, { get: (to, key) => (key === 'toJSON' ? () => 'own' : to[key]) }),
    () => ({ n: JSON.rawJSON?.('12345678901234567890') ?? 1 }),
    () => ({ boxed: [Object(5), Object('x')], date: new Date(0) }),
  ];
  const types = { point: { serialize: String } };
  const [plain, withOne] = [{}, { types }].map((options) =>
    openPool(t, cluster.options({ poolSize: 1, ...options })),
  );
  for (const [n, make] of makers.entries()) {
    for (const type of ['json', 'jsonb']) {
      const ask = (pool) => pool.query(`SELECT $1::${type}::text AS v`, [make()]);
      assert.deepEqual(await ask(withOne), await ask(plain), `${n} ${type}`);
    }
  }
});

test('values that the server refuses as those of an earlier type are written anew', async (t) => {
  for (const [from, to, expected] of [
    ['int4', 'jsonb USING NULL', '{"n": 7}'],
    ['text', 'int4 USING 0', '7'],
    ['jsonb', 'int8 USING 0', '7'],
  ]) {
    for (const options of [{}, { statementCacheSize: 0 }]) {
      for (const retries of [undefined, 1]) {
        await admin.query(`CREATE TABLE notes (v ${from})`);
        t.after(() => admin.query('DROP TABLE IF EXISTS notes'));
        const pool = openPool(t, cluster.options({ poolSize: 1, types: WRITERS, ...options }));
        const insert = () =>
          retries === undefined
            ? pool.query(INSERT, [{ n: 7 }])
            : pool.transaction((tx) => tx.query(INSERT, [{ n: 7 }]), { retries });
        for (let use = 0; use < 3; use++) await insert();
        await admin.query('TRUNCATE notes');
        await admin.query(`ALTER TABLE notes ALTER v TYPE ${to}`);
        for (let use = 0; use < 3; use++) await insert();
        const what = `${from} to ${to} ${JSON.stringify(options)} ${retries}`;
        assert.deepEqual(await saved(), [expected, expected, expected], what);
        await admin.query('DROP TABLE notes');
        await pool.end();
      }
    }
  }
});

test('types that change while a serialize runs have it run once more', async (t) => {
  await admin.query('CREATE DOMAIN extra AS jsonb');
  t.after(() => admin.query('DROP DOMAIN extra'));
  for (const type of ['extra', 'jsonb']) {
    await admin.query(`CREATE TABLE notes (v int8, more ${type})`);
    t.after(() => admin.query('DROP TABLE IF EXISTS notes'));
    const seen = [];
    const write = (value) => {
      if (seen.push(value) === 1) alter('ALTER TABLE notes ALTER v TYPE text USING v::text');
      return String(value);
    };
    const text = { serialize: (value) => `T${value}` };
    const types = { int8: { serialize: write }, text };
    const pool = openPool(t, cluster.options({ poolSize: 1, types }));
    for (let use = 0; use < 3; use++) {
      await pool.query('INSERT INTO notes (v, more) VALUES ($1, $2)', [7, { a: 1 }]);
    }
    assert.deepEqual([seen, await saved()], [[7], ['T7', 'T7', 'T7']], type);
    await admin.query('DROP TABLE notes');
    await pool.end();
  }
});

/** Changes a table while this process runs nothing else. */
function alter(sql) {
  const options = JSON.stringify(cluster.options({ poolSize: 1 }));
  const code = `
    import { createPool } from ${JSON.stringify(new URL('../../js/index.mjs', import.meta.url).href)};
    const pool = createPool(${options});
    await pool.query(${JSON.stringify(sql)});
    await pool.end();`;
  execFileSync(process.execPath, ['--input-type=module', '--eval', code]);
}

test('sessions with tables of their own are sent no values for those of another one', async (t) => {
  await admin.query(`
    CREATE SCHEMA numbers; CREATE TABLE numbers.notes (v int4, more int4[]);
    CREATE SCHEMA words; CREATE TABLE words.notes (v text, more text[])`);
  t.after(() => admin.query('DROP SCHEMA numbers, words CASCADE'));
  const options = { poolSize: 3, resetOnRelease: false, searchPath: 'numbers', types: WRITERS };
  for (const statementCacheSize of [256, 0]) {
    const pool = openPool(t, cluster.options({ ...options, statementCacheSize }));
    await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_sleep(0.03)')));
    const sql = `INSERT INTO notes (v, more) VALUES ($1, $2)
                 RETURNING current_schema() AS schema, v::text AS v, more::text AS more`;
    const writer = async (n) => {
      for (let round = 0; round < 60; round++) {
        if (round % 6 === n) {
          await pool.query(`SET search_path = ${round % 4 < 2 ? 'numbers' : 'words'}`);
        }
        const [{ schema, v, more }] = await pool.query(sql, [{ n: 7 }, [{ n: 8 }]]);
        const expected = schema === 'numbers' ? ['7', '{8}'] : ['T7', '{T8}'];
        assert.deepEqual([v, more], expected);
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5].map(writer));
    await pool.end();
  }
});

test('where nothing is kept, values go by the type that a column has now', async (t) => {
  for (const [options, query] of [
    [{}, { prepare: false }],
    [{ statementCacheSize: 0 }, {}],
  ]) {
    for (const inTransaction of [false, true]) {
      await admin.query('CREATE TABLE notes (v int8)');
      t.after(() => admin.query('DROP TABLE IF EXISTS notes'));
      const pool = openPool(t, cluster.options({ poolSize: 1, types: WRITERS, ...options }));
      const insert = () =>
        inTransaction
          ? pool.transaction((tx) => tx.query(INSERT, [{ n: 7 }], query))
          : pool.query(INSERT, [{ n: 7 }], query);
      for (let use = 0; use < 3; use++) await insert();
      await admin.query('TRUNCATE notes; ALTER TABLE notes ALTER v TYPE text');
      for (let use = 0; use < 3; use++) await insert();
      assert.deepEqual(await saved(), ['T7', 'T7', 'T7']);
      await admin.query('DROP TABLE notes');
      await pool.end();
    }
  }
});
