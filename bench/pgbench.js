// pgbench, a C program on libpq: the limit of what a client can reach on this machine.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { TABLE_ROWS, WORKS } from './works.js';

/** The path of pgbench, or undefined. */
export function findPgbench() {
  const debian = '/usr/lib/postgresql';
  let versions = [];
  try {
    versions = readdirSync(debian).map((version) => path.join(debian, version, 'bin'));
  } catch {
    // This is not a Debian machine with a server package, so only the PATH is searched.
  }
  for (const folder of ['', ...versions]) {
    const program = path.join(folder, 'pgbench');
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' });
      return program;
    } catch {
      // The next folder may contain it.
    }
  }
  return undefined;
}

/**
 * Runs a work with prepared statements, with one pgbench client for each connection.
 * @returns {{ queriesPerSecond: number, average: number }} the average latency in µs
 */
export function runPgbench(program, connection, workName, seconds) {
  const work = WORKS[workName];
  const folder = mkdtempSync(path.join(tmpdir(), 'hyperion-pgbench-'));
  try {
    const script = path.join(folder, 'work.sql');
    const id = work.fixed ?? `random(1, ${TABLE_ROWS})`;
    writeFileSync(script, `\\set id ${id}\n${work.sql.replace('$1', ':id')};\n`);
    const clients = String(work.connections);
    const options = ['-n', '-M', 'prepared', '-c', clients, '-j', '1', '-T', String(seconds)];
    const target = ['-h', connection.host, '-p', String(connection.port), '-U', connection.user];
    const output = execFileSync(
      program,
      [...options, '-f', script, ...target, connection.database],
      { encoding: 'utf8', env: { ...process.env, PGPASSWORD: connection.password } },
    );
    const number = (pattern) => Number(pattern.exec(output)?.[1]);
    return {
      queriesPerSecond: number(/tps = ([\d.]+)/),
      average: number(/latency average = ([\d.]+) ms/) * 1000,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
