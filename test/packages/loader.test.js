// How an installed package finds its binary, and its error where there is none.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { build as bundle } from 'esbuild';

import platform from '../../js/native/platform.cjs';
import { addonPath } from '../../scripts/build.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const { napi, version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'));

const created = [];
let project;
beforeEach(async () => {
  project = await realpath(await mkdtemp(path.join(tmpdir(), 'hyperion-loader-')));
  created.push(project);
  const main = path.join(project, 'node_modules', 'hyperiondb-client');
  await cp(path.join(root, 'js'), path.join(main, 'js'), { recursive: true });
  await copyFile(path.join(root, 'package.json'), path.join(main, 'package.json'));
});
afterEach(() => {
  project = undefined;
});
after(() => Promise.all(created.map((folder) => rm(folder, { recursive: true }))));

/**
 * Installs the package of a platform. Without an addon of its own, the package exports its name.
 */
async function install(abi, { addon, of = version, more = {} } = {}) {
  const name = `hyperiondb-client-${abi}`;
  const folder = path.join(project, 'node_modules', name);
  await mkdir(folder, { recursive: true });
  const main = addon === undefined ? 'index.js' : `hyperiondb-client.${abi}.node`;
  const about = { name, version: of, main, ...more };
  await writeFile(path.join(folder, 'package.json'), JSON.stringify(about));
  const file = path.join(folder, main);
  const stand = `module.exports = { abi: '${abi}', version: '${of}', createPool() {} };`;
  if (addon === undefined) await writeFile(file, stand);
  else await copyFile(addon, file);
  return file;
}

/** What the loader finds in a process that pretends to run on another platform. */
async function load({
  as = 'linux',
  arch = 'x64',
  isMusl = false,
  hasMusl = isMusl,
  reports = 'asked',
  report = '',
  program = '/proc/none',
  flags = [],
} = {}) {
  const source = `
    const [as, arch, isMusl, hasMusl] = ${JSON.stringify([as, arch, isMusl, hasMusl])};
    const fs = require('node:fs');
    const { existsSync } = fs;
    const { statSync, openSync } = fs;
    const read = (file) => (file === '/proc/self/exe' ? ${JSON.stringify(program)} : file);
    fs.statSync = (file, ...more) => statSync(read(file), ...more);
    fs.openSync = (file, ...more) => openSync(read(file), ...more);
    fs.existsSync = (file) => (file.startsWith('/lib/ld-musl-') ? hasMusl : existsSync(file));
    Object.defineProperty(process, 'platform', { value: as });
    Object.defineProperty(process, 'arch', { value: arch });
    process.report.getReport = () => {
      console.error(${JSON.stringify(reports)});
      return { header: isMusl ? {} : { glibcVersionRuntime: '2.36' } };
    };
    ${report};
    const { native } = require('./node_modules/hyperiondb-client/js/native/loader.cjs');
    try {
      const addon = native();
      console.log(addon.abi ?? typeof addon.createPool);
    } catch (error) {
      console.log(error.code + ' ' + error.message);
    }`;
  return run(process.execPath, [...flags, '--eval', source], { cwd: project });
}

test('the names in the loader are those of the packages that are released', async () => {
  const names = napi.targets.map((triple) => {
    const [cpu, , system, library] = triple.split('-');
    const arch = { x86_64: 'x64', aarch64: 'arm64' }[cpu];
    return [{ windows: 'win32' }[system] ?? system, arch, library].filter(Boolean).join('-');
  });
  assert.deepEqual(names.sort(), [...platform.PUBLISHED].sort());
  const source = await readFile(path.join(root, 'js', 'native', 'loader.cjs'), 'utf8');
  const literals = [...source.matchAll(/require\('hyperiondb-client-([\w-]+)'\)/g)];
  assert.deepEqual(literals.map(([, abi]) => abi).sort(), [...platform.PUBLISHED].sort());
});

for (const abi of platform.PUBLISHED) {
  test(`the package of ${abi} is found`, async () => {
    await install(abi);
    const [as, arch, library] = abi.split('-');
    const { stdout, stderr } = await load({ as, arch, isMusl: library === 'musl' });
    assert.equal(stdout, `${abi}\n`);
    assert.equal(stderr, '', 'nobody asks for the C library where there is one package');
  });
}

test('the C library decides where there are packages for both', async () => {
  await install('linux-x64-gnu');
  await install('linux-x64-musl');
  assert.equal((await load()).stdout, 'linux-x64-gnu\n');
  assert.equal((await load({ isMusl: true })).stdout, 'linux-x64-musl\n');
});

test('where musl is, the binary for glibc is asked for by no process that runs on it', async () => {
  await install('linux-arm64-gnu');
  const onMusl = { arch: 'arm64', isMusl: true };
  assert.match((await load(onMusl)).stdout, /^HYPERION_NO_BINARY .*linux-arm64/);
  // Both C libraries may be on one machine.
  const onGnu = { arch: 'arm64', hasMusl: true };
  assert.equal((await load(onGnu)).stdout, 'linux-arm64-gnu\n');
});

/** A Linux program, reduced to the part that names its loader. */
async function programBy(interpreter) {
  const bytes = Buffer.alloc(64 + 56 + 100);
  bytes.write('\x7fELF\x02\x01', 'latin1');
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(3, 64);
  bytes.writeBigUInt64LE(120n, 64 + 8);
  bytes.writeBigUInt64LE(BigInt(interpreter.length + 1), 64 + 32);
  bytes.write(`${interpreter}\0`, 120);
  const file = path.join(project, 'program');
  await writeFile(file, bytes);
  return file;
}

test('who loads what Node needs tells the C library, and no report is asked', async () => {
  for (const abi of ['linux-x64-gnu', 'linux-x64-musl']) await install(abi);
  const loaders = {
    '/lib/ld-musl-x86_64.so.1': 'musl',
    '/lib64/ld-linux-x86-64.so.2': 'gnu',
    '/lib/ld-linux-aarch64.so.1': 'gnu',
    '/nix/store/x-glibc-2.40/lib/ld-linux-x86-64.so.2': 'gnu',
  };
  for (const [interpreter, library] of Object.entries(loaders)) {
    const program = await programBy(interpreter);
    const { stdout, stderr } = await load({ program, isMusl: library === 'gnu' });
    assert.deepEqual([stdout, stderr], [`linux-x64-${library}\n`, ''], interpreter);
  }
  // If the program does not show its C library, the diagnostic report does.
  for (const program of [
    await programBy('/usr/lib/other.so'),
    root,
    path.join(root, 'README.md'),
  ]) {
    const { stdout, stderr } = await load({ program, isMusl: true });
    assert.deepEqual([stdout, stderr], ['linux-x64-musl\n', 'asked\n'], program);
  }
});

test('a report that tells nothing of the C library is in nobody’s way', async () => {
  const broken = [
    'Object.defineProperty(process, "report", { value: undefined })',
    'process.report.getReport = () => { throw new Error("no report") }',
    'process.report.getReport = () => null',
    'process.report.getReport = () => ({})',
    'process.report.getReport = () => "no object"',
  ];
  for (const report of broken) {
    const { stdout } = await load({ report });
    assert.match(stdout, /^HYPERION_NO_BINARY hyperiondb-client has no binary/, report);
  }
  for (const abi of ['linux-x64-gnu', 'linux-x64-musl']) await install(abi);
  for (const report of broken) {
    assert.equal((await load({ report })).stdout, 'linux-x64-gnu\n', report);
  }
});

test('a binary that lies beside package.json from another version is passed over', async () => {
  const abi = platform.ownAbi();
  const main = path.join(project, 'node_modules', 'hyperiondb-client');
  await copyFile(addonPath, path.join(main, `hyperiondb-client.${abi}.node`));
  const of = '9.9.9';
  await writeFile(
    path.join(main, 'package.json'),
    JSON.stringify({ name: 'hyperiondb-client', version: of }),
  );
  const as = { as: process.platform, arch: process.arch, isMusl: abi.endsWith('musl') };
  const alone = await load(as);
  assert.match(alone.stdout, /^HYPERION_NO_BINARY/);
  assert.ok(alone.stdout.includes(`.node: is of version ${version}, and hyperiondb-client is of`));
  await install(abi, { of });
  assert.equal((await load(as)).stdout, `${abi}\n`);
});

test('what is no addon of this package is named, and not called', async () => {
  await install('linux-x64-gnu');
  const file = path.join(project, 'node_modules', 'hyperiondb-client-linux-x64-gnu', 'index.js');
  for (const other of ['{}', 'null', '"./addon-3f2a.node"', '{ createPool() {} }']) {
    await writeFile(file, `module.exports = ${other};`);
    const { stdout } = await load();
    assert.match(stdout, /^HYPERION_NO_BINARY/);
    assert.match(stdout, /x64-gnu: (is no addon of hyperiondb-client|names no version)/, other);
  }
});

test('where Node is told to load no addons, the error says what allows them', async () => {
  const abi = platform.ownAbi();
  await install(abi, { addon: addonPath });
  const { platform: as, arch } = process;
  const { stdout } = await load({ as, arch, flags: ['--no-addons'] });
  assert.match(stdout, /^HYPERION_NO_BINARY[^]*`--allow-addons`/);
  assert.doesNotMatch(stdout, /Install it/);
});

test('the addon itself loads from its package', async () => {
  await install(platform.ownAbi(), { addon: addonPath });
  const { platform: as, arch } = process;
  const { stdout } = await load({ as, arch });
  assert.equal(stdout, 'function\n');
});

test('without its package the error says what was looked for, and what to install', async () => {
  const { stdout } = await load();
  assert.match(stdout, /^HYPERION_NO_BINARY hyperiondb-client has no binary for linux-x64\./);
  const main = path.join(project, 'node_modules', 'hyperiondb-client');
  for (const abi of ['linux-x64-gnu', 'linux-x64-musl']) {
    assert.ok(stdout.includes(`\n  ${path.join(main, `hyperiondb-client.${abi}.node`)}: no such`));
    assert.ok(stdout.includes(`\n  hyperiondb-client-${abi}: Cannot find module`));
  }
  assert.ok(stdout.includes(forNow('linux-x64-gnu')));
  assert.match(stdout, /--omit=optional.*for good, remove node_modules and package-lock\.json/);
  const musl = await load({ isMusl: true });
  assert.ok(musl.stdout.includes(forNow('linux-x64-musl')));
});

/** What npm writes into `dependencies` is required on every platform, and fits one. */
function forNow(abi) {
  return `or now: \`npm install --no-save hyperiondb-client-${abi}@${version}\``;
}

test('node_modules from a system with another C library are said to be that', async () => {
  const empty = path.join(project, 'empty.node');
  await writeFile(empty, '');
  const [gnu, musl] = ['linux-x64-gnu', 'linux-x64-musl'];
  const said = (there, needed) =>
    `\nhyperiondb-client-${there} is there, and this process needs hyperiondb-client-${needed}: ` +
    'node_modules comes from a system with another C library. F' +
    forNow(needed);
  await install(musl, { addon: empty });
  const onGnu = await load();
  assert.ok(onGnu.stdout.includes(said(musl, gnu)), onGnu.stdout);
  // If the package's own binary is refused, the error is another one.
  await install(gnu, { addon: empty });
  const refused = await load();
  assert.match(refused.stdout, /\nhyperiondb-client-linux-x64-gnu is there, and this system/);
  await rm(path.join(project, 'node_modules', `hyperiondb-client-${musl}`), { recursive: true });
  const onMusl = await load({ isMusl: true });
  assert.ok(onMusl.stdout.includes(said(gnu, musl)), onMusl.stdout);
});

const permission = ['--permission', '--experimental-permission'].find((flag) =>
  process.allowedNodeEnvironmentFlags.has(flag),
);

test('a process that may read nothing but its own folder loads the addon', async () => {
  await install(platform.ownAbi(), { addon: addonPath });
  const app = path.join(project, 'app.cjs');
  await writeFile(
    app,
    `const { native } = require('./node_modules/hyperiondb-client/js/native/loader.cjs');
    console.log(process.permission.has('fs.read', '/lib'), typeof native().createPool);`,
  );
  const allowed = ['--allow-addons', `--allow-fs-read=${path.join(project, '*')}`];
  const { stdout } = await run(process.execPath, [permission, ...allowed, app]);
  assert.equal(stdout, 'false function\n');
});

test('node_modules from another platform are said to be that', async () => {
  await install('darwin-arm64');
  const { stdout } = await load();
  const said =
    '\nhyperiondb-client-darwin-arm64 is there, and this process needs hyperiondb-client-linux-x64-gnu: ' +
    'node_modules comes from a system of darwin-arm64. F';
  assert.ok(stdout.includes(said + forNow('linux-x64-gnu')), stdout);
  // Without a package for this platform, that advice would not help.
  assert.match((await load({ arch: 'riscv64' })).stdout, /\nThere are binaries for darwin-arm64, /);
  // An x64 Node on Apple silicon.
  assert.match(
    (await load({ as: 'darwin' })).stdout,
    /process needs hyperiondb-client-darwin-x64:/,
  );
});

test('on a platform without a package the error lists those that there are', async () => {
  const { stdout } = await load({ as: 'linux', arch: 'riscv64' });
  for (const abi of platform.PUBLISHED) assert.ok(stdout.includes(abi));
  assert.match(stdout, /hyperiondb-client\.linux-riscv64-gnu\.node/);
  assert.match(stdout, /npm run build/);
});

test('a binary that does not load is named, with the reason', async () => {
  const empty = path.join(project, 'empty.node');
  await writeFile(empty, '');
  const abi = platform.ownAbi();
  await install(abi, { addon: empty });
  const { platform: as, arch } = process;
  const { stdout } = await load({ as, arch, isMusl: abi.endsWith('musl') });
  assert.match(stdout, /^HYPERION_NO_BINARY/);
  assert.match(stdout, new RegExp(`\\n {2}hyperiondb-client-${abi}: .+`));
  assert.doesNotMatch(stdout, new RegExp(`hyperiondb-client-${abi}: Cannot find`));
  assert.match(
    stdout,
    new RegExp(`\\nhyperiondb-client-${abi} is there, and this system does not`),
  );
});

/** As on each system: `as` would have the loader look for another one. */
const here = {
  as: process.platform,
  arch: process.arch,
  isMusl: platform.ownAbi().endsWith('musl'),
};

test('a binary that is cut off is refused before it can end the process', async () => {
  const abi = platform.ownAbi();
  const whole = await readFile(addonPath);
  const file = await install(abi, { addon: addonPath, more: { binaryBytes: whole.length } });
  const main = path.join(project, 'node_modules', 'hyperiondb-client');
  for (const length of [1_000_000, 4096, 600, 0]) {
    await truncate(file, length);
    const { stdout } = await load(here);
    assert.match(stdout, /^HYPERION_NO_BINARY/, `${length} of ${whole.length} bytes`);
    assert.ok(stdout.includes(`is not whole, ${length} bytes of ${whole.length}. `), stdout);
    assert.match(stdout, /remove node_modules, .* and run `npm install`/);
    if (process.platform === 'linux' && length >= 4096) {
      assert.ok(
        stdout.includes(`${file} is cut off: it has ${length} bytes instead of ${whole.length}`),
      );
    }
    await writeFile(file, whole);
  }
  // A binary whose package does not name its size, and a binary beside package.json.
  await install(abi, { addon: addonPath });
  await truncate(file, 1_000_000);
  const unsaid = await load(here);
  assert.match(unsaid.stdout, /^HYPERION_NO_BINARY/);
  await copyFile(file, path.join(main, `hyperiondb-client.${abi}.node`));
  const beside = await load(here);
  assert.match(beside.stdout, /^HYPERION_NO_BINARY/);
  await writeFile(file, whole);
  assert.equal((await load(here)).stdout, 'function\n', 'the package is whole');
});

const onLinux = {
  skip: process.platform === 'linux' ? false : 'only Linux maps what is not there',
};

test(
  'a binary whose end was never written is refused before it can end the process',
  onLinux,
  async () => {
    const whole = await readFile(addonPath);
    const abi = platform.ownAbi();
    const file = await install(abi, { addon: addonPath, more: { binaryBytes: whole.length } });
    await writeFile(file, Buffer.from(whole).fill(0, 1_000_000));
    const { stdout } = await load(here);
    assert.match(stdout, /^HYPERION_NO_BINARY/);
    assert.ok(stdout.includes(`${file} was not written to its end`), stdout);
    assert.match(stdout, /is not whole\. .*run `npm install`/);
  },
);

test('a binary that somebody has changed on purpose loads', async () => {
  const whole = await readFile(addonPath);
  const abi = platform.ownAbi();
  const file = await install(abi, { addon: addonPath });
  // A binary that was signed, patched with a longer library path, or stripped, and a package with
  // wrong information.
  const sizes = [whole.length - 1, whole.length, whole.length + 1, 0, -1, 'many', null, [1], {}];
  for (const binaryBytes of sizes) {
    await install(abi, { addon: addonPath, more: { binaryBytes } });
    assert.equal((await load(here)).stdout, 'function\n', String(binaryBytes));
  }
  if (process.platform !== 'linux') return;
  // Without section headers, which only tools read.
  const stripped = Buffer.from(whole);
  stripped.fill(0, 40, 48).fill(0, 58, 64);
  await writeFile(file, stripped);
  assert.equal((await load(here)).stdout, 'function\n');
});

test('what stands where the binary should be, and is none, is named', async () => {
  const abi = platform.ownAbi();
  const file = await install(abi, { addon: addonPath, more: { binaryBytes: 2_000_000 } });
  await rm(file);
  await mkdir(file);
  const folder = await load(here);
  assert.match(folder.stdout, /^HYPERION_NO_BINARY/);
  const name = `hyperiondb-client-${abi}`;
  assert.ok(folder.stdout.includes(`\n  ${name}: Cannot find module`), folder.stdout);
  const anew = new RegExp(
    `\n${name} is there, and is not whole\\. .*remove node_modules, .* \`npm install\``,
  );
  assert.match(folder.stdout, anew);
  await rm(file, { recursive: true });
  // A virus scanner may remove files.
  const gone = await load(here);
  assert.match(gone.stdout, anew);
  assert.doesNotMatch(gone.stdout, /npm install --no-save/, 'for npm it is there');
  await writeFile(file, '<html>The proxy wants to know who you are.</html>');
  assert.match(
    (await load(here)).stdout,
    /^HYPERION_NO_BINARY[^]* is not whole, 49 bytes of 2000000/,
  );
  const about = path.join(path.dirname(file), 'package.json');
  const whole = await readFile(about, 'utf8');
  for (const cut of ['', whole.slice(0, 40)]) {
    await writeFile(about, cut);
    const { stdout } = await load(here);
    assert.match(stdout, anew);
    assert.ok(stdout.includes(about));
  }
  if (process.platform !== 'linux') return;
  // For another processor, complete and of the right size.
  const foreign = await readFile(addonPath);
  foreign.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18);
  await install(abi, { addon: addonPath, more: { binaryBytes: foreign.length } });
  await writeFile(file, foreign);
  const other = await load(here);
  assert.match(other.stdout, /^HYPERION_NO_BINARY/);
  assert.ok(other.stdout.includes(`\nhyperiondb-client-${abi} is there, and this system does not`));
});

test('a binary of another version is refused', async () => {
  await install('linux-x64-gnu', { of: '9.9.9' });
  const { stdout } = await load();
  assert.match(stdout, /^HYPERION_NO_BINARY/);
  assert.ok(stdout.includes(`is of version 9.9.9, and hyperiondb-client is of ${version}`));
});

for (const format of ['cjs', 'esm']) {
  test(`a bundle, as ${format}, that leaves the package outside loads the addon`, async () => {
    await install(platform.ownAbi(), { addon: addonPath });
    const outfile = path.join(project, `app.${format === 'esm' ? 'mjs' : 'cjs'}`);
    const stdin = {
      contents: `
        import { createPool } from 'hyperiondb-client';
        const pool = createPool({ user: 'u' });
        pool.end().then(() => console.log('ended'));`,
      resolveDir: project,
    };
    const external = ['hyperiondb-client'];
    const options = { bundle: true, platform: 'node', logLevel: 'silent' };
    await bundle({ stdin, outfile, format, external, ...options });
    const { stdout } = await run(process.execPath, [outfile]);
    assert.equal(stdout, 'ended\n');
  });
}

test('a bundler that copies addons finds the package by its name, and errors show their caller', async () => {
  await install(platform.ownAbi(), { addon: addonPath });
  const stdin = {
    contents: `
      const { createPool } = require('hyperiondb-client');
      function caller() {
        try { createPool({ user: 5 }) } catch (error) { return error; }
      }
      console.log(/at caller /.test(caller().stack));
      createPool({ user: 'u' }).end().then(() => console.log('ended'));`,
    resolveDir: project,
  };
  const outdir = path.join(project, 'out');
  const loader = { '.node': 'copy' };
  const options = { bundle: true, platform: 'node', format: 'cjs', logLevel: 'silent' };
  const { outputFiles } = await bundle({ stdin, outdir, loader, ...options, write: false });
  assert.ok(outputFiles.some(({ path: file }) => file.endsWith('.node')));
  await mkdir(outdir);
  await Promise.all(outputFiles.map(({ path: file, contents }) => writeFile(file, contents)));
  await rm(path.join(project, 'node_modules'), { recursive: true });
  const { stdout } = await run(process.execPath, [path.join(outdir, 'stdin.js')]);
  // The bundle has the user's code and the package's in one folder.
  assert.equal(stdout, 'true\nended\n');
});
