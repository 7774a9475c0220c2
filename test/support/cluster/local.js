// A cluster whose servers this process starts.

import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { makePrivateFolder, serverAccount } from './account.js';
import { copyRunningServer, rewind } from './backup.js';
import { findBinaries } from './binaries.js';
import { Cluster } from './cluster.js';
import { startGuard } from './guard.js';
import { waitUntil } from '../wait-until.js';
import { ClusterNode } from './node.js';
import { Pooler } from './pooler.js';
import { DATABASE, prepareTemplate, USER } from './template.js';
import { certify, WITH_TLS } from '../tls/index.js';

let started = 0;

/** @augments Cluster */
export class LocalCluster extends Cluster {
  /** @type {ClusterNode[]} */
  nodes = [];
  /** @type {import('./binaries.js').Binaries} */
  binaries;
  /** How the last rejoin got its data. @type {'rewind' | 'copy' | undefined} */
  lastRejoin;

  #guard;
  #folder;
  #auth;
  #closing;
  /** @type {Pooler[]} */
  #poolers = [];

  /**
   * @param {import('./index.js').ClusterOptions} options
   * @returns {Promise<LocalCluster>}
   */
  static async start(options) {
    const { version, binaries: given, auth, ownIdentity } = options;
    const [binaries, guard] = await Promise.all([
      findBinaries({ version, binaries: given }),
      startGuard(),
    ]);
    const template = await prepareTemplate(guard, binaries, auth, { ownIdentity });
    const cluster = new LocalCluster({ template, guard, binaries, auth });
    try {
      await cluster.#startNodes(template, options);
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  constructor({ template, guard, binaries, auth }) {
    super({ user: USER, password: template.password, database: DATABASE });
    this.binaries = binaries;
    this.#guard = guard;
    this.#auth = auth;
    this.#folder = path.join(guard.folder, String(++started));
  }

  async #startNodes(template, { nodes: count, synchronous, settings, maxConnections }) {
    await makePrivateFolder(this.#folder, serverAccount());
    const parts = { folder: this.#folder, guard: this.#guard, binaries: this.binaries };
    this.nodes = Array.from(
      { length: count },
      (_, i) => new ClusterNode({ name: `n${i + 1}`, ...parts }),
    );
    this.primary = this.nodes[0];
    const common = {
      max_connections: maxConnections,
      ...(synchronous > 0 && { synchronous_standby_names: `ANY ${synchronous} (*)` }),
      ...settings,
    };
    const prepare = async (node) => {
      await node.create(template.dataFolder, this.#auth);
      await node.configure(common);
      if (WITH_TLS) await certify(node);
    };
    const standbys = this.nodes.slice(1);
    const primaryReady = prepare(this.primary).then(() => this.primary.start());
    await Promise.all([primaryReady, ...standbys.map(prepare)]);
    // From here on the primary's port is certain.
    await Promise.all(
      standbys.map(async (node) => {
        await this.#follow(node);
        await node.start();
      }),
    );
    await this.#waitUntilStreaming(standbys);
  }

  #follow(node, primary = this.primary) {
    const { host, port } = primary;
    const { user, password } = this;
    return node.follow(
      `host=${host} port=${port} user=${user} password=${password} application_name=${node.name}`,
    );
  }

  async #waitUntilStreaming(standbys) {
    if (standbys.length === 0) return;
    const names = standbys.map(({ name }) => `'${name}'`).join();
    const session = await this.openSession(this.primary);
    try {
      await waitUntil('the standbys stream from the primary', async () => {
        const [[count]] = await session.query(
          `SELECT count(DISTINCT application_name) FROM pg_stat_replication
           WHERE state = 'streaming' AND application_name IN (${names})`,
        );
        return count === String(standbys.length);
      });
    } finally {
      await session.close();
    }
  }

  /** @param {ClusterNode} node @param {'smart' | 'fast' | 'immediate'} [mode] */
  stop(node, mode) {
    return node.stop(mode);
  }

  /** Kills all processes of a server. @param {ClusterNode} node */
  crash(node) {
    return node.crash();
  }

  /** Stops all processes of a server (SIGSTOP). @param {ClusterNode} node */
  freeze(node) {
    return node.freeze();
  }

  /** @param {ClusterNode} node */
  thaw(node) {
    return node.thaw();
  }

  /**
   * Starts a node in the role that it had. A standby follows the present primary. A deposed primary
   * comes back as a second primary, as it does if no operator intervenes (`rejoin` is the
   * intervention).
   * @param {ClusterNode} node
   */
  async start(node) {
    if (node.isStandby) await this.#follow(node);
    await node.start();
  }

  /** @param {ClusterNode} node */
  async restart(node) {
    await node.stop();
    await this.start(node);
  }

  /**
   * Promotes a standby, and makes the other running standbys follow it. The old primary is not
   * touched: if it still runs, there are two primaries.
   * @param {ClusterNode} node
   */
  async promote(node) {
    if (node.state !== 'running')
      throw new Error(`cannot promote ${node.name}: it is ${node.state}`);
    const others = this.nodes.filter(
      (other) => other !== node && other.isStandby && isUp(other.state),
    );
    await Promise.all(
      others.map(async (standby) => {
        await this.#follow(standby, node);
        await standby.reload();
      }),
    );
    await this.#waitUntilNoneIsAhead(node, others);
    await node.triggerPromotion();
    await this.waitUntilPromoted(node);
    this.primary = node;
  }

  // A standby that has received more WAL than the new primary can't follow it. The others have
  // stopped streaming from the old primary, so if the old primary still sends, the chosen standby
  // catches up with them. If the old primary is dead, there is nothing to wait for, and `rejoin`
  // repairs the others.
  async #waitUntilNoneIsAhead(node, others) {
    const running = others.filter(({ state }) => state === 'running');
    const isReached = async () => {
      const [own, ...rest] = await Promise.all(
        [node, ...running].map((standby) => this.position(standby)),
      );
      return rest.every(
        ({ received, sender }) =>
          received <= own.received && (sender === null || sender === node.port),
      );
    };
    const what = `${node.name} has all that other standbys have`;
    await waitUntil(what, isReached, { timeoutMs: 2000 }).catch(() => {});
  }

  /**
   * Makes a node a standby of the present primary, whatever it was and whatever data it has: by
   * pg_rewind if that is available, otherwise with a fresh copy of the primary's data. Afterwards
   * the node is not fenced.
   * @param {ClusterNode} node
   */
  async rejoin(node) {
    if (node === this.primary) throw new Error(`${node.name} is the primary`);
    await node.stop();
    this.lastRejoin = (await this.#tryRewind(node)) ? 'rewind' : 'copy';
    if (this.lastRejoin === 'copy') {
      await copyRunningServer(this.primary, this.credentials, node);
    }
    await liftFence(node);
    await this.#follow(node);
    await node.start();
    await this.#waitUntilStreaming([node]);
  }

  async #tryRewind(node) {
    if (!this.binaries.hasRewind) return false;
    try {
      await rewind(this.#guard, this.binaries, node, this.primary, this.credentials);
      return true;
    } catch {
      // pg_rewind refuses if WAL is missing, for example. A copy always works.
      return false;
    }
  }

  /**
   * Starts a PgBouncer before a node. The cluster closes it.
   * @param {ClusterNode} node
   * @param {import('./pooler.js').PoolerOptions} [options]
   */
  async pooler(node, options = {}) {
    const folder = path.join(this.#folder, `pooler-${this.#poolers.length + 1}`);
    const pooler = new Pooler({ guard: this.#guard, folder, credentials: this.credentials });
    this.#poolers.push(pooler);
    await pooler.start(node, options);
    return pooler;
  }

  /** Kills all servers and removes their data. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    const poolers = this.#poolers.map((pooler) => pooler.close());
    await Promise.all([this.closeProxies(), ...poolers, ...this.nodes.map((node) => node.crash())]);
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const isUp = (state) => state === 'running' || state === 'frozen';

// ALTER SYSTEM stores its settings in this file. pg_rewind and a copy bring the new primary's file.
async function liftFence(node) {
  const name = 'postgresql.auto.conf';
  const text = await readFile(path.join(node.dataFolder, name), 'utf8');
  const lines = text.split('\n').filter((line) => !/^default_transaction_read_only\b/.test(line));
  await node.write(name, lines.join('\n'));
}
