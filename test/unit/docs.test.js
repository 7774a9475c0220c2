// Each file, name, heading and command that a document names exists.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/**
 * Not checked: files that are built, installed or fetched. (The changelog may name files of earlier
 * versions.)
 */
const NOT_OURS = ['node_modules', 'target', '.cache', '.git', 'corpus', 'artifacts'];
const EXTENSIONS = 'rs|js|cjs|mjs|ts|mts|md|toml|yml|json|svg';

function* files(folder = '') {
  for (const entry of readdirSync(path.join(root, folder), { withFileTypes: true })) {
    if (NOT_OURS.includes(entry.name)) continue;
    const name = path.posix.join(folder, entry.name);
    if (entry.isDirectory()) yield* files(name);
    else yield name;
  }
}

const all = [...files()];
const basenames = new Set(all.map((name) => path.posix.basename(name)));
const roots = new Set(all.map((name) => name.split('/')[0]));
const documents = all.filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md');
const read = (name) => readFileSync(path.join(root, name), 'utf8');
const withoutBlocks = (text) => text.replace(/^```[^]*?^```/gm, '');

/** Each document with each of its `code` spans, outside of code blocks. */
function* spans() {
  for (const document of documents) {
    for (const [, span] of withoutBlocks(read(document)).matchAll(/`([^`\n]+)`/g)) {
      yield { document, span };
    }
  }
}

/** The anchor that GitHub makes from a heading. */
const anchor = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

function isThere(name) {
  if (!name.includes('*')) return existsSync(path.join(root, name));
  const [start, end] = name.split('*');
  return all.some((file) => file.startsWith(start) && file.endsWith(end));
}

test('each path and each file that a document names is there', () => {
  const isFile = new RegExp(`^[\\w.-]+\\.(${EXTENSIONS})$`);
  const isPath = /^\.{0,1}[\w-]+(\/[\w.*-]+)*\/?$/;
  const endsAsFile = new RegExp(`\\.(${EXTENSIONS})$`);
  let paths = 0;
  for (const { document, span } of spans()) {
    for (const word of span.split(/[\s,]+/)) {
      if (isFile.test(word)) {
        paths += 1;
        assert.ok(basenames.has(word), `${document} names ${word}`);
      } else if (word.includes('/') && isPath.test(word)) {
        if (!roots.has(word.split('/')[0]) && !endsAsFile.test(word)) continue;
        paths += 1;
        assert.ok(isThere(word), `${document} names ${word}`);
      }
    }
  }
  assert.ok(paths > 100, `${paths} were found`);
});

test('each file that a comment names by its path is there', () => {
  const folders = [...roots].filter((name) => !name.includes('.')).join('|');
  const named = new RegExp(`(?<![\\w./-])(?:${folders})/[\\w./-]+\\.(?:${EXTENSIONS})\\b`, 'g');
  let paths = 0;
  for (const name of all.filter((file) => /\.(rs|js|cjs|mjs|ts|mts)$/.test(file))) {
    for (const [comment] of read(name).matchAll(/^\s*\*.*$|\/\/.*$/gm)) {
      for (const [found] of comment.matchAll(named)) {
        paths += 1;
        assert.ok(existsSync(path.join(root, found)), `${name} names ${found}`);
      }
    }
  }
  assert.ok(paths > 10, `${paths} were found`);
});

test('a name that a document says is in a file is in that file', () => {
  const inside = new RegExp(
    `\`([\\w./-]+\\.(?:rs|cjs|js|mjs))\`\\s\\(\`(\\w+)\`|\`(\\w+)\`\\sin\\s\`([\\w./-]+\\.(?:rs|cjs|js|mjs))\``,
    'g',
  );
  for (const document of documents) {
    for (const [, before, first, second, behind] of read(document).matchAll(inside)) {
      const [file, name] = [before ?? behind, first ?? second];
      const places = all.filter((other) => other === file || other.endsWith(`/${file}`));
      const has = places.some((place) => new RegExp(`\\b${name}\\b`).test(read(place)));
      assert.ok(has, `${document} says that ${name} is in ${file}`);
    }
  }
});

test('each link within the documents leads to a file, and to a heading of it', () => {
  for (const document of documents) {
    for (const [, link] of withoutBlocks(read(document)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^\w+:/.test(link)) continue;
      const [file, heading] = link.split('#');
      const target = file ? path.posix.join(path.posix.dirname(document), file) : document;
      assert.ok(existsSync(path.join(root, target)), `${document} links to ${link}`);
      if (heading === undefined) continue;
      const headings = withoutBlocks(read(target)).matchAll(/^#+ (.*)$/gm);
      const anchors = [...headings].map(([, text]) => anchor(text));
      assert.ok(anchors.includes(heading), `${document} links to ${link}: ${anchors}`);
    }
  }
});

test('each command of npm that a document names is in package.json', () => {
  const { scripts } = JSON.parse(read('package.json'));
  for (const document of documents) {
    for (const [command, name] of read(document).matchAll(/\bnpm (?:run )?([a-z][\w:]*)/g)) {
      if (!command.startsWith('npm run') && !['start', 'test'].includes(name)) continue;
      assert.ok(name in scripts, `${document} names ${command}`);
    }
  }
});

test('docs/TESTING.md names each file of tests, so that a change finds those that it needs', () => {
  const text = read('docs/TESTING.md');
  const tests = /^test\/.*\.test\.js$|^src\/sim\/(scenarios|storm)\/\w+\.rs$/;
  for (const name of all.filter((file) => tests.test(file))) {
    const file = path.posix.basename(name);
    assert.ok(text.includes(`/${file}\``) || text.includes(`\`${file}\``), name);
  }
});

/** For each type that `src` declares, the code of the files that declare or implement it. */
function typesOfRust() {
  const types = new Map();
  const declares =
    /\b(?:struct|enum|trait|union|type)\s+([A-Z]\w*)|^\s*impl\b(?:<.*?>)?\s+(?:[\w:<>', ]+\s+for\s+)?([A-Z]\w*)/gm;
  for (const name of all.filter((file) => /^src\/.*\.rs$/.test(file))) {
    const text = read(name);
    for (const [, declared, implemented] of text.matchAll(declares)) {
      const type = declared ?? implemented;
      types.set(type, (types.get(type) ?? '') + text);
    }
  }
  return types;
}

test('each `Type::name` that a document or a comment says exists', () => {
  const types = typesOfRust();
  const comments = all
    .filter((file) => /^(src|js|fuzz)\/.*\.(rs|cjs|mjs)$/.test(file))
    .flatMap((file) => {
      const lines = [...read(file).matchAll(/\/\/.*$|^\s*\*.*$/gm)].map(([line]) => line);
      return [...lines.join('\n').matchAll(/`([^`\n]+)`/g)].map(([, span]) => ({
        document: file,
        span,
      }));
    });
  let names = 0;
  for (const { document, span } of [...spans(), ...comments]) {
    for (const [said, type, name] of span.matchAll(/(?<!\bnapi::)\b([A-Z]\w*)::(\w+)/g)) {
      // Types of other crates are theirs to check.
      if (type === 'Self' || !types.has(type)) continue;
      names += 1;
      const is = new RegExp(
        `\\b(?:fn|const|static|mod|type)\\s+${name}\\b|^\\s+(?:pub(?:\\([^)]*\\))?\\s+)?${name}\\b\\s*[,({:=]`,
        'm',
      );
      assert.ok(is.test(types.get(type)), `${document} says ${said}`);
    }
  }
  assert.ok(names > 50, `${names} were found`);
});

test('README.md names each option of a pool', () => {
  const typings = read('typings/index.d.ts') + read('typings/connection-options.d.ts');
  const interfaces = typings.matchAll(/export interface (?:Pool|Connection)Options (.*?)^\}/gms);
  const readme = read('README.md');
  const options = [...interfaces].flatMap(([, body]) =>
    [...body.matchAll(/^ {2}(\w+)\?:/gm)].map(([, option]) => option),
  );
  assert.ok(options.length > 30, `${options}`);
  // `hosts` with one entry says the same.
  const missing = options.filter(
    (option) => option !== 'host' && !readme.includes(`\`${option}\``),
  );
  assert.deepEqual(missing, []);
});

test('each fuzz target has its file, its body and its corpus, and each body its target', () => {
  const named = [...read('fuzz/Cargo.toml').matchAll(/^name = "(\w+)"\npath/gm)];
  const targets = named.map(([, name]) => name).sort();
  const files = all.filter((name) => name.startsWith('fuzz/fuzz_targets/')).sort();
  assert.deepEqual(
    files,
    targets.map((name) => `fuzz/fuzz_targets/${name}.rs`),
  );
  const bodies = [...read('src/sim/fuzz.rs').matchAll(/^pub fn (\w+)\(data: &\[u8\]\)/gm)];
  assert.deepEqual(bodies.map(([, name]) => name).sort(), targets);
  for (const name of targets) {
    assert.match(read(`fuzz/fuzz_targets/${name}.rs`), new RegExp(`sim::fuzz::${name}\\(data\\)`));
    assert.ok(readdirSync(path.join(root, 'fuzz/corpus', name)).length > 0, name);
  }
});
