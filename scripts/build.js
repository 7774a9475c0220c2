// npm run build: compiles the addon in release mode and puts it beside package.json, where js/native.cjs looks.

import { execFileSync } from 'node:child_process';
import { copyFileSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const { platformName } = createRequire(import.meta.url)('../js/native.cjs');
const root = fileURLToPath(new URL('..', import.meta.url));

const LIBRARIES = {
  darwin: 'libhyperiondb_client.dylib',
  win32: 'hyperiondb_client.dll',
};

/** Where the addon of this machine belongs. */
export const addonPath = path.join(root, `hyperiondb-client.${platformName()}.node`);

export function build() {
  try {
    execFileSync('cargo', ['--version'], { stdio: 'ignore' });
  } catch {
    console.error(
      'cargo is missing: the addon is written in Rust. Install it from https://rustup.rs',
    );
    process.exit(1);
  }
  console.log('building the addon in release mode ...');
  execFileSync('cargo', ['build', '--release', '--locked', '--lib'], {
    cwd: root,
    stdio: 'inherit',
  });
  const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
  const library = LIBRARIES[process.platform] ?? 'libhyperiondb_client.so';
  // Renamed into its place: a process that has the old one loaded keeps it.
  copyFileSync(path.join(target, 'release', library), `${addonPath}.new`);
  renameSync(`${addonPath}.new`, addonPath);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
