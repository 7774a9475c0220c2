// One text under many values of search_path: each tenant has a schema, with tables and types of the
// same names. The server's description of the text for one tenant decides nothing for another.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  for (const schema of ['first', 'second']) {
    await direct(`DROP SCHEMA IF EXISTS ${schema} CASCADE; CREATE SCHEMA ${schema}`);
    await direct(`CREATE TYPE ${schema}.mood AS ENUM ('sad')`);
    await direct(`CREATE TABLE ${schema}.moods AS SELECT 'sad'::${schema}.mood v,
      ARRAY['sad']::${schema}.mood[] va`);
  }
  await direct('CREATE DOMAIN first.list AS text[]; CREATE DOMAIN second.list AS int[]');
  await direct(
    'CREATE TABLE first.lists (v first.list); CREATE TABLE second.lists (v second.list)',
  );
  await direct('CREATE TABLE first.item (v text); CREATE TABLE second.item (v int8)');
});
after(() => cluster?.close());

const direct = (sql) => cluster.query(cluster.primary, sql);

const open = (t, options) =>
  openPool(t, cluster.options({ poolSize: 8, searchPath: 'first', ...options }));

async function withPool(options, work) {
  const pool = createPool(cluster.options({ poolSize: 8, searchPath: 'first', ...options }));
  await work(pool).finally(() => pool.end());
}

/** Runs eight transactions at a time in alternating schemas, on connections that are all open. */
async function inSchemas(pool, rounds, work) {
  const size = pool.status().maxSize;
  const held = await Promise.all(Array.from({ length: size }, () => pool.connect()));
  await Promise.all(held.map((connection) => connection.release()));
  const visit = async (_, n) => {
    for (let round = 0; round < rounds; round++) {
      await pool.transaction(async (tx) => {
        await tx.query(`SET LOCAL search_path = ${n % 2 === 0 ? 'first' : 'second'}`);
        await work(tx);
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, visit));
}

const saved = async (table) => (await direct(`SELECT DISTINCT v::text FROM ${table}`)).flat();

for (const prepare of [true, false]) {
  test(`values that wait for types go by those of their own schema, prepare: ${prepare}`, async () => {
    await direct('TRUNCATE first.lists, second.lists');
    for (let round = 0; round < 15; round++) {
      const sql = 'INSERT INTO lists VALUES ($1)';
      await withPool({}, (pool) =>
        inSchemas(pool, 2, (tx) => tx.query(sql, [['007', '08']], { prepare })),
      );
    }
    assert.deepEqual(
      [await saved('first.lists'), await saved('second.lists')],
      [['{007,08}'], ['{7,8}']],
    );
  });

  test(`so does what serialize makes of them, prepare: ${prepare}`, async () => {
    await direct('TRUNCATE first.item, second.item');
    const types = { text: { serialize: (v) => `text:${v}` }, int8: { serialize: String } };
    for (let round = 0; round < 10; round++) {
      const sql = 'INSERT INTO item VALUES ($1)';
      await withPool({ types }, (pool) =>
        inSchemas(pool, 4, (tx) => tx.query(sql, [7], { prepare })),
      );
    }
    assert.deepEqual([await saved('first.item'), await saved('second.item')], [['text:7'], ['7']]);
  });
}

test('serialize is given the types that a table has behind an ALTER of one’s own', async (t) => {
  const types = { text: { serialize: (v) => `text:${v}` }, int8: { serialize: String } };
  const pool = open(t, { types });
  await direct('DROP TABLE IF EXISTS first.altered; CREATE TABLE first.altered (v int8)');
  const insert = async () =>
    (await pool.query('INSERT INTO altered VALUES ($1) RETURNING v::text AS v', [7]))[0].v;
  for (let round = 0; round < 3; round++) {
    for (let use = 0; use < 4; use++) assert.equal(await insert(), '7');
    await pool.query('ALTER TABLE altered ALTER v TYPE text');
    for (let use = 0; use < 4; use++) assert.equal(await insert(), 'text:7');
    await pool.query('TRUNCATE altered');
    await pool.query('ALTER TABLE altered ALTER v TYPE int8 USING v::int8');
  }
});

for (const parameters of [{}, { DateStyle: 'German' }, { extra_float_digits: '0' }]) {
  const name = JSON.stringify(parameters);
  test(`reads are told of their own types, whatever others read beside them: ${name}`, async (t) => {
    const pool = open(t, { poolSize: 4, parameters });
    const sql = 'SELECT v, va FROM moods';
    const expected = [{ v: 'sad', va: ['sad'] }];
    let over = false;
    const others = inSchemas(pool, 60, async (tx) => {
      assert.deepEqual(await tx.query(sql), expected);
    }).finally(() => (over = true));
    while (!over) assert.deepEqual(await pool.query(sql), expected);
    await others;
  });
}

test('a function that moves search_path decides what the statements behind it mean', async (t) => {
  await direct(`
    CREATE OR REPLACE FUNCTION public.move(name text, for_good bool) RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN PERFORM set_config('search_path', name || ', public', NOT for_good); END $$;
    CREATE TABLE first.numbers (v int, at timestamptz); CREATE TABLE second.numbers (v text, at timestamp)`);
  const pool = open(t, { poolSize: 1, searchPath: 'first, public' });
  const at = new Date(0);
  const store = async (session, schema, forGood) => {
    await session.query('SELECT move($1, $2)', [schema, forGood]);
    await session.query('INSERT INTO numbers VALUES ($1, $2)', ['01234', at]);
    return session.query('SELECT v, at FROM numbers ORDER BY v DESC LIMIT 1');
  };
  const seen = { first: 1234, second: '01234' };
  for (let round = 0; round < 4; round += 1) {
    for (const schema of ['first', 'second']) {
      const [row] = await pool.transaction((tx) => store(tx, schema, false));
      assert.equal(row.v, seen[schema], `${schema}, round ${round}`);
      const session = await pool.connect();
      await session.query(`SET TimeZone TO 'Asia/Tokyo'`);
      const [other] = await store(session, schema, true);
      assert.equal(other.v, seen[schema], `${schema}, round ${round}, for good`);
      await session.release();
    }
  }
  const stored = await direct('SELECT DISTINCT v FROM second.numbers');
  assert.deepEqual(stored, [['01234']]);
});
