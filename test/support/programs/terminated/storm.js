// A separate process with workers that end while the addon calls them, each in a different way. It
// takes JSON as its argument, prints JSON, and exits by itself.

import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { Worker } from 'node:worker_threads';

import { Random } from '../../random.js';

const require = createRequire(import.meta.url);

const { addon, options, seed, workers, loadsAddon, isBroken } = JSON.parse(process.argv[2]);

const AT_ONCE = 5;

/** The ways in which a worker ends, and the exit code of each. */
const WAYS = [
  // In the middle of `deliver`, or of the code that Node runs after it.
  { way: 'terminated in a parser', code: 1 },
  { way: 'terminated in a reaction', code: 1 },
  { way: 'terminated anywhere', code: 1 },
  { way: 'exits in a parser', code: 7 },
  { way: 'throws in a tick', code: 1 },
  { way: 'throws in deliver', code: 1 },
  { way: 'terminated in a listener of what deliver throws', code: 1 },
];

const random = new Random(seed);

async function end({ way, code }) {
  const workerData = { addon, options, way, isBroken, turns: random.below(30) };
  const worker = new Worker(new URL('worker.cjs', import.meta.url), { workerData });
  const errors = [];
  worker.on('error', (error) => errors.push(error.message));
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  worker.once('message', async () => {
    if (!way.startsWith('terminated')) return;
    if (way === 'terminated anywhere') {
      await new Promise((resolve) => setTimeout(resolve, random.below(20)));
    }
    worker.terminate();
  });
  const told = await exited;
  const expected = way.startsWith('throws') ? ['asked for'] : [];
  if (told === code && errors.join() === expected.join()) return null;
  return { way, told, errors };
}

const isLinux = process.platform === 'linux';
const threads = () => (isLinux ? readdirSync('/proc/self/task').length : 0);
const descriptors = () => (isLinux ? readdirSync('/proc/self/fd').length : 0);

async function main() {
  const { createPool } = loadsAddon ? require('./load.cjs')(addon) : {};
  const pool = createPool?.(options);
  await pool?.query('SELECT 1');
  const wrong = [];
  let left = Array.from({ length: workers }, (_, n) => WAYS[n % WAYS.length]);
  const round = async () => {
    const now = left.slice(0, AT_ONCE);
    left = left.slice(AT_ONCE);
    // The main thread's own pool works at the same time.
    const work = Array.from({ length: 20 }, () => pool?.query('SELECT 1 AS one'));
    wrong.push(...(await Promise.all(now.map(end))).filter((fault) => fault !== null));
    await Promise.all(work);
  };
  await round();
  await round();
  const before = { threads: threads(), descriptors: descriptors() };
  while (left.length > 0) await round();
  const after = { threads: threads(), descriptors: descriptors() };
  const rows = await pool?.query('SELECT 1 AS one');
  console.log(JSON.stringify({ wrong, before, after, rows }));
}

main();
