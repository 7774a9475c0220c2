// What is released: one version everywhere, packages that hold what they should, and that an empty
// folder without Rust is enough for. `npm run release:dry` does the same with binaries for old
// systems and for other platforms.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import platform from '../js/platform.cjs';
import { addonPath } from '../scripts/build.js';
import { licenses, licensesPath } from '../scripts/licenses.js';
import { compareVersions, readBinary } from '../scripts/release/binary.js';
import { faults } from '../scripts/release/gates.js';
import { installed, queryInEachWay, smoke } from '../scripts/release/install.js';
import { layOut, packAll } from '../scripts/release/packages.js';
import { startServers } from '../scripts/release/servers.js';
import { disagreements, nextPatch, version } from '../scripts/release/versions.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const abi = platform.ownAbi();
const asBuiltHere = { asBuiltHere: true };

let folder;
let packed;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'hyperion-package-'));
  layOut(path.join(folder, 'stage'), { [abi]: addonPath }, asBuiltHere);
  packed = packAll(path.join(folder, 'stage'), path.join(folder, 'tarballs'));
});
after(() => rm(folder, { recursive: true }));

const readJson = async (...names) => JSON.parse(await readFile(path.join(...names), 'utf8'));

test('the version is the same in all files that say it', () => {
  assert.deepEqual(disagreements(), []);
});

test('the next version is a patch', () => {
  const [, minor, patch] = version().split('.');
  assert.deepEqual(nextPatch().split('.').slice(1), [minor, String(Number(patch) + 1)]);
});

test('THIRD_PARTY_LICENSES is what `npm run licenses` writes', async () => {
  assert.ok((await readFile(licensesPath, 'utf8')) === licenses(), 'run `npm run licenses`');
});

test('the packages name each other, their platform and their licenses', async () => {
  const main = await readJson(folder, 'stage', 'package.json');
  const names = platform.PUBLISHED.map((name) => [`hyperiondb-client-${name}`, version()]);
  assert.deepEqual(main.optionalDependencies, Object.fromEntries(names));
  assert.equal(main.devDependencies, undefined);
  assert.equal(main.scripts, undefined);
  const binary = await readJson(folder, 'stage', 'npm', abi, 'package.json');
  assert.equal(binary.name, `hyperiondb-client-${abi}`);
  assert.equal(binary.version, version());
  assert.deepEqual([binary.os, binary.cpu], [[process.platform], [process.arch]]);
  const libc = { gnu: ['glibc'], musl: ['musl'] }[abi.split('-')[2]];
  assert.deepEqual(binary.libc, libc);
  assert.deepEqual(binary.repository, main.repository);
  assert.ok(packed[abi].files.includes('THIRD_PARTY_LICENSES'));
  assert.ok(packed.main.files.every((name) => !/^(src|test|scripts)|Cargo/.test(name)));
});

test('a placeholder, and a binary of another platform, are refused', async () => {
  const placeholder = path.join(folder, `hyperiondb-client.${abi}.node`);
  await writeFile(placeholder, '');
  assert.match(faults(placeholder, abi)[0], /placeholder/);
  const stage = path.join(folder, 'refused');
  assert.throws(() => layOut(stage, { [abi]: placeholder }), /placeholder/);
  await truncate(placeholder, 1_000_000);
  assert.throws(() => faults(placeholder, abi), /is no native library/);
  for (const other of platform.PUBLISHED) {
    const found = faults(addonPath, other, asBuiltHere);
    assert.equal(found.length > 0, other !== abi, `${other}: ${found}`);
  }
});

test('what must not be in a package is refused, and more than it may weigh', async () => {
  const stage = path.join(folder, 'too-much');
  const tarballs = path.join(folder, 'too-much-packed');
  layOut(stage, {});
  const source = path.join(stage, 'js', 'pool.rs');
  await writeFile(source, 'fn main() {}');
  assert.throws(() => packAll(stage, tarballs), /holds js\/pool\.rs/);
  await rm(source);
  await writeFile(path.join(stage, 'js', 'large.cjs'), randomBytes(150_000));
  assert.throws(() => packAll(stage, tarballs), /has \d+ bytes packed/);
});

test('the addon has one export, and is small enough', async () => {
  assert.deepEqual(faults(addonPath, abi, asBuiltHere), []);
  const { exported, needed } = readBinary(await readFile(addonPath));
  assert.deepEqual(exported, ['napi_register_module_v1']);
  assert.ok(needed.length > 0);
  assert.ok(compareVersions('2.17', '2.4') > 0);
  assert.ok(compareVersions('2.2.5', '2.17') < 0);
  assert.ok(compareVersions('2.17', '2.17.1') < 0);
  assert.equal(compareVersions('2.17', '2.17'), 0);
});

test('packed, it installs without Rust in an empty folder and follows a failover', async () => {
  const project = await installed(path.join(folder, 'tarballs'));
  try {
    const servers = await startServers();
    try {
      queryInEachWay(project, servers.options);
      const said = await smoke({ ...project, command: [process.execPath], servers });
      assert.match(said, /"acknowledged":\d+/);
    } finally {
      await servers.close();
    }
  } finally {
    project.remove();
  }
});

test('the crates are checked for the platforms of the packages', async () => {
  const { napi } = await readJson(root, 'package.json');
  const [, list] = /^targets = \[([^\]]*)\]$/m.exec(
    await readFile(path.join(root, 'deny.toml'), 'utf8'),
  );
  const targets = [...list.matchAll(/"([^"]+)"/g)].map(([, target]) => target);
  assert.deepEqual(targets, napi.targets);
});

test('Dependabot is told each folder that has a lock file, and no other', async () => {
  const text = await readFile(path.join(root, '.github', 'dependabot.yml'), 'utf8');
  const locks = { cargo: 'Cargo.lock', npm: 'package-lock.json' };
  for (const [ecosystem, lock] of Object.entries(locks)) {
    const pattern = new RegExp(`package-ecosystem: ${ecosystem}\\n +directories: \\[(.*)\\]`);
    const said = pattern
      .exec(text)[1]
      .split(', ')
      .map((folder) => path.posix.join(folder, lock));
    const { stdout } = await promisify(execFile)('git', ['ls-files', lock, `**/${lock}`], {
      cwd: root,
    });
    const tracked = stdout
      .trim()
      .split('\n')
      .map((name) => `/${name}`);
    assert.deepEqual(said.sort(), tracked.sort());
  }
});

test('the workflows name the actions of others by their commits', async () => {
  const workflows = path.join(root, '.github', 'workflows');
  for (const name of await readdir(workflows)) {
    const text = await readFile(path.join(workflows, name), 'utf8');
    for (const [line, used] of text.matchAll(/^\s*(?:- )?uses: (.*)$/gm)) {
      if (used.startsWith('./')) continue;
      assert.match(used, /^[\w-]+\/[\w./-]+@[0-9a-f]{40} # v?\d/, `${name}: ${line}`);
    }
  }
});

test('[cd] in a commit releases it, and the commit of the release itself has none', async () => {
  const text = await readFile(path.join(root, '.github', 'workflows', 'release.yml'), 'utf8');
  assert.match(
    text,
    /^ {2}test:\n {4}if: contains\(github\.event\.head_commit\.message, '\[cd\]'\)$/m,
  );
  assert.match(text, /on:\n {2}push:\n {4}branches: \[main\]\n/);
  const [, message] = /git commit .*--message "(.*)"/.exec(text);
  assert.doesNotMatch(message, /\[cd\]/);
});
