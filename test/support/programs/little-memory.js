// A process that may allocate only a little more memory than it has (prlimit). Its arguments are
// the name of an operation and the options of a pool. It prints the result as JSON.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { createPool } from '../../../js/index.mjs';

const MB = 1_000_000;
const [what, options] = [process.argv[2], JSON.parse(process.argv[3])];

/** From now on the process can allocate at most this many more bytes. */
function limit(bytes) {
  const [, kilobytes] = /VmData:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  const most = Number(kilobytes) * 1024 + bytes;
  execFileSync('prlimit', ['--pid', String(process.pid), `--data=${most}`]);
}

const LARGE = 200 * MB;

const DEEDS = {
  limited: (pool) => pool.query(`SELECT repeat('x', ${LARGE}) AS v`),
  value: (pool) => pool.query(`SELECT repeat('x', ${LARGE}) AS v`),
  notice: (pool) =>
    pool.query(`DO $$ BEGIN RAISE NOTICE USING message = repeat('x', ${LARGE}); END $$`),
  error: (pool) =>
    pool.query(`DO $$ BEGIN RAISE EXCEPTION USING message = repeat('x', ${LARGE}); END $$`),
  rows: (pool) => pool.query(`SELECT repeat('x', 10000) AS v FROM generate_series(1, 20000)`),
  parameter: (pool, parameter) => pool.query('SELECT length($1::bytea) AS length', [parameter]),
};

const ROOM = { limited: 60, value: 120, notice: 60, error: 60, rows: 120, parameter: 300 };

const maxResultBytes = what === 'limited' ? 2 ** 20 : undefined;
const pool = createPool({ ...options, poolSize: 1, maxResultBytes });
await pool.query('SELECT length($1::bytea) AS length', [Buffer.alloc(1)]);
const parameter = what === 'parameter' ? Buffer.alloc(LARGE) : undefined;
limit(ROOM[what] * MB);
const told = await DEEDS[what](pool, parameter).then(
  () => ({ code: 'none' }),
  ({ name, code, outcome }) => ({ name, code, outcome }),
);
const [{ two }] = await pool.query('SELECT 2 AS two');
await pool.end();
console.log(JSON.stringify({ ...told, two }));
