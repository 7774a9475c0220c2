// The sources of the addon, as one hash. The scripts here have cargo build the hash into each
// binary, and read it from a binary of any platform before they pack it. So no binary of other
// sources is released.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

const FILES = ['Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo/config.toml'];
/** The mark in front of the hash in a binary (`src/node/entry.rs`). */
const MARK = 'hyperiondb-client of sources ';
const MARKED = new RegExp(`${MARK}([0-9a-f]{64})`);

/** The names of the files in Unix form, in an order that does not depend on the language. */
function names() {
  const rust = readdirSync(path.join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.rs'))
    .map((name) => `src/${name.split(path.sep).join('/')}`);
  return [...FILES, ...rust].sort((a, b) => (a < b ? -1 : 1));
}

/** The hash, which is the same on all systems, even if git has given lines Windows' ends. */
export function sourcesHash() {
  const hash = createHash('sha256');
  for (const name of names()) {
    const text = readFileSync(path.join(root, name), 'utf8').replaceAll('\r\n', '\n');
    hash.update(JSON.stringify([name, text]));
  }
  return hash.digest('hex');
}

/** The hash in a binary; undefined if it has none, because these scripts did not build it. */
export function builtFrom(bytes) {
  const at = bytes.indexOf(MARK, 0, 'latin1');
  if (at === -1) return undefined;
  return MARKED.exec(bytes.toString('latin1', at, at + MARK.length + 64))?.[1];
}

/**
 * Runs a build with the variable that names its sources, and fails if the sources change meanwhile.
 */
export function withSources(build) {
  const hash = sourcesHash();
  build({ HYPERIONDB_SOURCES: `${MARK}${hash}` });
  if (sourcesHash() !== hash) throw new Error('the sources have changed while they were built');
}
