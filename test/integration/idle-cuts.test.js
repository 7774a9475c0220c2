// Sessions that something in between drops while they are idle. The host is not suspected, and the
// next calls are served. On real servers.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startProxy } from '../support/cluster/index.js';
import { clusterAndPool, openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const { cluster } = await clusterAndPool({ nodes: 1 });

test('a host whose idle sessions a relay drops is not suspected', async (t) => {
  const proxy = await startProxy(cluster.primary);
  t.after(() => proxy.close());
  const hosts = [proxy.address];
  const pool = openPool(t, cluster.options({ hosts, poolSize: 3 }));
  const told = [];
  pool.on('host', ({ state }) => told.push(state));
  for (const event of ['primary', 'fence', 'rival']) pool.on(event, () => told.push(event));
  const ask = () => pool.query('SELECT 1 AS one, pg_sleep(0.01)::text');
  await Promise.all([ask(), ask(), ask()]);
  for (let round = 0; round < 3; round += 1) {
    const removed = [];
    const hear = ({ reason }) => removed.push(reason);
    pool.on('remove', hear);
    const { size } = pool.status();
    await proxy.cut();
    await proxy.pass();
    await waitUntil('the sessions are lost', () => removed.length >= size);
    pool.off('remove', hear);
    assert.deepEqual(new Set(removed), new Set(['lost']));
    const rows = (await Promise.all([ask(), ask(), ask()])).flat();
    assert.deepEqual(
      rows.map(({ one }) => one),
      [1, 1, 1],
    );
  }
  // A connect that the relay refuses at that moment may be told as 'down'.
  assert.ok(!told.includes('suspected'), told.join());
  assert.deepEqual([pool.status().failovers, pool.status().fences], [0, 0]);
});
