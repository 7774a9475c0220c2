'use strict';

// A process of its own whose workers end while the addon calls them, each in its own way. Its
// argument is JSON; what it prints at its end is too, and it ends by itself.

const { readdirSync } = require('node:fs');
const path = require('node:path');
const process = require('node:process');
const { Worker } = require('node:worker_threads');

const { addon, options, seed, workers, loadsAddon, isBroken } = JSON.parse(process.argv[2]);

const AT_ONCE = 5;

/** What ends a worker, and the exit code that says so. */
const WAYS = [
  // Where it is in the middle of `deliver`, or of what Node runs behind that.
  { way: 'terminated in a parser', code: 1 },
  { way: 'terminated in a reaction', code: 1 },
  { way: 'terminated anywhere', code: 1 },
  { way: 'exits in a parser', code: 7 },
  { way: 'throws in a tick', code: 1 },
  { way: 'throws in deliver', code: 1 },
  { way: 'terminated in a listener of what deliver throws', code: 1 },
];

/** The same numbers for the same seed. */
function randomNumbers(state) {
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
const random = randomNumbers(seed);

async function end({ way, code }) {
  const workerData = { addon, options, way, isBroken, turns: random(30) };
  const worker = new Worker(path.join(__dirname, 'worker.cjs'), { workerData });
  const errors = [];
  worker.on('error', (error) => errors.push(error.message));
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  worker.once('message', async () => {
    if (!way.startsWith('terminated')) return;
    if (way === 'terminated anywhere') {
      await new Promise((resolve) => setTimeout(resolve, random(20)));
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
    // The main thread's own pool works meanwhile.
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
