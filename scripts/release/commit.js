// Commits the next version on main, and pushes it: `node scripts/release/commit.js`, in a clone of
// the commit that was tested. Commits that main got since then are not tested. If they change only
// texts, the version is committed after them; otherwise nothing is released. If an earlier run has
// pushed the version and failed afterwards, this run reports that commit. Prints `version=` and
// `commit=` in the form of a workflow's outputs.

import process from 'node:process';

import { run } from './fetch.js';
import { bump, disagreements, nextPatch, SAYING, setVersion } from './versions.js';

/** Files of which nothing is built, and which nothing runs. */
const TEXT = /\.(md|svg)$|^(LICENSE|\.github\/ISSUE_TEMPLATE\/.*)$/;
/** How often a push is tried. Others may push in the seconds between. */
const ATTEMPTS = 5;

const git = (...args) => run('git', args).trim();
const changed = (...between) =>
  git('diff', '--name-only', '--no-renames', ...between)
    .split('\n')
    .filter(Boolean);

const REMEDY = "push a commit whose subject ends with ' [cd]': it is tested with all of them";

function isBehind(older, newer) {
  try {
    git('merge-base', '--is-ancestor', older, newer);
    return true;
  } catch {
    return false;
  }
}

function main(tested) {
  git('fetch', '--quiet', 'origin', 'main');
  const tip = git('rev-parse', 'FETCH_HEAD');
  if (isBehind(tested, tip)) return tip;
  throw new Error(`${tested} was tested and is not on main any more: ${REMEDY}`);
}

const untestedIn = (tested, commit) => changed(tested, commit).filter((name) => !TEXT.test(name));

/** The release commit that an earlier run has pushed for the same tested commit. */
function earlier(tested) {
  const version = nextPatch();
  const log = git('log', '--reverse', '--format=%H %s', `${tested}..${main(tested)}`).split('\n');
  const made = log
    .find((line) => line.replace(/^\S+ /, '') === `Release ${version}`)
    ?.split(' ')[0];
  if (made === undefined || untestedIn(tested, `${made}^`).length > 0) return undefined;
  // The commit must equal the one that this run would make, except for the date. Its subject proves
  // nothing.
  git('reset', '--quiet', '--hard', `${made}^`);
  setVersion(version);
  const others = changed(made).filter((name) => name !== 'CHANGELOG.md');
  git('reset', '--quiet', '--hard', others.length === 0 ? made : tested);
  return others.length === 0 ? { version, commit: made } : undefined;
}

/** The commit on which to commit the version: the tested one, or one that only adds texts. */
function base(tested) {
  const tip = main(tested);
  const untested = untestedIn(tested, tip);
  if (untested.length === 0) return tip;
  const commits = git('log', '--format=%h %s', `${tested}..${tip}`);
  throw new Error(
    `main has moved on while ${tested} was tested, and these commits were not:\n${commits}\n` +
      `They change ${untested.join(', ')}. Nothing is released: ${REMEDY}`,
  );
}

function commit(tested) {
  for (let attempt = 1; ; attempt += 1) {
    git('reset', '--quiet', '--hard', tested);
    // An earlier run has made the commit, or a push whose answer was lost.
    const made = earlier(tested);
    if (made !== undefined) return made;
    git('reset', '--quiet', '--hard', base(tested));
    const version = bump();
    const found = disagreements({ isRelease: true });
    if (found.length > 0) throw new Error(found.join('; '));
    const foreign = changed('HEAD').filter((name) => !SAYING.includes(name));
    if (foreign.length > 0) throw new Error(`the version changed ${foreign.join(', ')}`);
    git('commit', '--quiet', '--all', '--message', `Release ${version}`);
    try {
      git('push', '--quiet', 'origin', 'HEAD:main');
      return { version, commit: git('rev-parse', 'HEAD') };
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      console.error(`the push was refused, and is tried again: ${error.message}`);
    }
  }
}

function make() {
  // Changes that are not committed would be lost, since each attempt resets the clone.
  const unsaved = git('status', '--porcelain', '--untracked-files=no');
  if (unsaved !== '') throw new Error(`what is changed here is in no commit:\n${unsaved}`);
  return commit(git('rev-parse', 'HEAD'));
}

try {
  const made = make();
  console.log(`version=${made.version}\ncommit=${made.commit}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
