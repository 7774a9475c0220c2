// The main job: eight writers of unique keys and four readers through one pool over synchronous
// replication, while the primary suffers one fault after the other. Every acknowledged key is in
// the table exactly once, every other key at most once, no read misses what was acknowledged before
// it began, and no promise stays unsettled.

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
    // A load that goes on after a failure would keep the process.
    t.after(() => ledger.halt());

    ledger.start();
    await endure(fault, { cluster, proxies, random: new Random(), load: ledger });
    await ledger.stop();
    await pool.end();
    t.diagnostic(await ledger.check(cluster));
  });
}
