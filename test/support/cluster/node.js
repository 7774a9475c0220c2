// One PostgreSQL server of a cluster: its data folder, its configuration, its processes.

import fs from 'node:fs';
import { chown, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { copyFolder, serverAccount } from './account.js';
import { freePort } from './port.js';

/** @typedef {'stopped' | 'starting' | 'running' | 'frozen' | 'crashed'} NodeState */

/** PostgreSQL's shutdown modes, as signals to the postmaster. */
const STOP_SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' };

const START_TIMEOUT_MS = 60_000;

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  // Here processes die, but machines do not. The kernel's page cache has all that a killed server
  // has written when the server starts again. So nothing has to wait for a disk.
  fsync: 'off',
  full_page_writes: 'on',
  wal_init_zero: 'off',
  wal_level: 'replica',
  wal_log_hints: 'on',
  wal_keep_size: '256MB',
  max_wal_size: '256MB',
  max_wal_senders: '10',
  hot_standby: 'on',
  wal_retrieve_retry_interval: '100ms',
  wal_receiver_status_interval: '1s',
  // Otherwise a frozen standby would delay the shutdown of its primary for a minute.
  wal_sender_timeout: '5s',
  shared_buffers: '16MB',
  huge_pages: 'off',
  // Shared memory in files of the data folder is removed with the folder, however the server ended.
  dynamic_shared_memory_type: 'mmap',
  jit: 'off',
  logging_collector: 'off',
  log_line_prefix: '%m [%p] ',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/** pg_hba.conf: only this machine, and each user by the cluster's authentication. */
const hostBasedAuthentication = (auth) => `
local all all ${auth}
host all all 127.0.0.0/8 ${auth}
host all all ::1/128 ${auth}
local replication all ${auth}
host replication all 127.0.0.0/8 ${auth}
host replication all ::1/128 ${auth}
`;

const quote = (value) => `'${String(value).replaceAll("'", "''")}'`;

export class ClusterNode {
  host = '127.0.0.1';
  port = 0;
  /** @type {NodeState} */
  state = 'stopped';
  /** Variables that its next start adds to the server's environment. @type {Record<string, string>} */
  environment = {};

  #guard;
  #binaries;
  #settings = {};
  #id;
  #started = false;

  /**
   * @param {{ name: string, folder: string, guard: import('./guard.js').Guard,
   *   binaries: import('./binaries.js').Binaries }} parts `folder` holds the sockets of all nodes of
   *   a cluster, and a folder for each node
   */
  constructor({ name, folder, guard, binaries }) {
    this.name = name;
    this.socketDir = folder;
    this.dataFolder = path.join(folder, name);
    this.logFile = path.join(folder, `${name}.log`);
    this.#id = this.dataFolder;
    this.#guard = guard;
    this.#binaries = binaries;
  }

  /** Whether it is set up to follow another node. A promotion ends this. */
  get isStandby() {
    return fs.existsSync(path.join(this.dataFolder, 'standby.signal'));
  }

  /** `host:port` */
  get address() {
    return `${this.host}:${this.port}`;
  }

  /** What the server has logged so far. @returns {string} */
  log() {
    return fs.existsSync(this.logFile) ? fs.readFileSync(this.logFile, 'utf8') : '';
  }

  /**
   * Gives the node a copy of a data folder of a server that is shut down.
   * @param {string} source
   * @param {string} auth
   */
  async create(source, auth) {
    this.port = await freePort();
    await copyFolder(source, this.dataFolder, { owner: serverAccount() });
    await this.write('pg_hba.conf', hostBasedAuthentication(auth));
    await this.#includeSettings();
  }

  /** Writes a file into the data folder, owned by the account of the server. */
  async write(name, text) {
    const file = path.join(this.dataFolder, name);
    await writeFile(file, text, { mode: 0o600 });
    const account = serverAccount();
    if (account !== null) await chown(file, account.uid, account.gid);
  }

  // The settings that initdb chose in postgresql.conf stay, above all password_encryption.
  async #includeSettings() {
    const text = await readFile(path.join(this.dataFolder, 'postgresql.conf'), 'utf8');
    const include = "include 'cluster.conf'\n";
    if (!text.endsWith(include)) await this.write('postgresql.conf', `${text}\n${include}`);
  }

  /**
   * Sets settings in addition to those of all nodes. A running server reads them at `reload`.
   * @param {Record<string, unknown>} settings
   */
  async configure(settings) {
    Object.assign(this.#settings, settings);
    const all = {
      ...SETTINGS,
      cluster_name: this.name,
      unix_socket_directories: this.socketDir,
      ...this.#settings,
      port: this.port,
    };
    const lines = Object.entries(all).map(([name, value]) => `${name} = ${quote(value)}\n`);
    await this.write('cluster.conf', lines.join(''));
  }

  /**
   * Makes the node a standby. At its next start it connects to its primary with this connection
   * string.
   */
  async follow(primaryConnection) {
    await this.configure({ primary_conninfo: primaryConnection });
    await this.write('standby.signal', '');
  }

  /** Starts the server and waits until it accepts connections. */
  async start() {
    if (this.state === 'running') return;
    this.#expect('start', 'stopped', 'crashed');
    for (;;) {
      const from = this.log().length;
      if (await this.#tryStart()) break;
      const printed = this.log().slice(from);
      // The port was free when it was chosen. Once clients know the port, it can't be changed any
      // more.
      if (this.#started || !/could not bind/.test(printed)) {
        throw new Error(`${this.name} does not start:\n${printed}`);
      }
      this.port = await freePort();
      await this.configure({});
    }
    this.#started = true;
    this.state = 'running';
  }

  async #tryStart() {
    this.state = 'starting';
    let alive = true;
    const server = {
      program: path.join(this.#binaries.folder, 'postgres'),
      args: ['-D', this.dataFolder],
      dataFolder: this.dataFolder,
      logFile: this.logFile,
      environment: this.environment,
    };
    const pid = await this.#guard
      .start(this.#id, server, () => {
        alive = false;
        this.state = 'crashed';
      })
      .catch((error) => {
        this.state = 'stopped';
        throw error;
      });
    const ready = await this.#waitUntilReady(pid, () => alive);
    if (!ready && alive) {
      await this.crash();
      throw new Error(`${this.name} accepts no connections:\n${this.log()}`);
    }
    return ready;
  }

  // As in pg_ctl, the eighth line of postmaster.pid tells how far the postmaster has started.
  async #waitUntilReady(pid, isAlive) {
    const deadline = performance.now() + START_TIMEOUT_MS;
    const file = path.join(this.dataFolder, 'postmaster.pid');
    while (isAlive() && performance.now() < deadline) {
      const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
      if (Number(lines[0]) === pid && lines[7]?.trim() === 'ready') return true;
      await sleep(5);
    }
    return false;
  }

  /**
   * Shuts the server down. A frozen server is thawed first, since it could not receive the signal.
   * @param {'smart' | 'fast' | 'immediate'} [mode]
   */
  async stop(mode = 'fast') {
    if (this.state === 'stopped' || this.state === 'crashed') return;
    if (!(mode in STOP_SIGNALS)) throw new Error(`no such way to stop a server: ${mode}`);
    if (this.state === 'frozen') await this.thaw();
    await this.#guard.stop(this.#id, STOP_SIGNALS[mode]);
    this.state = 'stopped';
  }

  /** Kills all processes of the server at once, as a power failure does. */
  async crash() {
    if (this.state === 'stopped' || this.state === 'crashed') return;
    await this.#guard.kill(this.#id);
    this.state = 'crashed';
  }

  /** Stops all processes of the server (SIGSTOP). Connections stay open and get no answer. */
  async freeze() {
    this.#expect('freeze', 'running');
    await this.#guard.freeze(this.#id);
    this.state = 'frozen';
  }

  async thaw() {
    this.#expect('thaw', 'frozen');
    await this.#guard.thaw(this.#id);
    this.state = 'running';
  }

  /** Makes the server read its configuration again. A frozen server does so when it is thawed. */
  reload() {
    return this.signal('SIGHUP');
  }

  /** Does what pg_promote() does, without polling. */
  async triggerPromotion() {
    // Anything that wakes the postmaster lets it find the file and remove it. So the file must
    // appear in one step.
    await this.write('promote.new', '');
    await rename(path.join(this.dataFolder, 'promote.new'), path.join(this.dataFolder, 'promote'));
    await this.signal('SIGUSR1');
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    return this.#guard.signal(this.#id, signal);
  }

  /** Removes the data folder. The server must not run. */
  async removeData() {
    this.#expect('remove the data of', 'stopped', 'crashed');
    await rm(this.dataFolder, { recursive: true, force: true });
  }

  #expect(what, ...states) {
    if (!states.includes(this.state)) {
      throw new Error(`cannot ${what} ${this.name}: it is ${this.state}`);
    }
  }
}
