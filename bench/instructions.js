// npm run bench:instructions: how many instructions of the addon a query takes, counted by
// valgrind's callgrind. Unlike times, these counts hardly differ from run to run, even on a busy
// machine. They say nothing of JavaScript, of the kernel, or of caches.
//
// Takes `--work <name>` (several times, or none for all), and `--against <folder>`: another
// checkout of this repository with an addon that is built.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { startCluster } from '../test/support/cluster/index.js';
import { instructionsIn } from './instructions/callgrind.js';
import { chooseServer } from './server.js';
import { SETUP, WORKS } from './works.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const PROGRAM = fileURLToPath(new URL('instructions/queries.js', import.meta.url));

const { values: options } = parseArgs({
  options: {
    work: { type: 'string', multiple: true, default: Object.keys(WORKS) },
    against: { type: 'string' },
  },
});

/** Instructions of the addon in a process that runs so many queries. */
function count(folder, work, queries, connection) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'hyperiondb-callgrind-'));
  const out = path.join(scratch, 'out');
  const callgrind = ['--tool=callgrind', '--quiet', `--callgrind-out-file=${out}`];
  // Code that V8 makes while it runs would only be slower to count.
  const program = [process.execPath, '--jitless', PROGRAM, folder, work, `${queries}`];
  const { status, error, stderr } = spawnSync(
    'valgrind',
    [...callgrind, ...program, JSON.stringify(connection)],
    { encoding: 'utf8' },
  );
  if (error?.code === 'ENOENT') throw new Error('valgrind is missing: `apt-get install valgrind`');
  if (status !== 0) throw new Error(`${work} in ${folder}: ${error?.message ?? stderr}`);
  const instructions = instructionsIn(readFileSync(out, 'utf8'), /\.node$/);
  rmSync(scratch, { recursive: true });
  return instructions;
}

/** What start and end of a process take is in both counts, and so in neither result. */
function countPerQuery(folder, work, connection) {
  const few = Math.max(4, Math.round(1000 / (WORKS[work].rows ?? 1)));
  const [less, more] = [few, 3 * few].map((queries) => count(folder, work, queries, connection));
  return (more - less) / (2 * few);
}

const cluster = await startCluster({ nodes: 1, ...chooseServer() });
try {
  await cluster.query(cluster.primary, SETUP);
  const connection = cluster.options();
  const folders = [options.against, root].filter((folder) => folder !== undefined);
  const heads =
    options.against === undefined ? ['instructions'] : ['there', 'here', 'here / there'];
  console.log(`| work | ${heads.join(' | ')} |\n|---|${'---:|'.repeat(heads.length)}`);
  for (const work of options.work) {
    const counts = folders.map((folder) => countPerQuery(path.resolve(folder), work, connection));
    const cells = counts.map((instructions) => Math.round(instructions).toLocaleString('en'));
    const [there, here] = counts;
    if (here !== undefined) cells.push((here / there).toFixed(3));
    console.log(`| ${work} | ${cells.join(' | ')} |`);
  }
} finally {
  await cluster.close();
}
