// npm start: an application writes through one pool while its primary crashes, is replaced, comes
// back, and is fenced. The program ends by itself within a minute. It exits with 1 if an
// acknowledged write was lost or applied twice.

import { readdirSync } from 'node:fs';
import process from 'node:process';

import { startCluster } from '../test/support/cluster/index.js';
import { Ledger } from './failover/ledger.js';
import { View } from './failover/view.js';

const WRITERS = 8;
const seconds = (count) => new Promise((resolve) => setTimeout(resolve, count * 1000));

/** How many threads this process has, if the system tells. */
function threads() {
  try {
    return readdirSync('/proc/self/task').length;
  } catch {
    return undefined;
  }
}

/** What happens to the cluster, one step after the other. */
async function story(cluster, ledger, view) {
  await seconds(4);
  const deposed = cluster.primary;
  ledger.mark('crash of the primary, promotion of a standby');
  view.event(`crashing the primary ${deposed.name} (SIGKILL)`);
  await cluster.crash(deposed);
  const promoted = await cluster.failover();
  view.event(`promoted ${promoted.name}, the most advanced standby`);
  await seconds(4);
  ledger.mark('the old primary comes back as a standby');
  view.event(`rejoining ${deposed.name} as a standby`);
  await cluster.rejoin(deposed);
  await seconds(2);
  ledger.mark('fence of the primary, for one second');
  view.event(`fencing ${promoted.name}: read-only, while its sessions stay open`);
  await cluster.fence(promoted);
  await seconds(1);
  await cluster.unfence(promoted);
  view.event(`${promoted.name} takes writes again`);
  await seconds(3);
}

async function main() {
  const threadsBefore = threads();
  const { createPool } = await import('hyperiondb-client');
  console.log('starting three PostgreSQL servers, each commit waits for one of two standbys ...');
  const started = performance.now();
  const cluster = await startCluster({ nodes: 3, synchronous: 1 });
  console.log(`the cluster is up after ${Math.round(performance.now() - started)} ms\n`);
  const pool = createPool(cluster.options({ poolSize: 10, acquireTimeoutMs: 20_000 }));
  const ledger = new Ledger(pool);
  const view = new View(cluster, ledger, process.stdout);
  pool.on('primary', ({ host, previous, outageMs }) => {
    if (previous)
      view.event(`the pool follows: ${previous} -> ${host} after ${outageMs.toFixed(1)} ms`);
  });
  pool.on('fence', ({ host, role }) => view.event(`the pool saw that ${host} is ${role}`));
  try {
    await cluster.query(cluster.primary, Ledger.TABLE);
    await cluster.waitForReplication();
    ledger.start(WRITERS);
    view.start();
    await story(cluster, ledger, view);
    await ledger.stop();
    const extraThreads = threadsBefore === undefined ? undefined : threads() - threadsBefore;
    await pool.end();
    const rows = await cluster.query(cluster.primary, Ledger.COUNT);
    await view.stop();
    return ledger.report(rows, extraThreads);
  } finally {
    await view.stop();
    await cluster.close();
  }
}

const { text, healthy } = await main();
console.log(text);
process.exitCode = healthy ? 0 : 1;
