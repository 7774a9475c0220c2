// npm test: runs every check of this repository, in the order that finds failures soonest. With
// arguments it runs only the tests that they name, by folder or by file, and passes the flags to
// node's test runner: npm test -- unit; npm test -- test/integration/fence.test.js
// --test-name-pattern=barrier

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { NO_CARGO } from './build.js';

const root = fileURLToPath(new URL('..', import.meta.url));

const node = process.execPath;
const floors = ['--no-default-features', '--features', 'sim'];
const strict = ['--', '-D', 'warnings'];

// The tests beside the Rust code: of the floors below the sockets, and of the floors above.
const LOWER_FLOORS = ['cargo', 'test', '--locked', '--quiet', ...floors];
const UPPER_FLOORS = ['cargo', 'test', '--locked', '--quiet', '--lib', '--', 'reactor::', 'node::'];

// A link in a comment that leads nowhere is an error (Cargo.toml).
const DOCUMENTATION = [
  ...['cargo', 'doc', '--locked', '--quiet', '--no-deps', '--document-private-items'],
  ...['--features', 'sim'],
];

const CHECKS = [
  ['cargo', 'fmt', '--check'],
  // These are run as files, since Windows has batch files in node_modules/.bin.
  [node, 'node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'],
  [node, 'node_modules/eslint/bin/eslint.js', '.'],
  [node, 'node_modules/typescript/bin/tsc', '--project', 'test/typings'],
  ['cargo', 'clippy', '--locked', '--all-targets', '--features', 'defects', ...strict],
  ['cargo', 'clippy', '--locked', '--all-targets', ...floors, ...strict],
  DOCUMENTATION,
  LOWER_FLOORS,
  UPPER_FLOORS,
  [node, 'scripts/simulate.js'],
  [node, 'scripts/simulate.js', '--mutations'],
];

function run([command, ...args], env = {}) {
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const shown = [...settings, path.basename(command), ...args].join(' ');
  console.log(`> ${shown}`);
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status === 0) return;
  const isMissing = error?.code === 'ENOENT' && command === 'cargo';
  const why = isMissing
    ? NO_CARGO
    : (error?.message ?? (signal ? `ended by ${signal}` : `exit code ${status}`));
  console.error(`failed: ${shown} (${why})`);
  process.exit(1);
}

/** The test folders, in the order of `npm test`. docs/TESTING.md says what each contains. */
const FOLDERS = ['unit', 'typings', 'packages', 'properties', 'integration', 'chaos'];

const testsIn = (folder) =>
  readdirSync(path.join(root, 'test', folder))
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => path.join('test', folder, name));

/** The folders and files of tests to run, and the flags for node's test runner. */
function readArguments() {
  const { tokens } = parseArgs({ strict: false, allowPositionals: true, tokens: true });
  const names = tokens.filter((token) => token.kind === 'positional').map(({ value }) => value);
  const folders = names.filter((name) => FOLDERS.includes(name));
  const files = names.filter((name) => !FOLDERS.includes(name));
  for (const file of files) {
    if (existsSync(path.join(root, file))) continue;
    const known = FOLDERS.join(', ');
    console.error(`there is no test ${file}: name a file, or a folder of tests (${known})`);
    console.error('flags of the test runner take the form --name=value');
    process.exit(1);
  }
  const flags = tokens
    .filter((token) => token.kind === 'option')
    .map(({ rawName, value }) => (value === undefined ? rawName : `${rawName}=${value}`));
  return { folders, files: [...folders.flatMap(testsIn), ...files], flags };
}

/** What differs between versions: values and types, settings, statements, sessions, failures. */
const EACH_VERSION = [
  ...['results', 'parameters', 'choices', 'user-types', 'settings', 'styles', 'prepared'],
  ...['transaction', 'overlap', 'connect', 'standby', 'types-question', 'statements'],
  ...['descriptions', 'stale-types', 'another-cluster', 'role-question', 'steps'],
  ...['pooled-settings', 'moved-names', 'sessions', 'schemas', 'pooler-sessions', 'restless-types'],
  ...['pooled-statements', 'pooler-keys', 'serialize', 'tls', 'plain-names'],
  ...['prepared-names', 'script-outcomes'],
].map((name) => path.join('test', 'integration', `${name}.test.js`));

/** What moves sessions from host to host, once more with all of them encrypted. CI adds chaos. */
const OVER_TLS = [
  ...['fence', 'failover'].map((name) => path.join('test', 'integration', `${name}.test.js`)),
  path.join('test', 'chaos', 'transfers.test.js'),
];

const { folders, files, flags } = readArguments();
const isWhole = files.length + flags.length === 0;
const needsAddon = (file) => path.dirname(path.normalize(file)) !== path.join('test', 'unit');
if (files.length === 0 || files.some(needsAddon)) run([node, 'scripts/prepare.js']);
if (isWhole) CHECKS.forEach((check) => run(check));
// A flag is for node's test runner, so with one only the tests in JavaScript run.
if (folders.includes('unit') && flags.length === 0) {
  run([...LOWER_FLOORS, '--lib']);
  run(UPPER_FLOORS);
}
// Each chaos test keeps a machine busy, and all files share a cluster that is already there. In
// both cases the files take turns.
const takesTurns = process.env.HYPERION_HOSTS || folders.includes('chaos');
const concurrency = takesTurns ? 1 : 2;
// A test that fails may leave something open that would keep its file from ending.
const limit = '--test-timeout=600000';
const runner = [node, '--test', `--test-concurrency=${concurrency}`, limit];
run([...runner, ...flags, ...(files.length > 0 ? files : FOLDERS.flatMap(testsIn))]);
// The oldest and the newest servers. `test/integration/versions.test.js` has their failovers.
if (isWhole && !process.env.HYPERION_HOSTS) {
  for (const version of ['13', '18']) {
    run([...runner, ...EACH_VERSION], { HYPERION_PG_VERSION: version });
  }
  run([...runner, ...OVER_TLS], { HYPERION_TLS: '1' });
}
