// Commits the next version on main, and pushes it: `node scripts/release/commit.js`, in a clone of
// the commit that was tested. What main got since then has not been tested. Where that is nothing
// but texts, the version is committed behind them; where it is more, nothing is released. Prints
// `version=` and `commit=`, as a workflow takes outputs.

import process from 'node:process';

import { run } from './fetch.js';
import { bump, disagreements, SAYING } from './versions.js';

/** Nothing is built from these and nothing runs them. */
const TEXT = /\.(md|svg)$|^(LICENSE|\.github\/ISSUE_TEMPLATE\/.*)$/;
/** Others may push in the seconds between. */
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

/** Where the version is committed: the tested commit, or texts behind it. */
function base(tested) {
  git('fetch', '--quiet', 'origin', 'main');
  const main = git('rev-parse', 'FETCH_HEAD');
  if (!isBehind(tested, main)) {
    throw new Error(`${tested} was tested and is not on main any more: ${REMEDY}`);
  }
  const untested = changed(tested, main).filter((name) => !TEXT.test(name));
  if (untested.length === 0) return main;
  const commits = git('log', '--format=%h %s', `${tested}..${main}`);
  throw new Error(
    `main has moved on while ${tested} was tested, and these commits were not:\n${commits}\n` +
      `They change ${untested.join(', ')}. Nothing is released: ${REMEDY}`,
  );
}

function commit(tested) {
  for (let attempt = 1; ; attempt += 1) {
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

try {
  const made = commit(git('rev-parse', 'HEAD'));
  console.log(`version=${made.version}\ncommit=${made.commit}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
