// An address that leads to one cluster at one login and to another at the next: a restored copy, a
// virtual address, DNS. The oids of user-made types begin at the same number in each cluster.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { clusterFor, startProxy } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const onOwnCluster = {
  skip: process.env.HYPERION_HOSTS && 'a second cluster is needed beside it',
};

const COLOR = "CREATE TYPE color AS ENUM ('red', 'green')";
const SIZE = "CREATE TYPE size AS ENUM ('small', 'large')";
const TABLES = `CREATE DOMAIN many AS int[];
  CREATE TABLE things (c color, s size, cs color[], ss size[])`;
/** The same types in another order in each cluster, so that the same oid means another type. */
const SCRIPTS = [
  [COLOR, SIZE, 'CREATE DOMAIN small AS int', TABLES],
  [SIZE, 'CREATE TYPE pair AS (a int, b text)', COLOR, TABLES],
];

const clusters = [];
before(async () => {
  if (onOwnCluster.skip) return;
  for (const script of SCRIPTS) {
    const cluster = await clusterFor({ nodes: 1, auth: 'trust', ownIdentity: true });
    clusters.push(cluster);
    for (const sql of script) await cluster.query(cluster.primary, sql);
  }
});
after(() => Promise.all(clusters.map((cluster) => cluster.close())));

/** A pool, and the proxy that leads it to the first cluster. */
async function open(t, options) {
  const proxy = await startProxy(clusters[0].primary);
  t.after(() => proxy.close());
  const pool = openPool(
    t,
    clusters[0].options({ hosts: [proxy.address], poolSize: 2, ...options }),
  );
  return { proxy, pool };
}

/** Ends all sessions, and leads the next ones to another cluster. */
async function moveTo(proxy, { primary }) {
  proxy.leadTo(primary);
  await proxy.cut();
  await proxy.pass();
}

const VALUES = ['red', 'large', ['green', 'red'], ['small']];
const TYPES = ['color', 'size', '_color', '_size'];

async function check(run, columns = 'c, s, cs, ss') {
  const written = await run(`INSERT INTO things VALUES ($1, $2, $3, $4) RETURNING ${columns}`, [
    ...VALUES,
  ]);
  const read = await run(`SELECT ${columns} FROM things WHERE c = $1 AND ss = $2 LIMIT 1`, [
    'red',
    ['small'],
  ]);
  for (const rows of [written, read]) {
    assert.deepEqual([...rows], [{ c: 'red', s: 'large', cs: ['green', 'red'], ss: ['small'] }]);
    assert.deepEqual(
      rows.fields.map((field) => field.typeName),
      TYPES,
    );
  }
}

for (const [name, options] of [
  ['prepared', {}],
  ['unprepared', { statementCacheSize: 0 }],
]) {
  test(
    `${name} statements mean the types of the cluster that they meet`,
    onOwnCluster,
    async (t) => {
      const { proxy, pool } = await open(t, options);
      const query = (sql, values) => pool.query(sql, values);
      for (const to of [0, 1, 0, 1]) {
        await moveTo(proxy, clusters[to]);
        const lost = pool.query('SELECT 1', [], { readOnly: true });
        await lost;
        for (let round = 0; round < 3; round += 1) await check(query);
      }
    },
  );
}

test('so it is in a transaction, and for whoever comes first', onOwnCluster, async (t) => {
  const { proxy, pool } = await open(t, {});
  for (const to of [0, 1, 0]) {
    await moveTo(proxy, clusters[to]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await pool.transaction(async (tx) => {
      for (let round = 0; round < 2; round += 1) await check((...args) => tx.query(...args));
    });
  }
});

test('sessions to both at once are told apart', onOwnCluster, async (t) => {
  const { proxy, pool } = await open(t, {});
  const first = await pool.connect();
  proxy.leadTo(clusters[1].primary);
  const second = await pool.connect();
  for (let round = 0; round < 3; round += 1) {
    for (const connection of [first, second]) await check((...args) => connection.query(...args));
    await Promise.all(
      [first, second].map((connection) => check((...args) => connection.query(...args))),
    );
  }
  await Promise.all([first.release(), second.release()]);
});

test('a role that may not ask for the cluster is told the rest', onOwnCluster, async (t) => {
  const [cluster] = clusters;
  const call = 'EXECUTE ON FUNCTION pg_catalog.pg_control_system()';
  await cluster.query(cluster.primary, `REVOKE ${call} FROM PUBLIC`);
  t.after(() => cluster.query(cluster.primary, `GRANT ${call} TO PUBLIC`));
  await cluster.query(cluster.primary, 'DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN');
  await cluster.query(cluster.primary, 'GRANT ALL ON things TO plain');
  const { pool } = await open(t, { user: 'plain' });
  await pool.transaction(async (tx) => {
    await check((...args) => tx.query(...args));
    await check((...args) => tx.query(...args));
  });
  await Promise.all([1, 2, 3, 4].map(() => check((...args) => pool.query(...args))));
});
