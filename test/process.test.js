// What the addon does to the process that loads it: no thread, no descriptor left behind, no crash when a
// worker ends in the middle, no CPU when nothing is due.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';

import { clusterFor } from './cluster/index.js';

const run = promisify(execFile);
const onLinux = { skip: process.platform !== 'linux' && '/proc is Linux' };

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

/** Runs a module text in a Node process of its own; `options` are the pool's. Returns what it printed. */
async function inOwnProcess(source, options = {}) {
  const text = `
    import { createPool } from ${JSON.stringify(new URL('../js/index.mjs', import.meta.url).href)};
    import { readdirSync } from 'node:fs';
    const options = ${JSON.stringify(cluster.options(options))};
    ${source}`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', text]);
  return stdout.trim();
}

test('the addon starts no thread', onLinux, async () => {
  const printed = await inOwnProcess(`
    const threads = () => readdirSync('/proc/self/task').length;
    const before = threads();
    const pool = createPool({ ...options, poolSize: 10 });
    const lane = async () => { for (let n = 0; n < 100; n++) await pool.query('SELECT $1::int', [n]); };
    await Promise.all(Array.from({ length: 10 }, lane));
    console.log(JSON.stringify([before, threads(), pool.status().size]));
    await pool.end();`);
  const [before, later, size] = JSON.parse(printed);
  assert.equal(later, before);
  assert.equal(size, 10);
});

test('P20 a process whose pool is idle ends by itself', async () => {
  const printed = await inOwnProcess(`
    const pool = createPool(options);
    console.log(JSON.stringify(await pool.query('SELECT 1 AS one')));`);
  assert.equal(printed, '[{"one":1}]');
});

test('P20 a process with a query in flight does not end', async () => {
  const printed = await inOwnProcess(`
    const pool = createPool(options);
    pool.query('SELECT pg_sleep(0.3)::text, 1 AS one').then(([row]) => console.log(row.one));`);
  assert.equal(printed, '1');
});

test('P2 process.exit in the middle of queries is clean', async () => {
  const printed = await inOwnProcess(
    `
    const pool = createPool(options);
    for (let n = 0; n < 50; n++) pool.query('SELECT pg_sleep(10)::text').catch(() => {});
    await pool.query('SELECT 1');
    console.log('out');
    process.exit(0);`,
    { poolSize: 60 },
  );
  assert.equal(printed, 'out');
});

test('an idle pool uses no CPU and is woken by nothing', onLinux, async () => {
  const printed = await inOwnProcess(`
    import { readFileSync } from 'node:fs';
    const pool = createPool({ ...options, allowExitOnIdle: false });
    await pool.query('SELECT 1');
    // Each return from the kernel is a context switch: an idle loop makes none. The timer that ends the
    // measurement, and what Node does once after start, make a few.
    const switches = () =>
      Number(/voluntary_ctxt_switches:\\s+(\\d+)/.exec(readFileSync('/proc/thread-self/status'))[1]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = switches();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    console.log(switches() - before);
    await pool.end();`);
  assert.ok(Number(printed) <= 10, `${printed} wakes in 2 s`);
});

test('P1 a worker that is terminated with queries in flight harms nothing', onLinux, async () => {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { createPool } = require(workerData.library);
    const pool = createPool(workerData.options);
    for (let n = 0; n < 20; n++) pool.query("SELECT pg_sleep(60)::text").catch(() => {});
    pool.query('SELECT 1').catch(() => {});
    setTimeout(() => parentPort.postMessage('running'), workerData.wait);`;
  const library = new URL('../js/index.cjs', import.meta.url).pathname;
  const descriptors = () => readdirSync('/proc/self/fd').length;
  let base;
  for (let round = 0; round < 50; round++) {
    const workerData = { library, wait: round % 10, options: cluster.options({ poolSize: 5 }) };
    const worker = new Worker(source, { eval: true, workerData });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    // The first rounds open what the process keeps anyway.
    if (round === 4) base = descriptors();
  }
  assert.ok(descriptors() <= base, `${descriptors()} descriptors, ${base} before`);
});
