// The first query of a pool whose other hosts are in order, silent, or black-holed: how much longer
// it takes than in a healthy cluster. Part of npm run bench.

import { createPool } from '../js/index.mjs';
import { startCluster } from '../test/support/cluster/index.js';
import { chooseServer } from './server.js';

const ROUNDS = 30;

/** The behaviour of the two hosts that are listed before the primary. */
const CASES = {
  'all hosts well': () => {},
  'a silent host in front': (proxy) => proxy.silent(),
  'a black-holed host in front': (proxy) => proxy.blackHole(),
};

/** Milliseconds from createPool to the first answer: the median and the worst of the rounds. */
async function measure(options) {
  const times = [];
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    const pool = createPool(options);
    await pool.query('SELECT 1');
    times.push(performance.now() - began);
    await pool.end();
  }
  times.sort((a, b) => a - b);
  return { median: times[ROUNDS >> 1], worst: times[ROUNDS - 1] };
}

export async function benchFirstQuery() {
  const cluster = await startCluster({ nodes: 2, ...chooseServer() });
  const proxy = await cluster.proxy(cluster.nodes[1]);
  try {
    const hosts = [proxy.address, cluster.hosts()[0]];
    console.log('\n### The first query of a pool, login included\n');
    console.log('| hosts | median ms | worst ms |\n|---|---:|---:|');
    for (const [name, apply] of Object.entries(CASES)) {
      await apply(proxy);
      const { median, worst } = await measure(cluster.options({ hosts }));
      console.log(`| ${name} | ${median.toFixed(1)} | ${worst.toFixed(1)} |`);
    }
  } finally {
    await proxy.close();
    await cluster.close();
  }
}
