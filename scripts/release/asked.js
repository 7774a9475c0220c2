// Whether a commit asks for its release: its subject ends with ' [cd]'. A commit that undoes or
// merges one that does carries the marker too, as does the title of a pull request, whoever wrote
// it: 'Revert "... [cd]"', 'Merge pull request ...', and '... [cd] (#12)' of a squashed one. None of
// them is a maintainer's word. `node scripts/release/asked.js` takes the message from MESSAGE.

import process from 'node:process';
import { fileURLToPath } from 'node:url';

const MARKED = / \[cd\]$/;
const DERIVED =
  /^((Revert|Reapply) "|Merge (pull request|branch|branches|remote-tracking branch|tag|commit) |(fixup|squash|amend)! )/;

export function isAsked(message) {
  const [subject] = message.split(/\r?\n/, 1);
  return MARKED.test(subject) && !DERIVED.test(subject);
}

if (process.argv[1] === fileURLToPath(import.meta.url) && !isAsked(process.env.MESSAGE ?? '')) {
  console.error(
    "Nothing is released: the subject of the commit does not end with ' [cd]', or it is that of a revert or a merge. " +
      "A release that waited behind another one has given way to this push: push a commit whose subject ends with ' [cd]'.",
  );
  process.exit(1);
}
