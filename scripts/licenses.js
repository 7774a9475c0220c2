// npm run licenses: writes THIRD_PARTY_LICENSES, which is shipped with each binary. The packages
// from npm are only for development: all shipped JavaScript is this repository's own.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

export const licensesPath = path.join(root, 'THIRD_PARTY_LICENSES');

const HEAD = `hyperiondb-client's native addon is linked with the libraries below. Of those that may be had under
several licenses it takes MIT, where that is one of them.

The standard library of Rust (https://www.rust-lang.org) is a part of it too, under MIT OR Apache-2.0:
Copyright (c) The Rust Project Contributors. On Linux so is LLVM's libunwind, under Apache-2.0 WITH LLVM-exception.
`;

/**
 * The crates of the normal dependencies on any platform. A crate that only runs in the compiler is
 * not in the addon.
 */
function linkedCrates() {
  const { napi } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const platforms = napi.targets.map((triple) => `--filter-platform=${triple}`);
  const args = ['metadata', '--locked', '--format-version=1', ...platforms];
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 };
  const { status, stdout, stderr, error } = spawnSync('cargo', args, options);
  if (status !== 0) throw new Error(`cargo metadata failed: ${error?.message ?? stderr}`);
  const { packages, resolve } = JSON.parse(stdout);
  const crates = new Map(packages.map((crate) => [crate.id, crate]));
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]));
  const runsInCompiler = ({ targets }) => targets.some(({ kind }) => kind.includes('proc-macro'));
  const linked = new Set();
  const waiting = [resolve.root];
  while (waiting.length > 0) {
    const id = waiting.pop();
    if (linked.has(id) || runsInCompiler(crates.get(id))) continue;
    linked.add(id);
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
      if (kinds.some(({ kind }) => kind === null)) waiting.push(pkg);
    }
  }
  linked.delete(resolve.root);
  return [...linked].map((id) => crates.get(id)).sort(byName);
}

function byName(a, b) {
  const [left, right] = [a, b].map(({ name, version }) => `${name} ${version}`);
  return left < right ? -1 : 1;
}

/**
 * The texts of a crate's licenses. If MIT is one of them, its text is enough, together with any
 * text that is common to all.
 */
function texts({ name, authors, license, manifest_path: manifest }) {
  const folder = path.dirname(manifest);
  const files = readdirSync(folder).filter((file) => /^(licen[sc]e|copying|notice)/i.test(file));
  const isMit = (license ?? '').split(/\s+OR\s+|\//).includes('MIT');
  const others = /apache|unlicense|zlib|bsl|boost/i;
  const chosen = isMit ? files.filter((file) => !others.test(file)) : files;
  if (chosen.length > 0) {
    return chosen.sort().map((file) => readFileSync(path.join(folder, file), 'utf8'));
  }
  if (!isMit) throw new Error(`the crate ${name} (${license}) has no text of its license`);
  // The crate names its license and its authors, and contains no text. This is the text of MIT.
  const own = readFileSync(path.join(root, 'LICENSE'), 'utf8');
  const holder = `Copyright (c) ${authors.length > 0 ? authors.join(', ') : `the authors of ${name}`}`;
  return [own.replace(/^Copyright .*$/m, () => holder)];
}

export function licenses() {
  const users = new Map();
  for (const crate of linkedCrates()) {
    for (const text of texts(crate)) {
      const lines = text.replaceAll('\r\n', '\n').split('\n');
      const key = lines
        .map((line) => line.trimEnd())
        .join('\n')
        .trim();
      users.set(key, [...(users.get(key) ?? []), crate]);
    }
  }
  const parts = [...users].map(([text, crates]) => {
    const names = crates.map(({ name, version, license, repository }) =>
      [`${name} ${version}`, `(${license})`, repository].filter(Boolean).join(' '),
    );
    return `${names.join('\n')}\n\n${text}\n`;
  });
  return [HEAD, ...parts].join(`\n${'-'.repeat(100)}\n\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(licensesPath, licenses());
