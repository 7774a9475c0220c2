// How a release is published, against a registry of the test's own that fails in several ways.

import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';

import platform from '../../js/native/platform.cjs';
import { addonPath } from '../../scripts/build.js';
import { layOut, packAll } from '../../scripts/release/packages.js';
import { version } from '../../scripts/release/versions.js';
import { env, folder, registry, run, useRegistry } from '../support/registry.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const workflow = (name) => readFile(path.join(root, '.github', 'workflows', name), 'utf8');

useRegistry('publishing');

const readJson = async (...names) => JSON.parse(await readFile(path.join(...names), 'utf8'));

/**
 * All eight packages. The binaries of other platforms have the bytes of this platform's, and their
 * own names.
 */
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
  // One run stops in the middle. In the next one, the answer to an upload is lost.
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
  // The registry's description of one package, whatever happens to the others.
  assert.deepEqual([...registry.packages.keys()].sort(), [...names].sort());
  // A further run has nothing left to do, and tags the release.
  registry.seen.length = 0;
  const third = await publish(packed);
  assert.equal(third.code, 0, third.stderr);
  assert.deepEqual(uploads(), []);

  // The same files, compressed by another zlib.
  const file = path.join(packed, index[main].file);
  const bytes = await readFile(file);
  await writeFile(file, gzipSync(gunzipSync(bytes), { level: 1 }));
  assert.equal((await publish(packed)).code, 0);
  // Other files of the same version.
  const changed = gunzipSync(bytes);
  changed[changed.length >> 1] ^= 1;
  await writeFile(file, gzipSync(changed));
  const foreign = await publish(packed);
  assert.equal(foreign.code, 1);
  assert.match(foreign.stderr, new RegExp(`^npm has another ${main} ${version()} `));

  // After a later version was published, it would become the latest.
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
  // npm and napi publish the folders without a flag.
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
  // The registry answers each question only the second time; some first attempts get no answer at
  // all.
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

  // A registry that stays out of order: nothing is uploaded, and the error names each answer.
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
  // The page of a proxy is not the answer of a registry.
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
