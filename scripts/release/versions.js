// One version in all the files that name it. `node scripts/release/versions.js` checks that they
// agree. With `--bump` the next patch becomes the version of all files, and gets the unreleased
// changes in CHANGELOG.md. `--set=1.0.0` chooses 1.0.0 as the next version to release: until then
// all files say 1.0.0-0, whose next patch, by npm's rules, is 1.0.0.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import platforms from '../../js/native/platform.cjs';
import { compareVersions } from './binary.js';
import { npm, root, Unavailable } from './fetch.js';

const LOCK = /(?<=\[\[package\]\]\nname = "hyperiondb-client"\nversion = ")[^"]*/;

/** The files that name a version. */
export const SAYING = [
  ...['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock', 'fuzz/Cargo.lock'],
  'CHANGELOG.md',
];
const FILES = {
  'Cargo.toml': /(?<=^\[package\]\nname = "hyperiondb-client"\nversion = ")[^"]*/m,
  'Cargo.lock': LOCK,
  'fuzz/Cargo.lock': LOCK,
};
/** The latest released version. Only unreleased changes stand above it. */
const RELEASED = /(?<=^## \[?)\d+\.\d+\.\d+(?=\]? - \d{4}-\d{2}-\d{2}$)/m;
const UNRELEASED = /^## Unreleased\n/m;

const read = (name) => readFileSync(path.join(root, name), 'utf8');
const write = (name, text) => writeFileSync(path.join(root, name), text);

export const version = () => JSON.parse(read('package.json')).version;
const ownName = () => JSON.parse(read('package.json')).name;

/** The form of a version that can be released. */
const RELEASABLE = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/;
/** The end of a version that was chosen and is not released yet. */
const CHOSEN = /-0$/;

/** @returns {string[]} the files that do not agree with package.json */
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
  const isChosen = CHOSEN.test(own);
  if (isRelease || (released !== undefined && !isChosen)) said.push(['CHANGELOG.md', released]);
  const found = said
    .filter(([, other]) => other !== own)
    .map(([name, other]) => `${name} is of version ${other}, and package.json of ${own}`);
  if (isChosen && released !== undefined && compareVersions(released, nextPatch()) >= 0) {
    found.push(`CHANGELOG.md has ${released} already, and ${nextPatch()} is to be released`);
  }
  if (!UNRELEASED.test(changelog)) found.push('CHANGELOG.md has no place for what is new');
  return found;
}

/** The packages of which npm has a version that is not older. npm accepts no version below it. */
export function newerOnNpm(next) {
  const own = ownName();
  const names = [own, ...platforms.PUBLISHED.map((abi) => `${own}-${abi}`)];
  return names.flatMap((name) => {
    const newest = newestOf(publishedVersions(name));
    if (newest === undefined || compareVersions(newest, next) < 0) return [];
    return [`npm has ${name} ${newest} already`];
  });
}

export const newestOf = (versions) =>
  versions
    .filter((version) => RELEASABLE.test(version))
    .sort(compareVersions)
    .at(-1);

function publishedVersions(name) {
  try {
    return [JSON.parse(npm(['view', name, 'versions', '--json']))].flat();
  } catch (error) {
    if (error.message.includes('E404')) return [];
    throw new Unavailable(`npm does not say what is published: ${error.message}`);
  }
}

/** The version that `npm version patch` would make. */
export function nextPatch(from = version()) {
  if (CHOSEN.test(from)) return from.replace(CHOSEN, '');
  const [major, minor, patch] = from.split('.').map(Number);
  return `${major}.${minor}.${patch + 1}`;
}

/** Chooses the next version to release. */
export function choose(next) {
  if (!RELEASABLE.test(next)) {
    throw new Error(`${JSON.stringify(next)} is no version: three numbers, such as 1.0.0`);
  }
  const own = version();
  const latest = own.replace(CHOSEN, '');
  if (compareVersions(next, latest) <= 0) {
    throw new Error(`${next} is not later than ${own}, which package.json has`);
  }
  setVersion(`${next}-0`);
}

/** Writes a version into all files except the changelog. */
export function setVersion(next) {
  npm(['version', next, '--no-git-tag-version', '--allow-same-version']);
  for (const [name, pattern] of Object.entries(FILES)) {
    write(name, read(name).replace(pattern, next));
  }
}

/** Makes the next patch the version, and moves the changes under "Unreleased" to it. */
export function bump(date = new Date()) {
  const next = nextPatch();
  const newer = newerOnNpm(next);
  if (newer.length > 0)
    throw new Error(`${next} can't be released: ${newer.join('; ')}. ${REMEDY}`);
  setVersion(next);
  write('CHANGELOG.md', withVersion(read('CHANGELOG.md'), next, date));
  return next;
}

/**
 * The changelog with the unreleased changes under the new version. If npm never got the version
 * before, because its release failed, its changes move to the new version too.
 */
function withVersion(changelog, next, date) {
  const parts = changelog.split(/^(?=## )/m);
  const at = parts.findIndex((part) => UNRELEASED.test(part));
  // `disagreements` reports the missing heading.
  if (at === -1) return changelog;
  const [news, before = ''] = parts.slice(at);
  const last = RELEASED.exec(before)?.[0];
  const isLost = last !== undefined && !publishedVersions(ownName()).includes(last);
  const told = isLost ? [news, before] : [news];
  const text = merged(told.map((part) => part.slice(part.indexOf('\n') + 1)));
  const heading = `## Unreleased\n\n## ${next} - ${date.toISOString().slice(0, 10)}\n`;
  const all = [...parts.slice(0, at), heading, text, ...parts.slice(at + told.length)];
  return `${all.join('').trimEnd()}\n`;
}

/** Joins sections of the same title. */
function merged(texts) {
  const sections = new Map();
  for (const section of texts.flatMap((text) => text.split(/^(?=### )/m))) {
    const [title] = /^(### .*)?/.exec(section);
    const lines = section.slice(title.length).trim();
    if (lines !== '') sections.set(title, [...(sections.get(title) ?? []), lines]);
  }
  const all = [...sections].map(
    ([title, lines]) => `${title && `${title}\n\n`}${lines.join('\n')}\n\n`,
  );
  return `\n${all.join('')}`;
}

export const REMEDY = 'Choose a later one by `node scripts/release/versions.js --set=...`';

function main() {
  const { values } = parseArgs({ options: { bump: { type: 'boolean' }, set: { type: 'string' } } });
  if (values.set !== undefined) choose(values.set);
  if (values.bump) console.log(bump());
  return disagreements({ isRelease: values.bump });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  let found;
  try {
    found = main();
  } catch (error) {
    found = [error.message];
  }
  for (const line of found) console.error(line);
  if (found.length > 0) process.exit(1);
}
