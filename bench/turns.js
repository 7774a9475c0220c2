// npm run bench:turns: how long large results and long values block the loop at a time. Takes the
// names of works, or none for all.

import { openSync, readSync } from 'node:fs';
import process from 'node:process';

import { createPool } from '../js/index.mjs';
import { startCluster } from '../test/support/cluster/index.js';
import { machine } from './machine.js';
import { chooseServer } from './server.js';

const ROUNDS = 3;
/** The most milliseconds that a turn should take. */
const BOUND = 5;

const WORKS = {
  rows: `SELECT n AS id, 'name ' || n AS name, now() AS at, n * 1.5 AS price, true AS ok FROM generate_series(1, 300000) n`,
  ascii: `SELECT repeat('ab', 30000000) AS t`,
  latin1: `SELECT repeat('aé', 20000000) AS t`,
  cjk: `SELECT repeat('日本', 10000000) AS t`,
  bytea: `SELECT decode(repeat('00', 60000000), 'hex') AS b`,
  texts: `SELECT repeat('x', 1000000) AS t FROM generate_series(1, 60)`,
  // Each of these is made in one piece.
  json: `SELECT jsonb_agg(jsonb_build_object('a', n, 'b', 'x' || n)) AS j FROM generate_series(1, 300000) n`,
  array: `SELECT array_agg(n) AS a FROM generate_series(1, 2000000) n`,
};

/**
 * Milliseconds of CPU that this thread has used. On a system that does not tell these exactly,
 * milliseconds that have passed.
 */
function threadClock() {
  const { threadCpuUsage } = process;
  if (threadCpuUsage !== undefined) {
    return () => {
      const { user, system } = threadCpuUsage.call(process);
      return (user + system) / 1000;
    };
  }
  if (process.platform !== 'linux') return () => performance.now();
  const file = openSync(`/proc/self/task/${process.pid}/schedstat`);
  const buffer = Buffer.alloc(64);
  return () => {
    // This updates the kernel's count for this thread, which it otherwise does once a tick.
    process.cpuUsage();
    const length = readSync(file, buffer, 0, buffer.length, 0);
    return Number(buffer.latin1Slice(0, length).split(' ')[0]) / 1e6;
  };
}

const now = threadClock();

/** How long each turn of the loop took while `run` was under way. */
async function turnsOf(run) {
  const turns = [];
  let isOver = false;
  let last = now();
  const tick = () => {
    const then = now();
    turns.push(then - last);
    last = now();
    if (!isOver) setImmediate(tick);
  };
  setImmediate(tick);
  await run();
  isOver = true;
  await new Promise((resolve) => setTimeout(resolve, 5));
  return turns.sort((a, b) => b - a);
}

const names = process.argv.slice(2);
const chosen = Object.entries(WORKS).filter(([name]) => names.length === 0 || names.includes(name));
const cluster = await startCluster({ nodes: 1, ...chooseServer() });
const pool = createPool(cluster.options({ poolSize: 1 }));
console.log(`${machine()}\n`);
console.log('| work | CPU ms | longest turns, CPU ms | over 5 ms |\n|---|---:|---|---:|');
for (const [name, sql] of chosen) {
  for (let round = 0; round < ROUNDS; round += 1) {
    const turns = await turnsOf(() => pool.query(sql));
    const all = turns.reduce((sum, turn) => sum + turn, 0);
    const longest = turns.slice(0, 5).map((turn) => turn.toFixed(1));
    const over = turns.filter((turn) => turn > BOUND).length;
    console.log(`| ${name} | ${all.toFixed(0)} | ${longest.join(' ')} | ${over} |`);
  }
}
await pool.end();
await cluster.close();
