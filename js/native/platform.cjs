'use strict';

// The binaries that exist, by the names that napi-rs gives them.

const fs = require('node:fs');
const { readElf } = require('./elf.cjs');

/** The published binaries, each as the package `hyperiondb-client-<abi>`. */
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
 * The binaries that a platform may run. On Linux this depends on the C library, glibc or musl,
 * which `process.arch` does not show.
 */
function abis(platform, arch) {
  if (platform === 'linux') return [`linux-${arch}-gnu`, `linux-${arch}-musl`];
  return [platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`];
}

/** The binary that this process runs. */
function ownAbi({ platform, arch } = process) {
  const [first, musl] = abis(platform, arch);
  return musl !== undefined && isMusl() === true ? musl : first;
}

/**
 * Whether musl is on this machine, even if this process does not use it. musl's loader has a fixed
 * path.
 */
function hasMusl(arch) {
  const cpu = { arm64: 'aarch64', x64: 'x86_64' }[arch] ?? arch;
  return isThere(`/lib/ld-musl-${cpu}.so.1`);
}

/** Under `--permission`, Node throws for a path that may not be read. */
function isThere(file) {
  try {
    return fs.existsSync(file);
  } catch {
    return false;
  }
}

/** Undefined if the file may not be read. */
function sizeOf(file) {
  try {
    return fs.statSync(file).size;
  } catch {
    return undefined;
  }
}

/** Whether this process uses musl. Undefined if that is not known. */
function isMusl() {
  // The program that loads Node's libraries shows the C library. Node's report names it too, but
  // before 20.13 the report looks up the names of all network peers.
  const { interpreter = '' } = readElf('/proc/self/exe') ?? {};
  if (interpreter.includes('/ld-musl-')) return true;
  return interpreter.includes('/ld-linux') ? false : reportsMusl();
}

/** glibc reports its version to Node, musl does not. */
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
