'use strict';

// Finds and loads the addon, or explains why there is none. Nothing native is loaded before that.

const path = require('node:path');
const { REMEDY } = require('./bundled.cjs');
const { classes } = require('../api/errors.cjs');
const { abis, hasMusl, isMusl, isThere, ownAbi, PUBLISHED, sizeOf } = require('./platform.cjs');
const { assertComplete, Incomplete } = require('./completeness.cjs');

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
  const failures = [];
  for (const source of [BUILT, INSTALLED]) {
    for (const abi of fitting(possible, source, arch)) {
      const found = source.load(abi, (error) => {
        failures.push({ abi, error, name: source.name(abi), isThere: source.isThere(abi) });
      });
      if (found !== undefined) return found;
    }
  }
  const looked = failures.map(({ name, error }) => `  ${name}: ${firstLine(error)}`);
  const message =
    `hyperiondb-client has no binary for ${platform}-${arch}. Looked for:\n` +
    `${looked.join('\n')}\n${remedy(platform, arch, failures)}`;
  throw unsupported(message, 'HYPERION_NO_BINARY');
}

function wrongRuntime(versions) {
  if (Object.hasOwn(versions, 'bun')) {
    // Bun aborts the process when an addon uses uv_poll.
    return `hyperiondb-client does not run in Bun (${versions.bun}), which lacks uv_poll: use Node.js`;
  }
  if (Object.hasOwn(versions, 'deno')) {
    // Deno's stand-in for libuv reports a polled descriptor only once, and crashes when the timer
    // of the addon is due.
    return `hyperiondb-client does not run in Deno (${versions.deno}), whose uv_poll tells of a socket only once: use Node.js`;
  }
  if (Number.parseInt(versions.node, 10) < OLDEST_NODE) {
    return `hyperiondb-client needs Node.js ${OLDEST_NODE} or newer, not ${versions.node}`;
  }
  return null;
}

/**
 * A binary for the other C library usually does not load, and the search continues. So this looks
 * up the C library only if both binaries are there, or if the system has musl. musl may load a
 * binary for glibc, which is not tested there.
 */
function fitting(possible, source, arch) {
  const [gnu, musl] = possible;
  if (musl === undefined || !source.isThere(gnu)) return possible;
  if (!source.isThere(musl) && !hasMusl(arch)) return possible;
  const runsMusl = isMusl();
  if (runsMusl === undefined) return possible;
  return [runsMusl ? musl : gnu];
}

/** The binary that `npm run build` writes next to package.json. */
const BUILT = {
  name: (abi) => path.join(folder(), '..', '..', `hyperiondb-client.${abi}.node`),
  isThere: (abi) => isThere(BUILT.name(abi)),
  load(abi, failed) {
    try {
      if (!BUILT.isThere(abi)) throw new Error('no such file');
      assertComplete(BUILT.name(abi));
      return checked(require(BUILT.name(abi)));
    } catch (error) {
      return failed(error);
    }
  },
};

const INSTALLED = {
  name: (abi) => `hyperiondb-client-${abi}`,
  isThere: (abi) => isInstalled(INSTALLED.name(abi)),
  /**
   * The names are literals inside `try`. So bundlers and file tracers see them, and accept that
   * most of them are missing.
   */
  load(abi, failed) {
    try {
      switch (abi) {
        case 'darwin-arm64':
          return (
            isReady(require('hyperiondb-client-darwin-arm64/package.json'), abi) &&
            checked(require('hyperiondb-client-darwin-arm64'))
          );
        case 'darwin-x64':
          return (
            isReady(require('hyperiondb-client-darwin-x64/package.json'), abi) &&
            checked(require('hyperiondb-client-darwin-x64'))
          );
        case 'linux-arm64-gnu':
          return (
            isReady(require('hyperiondb-client-linux-arm64-gnu/package.json'), abi) &&
            checked(require('hyperiondb-client-linux-arm64-gnu'))
          );
        case 'linux-arm64-musl':
          return (
            isReady(require('hyperiondb-client-linux-arm64-musl/package.json'), abi) &&
            checked(require('hyperiondb-client-linux-arm64-musl'))
          );
        case 'linux-x64-gnu':
          return (
            isReady(require('hyperiondb-client-linux-x64-gnu/package.json'), abi) &&
            checked(require('hyperiondb-client-linux-x64-gnu'))
          );
        case 'linux-x64-musl':
          return (
            isReady(require('hyperiondb-client-linux-x64-musl/package.json'), abi) &&
            checked(require('hyperiondb-client-linux-x64-musl'))
          );
        case 'win32-x64-msvc':
          return (
            isReady(require('hyperiondb-client-win32-x64-msvc/package.json'), abi) &&
            checked(require('hyperiondb-client-win32-x64-msvc'))
          );
        default:
          throw new Error('there is no such package');
      }
    } catch (error) {
      return failed(error);
    }
  },
};

/** Whether the binary in a package is of this version, and complete. Throws if it is not. */
function isReady(about, abi) {
  isOurs(about);
  const file = fileOf(abi);
  if (file !== undefined) assertComplete(file, about.binaryBytes);
  return true;
}

/**
 * The file that Node will load for a package. Undefined in a bundle, which may have moved the file,
 * and if another loader than Node's decides where the file is.
 */
function fileOf(abi) {
  if (isBundled()) return undefined;
  try {
    return require.resolve(INSTALLED.name(abi));
  } catch {
    return undefined;
  }
}

/**
 * Checks that an addon belongs to this package, and has the same version, since the two share
 * memory.
 */
function checked(found) {
  if (typeof found?.createPool !== 'function') throw new Error('is no addon of hyperiondb-client');
  isOurs(found);
  return found;
}

function isOurs({ version }) {
  const own = require('../../package.json').version;
  if (version === own) return true;
  const said = version === undefined ? 'names no version' : `is of version ${version}`;
  throw new Error(`${said}, and hyperiondb-client is of ${own}`);
}

function remedy(platform, arch, failures) {
  if (failures.some(({ error }) => error.code === 'ERR_DLOPEN_DISABLED')) {
    return 'Node.js was told to load no addons: start it with `--allow-addons` beside `--permission`, or without `--no-addons`.';
  }
  if (isBundled()) return `${REMEDY}.`;
  const { version } = require('../../package.json');
  const rust = '`npm run build`, which needs Rust (https://rustup.rs)';
  if (isThere(path.join(folder(), '..', '..', 'Cargo.toml'))) return `Build one: ${rust}.`;
  const abi = ownAbi({ platform, arch });
  const own = failures.filter((failure) => failure.abi === abi);
  const damaged = own.find(isDamaged);
  if (damaged !== undefined) {
    return (
      `${damaged.name} is there, and is not whole${shortfall(damaged)}. npm leaves a package as it is that is there already: ` +
      'remove node_modules, see that the disk is not full and that nothing takes files away, and run `npm install`.'
    );
  }
  const refused = own.find((failure) => failure.isThere && isRefused(failure));
  if (refused !== undefined) {
    return (
      `${refused.name} is there, and this system does not load it, for the reason above. The file has to be whole, ` +
      'readable, for this C library, and on a file system that is not mounted noexec.'
    );
  }
  // In `dependencies`, the package would prevent the app from being installed on other platforms.
  const forNow = `\`npm install --no-save ${INSTALLED.name(abi)}@${version}\``;
  const forGood = 'remove node_modules and package-lock.json and run `npm install` on this one';
  const other = PUBLISHED.find((each) => each !== abi && INSTALLED.isThere(each));
  if (other !== undefined && PUBLISHED.includes(abi)) {
    const differs = abis(platform, arch).includes(other)
      ? 'system with another C library'
      : `system of ${other}`;
    return (
      `${INSTALLED.name(other)} is there, and this process needs ${INSTALLED.name(abi)}: node_modules comes from a ` +
      `${differs}. For now: ${forNow}. For good, ${forGood}.`
    );
  }
  if (PUBLISHED.includes(abi)) {
    return (
      `Install it, for now: ${forNow}. It is an optional dependency, which npm leaves out with \`--omit=optional\`, and with ` +
      `a node_modules or a package-lock.json that was made on another platform: for good, ${forGood}.`
    );
  }
  return (
    `There are binaries for ${PUBLISHED.join(', ')}. For another platform, build one in a clone of ${REPOSITORY}: ${rust}, ` +
    `and put hyperiondb-client.${abi}.node beside the package.json of node_modules/hyperiondb-client.`
  );
}

const isRefused = ({ error }) => error.code === 'ERR_DLOPEN_FAILED';

/** Whether a part of the published package is missing: a file, or the rest of a file. */
function isDamaged(failure) {
  const { name, error } = failure;
  if (error instanceof Incomplete) return true;
  if (isRefused(failure)) return shortfall(failure) !== '';
  // The errors of a broken package.json, of Node 20 and of later versions.
  if (error.name === 'SyntaxError' || error.code === 'ERR_INVALID_PACKAGE_CONFIG') return true;
  return error.code === 'MODULE_NOT_FOUND' && isInstalled(`${name}/package.json`);
}

function isInstalled(name) {
  try {
    return require.resolve(name) !== '';
  } catch {
    return false;
  }
}

/** How many bytes of a binary are missing, if its package says how many there were. */
function shortfall({ abi, name }) {
  let published;
  try {
    published = require(`${name}/package.json`).binaryBytes;
  } catch {
    return '';
  }
  const size = sizeOf(fileOf(abi));
  return size < published ? `, ${size} bytes of ${published}` : '';
}

/**
 * Whether a bundler has put this file into another file, so that the package's folder is not around
 * it.
 */
function isBundled() {
  try {
    return require(path.join(folder(), '..', '..', 'package.json')).name !== 'hyperiondb-client';
  } catch {
    return true;
  }
}

/** The folder of this file. In a bundle of ES modules, no such name is defined. */
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
