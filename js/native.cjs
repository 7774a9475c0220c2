'use strict';

// Finds and loads the addon, or says clearly why it can't be had. Nothing native is touched before.

const fs = require('node:fs');
const path = require('node:path');
const { REMEDY } = require('./bundled.cjs');
const { classes } = require('./errors.cjs');

const OLDEST_NODE = 20;

let addon;

function native() {
  addon ??= load(process);
  return addon;
}

function load({ versions, platform, arch }) {
  const wrong = wrongRuntime(versions);
  if (wrong !== null) throw unsupported(wrong, 'HYPERION_UNSUPPORTED_RUNTIME');
  const looked = [];
  for (const candidate of candidates(platform, arch)) {
    try {
      if (candidate.isFile && !fs.existsSync(candidate.name)) throw new Error('no such file');
      return require(candidate.name);
    } catch (error) {
      looked.push(`  ${candidate.name}: ${firstLine(error)}`);
    }
  }
  const remedy = isBundled()
    ? `${REMEDY}.`
    : 'To build one, install Rust (https://rustup.rs) and run ' +
      '`npm explore hyperiondb-client -- npm run build`.';
  const message = `hyperiondb-client has no binary for ${platform}-${arch}. Looked for:\n${looked.join('\n')}\n${remedy}`;
  throw unsupported(message, 'HYPERION_NO_BINARY');
}

function wrongRuntime(versions) {
  if (versions.bun !== undefined) {
    // Bun ends the process when an addon uses libuv's polling.
    return `hyperiondb-client does not run in Bun (${versions.bun}), which lacks uv_poll: use Node.js`;
  }
  if (versions.deno !== undefined) {
    // Deno's stand-in for libuv tells a polled descriptor once and never again, and crashes when the addon's timer is due.
    return `hyperiondb-client does not run in Deno (${versions.deno}), whose uv_poll tells of a socket only once: use Node.js`;
  }
  if (Number.parseInt(versions.node, 10) < OLDEST_NODE) {
    return `hyperiondb-client needs Node.js ${OLDEST_NODE} or newer, not ${versions.node}`;
  }
  return null;
}

/**
 * The binary that was built here comes before the published one. Where the C library is musl the other
 * one's binary does not load, and the search goes on; so nobody has to find out which it is.
 */
function candidates(platform, arch) {
  const target = `${platform}-${arch}`;
  const targets = platform === 'linux' ? [target, `${target}-musl`] : [target];
  const root = path.join(folder(), '..');
  return [
    ...targets.map((t) => ({ name: path.join(root, `hyperiondb-client.${t}.node`), isFile: true })),
    ...targets.map((t) => ({ name: `@hyperiondb/client-${t}`, isFile: false })),
  ];
}

/** Whether this file has become a part of another one, so that the package's own folder is not around it. */
function isBundled() {
  try {
    return require(path.join(folder(), '..', 'package.json')).name !== 'hyperiondb-client';
  } catch {
    return true;
  }
}

/** Where this file is; in a bundle of ES modules there is no such name. */
function folder() {
  return typeof __dirname === 'string' ? __dirname : '';
}

function firstLine(error) {
  return String(error.message).split('\n', 1)[0];
}

function unsupported(message, code) {
  return new classes.ConfigurationError(message, { code });
}

module.exports = { native, load };
