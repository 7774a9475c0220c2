'use strict';

// Finds and loads the addon, or says clearly why it can't be had. Nothing native is touched before.

const fs = require('node:fs');
const path = require('node:path');
const { REMEDY } = require('./bundled.cjs');
const { classes } = require('./errors.cjs');
const { abis, isMusl, ownAbi, PUBLISHED } = require('./platform.cjs');

const OLDEST_NODE = 20;
const REPOSITORY = 'https://github.com/hyperiondb/hyperiondb-client';

let addon;

function native() {
  addon ??= load(process);
  return addon;
}

function load({ versions, platform, arch }) {
  const wrong = wrongRuntime(versions);
  if (wrong !== null) throw unsupported(wrong, 'HYPERION_UNSUPPORTED_RUNTIME');
  const possible = abis(platform, arch);
  const looked = [];
  for (const source of [BUILT, INSTALLED]) {
    for (const abi of fitting(possible, source)) {
      const found = source.load(abi, (error) => {
        looked.push(`  ${source.name(abi)}: ${firstLine(error)}`);
      });
      if (found !== undefined) return found;
    }
  }
  const message =
    `hyperiondb-client has no binary for ${platform}-${arch}. Looked for:\n` +
    `${looked.join('\n')}\n${remedy(platform, arch)}`;
  throw unsupported(message, 'HYPERION_NO_BINARY');
}

function wrongRuntime(versions) {
  if (versions.bun !== undefined) {
    // Bun ends the process when an addon uses libuv's polling.
    return `hyperiondb-client does not run in Bun (${versions.bun}), which lacks uv_poll: use Node.js`;
  }
  if (versions.deno !== undefined) {
    // Deno's stand-in for libuv tells a polled descriptor once and never again, and crashes when
    // the addon's timer is due.
    return `hyperiondb-client does not run in Deno (${versions.deno}), whose uv_poll tells of a socket only once: use Node.js`;
  }
  if (Number.parseInt(versions.node, 10) < OLDEST_NODE) {
    return `hyperiondb-client needs Node.js ${OLDEST_NODE} or newer, not ${versions.node}`;
  }
  return null;
}

/**
 * A binary for the other C library does not load, and the search goes on: so nobody has to find out which library it is. But
 * Alpine's gcompat may let one for glibc load, which then does not run.
 */
function fitting(possible, source) {
  if (possible.length === 1 || !possible.every(source.isThere)) return possible;
  return possible.filter((abi) => abi.endsWith('-musl') === isMusl());
}

/** What `npm run build` puts beside package.json. */
const BUILT = {
  name: (abi) => path.join(folder(), '..', `hyperiondb-client.${abi}.node`),
  isThere: (abi) => fs.existsSync(BUILT.name(abi)),
  load(abi, failed) {
    try {
      if (!BUILT.isThere(abi)) throw new Error('no such file');
      return require(BUILT.name(abi));
    } catch (error) {
      return failed(error);
    }
  },
};

const INSTALLED = {
  name: (abi) => `hyperiondb-client-${abi}`,
  isThere(abi) {
    try {
      return require.resolve(INSTALLED.name(abi)) !== '';
    } catch {
      return false;
    }
  },
  /** The names stand here as they are, and within `try`: so bundlers and tracers of files see them, and let them be missing. */
  load(abi, failed) {
    try {
      switch (abi) {
        case 'darwin-arm64':
          return (
            isOurs(require('hyperiondb-client-darwin-arm64/package.json')) &&
            require('hyperiondb-client-darwin-arm64')
          );
        case 'darwin-x64':
          return (
            isOurs(require('hyperiondb-client-darwin-x64/package.json')) &&
            require('hyperiondb-client-darwin-x64')
          );
        case 'linux-arm64-gnu':
          return (
            isOurs(require('hyperiondb-client-linux-arm64-gnu/package.json')) &&
            require('hyperiondb-client-linux-arm64-gnu')
          );
        case 'linux-arm64-musl':
          return (
            isOurs(require('hyperiondb-client-linux-arm64-musl/package.json')) &&
            require('hyperiondb-client-linux-arm64-musl')
          );
        case 'linux-x64-gnu':
          return (
            isOurs(require('hyperiondb-client-linux-x64-gnu/package.json')) &&
            require('hyperiondb-client-linux-x64-gnu')
          );
        case 'linux-x64-musl':
          return (
            isOurs(require('hyperiondb-client-linux-x64-musl/package.json')) &&
            require('hyperiondb-client-linux-x64-musl')
          );
        case 'win32-x64-msvc':
          return (
            isOurs(require('hyperiondb-client-win32-x64-msvc/package.json')) &&
            require('hyperiondb-client-win32-x64-msvc')
          );
        default:
          throw new Error('there is no such package');
      }
    } catch (error) {
      return failed(error);
    }
  },
};

/** The two halves share memory, and so have to be of one version. */
function isOurs({ version }) {
  const own = require('../package.json').version;
  if (version === own) return true;
  throw new Error(`is of version ${version}, and hyperiondb-client of ${own}`);
}

function remedy(platform, arch) {
  if (isBundled()) return `${REMEDY}.`;
  const { version } = require('../package.json');
  const rust = '`npm run build`, which needs Rust (https://rustup.rs)';
  if (fs.existsSync(path.join(folder(), '..', 'Cargo.toml'))) return `Build one: ${rust}.`;
  const abi = ownAbi({ platform, arch });
  if (PUBLISHED.includes(abi)) {
    return (
      `Install it: \`npm install ${INSTALLED.name(abi)}@${version}\`. It is an optional dependency, which npm leaves out ` +
      'with `--omit=optional`, and with a node_modules or a package-lock.json that was made on another platform: then ' +
      'remove both and run `npm install`.'
    );
  }
  return (
    `There are binaries for ${PUBLISHED.join(', ')}. For another platform, build one in a clone of ${REPOSITORY}: ${rust}, ` +
    `and put hyperiondb-client.${abi}.node beside the package.json of node_modules/hyperiondb-client.`
  );
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
