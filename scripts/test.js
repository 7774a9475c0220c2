// npm test: every check of this repository, in the order in which failures are found soonest. With file names
// only those files are run: npm test -- test/fence.test.js

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = process.argv.slice(2);

const bin = (name) => path.join('node_modules', '.bin', name);
const floors = ['--no-default-features', '--features', 'sim'];
const strict = ['--', '-D', 'warnings'];

const CHECKS = [
  ['cargo', 'fmt', '--check'],
  [bin('prettier'), '--check', '--log-level', 'warn', '.'],
  [bin('eslint'), '.'],
  [bin('tsc'), '--project', 'test/typings'],
  ['cargo', 'clippy', '--locked', '--all-targets', ...strict],
  ['cargo', 'clippy', '--locked', '--all-targets', ...floors, ...strict],
  ['cargo', 'test', '--locked', '--quiet', ...floors],
];

function run([command, ...args]) {
  const shown = [path.basename(command), ...args].join(' ');
  console.log(`> ${shown}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(`failed: ${shown}${error ? ` (${error.message})` : ''}`);
  process.exit(1);
}

const all = () =>
  readdirSync(path.join(root, 'test'))
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => path.join('test', name));

if (files.length === 0) CHECKS.forEach(run);
run([process.execPath, '--test', '--test-concurrency=2', ...(files.length > 0 ? files : all())]);
