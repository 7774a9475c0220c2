// One version, in all the files that say it. `node scripts/release/versions.js` checks that they agree; with `--bump` the next
// patch becomes the version of all of them, and what was unreleased in CHANGELOG.md is that version's.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { npm, root } from './fetch.js';

const LOCK = /(?<=\[\[package\]\]\nname = "hyperiondb-client"\nversion = ")[^"]*/;

const FILES = {
  'Cargo.toml': /(?<=^\[package\]\nname = "hyperiondb-client"\nversion = ")[^"]*/m,
  'Cargo.lock': LOCK,
  'fuzz/Cargo.lock': LOCK,
};
/** The latest one that was released; above it is only what was not. */
const RELEASED = /(?<=^## \[?)\d+\.\d+\.\d+(?=\]? - \d{4}-\d{2}-\d{2}$)/m;
const UNRELEASED = '## Unreleased\n';

const read = (name) => readFileSync(path.join(root, name), 'utf8');
const write = (name, text) => writeFileSync(path.join(root, name), text);

export const version = () => JSON.parse(read('package.json')).version;

/** @returns {string[]} what does not agree with package.json */
export function disagreements({ isRelease = false } = {}) {
  const own = version();
  const lock = JSON.parse(read('package-lock.json'));
  const said = Object.entries(FILES).map(([name, pattern]) => [
    name,
    pattern.exec(read(name))?.[0],
  ]);
  said.push(['package-lock.json', lock.version], ['package-lock.json', lock.packages[''].version]);
  const changelog = read('CHANGELOG.md');
  const released = RELEASED.exec(changelog)?.[0];
  if (isRelease || released !== undefined) said.push(['CHANGELOG.md', released]);
  const found = said
    .filter(([, other]) => other !== own)
    .map(([name, other]) => `${name} is of version ${other}, and package.json of ${own}`);
  if (!changelog.includes(UNRELEASED)) found.push('CHANGELOG.md has no place for what is new');
  return found;
}

/** The next patch, whatever was said of it in CHANGELOG.md. */
export function bump(date = new Date()) {
  npm(['version', 'patch', '--no-git-tag-version']);
  const next = version();
  for (const [name, pattern] of Object.entries(FILES))
    write(name, read(name).replace(pattern, next));
  const heading = `${UNRELEASED}\n## ${next} - ${date.toISOString().slice(0, 10)}\n`;
  write(
    'CHANGELOG.md',
    read('CHANGELOG.md').replace(UNRELEASED, () => heading),
  );
  return next;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--bump')) console.log(bump());
  const found = disagreements({ isRelease: process.argv.includes('--bump') });
  for (const line of found) console.error(line);
  if (found.length > 0) process.exit(1);
}
