// npm run bench:failover: how soon the pool writes again after a promoted standby accepts writes,
// how long the same takes with `pg` and `postgres` in retry loops, and the cost of the barrier in
// front of each request on an idle connection.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { benchBarrier } from './failover/barrier.js';
import { drawWrites } from './failover/plot.js';
import { delays, failovers, outages } from './failover/rounds.js';
import { machine } from './machine.js';

const USAGE = `npm run bench:failover -- [--rounds N] [--part pool|clients|barrier]
  --rounds    failovers of each case, and turns of each side of the barrier's cost (30)
  --part      only this part; may be repeated
The part "clients" draws docs/failover.svg.`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '30' },
    part: { type: 'string', multiple: true, default: ['pool', 'clients', 'barrier'] },
    help: { type: 'boolean', short: 'h' },
  },
});

const PLOT = fileURLToPath(new URL('../docs/failover.svg', import.meta.url));
const rounds = Number(options.rounds);

const POOL_CASES = {
  'one pool, the dead host refuses': {},
  'one pool, the dead host is black-holed': { blackHoled: true },
  '20 pools at once, the dead host refuses': { pools: 20, writers: 4, everyMs: 20 },
};

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

function summary(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => percentile(sorted, share));
  return { count: sorted.length, p50, p90, p99, worst: sorted.at(-1) };
}

function printHeader(title) {
  console.log(`\n### ${title}\n`);
  console.log('| | measured | p50 ms | p90 ms | p99 ms | worst ms |');
  console.log('|---|---:|---:|---:|---:|---:|');
}

function printRow(name, numbers) {
  const { count, ...figures } = summary(numbers);
  const cells = Object.values(figures).map((ms) => ms.toFixed(1));
  console.log(`| ${name} | ${count} | ${cells.join(' | ')} |`);
}

const progress = (name) => (done) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${done} of ${rounds}   \r`);
};

async function benchPool() {
  printHeader("From the promoted node's first write to the pool's first acknowledged one");
  for (const [name, extra] of Object.entries(POOL_CASES)) {
    const run = await failovers({ clients: ['hyperiondb'], ...extra }, rounds, progress(name));
    printRow(name, delays(run, 'hyperiondb'));
  }
  console.log('\nReached for: p50 at most 30 ms, p99 at most 150 ms.');
}

async function benchClients() {
  const clients = ['hyperiondb', 'pg', 'postgres'];
  const run = await failovers({ clients }, rounds, progress('three clients'));
  printHeader("The same failovers, three clients: from the node's first write to each client's");
  for (const client of clients) printRow(client, delays(run, client));
  printHeader('How long no write of a client was acknowledged, crash and promotion included');
  for (const client of clients) printRow(client, outages(run, client));
  // The round that is nearest to this client's median.
  const own = run.map((round) => delays([round], 'hyperiondb')[0]);
  const usual = summary(own).p50;
  draw(run[own.indexOf(usual)], clients);
}

function draw({ crashed, promoted, times }, clients) {
  const label = { hyperiondb: 'hyperiondb-client' };
  const series = clients.map((client) => [
    label[client] ?? `${client}, with a retry loop`,
    times[client].flat().map((time) => time - crashed),
  ]);
  const last = Math.max(...clients.map((client) => outages([{ crashed, times }], client)[0]));
  const svg = drawWrites({
    title: 'Acknowledged writes through a failover',
    caption: `8 writers of each client, all three at once on the same cluster; ${machine()}`,
    series: Object.fromEntries(series),
    marks: { 'primary killed': 0, 'new primary takes writes': promoted - crashed },
    axis: { from: -200, to: Math.ceil((last + 250) / 100) * 100, bucketMs: 10 },
  });
  writeFileSync(PLOT, svg);
  console.log('\nThe round with the median delay is drawn in docs/failover.svg.');
}

if (options.help) {
  console.log(USAGE);
} else {
  console.log(`${machine()}; PostgreSQL on loopback, three nodes, asynchronous replication`);
  if (options.part.includes('pool')) await benchPool();
  if (options.part.includes('clients')) await benchClients();
  if (options.part.includes('barrier')) await benchBarrier(rounds);
}
