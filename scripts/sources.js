// What the addon is built from, as one hash. Whoever builds one by the scripts here has cargo build it in, and whoever packs one
// reads it from the file, whatever platform that is for: so no binary of other sources is released.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

const FILES = ['Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo/config.toml'];
/** As it stands in a binary (`src/node/entry.rs`). */
const MARK = 'hyperiondb-client of sources ';
const MARKED = new RegExp(`${MARK}([0-9a-f]{64})`);

/** By names as Unix writes them, in an order that depends on no language. */
function names() {
  const rust = readdirSync(path.join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.rs'))
    .map((name) => `src/${name.split(path.sep).join('/')}`);
  return [...FILES, ...rust].sort((a, b) => (a < b ? -1 : 1));
}

/** The same on all systems: git may have ended lines as Windows does. */
export function sourcesHash() {
  const hash = createHash('sha256');
  for (const name of names()) {
    const text = readFileSync(path.join(root, name), 'utf8').replaceAll('\r\n', '\n');
    hash.update(JSON.stringify([name, text]));
  }
  return hash.digest('hex');
}

/** The hash in a binary. Undefined where it says none: whoever built it did not by the scripts here. */
export function builtFrom(bytes) {
  const at = bytes.indexOf(MARK, 0, 'latin1');
  if (at === -1) return undefined;
  return MARKED.exec(bytes.toString('latin1', at, at + MARK.length + 64))?.[1];
}

/** Runs a build, which gets what it has to say of its sources, and refuses sources that change meanwhile. */
export function withSources(build) {
  const hash = sourcesHash();
  build({ HYPERIONDB_SOURCES: `${MARK}${hash}` });
  if (sourcesHash() !== hash) throw new Error('the sources have changed while they were built');
}
