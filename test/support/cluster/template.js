// Initialised data folders, made once and then copied.
//
// initdb takes longer than the rest of a cluster's start. There is one template for each set of
// programs and each kind of authentication, stored with its password. All nodes of a cluster begin
// as copies of one template, which was never started as a server. So they have the same system
// identifier, and a copy with `standby.signal` can follow another copy. Two clusters made from the
// same template have the same identifier too. With `ownIdentity` a cluster gets a template of its
// own.

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copyFolder, makePrivateFolder, serverAccount } from './account.js';
import { cacheFolder } from './binaries.js';

export const USER = 'hyperion';
export const DATABASE = 'hyperion';

// The control file records these settings, and a standby refuses to start with lower values than
// its primary had. So the template has the lowest values, and a cluster may set any values.
const LOWEST_SETTINGS = [
  'max_connections=5',
  'max_locks_per_transaction=10',
  'max_wal_senders=0',
  'max_worker_processes=1',
].flatMap((setting) => ['-c', setting]);

/** Increase this number when this file makes templates in a different way. */
const FORMAT = 2;

/**
 * @typedef {{ dataFolder: string, password: string }} Template
 */

/**
 * @param {import('./guard.js').Guard} guard
 * @param {import('./binaries.js').Binaries} binaries
 * @param {string} auth
 * @param {{ ownIdentity?: boolean }} [options]
 * @returns {Promise<Template>}
 */
export async function prepareTemplate(guard, binaries, auth, { ownIdentity = false } = {}) {
  if (ownIdentity) return initialise(guard, binaries, auth);
  const account = serverAccount()?.name ?? process.getuid();
  const kept = path.join(cacheFolder, 'initdb', `${FORMAT}-${binaries.key}-${auth}-${account}`);
  if (!fs.existsSync(kept)) await keep(await initialise(guard, binaries, auth), kept);
  const password = await readFile(path.join(kept, 'password'), 'utf8');
  return { dataFolder: path.join(kept, 'data'), password };
}

let made = 0;

async function initialise(guard, binaries, auth) {
  const account = serverAccount();
  const home = path.join(guard.folder, `template${++made}`);
  const dataFolder = path.join(home, 'data');
  const passwordFile = path.join(home, 'password');
  const password = randomBytes(18).toString('base64url');
  await makePrivateFolder(home, account);
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (account !== null) await chown(passwordFile, account.uid, account.gid);

  await guard.run(path.join(binaries.folder, 'initdb'), [
    ...['-D', dataFolder, '-U', USER, '--pwfile', passwordFile],
    ...['-A', auth, '-E', 'UTF8', '--locale=C', '--no-sync'],
  ]);
  // Single-user mode creates the database without a server for which the test would have to wait.
  await guard.run(
    path.join(binaries.folder, 'postgres'),
    ['--single', '-D', dataFolder, ...LOWEST_SETTINGS, '-c', 'fsync=off', 'postgres'],
    `CREATE DATABASE ${DATABASE}\n`,
  );
  return { dataFolder, password };
}

// If several processes do this at the same time, the first to rename its copy wins, and the others
// use that copy.
async function keep({ dataFolder, password }, kept) {
  const staging = `${kept}.${process.pid}`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true, mode: 0o700 });
  try {
    await copyFolder(dataFolder, path.join(staging, 'data'));
    await writeFile(path.join(staging, 'password'), password, { mode: 0o600 });
    await rename(staging, kept);
  } catch (error) {
    if (!fs.existsSync(kept)) throw error;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}
