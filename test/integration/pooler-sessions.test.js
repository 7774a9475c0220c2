// Behind PgBouncer in transaction mode, where the next transaction may run in a server session with
// other types or other settings.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { findPooler, startCluster, skipWithoutPooler } from '../support/cluster/index.js';
import { openSession } from '../support/cluster/session.js';

const behindPooler = skipWithoutPooler();
const preparing = findPooler({ prepares: true });
const thatPrepares = skipWithoutPooler({ prepares: true });

let cluster;
before(async () => {
  if (!behindPooler.skip) cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const open = (options) => createPool(cluster.options({ statementCacheSize: 0, ...options }));

test(
  'no value is read or written by types that a table had in another session',
  thatPrepares,
  async (t) => {
    const settings = { max_prepared_statements: 100, admin_users: cluster.user };
    const wanted = { size: 2, settings, program: preparing };
    const behind = await cluster.pooler(cluster.primary, wanted);
    const direct = (sql) => cluster.query(cluster.primary, sql);
    const pool = open({ hosts: [behind.address], statementCacheSize: 256, poolSize: 1 });
    t.after(() => pool.end());
    const reconnect = async () => {
      const admin = { ...cluster.credentials, database: 'pgbouncer' };
      const session = await openSession(behind, admin);
      await session.query('RECONNECT').finally(() => session.close());
    };
    await direct('CREATE TABLE grown (id int, v int4, w int8, x int8)');
    const insert = 'INSERT INTO grown (id, v, w) VALUES ($1, $2, $3)';
    const returning = `${insert} RETURNING v, w`;
    const read = () => pool.query('SELECT v, w, x FROM grown WHERE id = $1', [1]);
    await direct('INSERT INTO grown VALUES (1, 5, 5, 5)');
    const before = { v: 5, w: 5n };
    for (let use = 0; use < 4; use++) {
      assert.deepEqual(await read(), [{ ...before, x: 5n }]);
      await pool.query(insert, [2, 5, 5n]);
      assert.deepEqual(await pool.query(returning, [3, 5, 5n]), [before]);
    }
    await direct('TRUNCATE grown');
    const at = '2024-01-02 03:04:05+00';
    await direct(
      `ALTER TABLE grown ALTER v TYPE float4, ALTER w TYPE float8, ALTER x TYPE timestamptz USING now()`,
    );
    await direct(`INSERT INTO grown VALUES (1, 5, 5, '${at}')`);
    await reconnect();
    for (let use = 0; use < 4; use++) {
      assert.deepEqual(await read(), [{ v: 5, w: 5, x: '2024-01-02T03:04:05Z' }]);
      await pool.query(insert, [2, 6, 6n]);
      assert.deepEqual(await pool.query(returning, [3, 6, 6n]), [{ v: 6, w: 6 }]);
    }
    const saved = await direct('SELECT DISTINCT v, w FROM grown WHERE id > 1');
    assert.deepEqual(saved, [['6', '6']]);
  },
);

test(
  'no script is read by what another session of the server was like',
  behindPooler,
  async (t) => {
    const behind = await cluster.pooler(cluster.primary, { size: 1 });
    const pool = open({ hosts: [behind.address], poolSize: 1 });
    t.after(() => pool.end());
    const script =
      "SELECT 0.1::float8 + 0.2::float8 AS f, '1 day 02:00'::interval AS i; SELECT 1 AS one";
    const expected = [[{ f: 0.30000000000000004, i: '1 day 02:00:00' }], [{ one: 1 }]];
    assert.deepEqual(await pool.query(script), expected);
    const other = await openSession(behind, cluster.credentials);
    t.after(() => other.close());
    await other.query('SET extra_float_digits = 0');
    await other.query("SET IntervalStyle = 'iso_8601'");
    for (let use = 0; use < 3; use++) assert.deepEqual(await pool.query(script), expected);
  },
);

test('what does not fit a domain is refused there as it is directly', thatPrepares, async (t) => {
  const settings = { max_prepared_statements: 100 };
  const behind = await cluster.pooler(cluster.primary, { size: 2, settings, program: preparing });
  const pool = open({ hosts: [behind.address], statementCacheSize: 256 });
  t.after(() => pool.end());
  await cluster.query(
    cluster.primary,
    'CREATE DOMAIN small AS int4; CREATE TABLE smalls (v small)',
  );
  const insert = (value) => pool.query('INSERT INTO smalls VALUES ($1)', [value]);
  for (let use = 0; use < 4; use++) await insert('5');
  for (const value of [Buffer.from([0, 255, 92, 39]), new Int32Array([1]), [5], { a: 1 }]) {
    for (let use = 0; use < 3; use++) {
      await assert.rejects(insert(value), { code: 'HYPERION_PARAMETER', outcome: 'not-sent' });
    }
  }
  assert.deepEqual(await pool.query('SELECT DISTINCT v FROM smalls'), [{ v: 5 }]);
});

test('the pool asks nothing by the simple protocol', behindPooler, async (t) => {
  await cluster.query(
    cluster.primary,
    "CREATE TYPE colour AS ENUM ('red'); CREATE TABLE coloured (id int, many colour[])",
  );
  const settings = { disable_pqexec: 1, ...(preparing && { max_prepared_statements: 20 }) };
  for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
    const allowed = program === preparing ? settings : { disable_pqexec: 1 };
    const behind = await cluster.pooler(cluster.primary, { size: 2, settings: allowed, program });
    for (const roleCheck of ['reported', 'query']) {
      await cluster.query(
        cluster.primary,
        "TRUNCATE coloured; INSERT INTO coloured VALUES (1, '{red}')",
      );
      const pool = open({ hosts: [behind.address], poolSize: 2, roleCheck });
      t.after(() => pool.end());
      const read = (on) => on.query('SELECT many FROM coloured WHERE id = $1', [1]);
      // In a transaction, where nothing may be lost, the types are met first.
      const found = await pool.transaction(async (tx) => {
        await tx.query('UPDATE coloured SET id = 1');
        return read(tx);
      });
      assert.deepEqual(found, [{ many: ['red'] }]);
      for (let use = 0; use < 3; use++) assert.deepEqual(await read(pool), [{ many: ['red'] }]);
      const insert = 'INSERT INTO coloured VALUES ($1, $2) RETURNING many';
      assert.deepEqual(await pool.query(insert, [2, ['red']]), [{ many: ['red'] }]);
      const connection = await pool.connect();
      await connection.query("SET application_name = 'other'");
      await connection.release();
      assert.deepEqual(await read(pool), [{ many: ['red'] }]);
      await pool.end();
    }
  }
});
