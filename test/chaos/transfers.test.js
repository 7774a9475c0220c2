// Eight concurrent transactions move money between accounts, while one fault after the other
// strikes the primary. The sum over all accounts does not change, and each transfer ended as its
// caller was told.

import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { Random, replay } from '../support/random.js';
import { endure, FAULTS, POOL_OPTIONS, prepareHosts, skipWithoutControl } from './faults.js';
import { Transfers } from './transfers.js';

for (const [name, fault] of Object.entries(FAULTS)) {
  test(
    `${name}: the sum over all accounts stays the same`,
    skipWithoutControl(fault),
    async (t) => {
      t.diagnostic(replay('test/chaos/transfers.test.js'));
      const cluster = await clusterFor({ nodes: 3, synchronous: 1 });
      t.after(() => cluster.unfence(cluster.primary).finally(() => cluster.close()));
      await cluster.query(cluster.primary, Transfers.SETUP);
      await cluster.waitForReplication();
      const { proxies, hosts } = await prepareHosts(fault, cluster);
      const pool = createPool(cluster.options({ ...POOL_OPTIONS, hosts }));
      const transfers = new Transfers(pool);
      // A load that goes on after a failure would keep the process alive.
      t.after(() => transfers.halt());

      transfers.start();
      await endure(fault, { cluster, proxies, random: new Random(), load: transfers });
      await transfers.stop();
      await pool.end();
      t.diagnostic(await transfers.check(cluster));
    },
  );
}
