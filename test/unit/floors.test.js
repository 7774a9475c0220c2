// The rules of the house that a machine can check: a floor imports only the floors under it,
// `unsafe` stands only where it belongs, and no file is too long to read at once.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import contract from '../../js/transfer/contract.cjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const LONGEST_FILE = 600;

/** What each folder of `src` may import, beside itself. */
const base = ['base', 'transfer'];
const wire = [...base, 'protocol', 'types', 'config'];
const FLOORS = {
  base: [],
  transfer: [],
  protocol: base,
  types: [...base, 'protocol'],
  config: base,
  tls: [...base, 'config'],
  connection: wire,
  cluster: [...wire, 'connection'],
  pool: [...wire, 'connection', 'cluster'],
  reactor: [...wire, 'tls', 'connection', 'cluster', 'pool'],
  node: [...wire, 'connection', 'cluster', 'pool', 'reactor'],
  // `sim` is beside the house: it may import each floor that does no I/O, and no floor imports it.
  sim: [...wire, 'tls', 'connection', 'cluster', 'pool'],
};

function* files(folder, endings) {
  for (const entry of readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* files(name, endings);
    else if (endings.includes(path.extname(entry.name))) yield name;
  }
}

const read = (name) => readFileSync(path.join(root, name), 'utf8');
/** Without comments, which may name things that code must not. */
const code = (name) => read(name).replace(/^\s*\/\/.*$/gm, '');

test('a floor imports only the floors under it', () => {
  for (const [floor, allowed] of Object.entries(FLOORS)) {
    for (const name of files(path.join('src', floor), ['.rs'])) {
      for (const [, used] of code(name).matchAll(/\bcrate::(\w+)/g)) {
        assert.ok(used === floor || allowed.includes(used), `${name} uses crate::${used}`);
      }
    }
  }
});

test('what JavaScript gets as JSON is written by the addon, and by types', () => {
  for (const floor of ['base', 'protocol', 'connection', 'cluster', 'pool', 'reactor']) {
    for (const name of files(path.join('src', floor), ['.rs'])) {
      const [outside] = code(name).split('#[cfg(test)]');
      // `reactor` passes on a list of hosts from JavaScript.
      const written = outside.replaceAll('&serde_json::Value', '');
      if (!name.endsWith('tests.rs')) assert.doesNotMatch(written, /serde_json/, name);
    }
  }
});

test('unsafe code is found in the addon and the libuv glue alone', () => {
  for (const name of files('src', ['.rs'])) {
    if (/\bunsafe\s*(\{|fn|impl|extern)/.test(code(name))) {
      assert.match(name, /^src\/(node\/|reactor\/libuv)/);
    }
  }
});

test('Node-API is the addon’s alone, and napi’s what is called seldom', () => {
  const names = [...files('src', ['.rs'])];
  const users = (crate) => names.filter((name) => crate.test(code(name)));
  for (const name of users(/\bnapi_sys\b/)) assert.match(name, /^src\/node\//);
  const seldom = ['argument', 'entry', 'seldom'].map((name) =>
    path.join('src', 'node', `${name}.rs`),
  );
  assert.deepEqual(users(/\bnapi(_derive)?::/).sort(), seldom);
  // No other code may use the instance data.
  assert.deepEqual(users(/\.[sg]et_instance_data\(/), []);
  // These crates generate code for each other, so their versions are pinned together.
  const pinned = /^(napi|napi-derive|napi-sys) = \{ version = "=/gm;
  assert.equal([...read('Cargo.toml').matchAll(pinned)].length, 3);
});

test('no code reads a wall clock but to show a time', () => {
  for (const name of files('src', ['.rs'])) {
    // clippy.toml disallows only one of the ways to read it.
    assert.doesNotMatch(code(name), /\bSystemTime\b|\bgettimeofday\b|\bclock_gettime\b/, name);
  }
  const readers = [...files('js', ['.cjs', '.mjs'])].filter((name) =>
    /\bDate\.now\b|new Date\(\)|\bDate\(\)/.test(code(name)),
  );
  // Only for `since` of `cluster()`.
  assert.deepEqual(readers, [path.join('js', 'api', 'pool.cjs')]);
});

test('memory of the addon’s becomes an ArrayBuffer at one place, which knows where that is refused', () => {
  // Electron and others refuse it, because of V8's memory cage. `test/integration/defect.test.js`
  // has an addon to which it is refused too.
  const lends = [...files('src', ['.rs'])].filter((name) =>
    /_external_(array)?buffer\b|_from_arraybuffer\b/.test(code(name)),
  );
  assert.deepEqual(lends, [path.join('src', 'node', 'value.rs')]);
});

test('a test is named by what holds, and by no code that its reader would have to look up', () => {
  const rust = /#\[test\]\s+fn [a-z]\d+_/;
  const javaScript = /(?<=test\(\s*['"`])(?:[A-Z]\d+ )+/;
  for (const name of files('src', ['.rs'])) assert.doesNotMatch(read(name), rust, name);
  for (const name of files('test', ['.js'])) assert.doesNotMatch(read(name), javaScript, name);
});

test('no file is longer than can be read at once', () => {
  for (const folder of ['src', 'js', 'test', 'bench', 'examples', 'scripts', 'typings']) {
    for (const name of files(folder, ['.rs', '.js', '.cjs', '.mjs', '.ts'])) {
      const lines = read(name).split('\n').length - 1;
      assert.ok(lines <= LONGEST_FILE, `${name} has ${lines} lines`);
    }
  }
});

test('what Rust and JavaScript have in common is said in src/transfer/contract.rs alone', () => {
  // A test in Rust checks that `js/transfer/contract.cjs` is what it generates.
  const constants = Object.values(contract).flatMap((group) => Object.entries(group));
  const said = constants.map(([name, value]) => `\\bconst ${name} = '?${value}\\b`).join('|');
  for (const name of [...files('js', ['.cjs', '.mjs']), ...files('test', ['.js'])]) {
    assert.doesNotMatch(code(name).replace(/(?<=\d)_(?=\d)/g, ''), new RegExp(said), name);
  }
});
