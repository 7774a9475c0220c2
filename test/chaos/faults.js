// The faults of the chaos tests. Each one strikes the primary under load, and returns a function
// that repairs it.

import { createPool } from '../../js/index.mjs';
import { onOwnNodes } from '../support/cluster/index.js';

/**
 * @typedef {object} Fault
 * @property {number} rounds how often it strikes
 * @property {boolean} [proxied] it needs proxies in front of all nodes
 * @property {boolean} [stops] it stops and starts nodes
 * @property {(scene: Scene) => Promise<(() => Promise<unknown>) | void>} strike
 *
 * @typedef {object} Scene
 * @property {import('../support/cluster/cluster.js').Cluster} cluster
 * @property {Map<object, import('../support/cluster/proxy.js').Proxy>} proxies by node
 * @property {import('../support/random.js').Random} random
 * @property {{ progress(writes: number): Promise<void> }} load
 */

/** Whether the pool notices a silent primary while its connections stay open. */
const findsSilence = isOption('livenessCheckMs');

/** The options of the pools, apart from the hosts. */
export const POOL_OPTIONS = {
  poolSize: 10,
  acquireTimeoutMs: 60_000,
  ...(findsSilence && { livenessCheckMs: 200, connectTimeoutMs: 500 }),
};

function isOption(name) {
  try {
    createPool({ user: 'nobody', [name]: 1000 });
    return true;
  } catch {
    return false;
  }
}

/** @type {Record<string, Fault>} */
export const FAULTS = {
  crash: {
    rounds: 3,
    stops: true,
    async strike({ cluster }) {
      const deposed = cluster.primary;
      await cluster.crash(deposed);
      await cluster.failover();
      return () => cluster.rejoin(deposed);
    },
  },

  // A controller kills a node that does not answer, before or after it has promoted another one.
  // Until then, only a pool that notices a silent primary by itself can go on.
  freeze: {
    rounds: 2,
    stops: true,
    async strike({ cluster, load }) {
      const deposed = cluster.primary;
      await cluster.freeze(deposed);
      await cluster.failover();
      if (findsSilence) await load.progress(50);
      await cluster.crash(deposed);
      return () => cluster.rejoin(deposed);
    },
  },

  'reset of all connections': {
    rounds: 20,
    proxied: true,
    async strike({ cluster, proxies }) {
      const proxy = proxies.get(cluster.primary);
      await proxy.cut();
      await proxy.pass();
    },
  },

  // The host answers no SYN, and goes on itself: its commits wait for standbys that have left it.
  'black hole': {
    rounds: 2,
    proxied: true,
    stops: true,
    async strike({ cluster, proxies }) {
      const deposed = cluster.primary;
      const proxy = proxies.get(deposed);
      if (!findsSilence) await proxy.cut();
      await proxy.blackHole();
      await cluster.failover();
      return async () => {
        await cluster.rejoin(deposed);
        await proxy.pass();
      };
    },
  },

  fence: {
    rounds: 10,
    async strike({ cluster, random }) {
      // Without the barrier, the fence meets statements in each phase.
      await cluster.fence(cluster.primary, { barrier: random.below(2) === 0 });
      await new Promise((resolve) => setTimeout(resolve, random.below(50)));
      await cluster.unfence(cluster.primary);
    },
  },

  switchover: {
    rounds: 3,
    stops: true,
    async strike({ cluster }) {
      await cluster.switchover();
    },
  },
};

/** Strikes as often as the fault says, with writes before and after each strike. */
export async function endure(fault, scene) {
  for (let round = 0; round < fault.rounds; round++) {
    await scene.load.progress(50 + scene.random.below(100));
    const heal = await fault.strike(scene);
    await scene.load.progress(50 + scene.random.below(100));
    await heal?.();
  }
}

/** A proxy for each node if the fault needs them, and the hosts for the pool. */
export async function prepareHosts(fault, cluster) {
  const proxies = new Map();
  if (!fault.proxied) return { proxies, hosts: cluster.hosts() };
  for (const node of cluster.nodes) proxies.set(node, await cluster.proxy(node));
  return { proxies, hosts: [...proxies.values()].map(({ host, port }) => `${host}:${port}`) };
}

export const skipWithoutControl = ({ stops }) => (stops ? onOwnNodes : {});
