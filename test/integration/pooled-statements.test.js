// Prepared statements behind PgBouncer, which keeps one statement of the server for all clients
// that prepare the same text (1.21 and later). It has the types of its first use for ever, so that
// no client may meet a statement of another one, and what the server refuses by such types is
// described anew.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { findPooler, startCluster, skipWithoutPooler } from '../support/cluster/index.js';

const behindPooler = skipWithoutPooler();
const preparing = findPooler({ prepares: true });
const thatPrepares = skipWithoutPooler({ prepares: true });

let cluster;
before(async () => {
  if (!behindPooler.skip) cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const direct = (sql) => cluster.query(cluster.primary, sql);
const open = (pooler, options) =>
  createPool(cluster.options({ hosts: [pooler.address], poolSize: 1, ...options }));
const startPooler = (settings = {}, wanted = {}) =>
  cluster.pooler(cluster.primary, {
    size: 1,
    program: preparing,
    settings: { max_prepared_statements: 100, ...settings },
    ...wanted,
  });

/** Uses a statement so often that it is prepared, and once more. */
const use = async (pool, sql, values) => {
  for (let n = 0; n < 4; n++) await pool.query(sql, values);
};

test(
  'no write has the types of a statement that another client has prepared',
  thatPrepares,
  async () => {
    const pooler = await startPooler();
    const changes = [
      ['int', 'text', 7, '007'],
      ['numeric', 'text', 1, '1e3'],
      ['boolean', 'text', true, 'yes'],
      ['jsonb', 'json', '{}', '{"b":1,  "a":2, "a":3}'],
      ['"char"', 'text', 'a', 'abc'],
      ['float4', 'numeric', 1, '0.123456789'],
    ];
    for (const [from, to, earlier, value] of changes) {
      await direct(`DROP TABLE IF EXISTS changed; CREATE TABLE changed (v ${from})`);
      const insert = `INSERT INTO changed (v) VALUES ($1) /* ${from} */`;
      // One pool is over, and another one goes on.
      const [over, beside] = [open(pooler), open(pooler)];
      for (const pool of [over, beside]) await use(pool, insert, [earlier]);
      await over.end();
      await direct(`TRUNCATE changed; ALTER TABLE changed ALTER v TYPE ${to} USING NULL`);
      // Each connection of this pool is at its end after three uses.
      const pool = open(pooler, { maxUses: 3 });
      for (let n = 0; n < 12; n++) await pool.query(insert, [value]);
      const saved = await direct('SELECT v::text, count(*) FROM changed GROUP BY 1');
      assert.deepEqual(saved, [[value, '12']], `${from} to ${to}`);
      await Promise.all([pool.end(), beside.end()]);
    }
  },
);

test('reads and writes of a new pool are not refused by such types', thatPrepares, async () => {
  const pooler = await startPooler();
  await direct('DROP TABLE IF EXISTS changed; CREATE TABLE changed (v int, n int)');
  const [select, update] = [
    'SELECT n FROM changed WHERE v = $1',
    'UPDATE changed SET n = n + 1 WHERE v = $1',
  ];
  const earlier = open(pooler);
  for (const sql of [select, update]) await use(earlier, sql, [7]);
  await earlier.end();
  await direct(`ALTER TABLE changed ALTER v TYPE text; INSERT INTO changed VALUES ('007', 1)`);
  const pool = open(pooler);
  for (let n = 1; n < 6; n++) {
    assert.deepEqual(await pool.query(select, ['007']), [{ n }]);
    assert.equal((await pool.query(update, ['007'])).rowCount, 1);
  }
  await pool.end();
});

test('two pools with other schemas share no statement', thatPrepares, async (t) => {
  // From 18 on a server reports its search_path, so that PgBouncer can follow it.
  if (cluster.binaries.major < 18) return t.skip('search_path is not reported');
  const pooler = await startPooler({ track_extra_parameters: 'IntervalStyle, search_path' });
  await direct(
    'CREATE SCHEMA s0; CREATE SCHEMA s1; CREATE TABLE s0.w (v int); CREATE TABLE s1.w (v text)',
  );
  const pools = ['s0', 's1'].map((searchPath) => open(pooler, { searchPath }));
  for (let n = 0; n < 6; n++) {
    for (const pool of pools) await pool.query('INSERT INTO w (v) VALUES ($1)', ['007']);
  }
  assert.deepEqual(await direct('SELECT v, count(*) FROM s0.w GROUP BY 1'), [['7', '6']]);
  assert.deepEqual(await direct('SELECT v, count(*) FROM s1.w GROUP BY 1'), [['007', '6']]);
  await Promise.all(pools.map((pool) => pool.end()));
});

test('what the server refuses by earlier types is described anew', behindPooler, async (t) => {
  await direct("CREATE TYPE mood AS ENUM ('a'); CREATE TYPE humour AS ENUM ('a')");
  const [select, update, insert] = [
    'SELECT n FROM turned WHERE v = $1',
    'UPDATE turned SET n = n WHERE v = $1',
    'INSERT INTO turned (v) VALUES ($1)',
  ];
  const changes = [
    ['int', 'text', select, '1', '7'],
    ['int', 'text', select, 1, 7],
    ['int', 'text', select, 1, -7],
    ['int', 'text', update, '1', '7'],
    ['text', 'int', insert, 'x', '7'],
    ['text', 'int', insert, 'x', 7],
    ['text', 'int', select, 'x', '7'],
    ['timestamp', 'int', insert, '2024-01-01', '5'],
    ['text', 'jsonb', insert, 'x', '{}'],
    ['text', 'mood', insert, 'x', 'a'],
    ['text', 'mood', select, 'x', 'a'],
    ['mood', 'humour', insert, 'a', 'a'],
    ['mood', 'humour', select, 'a', 'a'],
  ];
  const old = { program: findPooler(), settings: {} };
  const kinds = [
    ['session mode of any version', { ...old, mode: 'session' }, behindPooler],
    ['1.21 or later', {}, thatPrepares],
    ['session mode', { mode: 'session' }, thatPrepares],
  ];
  for (const [kind, options, needs] of kinds) {
    await t.test(kind, needs, async () => {
      const pooler = await startPooler({}, options);
      for (const [n, [from, to, text, earlier, value]] of changes.entries()) {
        const sql = `${text} /* ${kind} ${n} */`;
        await direct(`DROP TABLE IF EXISTS turned; CREATE TABLE turned (v ${from}, n int)`);
        const pool = open(pooler);
        await use(pool, sql, [earlier]);
        await direct(`TRUNCATE turned; ALTER TABLE turned ALTER v TYPE ${to} USING NULL`);
        const what = `${from} to ${to}: ${text}`;
        if (n % 2 === 0) {
          await assert.doesNotReject(
            pool.transaction((tx) => tx.query(sql, [value])),
            what,
          );
        }
        for (let uses = 0; uses < 3; uses++) {
          await assert.doesNotReject(pool.query(sql, [value]), what);
        }
        // A value that is wrong by the new types as well gets the server's own error.
        if (to === 'int') {
          await assert.rejects(pool.query(sql, ['x']), { code: '22P02', outcome: 'not-committed' });
        }
        await pool.end();
      }
    });
  }
});
