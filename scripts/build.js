// npm run build: compiles the addon in release mode, and puts it beside package.json, where
// js/native/loader.cjs looks for it.

import { spawnSync } from 'node:child_process';
import { copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import platform from '../js/native/platform.cjs';
import { withSources } from './sources.js';

const root = fileURLToPath(new URL('..', import.meta.url));

const LIBRARIES = {
  darwin: 'libhyperiondb_client.dylib',
  win32: 'hyperiondb_client.dll',
};

/** The file name that cargo gives to the library that becomes the addon. */
export const LIBRARY = LIBRARIES[process.platform] ?? 'libhyperiondb_client.so';

/** The path of this machine's addon. */
export const addonPath = path.join(root, `hyperiondb-client.${platform.ownAbi()}.node`);

export const NO_CARGO =
  'cargo is missing: the addon is written in Rust. Install it from https://rustup.rs';
const NO_LINKER =
  "cc is missing, by which Rust's compiler links. Install a C compiler: `apt-get install gcc libc6-dev` on Debian " +
  'and Ubuntu, `apk add gcc musl-dev` on Alpine, `xcode-select --install` on macOS';

function isMissing(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error?.code === 'ENOENT';
}

export function build() {
  console.log('building the addon in release mode ...');
  withSources(compile);
}

function compile(said) {
  const cargo = ['build', '--release', '--locked', '--lib'];
  const env = { ...process.env, ...said };
  const { status, error } = spawnSync('cargo', cargo, { cwd: root, stdio: 'inherit', env });
  if (error?.code === 'ENOENT') fail(NO_CARGO);
  if (status !== 0 && isMissing('cc') && process.platform !== 'win32') fail(NO_LINKER);
  if (status !== 0) fail(`failed: cargo ${cargo.join(' ')}${error ? ` (${error.message})` : ''}`);
  const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
  // Renamed into its place, so that a process that has loaded the old file keeps it.
  copyFileSync(path.join(target, 'release', LIBRARY), `${addonPath}.new`);
  renameSync(`${addonPath}.new`, addonPath);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
