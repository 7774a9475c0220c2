// Types that a failover has lost. The new primary gives their oids to other types, which have other
// names or other kinds than the pool knows.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const onOwnCluster = { skip: process.env.HYPERION_HOSTS && 'its failover must lose a transaction' };

/** The base type of the domain before and after the failover, and an array of it. */
const DOMAINS = [
  ['int4', 'float4', '{1.5,2}', [1.5, 2]],
  ['text', 'int4', '{1,2}', [1, 2]],
  ['int4', 'text', '{abcd,x}', ['abcd', 'x']],
  ['float8', 'int8', '{5,7}', [5n, 7n]],
  ['text', 'bytea', '{"\\\\x61"}', [Buffer.from('a')]],
];

for (const [before, behind, text, value] of DOMAINS) {
  test(
    `a domain over ${before} that was lost, and is over ${behind} now`,
    onOwnCluster,
    async (t) => {
      const cluster = await startCluster({ nodes: 2 });
      t.after(() => cluster.close());
      const [lost, kept] = cluster.nodes;
      // After a restart the server takes its oids from a range that the standby knows of.
      await cluster.restart(lost);
      await cluster.query(lost, 'SELECT 1');
      await cluster.waitForReplication();
      const pool = openPool(t, cluster.options({ poolSize: 2 }));
      await pool.query('SELECT 1');
      await cluster.stop(kept);
      const make = (type) => [`CREATE DOMAIN d AS ${type}`, 'CREATE TABLE held (id int, held d[])'];
      for (const sql of make(before)) await pool.query(sql);
      const read = 'SELECT held FROM held';
      for (let n = 0; n < 3; n++) {
        await pool.query('INSERT INTO held VALUES (1, $1)', [[1, 2]]);
        await pool.query(read);
      }
      const oid = "SELECT 'd[]'::regtype::oid::int";
      const [[old]] = await cluster.query(lost, oid);
      await cluster.crash(lost);
      await cluster.start(kept);
      await cluster.promote(kept);
      for (const sql of make(behind)) await cluster.query(kept, sql);
      assert.deepEqual(await cluster.query(kept, oid), [[old]], 'else nothing is tried');
      await cluster.query(kept, `INSERT INTO held VALUES (1, '${text}')`);
      for (let n = 0; n < 3; n++) assert.deepEqual(await pool.query(read), [{ held: value }]);
      const written = 'INSERT INTO held VALUES (2, $1) RETURNING held';
      for (let n = 0; n < 3; n++) {
        assert.deepEqual(await pool.query(written, [value]), [{ held: value }]);
      }
    },
  );
}
