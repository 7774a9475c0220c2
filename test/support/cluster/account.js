// The account as which the servers run, and folders that this account owns.
//
// PostgreSQL refuses to run as root. Containers and CI machines often run as root. There the
// servers (and initdb, pg_rewind) run as an unprivileged account, and otherwise as the present
// user.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { constants } from 'node:fs';
import { chmod, chown, copyFile, lstat, mkdir, readdir, readlink, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

/**
 * @typedef {{ name: string, uid: number, gid: number }} Account
 */

/** @type {Account | null | undefined} */
let account;

/**
 * The account for the servers: `postgres` if it exists, otherwise `nobody`. Null if no other
 * account is needed.
 * @returns {Account | null}
 */
export function serverAccount() {
  if (account !== undefined) return account;
  account = null;
  if (process.getuid?.() === 0) {
    account = lookUp('postgres') ?? lookUp('nobody') ?? null;
    if (account === null) {
      throw new Error('PostgreSQL refuses to run as root, and there is no account "nobody" here');
    }
  }
  return account;
}

function lookUp(name) {
  const id = (flag) =>
    Number(
      execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    );
  try {
    return { name, uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}

/**
 * Options for `child_process.spawn` that start a program as that account. The environment is empty
 * except for a few variables: the servers must not get a developer's PGDATA, PGHOST or locale.
 * @param {Account | null} owner
 */
export function spawnOptions(owner) {
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C' };
  return owner === null ? { env } : { env, uid: owner.uid, gid: owner.gid };
}

/** The data are not put into memory if the tmpfs or the free memory has less room than this. */
const ROOM_IN_MEMORY = 4 * 2 ** 30;

/**
 * Folders for the servers' data, the best first. A cluster consists of some thousand small files. A
 * file system in memory creates and removes them several times as fast as one on a disk.
 * HYPERION_TEST_FOLDER names another place.
 * @returns {string[]}
 */
export function dataParents() {
  const named = process.env.HYPERION_TEST_FOLDER;
  const parents = [named, hasRoomInMemory('/dev/shm') ? '/dev/shm' : undefined, temporaryFolder()];
  return parents.filter(Boolean);
}

function hasRoomInMemory(folder) {
  try {
    fs.accessSync(folder, constants.W_OK);
    const { bavail, bsize } = fs.statfsSync(folder);
    return Math.min(bavail * bsize, os.freemem()) >= ROOM_IN_MEMORY;
  } catch {
    return false;
  }
}

/**
 * The folder for temporary files, or /tmp if the account can't reach that folder: root's private
 * TMPDIR is of no use to a server that does not run as root.
 * @returns {string}
 */
export function temporaryFolder() {
  const folder = fs.realpathSync(os.tmpdir());
  return serverAccount() === null || isOpenToAll(folder) ? folder : '/tmp';
}

function isOpenToAll(folder) {
  const parent = path.dirname(folder);
  const mayPass = (fs.statSync(folder).mode & 0o001) !== 0;
  return mayPass && (parent === folder || isOpenToAll(parent));
}

/**
 * Makes a folder that only the servers (and root) can enter.
 * @param {string} folder
 * @param {Account | null} owner
 */
export async function makePrivateFolder(folder, owner) {
  await mkdir(folder, { mode: 0o700 });
  if (owner !== null) await chown(folder, owner.uid, owner.gid);
}

/**
 * Copies a folder with everything in it, and gives the copy to `owner`. Files may disappear
 * meanwhile, as they do in the data folder of a running server. They are left out, as pg_basebackup
 * does.
 * @param {string} source
 * @param {string} target must not exist
 * @param {{ owner?: Account | null, leaveOut?: (relative: string) => boolean }} [options]
 */
export async function copyFolder(source, target, { owner = null, leaveOut = () => false } = {}) {
  const give = (file) => (owner === null ? undefined : chown(file, owner.uid, owner.gid));

  async function copyEntry(relative) {
    if (leaveOut(relative)) return;
    const from = path.join(source, relative);
    const to = path.join(target, relative);
    try {
      const stat = await lstat(from);
      if (stat.isDirectory()) {
        await mkdir(to);
        const names = await readdir(from);
        await Promise.all(names.map((name) => copyEntry(path.join(relative, name))));
        await chmod(to, stat.mode & 0o7777);
      } else if (stat.isSymbolicLink()) {
        await symlink(await readlink(from), to);
        return;
      } else if (stat.isFile()) {
        await copyFile(from, to, constants.COPYFILE_FICLONE);
      } else {
        return;
      }
      await give(to);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
  await copyEntry('');
}
