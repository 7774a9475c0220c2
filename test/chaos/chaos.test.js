// The main job under faults: eight writers of unique keys and four readers use one pool over
// synchronous replication, while one fault after the other strikes the primary. Each acknowledged
// key is in the table exactly once, each other key at most once. No read misses a key that was
// acknowledged before the read began, and every promise settles.

import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { Random, replay } from '../support/random.js';
import { endure, FAULTS, POOL_OPTIONS, prepareHosts, skipWithoutControl } from './faults.js';
import { Ledger } from './ledger.js';

for (const [name, fault] of Object.entries(FAULTS)) {
  const title = `${name}: no acknowledged write is lost, none is applied twice, no read is stale`;
  test(title, skipWithoutControl(fault), async (t) => {
    t.diagnostic(replay('test/chaos/chaos.test.js'));
    const cluster = await clusterFor({ nodes: 3, synchronous: 1 });
    t.after(() => cluster.unfence(cluster.primary).finally(() => cluster.close()));
    await cluster.query(cluster.primary, Ledger.SETUP);
    await cluster.waitForReplication();
    const { proxies, hosts } = await prepareHosts(fault, cluster);
    const pool = createPool(cluster.options({ ...POOL_OPTIONS, hosts }));
    const ledger = new Ledger(pool);
    // A load that goes on after a failure would keep the process alive.
    t.after(() => ledger.halt());

    ledger.start();
    await endure(fault, { cluster, proxies, random: new Random(), load: ledger });
    await ledger.stop();
    await pool.end();
    t.diagnostic(await ledger.check(cluster));
  });
}
