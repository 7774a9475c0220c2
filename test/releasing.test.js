// How a version comes about: which commit asks for a release, which version it becomes, how that
// is committed, and how the packages are published, against a registry that is made here.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import vm from 'node:vm';
import { gunzipSync, gzipSync } from 'node:zlib';

import platform from '../js/platform.cjs';
import { addonPath } from '../scripts/build.js';
import { isAsked } from '../scripts/release/asked.js';
import { layOut, packAll } from '../scripts/release/packages.js';
import { nextPatch, SAYING, version } from '../scripts/release/versions.js';
import { startRegistry } from './registry.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const workflow = (name) => readFile(path.join(root, '.github', 'workflows', name), 'utf8');

let folder;
let registry;
let env;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'hyperion-releasing-'));
});
beforeEach(async () => {
  await registry?.close();
  registry = await startRegistry();
  const host = registry.url.replace('http:', '');
  await writeFile(path.join(folder, 'npmrc'), `${host}:_authToken=secret\n`);
  env = {
    PATH: process.env.PATH,
    HOME: folder,
    npm_execpath: process.env.npm_execpath,
    npm_config_cache: path.join(folder, 'npm-cache'),
    npm_config_fetch_retries: '0',
    npm_config_registry: registry.url,
    npm_config_update_notifier: 'false',
    npm_config_userconfig: path.join(folder, 'npmrc'),
    // Who commits, and no signatures of whoever runs this.
    GIT_CONFIG_GLOBAL: path.join(folder, 'gitconfig'),
    GIT_CONFIG_NOSYSTEM: '1',
  };
  await writeFile(
    env.GIT_CONFIG_GLOBAL,
    '[user]\nname = A maintainer\nemail = maintainer@example.com\n[init]\ndefaultBranch = main\n',
  );
});
after(async () => {
  await registry.close();
  await rm(folder, { recursive: true });
});

/** @returns {Promise<{ code: number, stdout: string, stderr: string }>} */
async function run(program, args, options) {
  try {
    return { code: 0, ...(await promisify(execFile)(program, args, { env, ...options })) };
  } catch (error) {
    return error;
  }
}

async function git(cwd, ...args) {
  const { code, stdout, stderr } = await run('git', args, { cwd });
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

const RELEASED = `# Changelog\n\n## Unreleased\n\n- What is new.\n\n## ${version()} - 2026-01-31\n\n- What was.\n`;

/** What says the version, and the scripts that change it, after a release. */
async function copyOf(name) {
  const copy = path.join(folder, name);
  for (const file of [...SAYING, 'scripts/release', 'js/platform.cjs']) {
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

/** A backslash is a letter there as every other one. */
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
  // What no expression can tell apart, the script does.
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
  // Once more, and lower than the one that was chosen.
  assert.equal((await inCopy(copy, 'versions.js', '--set=9.0.0')).code, 0);
  for (const said of ['9.0.0', '8.9.9']) {
    assert.equal((await inCopy(copy, 'versions.js', `--set=${said}`)).code, 1);
  }
  // Of a changelog that has it already.
  const text = RELEASED.replace(version(), '9.0.0');
  await writeFile(path.join(copy, 'CHANGELOG.md'), text);
  assert.match((await inCopy(copy, 'versions.js')).stderr, /CHANGELOG\.md has 9\.0\.0 already/);
});

/** Somebody else's clone, and the one of the workflow, which holds the tested commit alone. */
async function clones(name) {
  const work = path.join(folder, name);
  const [origin, other, ci] = ['origin.git', 'other', 'ci'].map((part) => path.join(work, part));
  await git(folder, 'init', '--quiet', '--bare', origin);
  await copyOf(path.join(name, 'other'));
  await git(other, 'init', '--quiet');
  await git(other, 'remote', 'add', 'origin', origin);
  const push = async (file, text) => {
    if (file !== undefined) await writeFile(path.join(other, file), text);
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
  // Somebody pushes in the moment between.
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
  // All jobs are run again, from the commit that was tested; others have pushed since.
  const other = path.join(folder, 'again', 'other');
  await git(other, 'fetch', '--quiet', 'origin', 'main');
  await git(other, 'reset', '--quiet', '--hard', 'FETCH_HEAD');
  await push('js/pool.cjs', "'use strict';\n");
  await git(ci, 'reset', '--quiet', '--hard', tested);
  const again = await inCopy(ci, 'commit.js');
  assert.deepEqual([again.code, again.stdout], [0, first.stdout], again.stderr);
  assert.equal(await git(ci, 'rev-parse', 'HEAD'), commit);
  const subjects = await git(origin, 'log', '--format=%s', `${tested}..main`);
  assert.deepEqual(subjects.split('\n'), ['Change js/pool.cjs', `Release ${nextPatch()}`]);

  // Somebody's commit that has that subject, and changes more.
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
  await push('js/pool.cjs', "'use strict';\n");
  const main = await git(origin, 'rev-parse', 'main');
  const refused = await inCopy(ci, 'commit.js');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^main has moved on [^]*Change js\/pool\.cjs[^]*push a commit/);
  assert.match(refused.stderr, /They change js\/pool\.cjs\. /);
  // Nor where the changelog has no place for the version.
  const unheard = await clones('unheard');
  await unheard.push(
    'CHANGELOG.md',
    RELEASED.replace('## Unreleased', '## Soon\n\n### Unreleased'),
  );
  assert.match((await inCopy(unheard.ci, 'commit.js')).stderr, /CHANGELOG\.md has no place/);
  assert.equal(await git(unheard.origin, 'log', '-1', '--format=%s'), 'Change CHANGELOG.md');
  // And where the tested commit is gone.
  await git(other, 'checkout', '--quiet', '--orphan', 'anew');
  await git(other, 'commit', '--quiet', '--message', 'Begin anew');
  await git(other, 'push', '--quiet', '--force', 'origin', 'HEAD:main');
  assert.match((await inCopy(ci, 'commit.js')).stderr, /is not on main any more/);
  assert.notEqual(await git(origin, 'rev-parse', 'main'), main);
  assert.equal(await git(origin, 'log', '--format=%s', 'main'), 'Begin anew');
});

/** All eight: the binaries of other platforms have the bytes of this one's, and their own names. */
async function packEight() {
  const own = platform.ownAbi();
  const [stage, packed] = ['stage', 'packed'].map((name) => path.join(folder, name));
  layOut(stage, { [own]: addonPath }, { asBuiltHere: true });
  packAll(stage, packed);
  const index = await readJson(packed, 'index.json');
  const other = path.join(folder, 'other');
  for (const [name, entry] of Object.entries(index)) {
    if (entry.file !== undefined) continue;
    await rm(other, { recursive: true, force: true });
    await mkdir(other);
    await writeFile(path.join(other, entry.about.main), 'bytes');
    await writeFile(path.join(other, 'package.json'), JSON.stringify(entry.about));
    const npm = await run('npm', ['pack', '--pack-destination', packed], { cwd: other });
    assert.equal(npm.code, 0, npm.stderr);
    entry.file = `${name}-${entry.about.version}.tgz`;
  }
  await writeFile(path.join(packed, 'index.json'), JSON.stringify(index));
  return { packed, names: Object.keys(index), index };
}

const publish = (packed, options) =>
  run(
    process.execPath,
    [path.join(root, 'scripts/release/publish.js'), `--packed=${packed}`, '--wait=1'],
    options,
  );
const uploads = () =>
  registry.seen.filter(({ method }) => method === 'PUT').map(({ name }) => name);

test('the packages are published, and what is published already is left as it is', async () => {
  const { packed, names, index } = await packEight();
  const [main, ...others] = names;
  // Stopped in the middle; in another run the answer to an upload is lost.
  registry.fails = (name) => (name === others[3] ? 'before' : undefined);
  const stopped = await publish(packed);
  assert.equal(stopped.code, 1);
  assert.match(stopped.stderr, /503/);
  assert.deepEqual([...registry.packages.keys()], others.slice(0, 3));
  registry.fails = (name) => (name === others[4] || name === main ? 'after' : undefined);
  registry.seen.length = 0;
  const second = await publish(packed);
  assert.equal(second.code, 0, second.stderr);
  assert.deepEqual([...new Set(uploads())], [...others.slice(3), main]);
  for (const [name, { document }] of registry.packages) {
    const published = document.versions[version()];
    assert.equal(published.publishConfig.access, 'public', name);
    assert.equal(document.access, 'public');
    assert.deepEqual(published.os, index[name].about.os);
    assert.deepEqual(document['dist-tags'], { latest: version() });
  }
  assert.match(registry.packages.get(main).document.versions[version()].readme, /^# hyperiondb/);
  // As one package is told of by the registry, whatever else happens.
  assert.deepEqual([...registry.packages.keys()].sort(), [...names].sort());
  // Once more: nothing is left to do, and the release is tagged.
  registry.seen.length = 0;
  const third = await publish(packed);
  assert.equal(third.code, 0, third.stderr);
  assert.deepEqual(uploads(), []);

  // The same files, compressed by another zlib.
  const file = path.join(packed, index[main].file);
  const bytes = await readFile(file);
  await writeFile(file, gzipSync(gunzipSync(bytes), { level: 1 }));
  assert.equal((await publish(packed)).code, 0);
  // Others by the same version.
  const changed = gunzipSync(bytes);
  changed[changed.length >> 1] ^= 1;
  await writeFile(file, gzipSync(changed));
  const foreign = await publish(packed);
  assert.equal(foreign.code, 1);
  assert.match(foreign.stderr, new RegExp(`^npm has another ${main} ${version()} `));

  // Behind a later one that came in between, it would become the latest.
  await writeFile(file, bytes);
  const { document } = registry.packages.get(main);
  const later = { ...document.versions[version()], version: '99.0.0' };
  document.versions = { '99.0.0': later };
  document['dist-tags'] = { latest: '99.0.0' };
  const late = await publish(packed);
  assert.match(late.stderr, /^npm has hyperiondb-client 99\.0\.0: /);
  assert.deepEqual(uploads(), []);

  // The first release of all, with provenance: npm gets as far as asking GitHub for a token of
  // sigstore's, and does not ask a registry that has no such package whether it is public.
  registry.packages.clear();
  registry.seen.length = 0;
  const github = {
    ...env,
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    ACTIONS_ID_TOKEN_REQUEST_URL: `${registry.url}oidc?x=1`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret',
    NPM_CONFIG_PROVENANCE: 'true',
  };
  const first = await publish(packed, { env: github });
  assert.equal(first.code, 1);
  assert.doesNotMatch(first.stderr, /set `access` to public/);
  assert.ok(
    registry.seen.some(({ url }) => /oidc.*audience=sigstore/.test(url)),
    first.stderr,
  );
  // And as npm or napi publish what was laid out, without a flag.
  const stage = path.join(folder, 'stage');
  for (const cwd of [stage, path.join(stage, 'npm', platform.ownAbi())]) {
    registry.seen.length = 0;
    const bare = await run('npm', ['publish'], { cwd, env: github });
    assert.doesNotMatch(bare.stderr, /set `access` to public/);
    assert.ok(
      registry.seen.some(({ url }) => /oidc.*audience=sigstore/.test(url)),
      bare.stderr,
    );
  }
});

test('a registry that is out of order for a moment, conflicts or shows late what it has holds up no release', async () => {
  const { packed, names } = await packEight();
  const [main, ...others] = names;
  // Each question is answered the second time alone, some by no answer at all.
  const asked = new Map();
  const broken = [[500, { error: 'out of order' }], 'none', [429, { error: 'too many' }]];
  registry.answers = (name) => {
    const times = (asked.get(name) ?? 0) + 1;
    asked.set(name, times);
    return times % 2 === 1 ? broken[asked.size % broken.length] : undefined;
  };
  const conflicts = new Set([others[0], main]);
  registry.fails = (name) => {
    if (name === others[1]) return 'late';
    return conflicts.delete(name) ? 'conflict' : undefined;
  };
  const { code, stderr } = await publish(packed);
  assert.equal(code, 0, stderr);
  assert.deepEqual([...registry.packages.keys()].sort(), [...names].sort());
  const times = (name) => uploads().filter((each) => each === name).length;
  assert.equal(times(others[0]), 2, 'what conflicts is tried again');
  assert.equal(times(main), 2);
  assert.equal(uploads().indexOf(main), uploads().length - 2, 'the one for all is the last one');

  // One that is out of order for good: nothing is uploaded, and it says who has answered what.
  registry.seen.length = 0;
  registry.packages.clear();
  registry.answers = (name) => (name === others[5] ? [502, { error: 'out of order' }] : undefined);
  const down = await publish(packed);
  assert.equal(down.code, 1);
  assert.equal(down.stderr, `${registry.url}${others[5]}: npm answered 502\n`);
  registry.answers = (name) => (name === others[5] ? 'none' : undefined);
  assert.match(
    (await publish(packed)).stderr,
    new RegExp(`${others[5]}: fetch failed: other side`),
  );
  // A proxy's page is no registry's answer.
  registry.answers = () => [200, Buffer.from('<html>Sign in</html>')];
  assert.match((await publish(packed)).stderr, /is no registry's answer: <html>Sign in/);
  assert.deepEqual(uploads(), []);
});

test('a registry below a path is asked below it', async () => {
  const { packed, names } = await packEight();
  registry.seen.length = 0;
  registry.answers = () => [403, { error: 'no' }];
  const url = `${registry.url}npm/all`;
  const { code } = await publish(packed, { env: { ...env, npm_config_registry: url } });
  assert.equal(code, 1);
  assert.ok(
    registry.seen.every((each) => each.url.startsWith(`/npm/all/${names[1]}`)),
    registry.seen[0].url,
  );
});

test('provenance that GitHub has given no right to uploads nothing, and says so', async () => {
  const { packed } = await packEight();
  registry.seen.length = 0;
  const github = { ...env, CI: 'true', GITHUB_ACTIONS: 'true', NPM_CONFIG_PROVENANCE: 'true' };
  const { code, stderr } = await publish(packed, { env: github });
  assert.equal(code, 1);
  assert.match(stderr, /"write" access to the "id-token" permission/);
  assert.deepEqual(uploads(), []);
  const text = await workflow('release.yml');
  const [, job] = /\n {2}publish:\n([^]*?)\n {2}\w+:\n/.exec(text);
  assert.match(job, /permissions: \{ contents: read, id-token: write \}/);
});
