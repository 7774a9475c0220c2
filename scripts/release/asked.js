// Whether a commit asks for a release: its subject ends with ' [cd]'. The marker also stands in a
// commit that undoes or merges such a commit, and in the title of a pull request: 'Revert "...
// [cd]"', 'Merge pull request ...', and '... [cd] (#12)' for a squashed one. None of these asks for
// a release, since no maintainer may have meant one. `node scripts/release/asked.js` reads the
// message from MESSAGE. It also refuses to release from a repository other than the one that the
// packages name: npm would refuse their provenance after their version was pushed.

import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const MARKED = / \[cd\]$/;
const DERIVED =
  /^((Revert|Reapply) "|Merge (pull request|branch|branches|remote-tracking branch|tag|commit) |(fixup|squash|amend)! )/;

export function isAsked(message) {
  const [subject] = message.split(/\r?\n/, 1);
  return MARKED.test(subject) && !DERIVED.test(subject);
}

/** The repository's name at GitHub. npm compares its capitals too. */
function named() {
  const about = new URL('../../package.json', import.meta.url);
  const { repository } = JSON.parse(readFileSync(about, 'utf8'));
  return /github\.com\/(.+?)(\.git)?$/.exec(repository.url)?.[1];
}

/** @returns {string | undefined} why nothing is released */
function refusal({ MESSAGE = '', GITHUB_REPOSITORY: here = named() }) {
  if (!isAsked(MESSAGE)) {
    return (
      "the subject of the commit does not end with ' [cd]', or it is that of a revert or a merge. " +
      "A release that waited behind another one has given way to this push: push a commit whose subject ends with ' [cd]'."
    );
  }
  if (here === named()) return undefined;
  return `this is ${here}, and package.json names ${named()} as the repository of the packages.`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const why = refusal(process.env);
  if (why !== undefined) {
    console.error(`Nothing is released: ${why}`);
    process.exit(1);
  }
}
