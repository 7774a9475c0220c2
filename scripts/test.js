// npm test: every check of this repository, in the order in which failures are found soonest. With
// arguments only the tests are run, and node's test runner gets them: npm test --
// test/integration/fence.test.js --test-name-pattern=barrier

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

const CHECKS = [
  ['cargo', 'fmt', '--check'],
  // By file, and not by node_modules/.bin, where Windows has batch files.
  [node, 'node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'],
  [node, 'node_modules/eslint/bin/eslint.js', '.'],
  [node, 'node_modules/typescript/bin/tsc', '--project', 'test/typings'],
  ['cargo', 'clippy', '--locked', '--all-targets', '--features', 'defects', ...strict],
  ['cargo', 'clippy', '--locked', '--all-targets', ...floors, ...strict],
  ['cargo', 'test', '--locked', '--quiet', ...floors],
  // The floors above them too; their tests need no Node either.
  ['cargo', 'test', '--locked', '--quiet', '--lib', '--', 'reactor::', 'node::'],
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

/** The tests to run, and the flags for node's test runner. */
function readArguments() {
  const { tokens } = parseArgs({ strict: false, allowPositionals: true, tokens: true });
  const files = tokens.filter((token) => token.kind === 'positional').map(({ value }) => value);
  for (const file of files) {
    if (existsSync(path.join(root, file))) continue;
    console.error(`there is no test ${file}; flags of the test runner take the form --name=value`);
    process.exit(1);
  }
  const flags = tokens
    .filter((token) => token.kind === 'option')
    .map(({ rawName, value }) => (value === undefined ? rawName : `${rawName}=${value}`));
  return { files, flags };
}

const all = () =>
  readdirSync(path.join(root, 'test'), { recursive: true })
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => path.join('test', name));

/** What differs from version to version: values and their types, settings, statements, sessions and how they fail. */
const EACH_VERSION = [
  ...['results', 'parameters', 'choices', 'user-types', 'settings', 'styles', 'prepared', 'rows'],
  ...['transaction', 'overlap', 'connect', 'lease', 'standby', 'types-question', 'statements'],
  ...['descriptions', 'stale-types', 'another-cluster', 'role-question', 'steps'],
  ...['pooled-settings', 'moved-names', 'sessions', 'schemas', 'pooler-sessions'],
].flatMap((name) => all().filter((file) => path.basename(file) === `${name}.test.js`));

const { files, flags } = readArguments();
const isWhole = files.length + flags.length === 0;
if (isWhole) CHECKS.forEach((check) => run(check));
// A cluster that is already there is one for all files: they take turns.
const concurrency = process.env.HYPERION_HOSTS ? 1 : 2;
// A test that fails may leave open what would keep its file from ever ending.
const limit = '--test-timeout=600000';
const runner = [node, '--test', `--test-concurrency=${concurrency}`, limit];
run([...runner, ...flags, ...(files.length > 0 ? files : all())]);
// The oldest and the newest servers: `test/integration/versions.test.js` has their failovers.
if (isWhole && !process.env.HYPERION_HOSTS) {
  for (const version of ['13', '18']) {
    run([...runner, ...EACH_VERSION], { HYPERION_PG_VERSION: version });
  }
}
