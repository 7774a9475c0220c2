// The main job on the oldest and the newest supported server: a query, a fence, a failover. Servers
// before 14 do not report their role, so the pool asks for it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { AS_SHOWN, PARAMETERS, VALUES } from '../support/values.js';

const ownServers = { skip: process.env.HYPERION_HOSTS && 'it starts servers of its own versions' };

for (const version of ['13', '18']) {
  test(`PostgreSQL ${version}: types, fence and failover`, ownServers, async (t) => {
    const cluster = await startCluster({ nodes: 2, synchronous: 1, version });
    t.after(() => cluster.close());
    await cluster.query(cluster.primary, 'CREATE TABLE keys (key int)');
    await cluster.waitForReplication();
    const pool = openPool(t, cluster.options({ acquireTimeoutMs: 20_000, poolSize: 3 }));

    const [{ number }] = await pool.query(
      "SELECT current_setting('server_version_num')::int AS number",
    );
    assert.equal(Math.floor(number / 10_000), Number(version));
    for (let use = 0; use < 3; use++) {
      const rows = await pool.query('SELECT $1::int8 AS a, $2::float4 AS b, $3::bool AS c', [
        1n,
        0.1,
        true,
      ]);
      assert.deepEqual(rows, [{ a: 1n, b: 0.1, c: true }]);
    }
    for (const [sql, expected] of VALUES) {
      for (let use = 0; use < 2; use++) {
        const [row] = await pool.query(`SELECT ${sql.replace(/( FROM |$)/, ' AS v$1')}`);
        assert.deepStrictEqual(row.v, expected, sql);
      }
    }
    for (const [type, values] of Object.entries(AS_SHOWN)) {
      for (const value of values) {
        const sql = `SELECT '${value.replaceAll("'", "''")}'::${type} AS v`;
        const [[shown]] = await cluster.query(cluster.primary, sql);
        for (let use = 0; use < 2; use++) {
          assert.deepStrictEqual(await pool.query(sql), [{ v: shown }], sql);
        }
      }
    }
    for (const [value, type, expected] of PARAMETERS) {
      for (let use = 0; use < 2; use++) {
        const rows = await pool.query(`SELECT $1::${type}::text AS v`, [value]);
        assert.deepStrictEqual(rows, [{ v: expected }], type);
      }
    }
    await pool.query('INSERT INTO keys VALUES (1)');

    await cluster.fence(cluster.primary);
    const fenced = new Promise((resolve) => pool.once('fence', resolve));
    const write = pool.query('INSERT INTO keys VALUES (2)');
    assert.equal((await fenced).host, cluster.primary.address);
    await cluster.unfence(cluster.primary);
    assert.equal((await write).rowCount, 1);

    await cluster.crash(cluster.primary);
    const during = pool.query('INSERT INTO keys VALUES (3)').catch((error) => error.outcome);
    const promoted = await cluster.failover();
    // The last node has no standby that could confirm its commits.
    await cluster.query(promoted, "ALTER SYSTEM SET synchronous_standby_names = ''");
    await cluster.query(promoted, 'SELECT pg_reload_conf()');
    const outcome = await during;
    if (outcome !== 'unknown') assert.equal(outcome.rowCount, 1);
    assert.equal((await pool.query('INSERT INTO keys VALUES (4)')).rowCount, 1);
    const rows = await cluster.query(
      promoted,
      'SELECT key, count(*) FROM keys GROUP BY 1 ORDER BY 1',
    );
    const counts = new Map(rows.map(([key, count]) => [Number(key), Number(count)]));
    for (const key of [1, 2, 4]) assert.equal(counts.get(key), 1);
    assert.ok((counts.get(3) ?? 0) <= 1);
  });
}
