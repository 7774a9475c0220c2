// What every command needs first: the npm packages, and an addon that is no older than its sources.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { addonPath, build } from './build.js';

const root = fileURLToPath(new URL('..', import.meta.url));

function newest(name) {
  const full = path.join(root, name);
  const status = statSync(full);
  if (!status.isDirectory()) return status.mtimeMs;
  return Math.max(0, ...readdirSync(full).map((entry) => newest(path.join(name, entry))));
}

export function prepare() {
  if (!existsSync(path.join(root, 'node_modules'))) {
    console.log('installing the npm packages ...');
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    execFileSync(npm, ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio: 'inherit' });
  }
  const sources = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs'];
  const changed = Math.max(...sources.map(newest));
  if (!existsSync(addonPath) || statSync(addonPath).mtimeMs < changed) build();
}

prepare();
