// PgBouncer before a node. Only `.ci/pgbouncer` installs it. `findPooler` reports whether it is
// available.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { makePrivateFolder, serverAccount } from './account.js';
import { waitUntil } from '../wait-until.js';
import { freePort } from './port.js';
import { openSession } from './session.js';

/**
 * The first pgbouncer that fits, or undefined: of those that HYPERION_PGBOUNCER names, then of those on the PATH. Debian
 * puts it where only root has its PATH.
 * @param {{ prepares?: boolean }} [wanted] `prepares`: one that keeps prepared statements in transaction mode
 *   (`max_prepared_statements`), as 1.21 and later do
 */
export function findPooler({ prepares = false } = {}) {
  const { PATH = '', HYPERION_PGBOUNCER: named = '' } = process.env;
  const list = named.split(path.delimiter).filter((file) => file !== '');
  const lost = list.find((file) => !existsSync(file));
  if (lost !== undefined) throw new Error(`HYPERION_PGBOUNCER: there is no ${lost}`);
  const folders = [...PATH.split(path.delimiter), '/usr/sbin'];
  const files = folders.map((folder) => path.join(folder, 'pgbouncer')).filter(existsSync);
  return [...list, ...files].find((file) => !prepares || keepsPrepared(file));
}

/** Skips a test if there is no suitable PgBouncer. The options are those of `findPooler`. */
export function skipWithoutPooler(options) {
  const missing = options?.prepares ? 'no pgbouncer of 1.21 or later' : 'no pgbouncer';
  return { skip: findPooler(options) === undefined && `${missing} is installed` };
}

function keepsPrepared(program) {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  const [, major, minor] = /^PgBouncer (\d+)\.(\d+)/.exec(stdout) ?? [0, 0, 0];
  return Number(major) > 1 || Number(minor) >= 21;
}

/**
 * @typedef {object} PoolerOptions
 * @property {'session' | 'transaction' | 'statement'} [mode]
 * @property {number} [size] sessions on the server, for each user and database
 * @property {Record<string, unknown>} [settings] more of pgbouncer.ini
 * @property {string} [program] which pgbouncer, if not the first that `findPooler` finds
 */

export class Pooler {
  host = '127.0.0.1';
  port = 0;

  #guard;
  #folder;
  #credentials;

  /**
   * @param {{ guard: import('./guard.js').Guard, folder: string,
   *   credentials: import('./session.js').Credentials }} parts `folder` is made
   */
  constructor({ guard, folder, credentials }) {
    this.#guard = guard;
    this.#folder = folder;
    this.#credentials = credentials;
  }

  /** `host:port` */
  get address() {
    return `${this.host}:${this.port}`;
  }

  /**
   * @param {{ host: string, port: number }} node
   * @param {PoolerOptions} options
   */
  async start(node, { mode = 'transaction', size = 5, settings = {}, program = findPooler() }) {
    if (program === undefined) throw new Error('pgbouncer is not installed');
    await makePrivateFolder(this.#folder, serverAccount());
    const { user, password } = this.#credentials;
    const users = await this.#write('users.txt', `"${user}" "${password}"\n`);
    const all = {
      listen_addr: this.host,
      unix_socket_dir: '',
      auth_type: 'scram-sha-256',
      auth_file: users,
      pool_mode: mode,
      default_pool_size: size,
      max_client_conn: 500,
      ...settings,
    };
    const databases = `[databases]\n* = host=${node.host} port=${node.port}\n`;
    const logFile = path.join(this.#folder, 'pgbouncer.log');
    // Another process may have taken the port meanwhile.
    for (let tries = 3; ; tries -= 1) {
      this.port = await freePort();
      const lines = Object.entries({ ...all, listen_port: this.port });
      const text = lines.map(([name, value]) => `${name} = ${value}\n`).join('');
      const file = await this.#write('pgbouncer.ini', `${databases}[pgbouncer]\n${text}`);
      const server = { program, args: [file], dataFolder: this.#folder, logFile };
      const started = { hasEnded: false };
      await this.#guard.start(this.#folder, server, () => (started.hasEnded = true));
      const why = await this.#serves(started);
      if (why === null) return;
      if (!started.hasEnded || tries === 1) {
        const log = await readFile(logFile, 'utf8').catch(() => '');
        throw new Error(`pgbouncer does not serve at ${this.address}: ${why}\n${log.slice(-2000)}`);
      }
    }
  }

  /** Waits until PgBouncer accepts a session. Returns `null`, or the reason why it never did. */
  async #serves(started) {
    let why = 'it has ended';
    const is = waitUntil(`pgbouncer serves at ${this.address}`, async () => {
      if (started.hasEnded) return true;
      try {
        const session = await openSession(this, this.#credentials);
        await session.close();
        why = null;
        return true;
      } catch (error) {
        why = error.message;
        return false;
      }
    });
    await is.catch(() => {});
    return why;
  }

  async #write(name, text) {
    const file = path.join(this.#folder, name);
    await writeFile(file, text, { mode: 0o600 });
    const account = serverAccount();
    if (account !== null) await chown(file, account.uid, account.gid);
    return file;
  }

  close() {
    return this.#guard.kill(this.#folder);
  }
}
