'use strict';

// Which binaries there are, by the names that napi-rs gives them.

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

/** What a platform may run. On Linux that depends on its C library, glibc or musl, which `process.arch` does not tell. */
function abis(platform, arch) {
  if (platform === 'linux') return [`linux-${arch}-gnu`, `linux-${arch}-musl`];
  return [platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`];
}

/** The one that this process runs. */
function ownAbi({ platform, arch } = process) {
  const [first, musl] = abis(platform, arch);
  return musl !== undefined && isMusl() ? musl : first;
}

/** glibc tells Node its version, musl does not. */
function isMusl() {
  const { report } = process;
  const { excludeNetwork } = report;
  try {
    // Else the report looks up the name of every peer.
    report.excludeNetwork = true;
    return report.getReport().header.glibcVersionRuntime === undefined;
  } finally {
    report.excludeNetwork = excludeNetwork;
  }
}

module.exports = { PUBLISHED, abis, isMusl, ownAbi };
