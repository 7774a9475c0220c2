// The servers for a smoke test: three nodes of the tests' own cluster, or a pair on systems where
// that does not run.

import process from 'node:process';

import { startCluster } from '../../test/support/cluster/index.js';
import { startPair } from './pair.js';

/** @returns {Promise<{ options: object, failOver: () => unknown, close: () => unknown }>} */
export async function startServers({ asPair = process.platform === 'win32' } = {}) {
  if (asPair) return startPair();
  const cluster = await startCluster({ nodes: 3, synchronous: 1 });
  return {
    options: cluster.options(),
    async failOver() {
      await cluster.crash(cluster.primary);
      await cluster.failover();
    },
    close: () => cluster.close(),
  };
}
