// Finds and loads the addon, or says clearly why there is none, before any native code runs.

'use strict';

const { existsSync } = require('node:fs');
const path = require('node:path');

const OLDEST_NODE = 20;

/** `linux-x64`, `linux-x64-musl`, `darwin-arm64`, `win32-x64` ... */
function platformName() {
  const musl =
    process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime;
  return `${process.platform}-${process.arch}${musl ? '-musl' : ''}`;
}

function refuseRuntime() {
  if (process.versions.bun) {
    throw new Error(
      "hyperiondb-client does not run in Bun: it lives on libuv's event loop, and uv_poll_init ends the " +
        'process there. Use Node.js 20 or newer.',
    );
  }
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    throw new Error(
      `hyperiondb-client needs Node.js ${OLDEST_NODE} or newer; this is ${process.version}.`,
    );
  }
}

let addon;

/** Loads the addon at the first call. */
function native() {
  if (addon) return addon;
  refuseRuntime();
  const name = platformName();
  const built = path.join(__dirname, '..', `hyperiondb-client.${name}.node`);
  if (existsSync(built)) return (addon = require(built));
  const prebuilt = `@hyperiondb/client-${name}`;
  try {
    return (addon = require(prebuilt));
  } catch (cause) {
    if (cause.code !== 'MODULE_NOT_FOUND') throw cause;
    throw new Error(
      `hyperiondb-client has no binary for ${name}: neither ${built} nor the package ${prebuilt} exists. ` +
        'Build one with `npm run build`, which needs a Rust toolchain (https://rustup.rs).',
      { cause },
    );
  }
}

module.exports = { native, platformName };
