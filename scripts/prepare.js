// Prepares what every command needs: a suitable Node, the npm packages, and an addon built from the
// present sources. `--no-addon` leaves out the addon.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { addonPath, build } from './build.js';
import { builtFrom, sourcesHash } from './sources.js';

const root = fileURLToPath(new URL('..', import.meta.url));

const changedAt = (name) => statSync(path.join(root, name)).mtimeMs;

function checkNode() {
  const { engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const oldest = Number.parseInt(engines.node.replace('>=', ''), 10);
  if (Number.parseInt(process.versions.node, 10) >= oldest) return;
  fail(`Node.js ${oldest} or newer is needed; this is ${process.version}`);
}

function installPackages() {
  // npm writes this file last. So an installation that was interrupted, or that has other versions
  // than the lock file names by now, begins anew.
  const [installed, wanted] = [
    path.join('node_modules', '.package-lock.json'),
    'package-lock.json',
  ];
  if (existsSync(path.join(root, installed)) && changedAt(installed) >= changedAt(wanted)) return;
  console.log('installing the npm packages ...');
  // The npm that runs this script, if one does. On Windows npm is not a program of its own.
  const npm = process.env.npm_execpath;
  const [program, ...args] = npm ? [process.execPath, npm] : ['npm'];
  const ci = [...args, 'ci', '--no-audit', '--no-fund'];
  const { status, error } = spawnSync(program, ci, { cwd: root, stdio: 'inherit' });
  if (error?.code === 'ENOENT') fail('npm is missing: it comes with Node.js, https://nodejs.org');
  if (status !== 0) fail(`failed: npm ci${error ? ` (${error.message})` : ''}`);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

checkNode();
installPackages();
if (!process.argv.includes('--no-addon')) {
  if (!existsSync(addonPath) || builtFrom(readFileSync(addonPath)) !== sourcesHash()) build();
}
