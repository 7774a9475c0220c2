// The packages of a release: one version everywhere, the right files in each package, and an
// installation in an empty folder without Rust. `npm run release:dry` does the same with binaries
// for old systems and for other platforms.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import platform from '../../js/native/platform.cjs';
import { addonPath } from '../../scripts/build.js';
import { licenses, licensesPath } from '../../scripts/licenses.js';
import { compareVersions, readBinary } from '../../scripts/release/binary.js';
import { faults } from '../../scripts/release/gates.js';
import { installed, queryInEachWay, smoke } from '../../scripts/release/install.js';
import { layOut, packAll } from '../../scripts/release/packages.js';
import { startServers } from '../../scripts/release/servers.js';
import { disagreements, nextPatch, version } from '../../scripts/release/versions.js';
import { builtFrom, sourcesHash } from '../../scripts/sources.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
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

test('the next version is a patch, or the one that was chosen', () => {
  assert.equal(nextPatch('0.3.9'), '0.3.10');
  assert.equal(nextPatch('1.0.0-0'), '1.0.0');
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
  assert.equal(binary.binaryBytes, (await stat(addonPath)).size);
  assert.deepEqual(binary.repository, main.repository);
  for (const { publishConfig } of [main, binary]) assert.equal(publishConfig.access, 'public');
  const index = await readJson(folder, 'tarballs', 'index.json');
  for (const { about } of Object.values(index)) assert.equal(about.publishConfig.access, 'public');
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
  assert.deepEqual(faults(placeholder, abi), ['is no native library']);
  for (const other of platform.PUBLISHED) {
    const found = faults(addonPath, other, asBuiltHere);
    assert.equal(found.length > 0, other !== abi, `${other}: ${found}`);
  }
});

test('a binary that is cut off is refused by the name of its file', async () => {
  const whole = await readFile(addonPath);
  const file = path.join(folder, `hyperiondb-client.${abi}.node`);
  const stage = path.join(folder, 'cut');
  for (const length of [whole.length - 1, whole.length - 1000, whole.length >> 1, 600_000]) {
    await writeFile(file, whole.subarray(0, length));
    assert.match(faults(file, abi).join(), /^is cut off/, `${length} of ${whole.length} bytes`);
    const refused = new RegExp(`^Error: hyperiondb-client\\.${abi}\\.node is cut off`);
    assert.throws(() => layOut(stage, { [abi]: file }, asBuiltHere), refused);
  }
  // Binaries of other systems: a section or a segment that ends behind the file.
  const windows = Buffer.alloc(1024);
  windows.write('MZ', 'latin1');
  windows.writeUInt32LE(64, 0x3c);
  windows.writeUInt16LE(0x8664, 68);
  windows.writeUInt16LE(1, 70);
  windows.writeUInt32LE(2048, 88 + 16);
  assert.throws(() => readBinary(windows), /^Error: is cut off/);
  const mac = Buffer.alloc(1024);
  mac.writeUInt32LE(0xfeedfacf, 0);
  mac.writeUInt32LE(0x01000007, 4);
  mac.writeUInt32LE(1, 16);
  mac.writeUInt32LE(0x19, 32);
  assert.throws(() => readBinary(mac), /^Error: is cut off/, 'a command without a length');
  mac.writeUInt32LE(72, 36);
  assert.equal(readBinary(mac).arch, 'x64');
  mac.writeBigUInt64LE(2048n, 32 + 48);
  assert.throws(() => readBinary(mac), /^Error: is cut off/);
});

test('a target that there is none of is refused by the list of those that there are', async () => {
  const dry = path.join(root, 'scripts', 'release', 'index.js');
  for (const wrong of ['--targets=linux-x64', '--targets=', '--target=linux-x64-gnu']) {
    const { code, stderr } = await promisify(execFile)(process.execPath, [dry, wrong]).catch(
      (it) => it,
    );
    assert.equal(code, 2, wrong);
    assert.match(stderr, /^(no such target: .*There are darwin-arm64,|Unknown option)/);
  }
});

/** A binary that names other sources. */
async function saying(name, change) {
  const bytes = await readFile(addonPath);
  const own = sourcesHash();
  const at = bytes.indexOf(own, 0, 'latin1');
  assert.ok(at > 0, 'the addon says what it was built from');
  const said = change(own);
  assert.equal(said.length, own.length);
  bytes.write(said, at, 'latin1');
  const file = path.join(folder, name, path.basename(addonPath));
  await mkdir(path.dirname(file));
  await writeFile(file, bytes);
  return file;
}

test('a binary of other sources is refused, and so is one that does not say which', async () => {
  assert.equal(builtFrom(await readFile(addonPath)), sourcesHash());
  const other = await saying('of-others', (own) => `${'0'.repeat(12)}${own.slice(12)}`);
  const said =
    'was built from other sources (000000000000) than those that are here: build it anew';
  assert.deepEqual(faults(other, abi, asBuiltHere), [said]);
  assert.deepEqual(
    faults(other, abi, { ...asBuiltHere, sources: builtFrom(await readFile(other)) }),
    [],
  );
  const refused = new RegExp(`hyperiondb-client\\.${abi}\\.node was built from other sources`);
  assert.throws(() => layOut(path.join(folder, 'not'), { [abi]: other }, asBuiltHere), refused);
  const silent = await saying('silent', (own) => '?'.repeat(own.length));
  const unsaid = 'does not say what it was built from: build it anew';
  assert.deepEqual(faults(silent, abi, asBuiltHere), [unsaid]);
});

test('the hash of the sources is that of what is compiled, on each system', async () => {
  const copy = path.join(folder, 'sources');
  const files = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo', 'scripts/sources.js'];
  for (const name of [...files, 'package.json']) {
    await cp(path.join(root, name), path.join(copy, name), { recursive: true });
  }
  const print = `import('./scripts/sources.js').then((it) => console.log(it.sourcesHash()))`;
  const hash = async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', print], { cwd: copy });
    return stdout.trim();
  };
  const own = sourcesHash();
  assert.equal(await hash(), own);
  // Files that are not sources do not count, nor do the line ends that git writes on Windows.
  await writeFile(path.join(copy, 'README.md'), 'Another commit.');
  await writeFile(path.join(copy, 'src', '.lib.rs.swp'), 'An editor.');
  const lock = path.join(copy, 'Cargo.lock');
  await writeFile(lock, (await readFile(lock, 'utf8')).replaceAll('\n', '\r\n'));
  assert.equal(await hash(), own);
  const changes = [
    'src/pool/more.rs',
    'Cargo.toml',
    'Cargo.lock',
    'build.rs',
    '.cargo/config.toml',
  ];
  const seen = new Set([own]);
  for (const name of changes) {
    await appendFile(path.join(copy, name), '\n');
    seen.add(await hash());
  }
  assert.equal(seen.size, changes.length + 1);
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
    const program = path.join(project.folder, 'node_modules', '.bin', 'hyperiondb-client');
    const shell = process.platform === 'win32';
    const said = execFileSync(program, ['--version'], { encoding: 'utf8', shell });
    assert.equal(said.trim(), version());
    const servers = await startServers();
    try {
      queryInEachWay(project, servers.options);
      const seen = await smoke({ ...project, command: [process.execPath], servers });
      assert.match(seen, /"acknowledged":\d+/);
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
