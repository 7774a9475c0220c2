// No file imports, directly or indirectly, a file that imports it. The methods of a type that
// several files implement call each other in one direction only. So each file can be read without
// all the others.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function filesOf(folder, ending) {
  return readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.posix.join(folder, name.replaceAll(path.sep, '/')))
    .sort();
}

const read = (name) => readFileSync(path.join(root, name), 'utf8');
/** Without comments and tests. */
const code = (name) =>
  read(name)
    .split('#[cfg(test)]\nmod tests')[0]
    .replace(/\/\/.*/g, '');

/** The circles of a graph, given as a list of successors for each name (Tarjan's algorithm). */
function circlesOf(graph) {
  const [index, low, stack, circles] = [new Map(), new Map(), [], []];
  const visit = (name) => {
    index.set(name, index.size);
    low.set(name, index.get(name));
    stack.push(name);
    for (const next of graph.get(name) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(name, Math.min(low.get(name), low.get(next)));
    }
    if (low.get(name) !== index.get(name)) return;
    const circle = stack.splice(stack.indexOf(name));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const name of graph.keys()) if (!index.has(name)) visit(name);
  return circles.sort();
}

/** `a::{b, c::{d}}` as `a::b` and `a::c::d`. */
function pathsOf(use) {
  const [, before, list] = /^([^{]*)\{(.*)\}$/s.exec(use) ?? [];
  if (list === undefined) return [use.replace(/ as .*/, '')];
  let depth = 0;
  const cut = [...list].map((c) => {
    depth += { '{': 1, '}': -1 }[c] ?? 0;
    return c === ',' && depth === 0 ? '\n' : c;
  });
  const parts = cut.join('').split('\n');
  return parts
    .filter((part) => part.trim() !== '')
    .flatMap((part) => pathsOf(before + part.trim()));
}

/** The paths and names of all `use` lines that `before` begins. */
function usesOf(name, before) {
  const found = code(name).matchAll(new RegExp(`^\\s*${before}use ([^;]+);`, 'gm'));
  return [...found].flatMap(([, use]) => pathsOf(use.replace(/\s+/g, ' ')));
}

const moduleOf = (name) => name.replace(/\.rs$/, '').replace(/\/(mod|lib)$/, '');

/** The path of an import in `own`, from `src` on. */
const absolute = (own, used) =>
  used.split('::').reduce(
    (at, word) => {
      if (word === 'super') return path.posix.dirname(at);
      return word === 'crate' || word === 'self' ? at : `${at}/${word}`;
    },
    used.startsWith('crate::') ? 'src' : own,
  );

/**
 * For each file of `src`, the files that it imports by name. A folder's `mod.rs` and its files may
 * import each other. A name that a `mod.rs` hands on (`pub use`) is imported from its own file.
 */
function imports() {
  const names = filesOf('src', '.rs').filter((name) => !/\btests\b/.test(name));
  const files = new Map(names.map((name) => [moduleOf(name), name]));
  const handedOn = new Map();
  for (const name of names.filter((file) => file.endsWith('/mod.rs'))) {
    const own = moduleOf(name);
    for (const used of usesOf(name, String.raw`pub(?:\([^)]*\))? `)) {
      handedOn.set(`${own}/${used.split('::').at(-1)}`, absolute(own, used));
    }
  }
  /** The module that a path leads to. */
  const home = (at) => {
    if (files.has(at)) return at;
    const other = handedOn.get(at);
    if (other !== undefined && other !== at) return home(other);
    const above = path.posix.dirname(at);
    return above === '.' ? null : home(above);
  };
  const graph = new Map();
  for (const name of names) {
    const own = moduleOf(name);
    const led = new Set();
    for (const used of usesOf(name, String.raw`(?:pub(?:\([^)]*\))? )?`)) {
      const found = home(absolute(own, used));
      const isFamily =
        found !== null && (own.startsWith(`${found}/`) || found.startsWith(`${own}/`));
      if (found !== null && found !== own && !isFamily) led.add(files.get(found));
    }
    graph.set(name, led);
  }
  return graph;
}

test('no file of src imports one that imports it', () => {
  assert.deepEqual(circlesOf(imports()), []);
});

test('no file of js requires one that requires it', () => {
  const graph = new Map();
  for (const name of filesOf('js', '.cjs')) {
    const required = [...code(name).matchAll(/require\('(\.[^']+\.cjs)'\)/g)];
    graph.set(
      name,
      required.map(([, other]) => path.posix.join(path.posix.dirname(name), other)),
    );
  }
  assert.deepEqual(circlesOf(graph), []);
});

/** For each file of a folder, the other files whose methods of a type it calls. */
function calls(folder, type) {
  const homes = new Map();
  const names = filesOf(folder, '.rs').filter((name) => !/\btests\b/.test(name));
  for (const name of names) {
    for (const [, block] of code(name).matchAll(new RegExp(`^impl ${type} \\{(.*?)^\\}`, 'gms'))) {
      for (const [, method] of block.matchAll(/\bfn (\w+)\s*(?:<[^>]*>)?\(\s*&/g)) {
        homes.set(method, name);
      }
    }
  }
  const called = new RegExp(`(?:self|Self|${type.toLowerCase()})(?:\\.|::)(\\w+)\\(`, 'g');
  return new Map(
    names.map((name) => {
      const others = [...code(name).matchAll(called)].map(([, method]) => homes.get(method));
      return [name, new Set(others.filter((home) => home !== undefined && home !== name))];
    }),
  );
}

for (const [folder, type] of [
  ['src/reactor', 'Reactor'],
  ['src/reactor', 'Io'],
  ['src/reactor', 'Links'],
  ['src/connection', 'Connection'],
  ['src/connection', 'Session'],
  ...['Pool', 'Calls', 'Discovery', 'Connections', 'Requests', 'Leases'].map((type) => [
    'src/pool',
    type,
  ]),
  ['src/pool', 'TypeLookup'],
]) {
  test(`the files that ${type} is spread over call one another in one direction`, () => {
    const graph = calls(folder, type);
    assert.ok(graph.size > 0);
    assert.deepEqual(circlesOf(graph), []);
  });
}

/** What each component of the pool may use, beside itself: those below it. */
const COMPONENTS = {
  connections: [],
  requests: [],
  leases: [],
  metrics: [],
  placement: ['connections', 'requests', 'leases'],
  type_lookup: ['connections', 'requests'],
  discovery: ['connections', 'placement'],
};

test('a component of the pool uses only those below it', () => {
  const names = readdirSync(path.join(root, 'src/pool'), { withFileTypes: true });
  const folders = names.filter((name) => name.isDirectory()).map(({ name }) => name);
  const components = folders.filter((name) => name !== 'calls');
  assert.deepEqual(components.sort(), Object.keys(COMPONENTS).sort(), 'Calls may use each of them');
  for (const [component, below] of Object.entries(COMPONENTS)) {
    for (const name of filesOf(`src/pool/${component}`, '.rs')) {
      const named = [...code(name).matchAll(/\b(?:crate::pool|super(?:::super)*)::(\w+)/g)];
      const imported = usesOf(name, String.raw`(?:pub(?:\([^)]*\))? )?`).map((used) =>
        /^src\/pool\/(\w+)/.exec(absolute(moduleOf(name), used)),
      );
      for (const [, used] of [...named, ...imported.filter((found) => found !== null)]) {
        const isFree = used === component || !folders.includes(used) || below.includes(used);
        assert.ok(isFree, `${name} uses ${used}`);
      }
    }
  }
});

test('the methods of Pool stand in one file: it coordinates, and its components do the rest', () => {
  const isPools = (name) => /^impl (?:<[^>]*> )?Pool\b/m.test(code(name));
  assert.deepEqual(filesOf('src', '.rs').filter(isPools), ['src/pool/mod.rs']);
});
