// npm run simulate: runs the lower floors against a simulated cluster to which everything happens
// (src/sim/storm).
//   --seeds N     how many storms (20000)    --first N    the first seed (0)
//   --seed N      runs one storm, and prints its events
//   --growth      prints the cost of a query for pools with many connections or waiting calls
//   --mutations   breaks the code on purpose, in each way of src/base/mutation.rs, to be found

import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { NO_CARGO } from './build.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const BUILD = ['--locked', '--quiet', '--bin', 'simulate', '--profile'];
const FLOORS = ['--no-default-features', '--features', 'sim'];

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    first: { type: 'string', default: '0' },
    seed: { type: 'string' },
    growth: { type: 'boolean', default: false },
    mutations: { type: 'boolean', default: false },
  },
});

function wholeNumber(name, text) {
  if (/^\d{1,15}$/.test(text)) return text;
  console.error(`--${name} must be a whole number, not '${text}'`);
  process.exit(2);
}

function plan() {
  if (values.growth) return ['growth'];
  if (values.seed !== undefined) return [wholeNumber('seed', values.seed), '1', 'trace'];
  if (values.mutations) return ['mutations', seeds];
  return [wholeNumber('first', values.first), seeds];
}

/** A mutation may take many storms to be found. Without one, no storm should find anything. */
const seeds = wholeNumber('seeds', values.seeds ?? (values.mutations ? '200000' : '20000'));

const began = performance.now();
// Code that is timed is built as it is shipped.
const profile = values.growth ? 'release' : 'simulate';
// On a terminal cargo and the simulation show how far they are.
const isShown = process.stderr.isTTY === true;
const build = BUILD.filter((option) => !isShown || option !== '--quiet');
const args = ['run', ...build, profile, ...FLOORS, '--', ...plan()];
const stdio = ['ignore', 'pipe', isShown ? 'inherit' : 'pipe'];
const run = spawnSync('cargo', args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 30, stdio });
process.stdout.write(run.stdout ?? '');
process.stderr.write(run.stderr ?? '');
if (run.error) console.error(run.error.code === 'ENOENT' ? NO_CARGO : String(run.error));
const seconds = ((performance.now() - began) / 1000).toFixed(1);
if (run.status === 0) {
  const what = values.mutations ? 'every mutation was found' : `${seeds} storms, no rule broken`;
  if (values.seed === undefined && !values.growth) console.log(`${what}, in ${seconds} s`);
} else {
  const seed = /^seed (\d+):/m.exec(run.stdout ?? '')?.[1];
  if (seed !== undefined && values.seed === undefined) {
    console.log(`what happens in it: npm run simulate -- --seed ${seed}`);
  }
  process.exit(1);
}
