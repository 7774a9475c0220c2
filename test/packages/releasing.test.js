// How a version comes about: which commit asks for a release, which version it becomes, and how
// that version is committed. `publishing.test.js` tests the rest.

import assert from 'node:assert/strict';
import { copyFile, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

import prettier from 'prettier';

import { isAsked } from '../../scripts/release/asked.js';
import { nextPatch, SAYING, version } from '../../scripts/release/versions.js';
import { env, folder, registry, run, useRegistry } from '../support/registry.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const workflow = (name) => readFile(path.join(root, '.github', 'workflows', name), 'utf8');

useRegistry('releasing');

async function git(cwd, ...args) {
  const { code, stdout, stderr } = await run('git', args, { cwd });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

const RELEASED = `# Changelog\n\n## Unreleased\n\n- What is new.\n\n## ${version()} - 2026-01-31\n\n- What was.\n`;

/** The files that name the version, and the scripts that change them. */
async function copyOf(name) {
  const copy = path.join(folder, name);
  for (const file of [
    ...SAYING,
    'scripts/release',
    'js/native/platform.cjs',
    'js/native/elf.cjs',
  ]) {
    await mkdir(path.dirname(path.join(copy, file)), { recursive: true });
    await cp(path.join(root, file), path.join(copy, file), { recursive: true });
  }
  await writeFile(path.join(copy, 'CHANGELOG.md'), RELEASED);
  return copy;
}

const inCopy = (copy, script, ...args) =>
  run(process.execPath, [path.join(copy, 'scripts/release', script), ...args], { cwd: copy });
const readJson = async (...names) => JSON.parse(await readFile(path.join(...names), 'utf8'));

/** Those of GitHub's expressions that the workflow uses: https://docs.github.com/actions/reference/evaluate-expressions-in-workflows-and-actions */
const EXPRESSIONS = {
  startsWith: (all, part) => all.toLowerCase().startsWith(part.toLowerCase()),
  endsWith: (all, part) => all.toLowerCase().endsWith(part.toLowerCase()),
  contains: (all, part) => all.toLowerCase().includes(part.toLowerCase()),
  format: (text, ...values) => text.replace(/\{(\d)\}/g, (_, n) => values[n]),
  fromJSON: JSON.parse,
};

/** A backslash is an ordinary character there. */
const evaluate = (expression, message) =>
  vm.runInNewContext(expression.replaceAll('\\', '\\\\'), {
    ...EXPRESSIONS,
    github: { event: { head_commit: { message } }, sha: 'a1b2c3' },
  });

test("a commit whose subject ends with ' [cd]' is released, and no other one", async () => {
  const text = await workflow('release.yml');
  const [, condition] = /\n {2}asked:\n {4}if: >-\n((?: {6}.*\n)+)/.exec(text);
  const [, group] = /\n {2}group: >-\n {4}release-\$\{\{((?:.*\n)+?)(?=\S| {2}\w)/.exec(text);
  const serial = group.trim().replace(/\}\}$/, '');
  const released = [
    'Serve reads from standbys [cd]',
    'Serve reads from standbys [cd]\n\nThey have to be told.',
    'Merge the two headings of the changelog [cd]',
    'Revert the retry of reads [cd]\n\nIt was none.',
  ];
  for (const message of released) {
    assert.equal(isAsked(message), true, message);
    assert.equal(evaluate(condition, message), true, message);
    assert.equal(evaluate(serial, message), 'cd', message);
  }
  const not = [
    'Serve reads from standbys',
    'Revert "Serve reads from standbys [cd]"\n\nThis reverts commit a1b2c3.',
    'Reapply "Serve reads from standbys [cd]"',
    'Serve reads from standbys [cd] (#12)\n\n* Serve reads',
    'Merge pull request #12 from someone/topic-[cd]\n\nServe reads [cd]',
    "Merge branch 'x [cd]' into main [cd]",
    'Say what [cd] is for',
    'Say what is for release\n\nIt is [cd], or so.',
    'Serve reads [cd]s',
    '[cd]',
    '',
  ];
  for (const message of not) {
    assert.equal(isAsked(message), false, message);
    assert.equal(evaluate(condition, message), false, message);
    assert.equal(evaluate(serial, message), 'a1b2c3', message);
  }
  // The script decides what no expression can.
  const doubtful = 'Serve reads (#12)\n\n* Serve those of standbys [cd]\n* Serve others';
  assert.equal(isAsked(doubtful), false);
  assert.equal(evaluate(condition, doubtful), true);
  const script = path.join(root, 'scripts/release/asked.js');
  for (const [message, code] of [
    [doubtful, 1],
    [released[1], 0],
  ]) {
    const { code: said } = await run(process.execPath, [script], { env: { MESSAGE: message } });
    assert.equal(said, code);
  }
  // In a fork, and where the repository has moved: npm would refuse the provenance of the packages.
  const { repository } = await readJson(root, 'package.json');
  const [, own] = /github\.com\/(.*)\.git$/.exec(repository.url);
  for (const [where, code] of [
    [own, 0],
    [own.toUpperCase(), 1],
    ['somebody/hyperiondb-client', 1],
  ]) {
    const asked = { MESSAGE: released[0], GITHUB_REPOSITORY: where };
    const said = await run(process.execPath, [script], { env: asked });
    assert.equal(said.code, code, where);
    if (code === 1)
      assert.ok(said.stderr.includes(`this is ${where}, and package.json names ${own}`));
  }
  assert.match(text, /\n {2}test:\n {4}needs: asked\n/);
  // A secret that npm refuses ends the release before anything is pushed.
  const known = /run: npm whoami\n +env: \{ NODE_AUTH_TOKEN: '\$\{\{ secrets\.NPM_TOKEN \}\}' \}/;
  assert.ok(text.search(known) > 0 && text.search(known) < text.indexOf('commit.js >>'));
  assert.match(text, /on:\n {2}push:\n {4}branches: \[main\]\n/);
});

test('the compilers and tools of the workflows are of one version, which is said', async () => {
  const compilers = new Set();
  for (const name of await readdir(path.join(root, '.github', 'workflows'))) {
    const text = await workflow(name);
    for (const [, said] of text.matchAll(/(?:toolchain|rust-version): ([^,\s}]+)/g)) {
      compilers.add(said);
    }
    assert.doesNotMatch(text, /rust-toolchain@.*\n(?!\s*with: \{ toolchain: )/);
    for (const [line] of text.matchAll(/cargo install .*/g)) {
      assert.match(line, /--locked --version \d+\.\d+\.\d+$/);
    }
  }
  assert.equal(compilers.size, 1, [...compilers].join());
  assert.match([...compilers][0], /^'?\d+\.\d+\.\d+'?$/);
});

test('a version that is chosen is the one that is released next, and all files agree on the way', async () => {
  const copy = await copyOf('chosen');
  assert.deepEqual(await inCopy(copy, 'versions.js'), { code: 0, stdout: '', stderr: '' });
  const set = await inCopy(copy, 'versions.js', '--set=1.10.0');
  assert.equal(set.code, 0, set.stderr);
  assert.equal((await inCopy(copy, 'versions.js')).code, 0);
  assert.equal((await readJson(copy, 'package.json')).version, '1.10.0-0');
  assert.equal(await readFile(path.join(copy, 'CHANGELOG.md'), 'utf8'), RELEASED);
  const bumped = await inCopy(copy, 'versions.js', '--bump');
  assert.deepEqual([bumped.code, bumped.stdout], [0, '1.10.0\n'], bumped.stderr);
  const changelog = await readFile(path.join(copy, 'CHANGELOG.md'), 'utf8');
  assert.match(changelog, /^## Unreleased\n\n## 1\.10\.0 - \d{4}-\d\d-\d\d\n\n- What is new\./m);
  for (const file of ['Cargo.toml', 'Cargo.lock', 'fuzz/Cargo.lock']) {
    const text = await readFile(path.join(copy, file), 'utf8');
    assert.match(text, /name = "hyperiondb-client"\nversion = "1\.10\.0"\n/);
  }
  assert.equal((await inCopy(copy, 'versions.js', '--bump')).stdout, '1.10.1\n');
});

test('what was new in a version that npm never got is new in the next one', async () => {
  const copy = await copyOf('never');
  const [first, second, third] = [
    nextPatch(),
    nextPatch(nextPatch()),
    nextPatch(nextPatch(nextPatch())),
  ];
  const before = `## ${version()} - 2026-01-31\n\n### Added\n\n- What was.\n`;
  const news = '### Added\n\n- One.\n  Still one.\n\n### Fixed\n\n- Two.\n\n';
  const changelog = path.join(copy, 'CHANGELOG.md');
  const unreleased = `# Changelog\n\n## Unreleased\n\n`;
  await writeFile(changelog, `${unreleased}${news}${before}`);
  const publishMain = (...versions) => {
    const all = Object.fromEntries(
      versions.map((each) => [each, { name: 'hyperiondb-client', version: each }]),
    );
    const document = {
      name: 'hyperiondb-client',
      versions: all,
      'dist-tags': { latest: versions.at(-1) },
    };
    registry.packages.set('hyperiondb-client', { document, files: new Map() });
  };
  publishMain(version());
  const bump = async (expected) => {
    const { stdout, stderr } = await inCopy(copy, 'versions.js', '--bump');
    assert.equal(stdout, `${expected}\n`, stderr);
    return (await readFile(changelog, 'utf8')).replace(
      /\d{4}-\d\d-\d\d\n\n(?=.*\n\n- (Zero|One))/,
      'today\n\n',
    );
  };
  const heading = (of) => `${unreleased}## ${of} - today\n\n`;
  assert.equal(await bump(first), `${heading(first)}${news}${before}`);
  // Its packages failed, and a later commit repairs them.
  const text = await readFile(changelog, 'utf8');
  const more = '### Fixed\n\n- Zero.\n\n### Removed\n\n- Three.\n\n';
  await writeFile(changelog, text.replace(unreleased, `${unreleased}${more}`));
  const both =
    '### Fixed\n\n- Zero.\n- Two.\n\n### Removed\n\n- Three.\n\n### Added\n\n- One.\n  Still one.\n\n';
  assert.equal(await bump(second), `${heading(second)}${both}${before}`);
  assert.equal((await inCopy(copy, 'versions.js')).code, 0);
  // That one was published.
  publishMain(version(), second);
  await bump(third);
  const kept = await readFile(changelog, 'utf8');
  assert.match(kept, new RegExp(`^## ${third} - .*\\n\\n## ${second} - .*\\n\\n### Fixed$`, 'm'));
});

test('the changelog that a release makes of ours is formatted as ours is', async () => {
  const copy = await copyOf('formatted');
  const file = path.join(copy, 'CHANGELOG.md');
  const options = {
    ...(await prettier.resolveConfig(path.join(root, 'CHANGELOG.md'))),
    parser: 'markdown',
  };
  await copyFile(path.join(root, 'CHANGELOG.md'), file);
  // Several releases in a row, none of which reaches npm, with no change in between.
  for (let n = 0; n < 2; n += 1) {
    const { code, stderr } = await inCopy(copy, 'versions.js', '--bump');
    assert.equal(code, 0, stderr);
    assert.ok(await prettier.check(await readFile(file, 'utf8'), options));
  }
});

test('what is no version, or no later one, is not chosen', async () => {
  const copy = await copyOf('refused');
  const before = await Promise.all(SAYING.map((file) => readFile(path.join(copy, file), 'utf8')));
  const wrong = [
    ' 9.2.3',
    '9.2.3 ',
    'v9.2.3',
    '9.2',
    '9.2.3-rc.1',
    '9.02.3',
    '9.2.3+x',
    'patch',
    '',
  ];
  for (const said of wrong) {
    const { code, stderr } = await inCopy(copy, 'versions.js', `--set=${said}`);
    assert.deepEqual([code, stderr.includes('is no version')], [1, true], stderr);
  }
  for (const said of [version(), '0.0.1']) {
    const { code, stderr } = await inCopy(copy, 'versions.js', `--set=${said}`);
    assert.deepEqual([code, stderr.includes('is not later than')], [1, true], stderr);
  }
  const files = await Promise.all(SAYING.map((file) => readFile(path.join(copy, file), 'utf8')));
  assert.deepEqual(files, before);
  // Again, with a lower version than the chosen one.
  assert.equal((await inCopy(copy, 'versions.js', '--set=9.0.0')).code, 0);
  for (const said of ['9.0.0', '8.9.9']) {
    assert.equal((await inCopy(copy, 'versions.js', `--set=${said}`)).code, 1);
  }
  // With a changelog that already has the version.
  const text = RELEASED.replace(version(), '9.0.0');
  await writeFile(path.join(copy, 'CHANGELOG.md'), text);
  assert.match((await inCopy(copy, 'versions.js')).stderr, /CHANGELOG\.md has 9\.0\.0 already/);
});

/** Another developer's clone, and the workflow's clone, which has only the tested commit. */
async function clones(name) {
  const work = path.join(folder, name);
  const [origin, other, ci] = ['origin.git', 'other', 'ci'].map((part) => path.join(work, part));
  await git(folder, 'init', '--quiet', '--bare', origin);
  await copyOf(path.join(name, 'other'));
  await git(other, 'init', '--quiet');
  await git(other, 'remote', 'add', 'origin', origin);
  const push = async (file, text) => {
    if (file !== undefined) {
      await mkdir(path.dirname(path.join(other, file)), { recursive: true });
      await writeFile(path.join(other, file), text);
    }
    await git(other, 'add', '--all');
    await git(other, 'commit', '--quiet', '--message', `Change ${file ?? 'all'}`);
    await git(other, 'push', '--quiet', 'origin', 'HEAD:main');
  };
  await push();
  await git(folder, 'clone', '--quiet', '--depth=1', `file://${origin}`, ci);
  return { other, ci, push, origin };
}

test('the version is committed behind what was tested, and behind texts that came since', async () => {
  const { ci, origin, push } = await clones('texts');
  const tested = await git(ci, 'rev-parse', 'HEAD');
  const news = RELEASED.replace('What is new.', 'What is newer.');
  await push('CHANGELOG.md', news);
  await push('README.md', 'What it is.\n');
  // Another developer pushes in between.
  const hook = path.join(ci, '.git/hooks/pre-push');
  const again = path.join(folder, 'pushed-once');
  await writeFile(
    hook,
    `#!/bin/sh\n[ -e ${again} ] && exit 0\ntouch ${again}\ncd ${path.join(folder, 'texts/other')} && ` +
      `echo More. >> README.md && git commit -qam More && git push -q origin HEAD:main\n`,
    { mode: 0o755 },
  );
  const { code, stdout, stderr } = await inCopy(ci, 'commit.js');
  assert.equal(code, 0, stderr);
  const commit = await git(origin, 'rev-parse', 'main');
  assert.equal(stdout, `version=${nextPatch()}\ncommit=${commit}\n`);
  assert.match(stderr, /is tried again/);
  const subjects = await git(origin, 'log', '--format=%s', `${tested}..main`);
  const expected = ['More', 'Change README.md', 'Change CHANGELOG.md'];
  assert.deepEqual(subjects.split('\n'), [`Release ${nextPatch()}`, ...expected]);
  assert.equal(isAsked(subjects), false);
  const changed = await git(origin, 'diff', '--name-only', 'main^', 'main');
  assert.deepEqual(changed.split('\n').sort(), [...SAYING].sort());
  const changelog = await git(origin, 'show', 'main:CHANGELOG.md');
  assert.match(changelog, /^## \d+\.\d+\.\d+ - .*\n\n- What is newer\.$/m);
});

test('a version that was pushed, and whose run ended before it said so, is said by the next run', async () => {
  const { ci, origin, push } = await clones('again');
  const tested = await git(ci, 'rev-parse', 'HEAD');
  // The answer to the push gets lost.
  const real = (await run('which', ['git'])).stdout.trim();
  const programs = path.join(folder, 'losing');
  await mkdir(programs);
  const lost = path.join(programs, 'lost');
  await writeFile(
    path.join(programs, 'git'),
    `#!/bin/sh\n${real} "$@" || exit\n[ "$1" != push ] || [ -e ${lost} ] || { touch ${lost}; exit 1; }\n`,
    { mode: 0o755 },
  );
  const losing = { env: { ...env, PATH: `${programs}:${env.PATH}` }, cwd: ci };
  const script = path.join(ci, 'scripts/release/commit.js');
  const first = await run(process.execPath, [script], losing);
  assert.equal(first.code, 0, first.stderr);
  const commit = await git(origin, 'rev-parse', 'main');
  assert.equal(first.stdout, `version=${nextPatch()}\ncommit=${commit}\n`);
  // All jobs run again, from the tested commit. Other developers have pushed since.
  const other = path.join(folder, 'again', 'other');
  await git(other, 'fetch', '--quiet', 'origin', 'main');
  await git(other, 'reset', '--quiet', '--hard', 'FETCH_HEAD');
  await push('js/api/pool.cjs', "'use strict';\n");
  await git(ci, 'reset', '--quiet', '--hard', tested);
  const again = await inCopy(ci, 'commit.js');
  assert.deepEqual([again.code, again.stdout], [0, first.stdout], again.stderr);
  assert.equal(await git(ci, 'rev-parse', 'HEAD'), commit);
  const subjects = await git(origin, 'log', '--format=%s', `${tested}..main`);
  assert.deepEqual(subjects.split('\n'), ['Change js/api/pool.cjs', `Release ${nextPatch()}`]);

  // A developer's commit with that subject, which changes other files too.
  const forged = await clones('forged');
  const about = await readJson(forged.other, 'package.json');
  about.dependencies = { 'left-pad': '*' };
  about.version = nextPatch();
  await writeFile(path.join(forged.other, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
  await git(forged.other, 'commit', '--quiet', '--all', '--message', `Release ${nextPatch()}`);
  await git(forged.other, 'push', '--quiet', 'origin', 'HEAD:main');
  assert.match((await inCopy(forged.ci, 'commit.js')).stderr, /^main has moved on/);
});

test('what is in no commit is not lost', async () => {
  const { ci, origin } = await clones('dirty');
  const file = path.join(ci, 'CHANGELOG.md');
  await writeFile(file, `${RELEASED}\nNot yet in any commit.\n`);
  const main = await git(origin, 'rev-parse', 'main');
  const { code, stderr } = await inCopy(ci, 'commit.js');
  assert.deepEqual([code, /in no commit:\n *M CHANGELOG\.md/.test(stderr)], [1, true], stderr);
  assert.match(await readFile(file, 'utf8'), /Not yet in any commit/);
  assert.equal(await git(origin, 'rev-parse', 'main'), main);
});

test('a tag that is there already is the same one, or ends the job', async () => {
  const text = await workflow('release.yml');
  const [, lines] = /\n {2}tag:\n[^]*? run: \|\n((?: {10}.*\n)+)/.exec(text);
  const { origin, push, other } = await clones('tags');
  const tag = async (name) => {
    const clone = path.join(folder, 'tags', name);
    await git(folder, 'clone', '--quiet', '--depth=1', '--no-tags', `file://${origin}`, clone);
    return run('bash', ['-e', '-c', lines], { cwd: clone, env: { ...env, VERSION: '1.2.3' } });
  };
  for (const name of ['first', 'again']) assert.equal((await tag(name)).code, 0);
  assert.equal(await git(origin, 'rev-parse', 'v1.2.3'), await git(other, 'rev-parse', 'HEAD'));
  await push('README.md', 'What it is.\n');
  const moved = await tag('moved');
  assert.deepEqual([moved.code, /rejected|already exists/.test(moved.stderr)], [1, true]);
});

test('nothing is released behind a commit that was not tested, and it says which', async () => {
  const { ci, origin, other, push } = await clones('code');
  await push('README.md', 'What it is.\n');
  await push('js/api/pool.cjs', "'use strict';\n");
  const main = await git(origin, 'rev-parse', 'main');
  const refused = await inCopy(ci, 'commit.js');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^main has moved on [^]*Change js\/api\/pool\.cjs[^]*push a commit/);
  assert.match(refused.stderr, /They change js\/api\/pool\.cjs\. /);
  // Nor if the changelog has no place for the version.
  const unheard = await clones('unheard');
  await unheard.push(
    'CHANGELOG.md',
    RELEASED.replace('## Unreleased', '## Soon\n\n### Unreleased'),
  );
  assert.match((await inCopy(unheard.ci, 'commit.js')).stderr, /CHANGELOG\.md has no place/);
  assert.equal(await git(unheard.origin, 'log', '-1', '--format=%s'), 'Change CHANGELOG.md');
  // Nor if the tested commit is gone.
  await git(other, 'checkout', '--quiet', '--orphan', 'anew');
  await git(other, 'commit', '--quiet', '--message', 'Begin anew');
  await git(other, 'push', '--quiet', '--force', 'origin', 'HEAD:main');
  assert.match((await inCopy(ci, 'commit.js')).stderr, /is not on main any more/);
  assert.notEqual(await git(origin, 'rev-parse', 'main'), main);
  assert.equal(await git(origin, 'log', '--format=%s', 'main'), 'Begin anew');
});
