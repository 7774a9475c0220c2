'use strict';

// Which binaries there are, by the names that napi-rs gives them.

const fs = require('node:fs');
const { readElf } = require('./elf.cjs');

/** Those that are published, each as the package `hyperiondb-client-<abi>`. */
const PUBLISHED = Object.freeze([
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-x64-msvc',
]);

/**
 * What a platform may run. On Linux that depends on its C library, glibc or musl, which
 * `process.arch` does not tell.
 */
function abis(platform, arch) {
  if (platform === 'linux') return [`linux-${arch}-gnu`, `linux-${arch}-musl`];
  return [platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`];
}

/** The one that this process runs. */
function ownAbi({ platform, arch } = process) {
  const [first, musl] = abis(platform, arch);
  return musl !== undefined && isMusl() === true ? musl : first;
}

/** Whether musl is on this machine, whatever runs this process: its loader stands at one place. */
function hasMusl(arch) {
  const cpu = { arm64: 'aarch64', x64: 'x86_64' }[arch] ?? arch;
  return isThere(`/lib/ld-musl-${cpu}.so.1`);
}

/** Under `--permission` Node throws of what it may not read. */
function isThere(file) {
  try {
    return fs.existsSync(file);
  } catch {
    return false;
  }
}

/** Undefined where that can't be seen. */
function sizeOf(file) {
  try {
    return fs.statSync(file).size;
  } catch {
    return undefined;
  }
}

/** Undefined where that can't be told. */
function isMusl() {
  // The program that has loaded what Node needs tells the C library. Node's report tells it too,
  // but before 20.13 it looks up the names of all peers for that.
  const { interpreter = '' } = readElf('/proc/self/exe') ?? {};
  if (interpreter.includes('/ld-musl-')) return true;
  return interpreter.includes('/ld-linux') ? false : reportsMusl();
}

/** glibc tells Node its version, musl does not. */
function reportsMusl() {
  const { report } = process;
  try {
    const { excludeNetwork } = report;
    try {
      report.excludeNetwork = true;
      const { header } = report.getReport();
      return header.glibcVersionRuntime === undefined;
    } finally {
      report.excludeNetwork = excludeNetwork;
    }
  } catch {
    return undefined;
  }
}

module.exports = { PUBLISHED, abis, hasMusl, isMusl, isThere, ownAbi, sizeOf };
