// The cost of the barrier: the normal addon compared with one that is built without barriers. Each
// has a process of its own. They take turns of half a second on the same server, so that a
// disturbance of the machine affects both.

import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { addonPath, LIBRARY } from '../../scripts/build.js';
import { startCluster } from '../../test/support/cluster/index.js';
import { SETUP, WORKS } from '../works.js';

const self = fileURLToPath(import.meta.url);
const root = path.resolve(self, '../../..');
const TURN_MS = 500;

/** The compared figure of each work, and the most by which the barrier may raise it. */
const COMPARED = {
  'one-by-one': { figure: 'p50', name: 'latency p50, µs', reach: 1.03 },
  saturated: { figure: 'perQuery', name: 'time per query, µs', reach: 1.1 },
};

/** Builds the addon with the feature `unguarded` into a folder. */
function buildUnguarded(folder) {
  const target = path.join(path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'bench');
  const cargo = ['build', '--release', '--quiet', '--locked', '--lib', '--features', 'unguarded'];
  const { status } = spawnSync('cargo', [...cargo, '--target-dir', target], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error('the addon without the barrier could not be built');
  const file = path.join(folder, 'unguarded.node');
  copyFileSync(path.join(target, 'release', LIBRARY), file);
  return file;
}

/** A process with one of the two addons, which measures on request. */
async function startSide(addon, work, options) {
  const child = fork(self, [addon, work, JSON.stringify(options)]);
  const answer = async () => (await once(child, 'message'))[0];
  await answer();
  return {
    measure() {
      child.send(TURN_MS);
      return answer();
    },
    close: () => child.kill(),
  };
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** @param {number} rounds how many turns each side has for each work */
export async function benchBarrier(rounds) {
  const folder = mkdtempSync(path.join(tmpdir(), 'hyperiondb-bench-'));
  const cluster = await startCluster({ nodes: 1 });
  try {
    const unguarded = buildUnguarded(folder);
    await cluster.query(cluster.primary, SETUP);
    console.log(`\n### What the barrier costs: medians of ${rounds} turns\n`);
    console.log(
      '| work | figure | with | without | ratio | at most |\n|---|---|---:|---:|---:|---:|',
    );
    for (const [work, { figure, name, reach }] of Object.entries(COMPARED)) {
      const options = cluster.options({ poolSize: WORKS[work].connections });
      const sides = [
        await startSide(addonPath, work, options),
        await startSide(unguarded, work, options),
      ];
      const pairs = [];
      for (let round = 0; round < rounds; round++) {
        const pair = [];
        // Each side is first in every second round.
        for (const k of round % 2 === 0 ? [0, 1] : [1, 0]) pair[k] = await sides[k].measure();
        pairs.push(pair.map((measured) => measured[figure]));
      }
      sides.forEach((side) => side.close());
      const cells = [0, 1].map((k) => median(pairs.map((pair) => pair[k])).toFixed(2));
      const ratio = median(pairs.map(([guarded, bare]) => guarded / bare));
      const cost = `${ratio.toFixed(3)} | ${reach.toFixed(2)}`;
      console.log(`| ${WORKS[work].title} | ${name} | ${cells.join(' | ')} | ${cost} |`);
    }
  } finally {
    await cluster.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One side: runs its work for the requested time, and sends its figures. */
async function runSide([addon, workName, optionsJson]) {
  const require = createRequire(import.meta.url);
  // This replaces the addon that js/native/loader.cjs would find.
  require('../../js/native/loader.cjs').native = () => require(addon);
  const { createPool } = require('../../js/index.cjs');
  const pool = createPool(JSON.parse(optionsJson));
  const work = WORKS[workName];
  const run = async (ms) => {
    const latencies = [];
    const began = performance.now();
    const lane = async () => {
      for (let now = performance.now(); now < began + ms;) {
        await pool.query(work.sql, [1 + (latencies.length % work.parameters)]);
        const then = performance.now();
        latencies.push((then - now) * 1000);
        now = then;
      }
    };
    await Promise.all(Array.from({ length: work.concurrency }, lane));
    const perQuery = ((performance.now() - began) * 1000) / latencies.length;
    return { p50: median(latencies), perQuery };
  };
  await run(1000);
  process.on('message', async (ms) => process.send(await run(ms)));
  process.on('disconnect', () => process.exit());
  process.send('ready');
}

if (process.argv[1] === self) await runSide(process.argv.slice(2));
