// The operations on a cluster through SQL, whether this process started it or it was already there.

import { startProxy } from './proxy.js';
import { openSession, othersWhere, queryOnce } from './session.js';
import { WITH_TLS } from '../tls/index.js';
import { waitUntil } from '../wait-until.js';

/**
 * @typedef {object} Node
 * @property {string} name
 * @property {string} host
 * @property {number} port
 * @property {string} address `host:port`
 * @property {string} [socketDir]
 * @property {string} state
 */

export class Cluster {
  /** @type {Node[]} */
  nodes = [];
  /** The node that was made the primary last. @type {Node} */
  primary;

  /** @type {Set<import('./proxy.js').Proxy>} */
  #proxies = new Set();

  /** @param {import('./session.js').Credentials} credentials */
  constructor({ user, password, database }) {
    this.user = user;
    this.password = password;
    this.database = database;
  }

  get credentials() {
    return { user: this.user, password: this.password, database: this.database };
  }

  /** `host:port` of all nodes. @returns {string[]} */
  hosts() {
    return this.nodes.map(({ address }) => address);
  }

  /** Options for `createPool`. @param {object} [extra] */
  options(extra = {}) {
    const ssl = WITH_TLS ? { ssl: 'require' } : {};
    return { hosts: this.hosts(), ...this.credentials, ...ssl, ...extra };
  }

  /**
   * Runs SQL on a node in a session of its own.
   * @param {Node} node
   * @param {string} sql
   * @returns {Promise<(string | null)[][]>}
   */
  query(node, sql) {
    return queryOnce(node, this.credentials, sql);
  }

  /**
   * Ends a session, as an administrator would, and waits until it is gone.
   *
   * @param {Node} node
   * @param {number} pid of the session's server process
   */
  async endSession(node, pid) {
    await this.query(node, `SELECT pg_terminate_backend(${pid})`);
    const sql = `SELECT 1 FROM pg_stat_activity WHERE pid = ${pid}`;
    const isGone = async () => (await this.query(node, sql)).length === 0;
    await waitUntil(`the session ${pid} is gone`, isGone, { intervalMs: 1 });
  }

  /**
   * Runs a query until it returns a row, and returns the row.
   * @param {Node} node
   * @param {string} sql
   */
  waitForRow(node, sql) {
    return waitUntil(`a row of ${sql}`, async () => (await this.query(node, sql))[0]);
  }

  /**
   * The process ids of the sessions for which a condition on pg_stat_activity holds.
   * @param {string} condition
   * @param {Node} [node]
   */
  async sessions(condition, node = this.primary) {
    return (await this.query(node, othersWhere(condition))).flat();
  }

  /** Waits until there is such a session, and returns its process id. */
  waitForSession(condition, node = this.primary) {
    const find = async () => (await this.sessions(condition, node))[0];
    return waitUntil(`a session with ${condition}`, find);
  }

  /** @param {Node} node */
  openSession(node) {
    return openSession(node, this.credentials);
  }

  /** The nodes that run and follow another node. @returns {Promise<Node[]>} */
  async runningStandbys() {
    const running = this.nodes.filter((node) => node !== this.primary && node.state === 'running');
    const inRecovery = await Promise.all(
      running.map((node) => this.query(node, 'SELECT pg_is_in_recovery()')),
    );
    return running.filter((_, index) => inRecovery[index][0][0] === 't');
  }

  /**
   * Makes a node read-only, as operators do before a switchover. Open sessions notice it at their
   * next statement.
   *
   * With the barrier, no transaction can write on this node after the promise has resolved. A
   * session that gets `on` at login was accepted after the postmaster had signalled all older
   * backends. The function then waits for the transactions that began before, and ends those that
   * take longer than `graceMs`. Sessions that override the setting (SET, BEGIN READ WRITE) can
   * still write. `terminate: 'all'` ends every session.
   * @param {Node} node
   * @param {{ barrier?: boolean, graceMs?: number, terminate?: 'older' | 'all' }} [options]
   */
  async fence(node, { barrier = true, graceMs = 1000, terminate = 'older' } = {}) {
    await this.#setReadOnly(node, 'on');
    if (barrier) {
      await this.#waitUntilReported(node, 'on');
      await this.#endOlderTransactions(node, graceMs, terminate);
    }
  }

  /**
   * Lifts the fence, and waits until new sessions get `off`.
   * @param {Node} node
   */
  async unfence(node) {
    await this.#setReadOnly(node, undefined);
    await this.#waitUntilReported(node, 'off');
  }

  async #setReadOnly(node, value) {
    const session = await this.openSession(node);
    try {
      // In separate queries, since ALTER SYSTEM can't be one of several statements.
      const setting = 'default_transaction_read_only';
      await session.query(
        value === undefined
          ? `ALTER SYSTEM RESET ${setting}`
          : `ALTER SYSTEM SET ${setting} = ${value}`,
      );
      await session.query('SELECT pg_reload_conf()');
    } finally {
      await session.close();
    }
  }

  async #waitUntilReported(node, value) {
    let seen = 0;
    await waitUntil(
      `a session on ${node.name} with default_transaction_read_only=${value}`,
      async () => {
        const session = await this.openSession(node);
        try {
          const atLogin = session.reported.default_transaction_read_only;
          if (atLogin !== undefined) return atLogin === value;
          // Before 14 the server does not report the setting. A session that is asked may have been
          // accepted before the signal, and have received the signal since. So one more session is
          // needed to be sure that all have received it.
          const [[now]] = await session.query('SHOW default_transaction_read_only');
          seen = now === value ? seen + 1 : 0;
          return seen === 2;
        } finally {
          await session.close();
        }
      },
    );
  }

  async #endOlderTransactions(node, graceMs, terminate) {
    const session = await this.openSession(node);
    const others = "pid <> pg_backend_pid() AND backend_type = 'client backend'";
    try {
      if (terminate === 'all') {
        await session.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${others}`,
        );
      }
      const [[barrier]] = await session.query('SELECT now()');
      const older = `${others} AND xact_start <= '${barrier}'`;
      const isEmpty = async () => {
        const [[count]] = await session.query(
          `SELECT count(*) FROM pg_stat_activity WHERE ${older}`,
        );
        return count === '0';
      };
      const what = `transactions on ${node.name} from before the fence`;
      await waitUntil(what, isEmpty, { timeoutMs: graceMs }).catch(async () => {
        await session.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${older}`,
        );
        await waitUntil(what, isEmpty);
      });
    } finally {
      await session.close();
    }
  }

  /**
   * Waits until all running standbys have replayed everything that the primary has written so far.
   * @param {{ timeoutMs?: number }} [options]
   */
  async waitForReplication({ timeoutMs = 30_000 } = {}) {
    const [[target]] = await this.query(this.primary, 'SELECT pg_current_wal_flush_lsn()');
    const standbys = await this.runningStandbys();
    await Promise.all(standbys.map((node) => this.#waitForReplay(node, target, timeoutMs)));
  }

  async #waitForReplay(node, target, timeoutMs) {
    const session = await this.openSession(node);
    try {
      await waitUntil(
        `${node.name} has replayed ${target}`,
        async () => {
          const [[isThere]] = await session.query(
            `SELECT pg_last_wal_replay_lsn() >= '${target}'::pg_lsn`,
          );
          return isThere === 't';
        },
        { timeoutMs },
      );
    } finally {
      await session.close();
    }
  }

  /**
   * Promotes the running standby that has received the most WAL.
   * @returns {Promise<Node>} the new primary
   */
  async failover() {
    const standbys = await this.runningStandbys();
    if (standbys.length === 0) throw new Error('no standby runs that could be promoted');
    const received = await this.#settledPositions(standbys);
    const most = received.reduce((best, lsn) => (lsn > best ? lsn : best));
    const node = standbys[received.indexOf(most)];
    await this.promote(node);
    return node;
  }

  /**
   * Exchanges the roles of the primary and a standby, as operators do who must not lose data. After
   * the fence with its barrier, no transaction can write any more. The standbys replay all WAL, one
   * of them is promoted, and the old primary becomes its standby.
   * @param {Node} [node] the standby to promote; by default the standby that has received the most
   * WAL
   * @param {{ graceMs?: number, terminate?: 'older' | 'all' }} [options] as for `fence`
   * @returns {Promise<Node>} the new primary
   */
  async switchover(node, options = {}) {
    const deposed = this.primary;
    const standbys = await this.runningStandbys();
    if (standbys.length === 0 || (node !== undefined && !standbys.includes(node))) {
      throw new Error(
        `cannot switch over to ${node?.name ?? 'any node'}: it is no running standby`,
      );
    }
    try {
      await this.fence(deposed, { ...options, barrier: true });
      await this.waitForReplication();
    } catch (error) {
      // No standby was promoted yet, so the primary continues.
      await this.unfence(deposed);
      throw error;
    }
    if (node === undefined) await this.failover();
    else await this.promote(node);
    await this.rejoin(deposed);
    // If HYPERION_CTL rejoins the node, the setting may have survived.
    await this.unfence(deposed);
    return this.primary;
  }

  // WAL that a dead primary has sent may still be in the kernel's buffers. A standby that reads it
  // a moment too late would be ahead of the new primary, and could not follow it.
  async #settledPositions(standbys) {
    const mayStillSend = ['running', 'frozen'].includes(this.primary.state);
    const sample = () => Promise.all(standbys.map((node) => this.position(node)));
    let last = await sample();
    const isSettled = async () => {
      const before = last;
      last = await sample();
      return last.every(
        ({ received, sender }, i) =>
          received === before[i].received && (mayStillSend || sender === null),
      );
    };
    await waitUntil('all has arrived', isSettled, { timeoutMs: 2000 }).catch(() => {});
    return last.map(({ received }) => received);
  }

  /**
   * The position of a standby's WAL in bytes, and the port of the server that it streams from.
   * @param {Node} node
   * @returns {Promise<{ received: bigint, sender: number | null }>}
   */
  async position(node) {
    // A number, because LSNs as text do not sort. A standby that has received nothing since its
    // start still has the WAL that it has replayed.
    const [[received, sender]] = await this.query(
      node,
      `SELECT GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0',
              (SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming')`,
    );
    return { received: BigInt(received ?? 0), sender: sender === null ? null : Number(sender) };
  }

  /** @param {Node} node */
  async waitUntilPromoted(node) {
    const session = await this.openSession(node);
    try {
      await waitUntil(`${node.name} is out of recovery`, async () => {
        const [[isInRecovery]] = await session.query('SELECT pg_is_in_recovery()');
        return isInRecovery === 'f';
      });
    } finally {
      await session.close();
    }
  }

  /**
   * A TCP proxy in front of a node, which can disturb its connections; closed with the cluster.
   * @param {Node} node
   * @param {import('./proxy.js').Options} [options]
   */
  async proxy(node, options) {
    const proxy = await startProxy({ host: node.host, port: node.port }, options);
    this.#proxies.add(proxy);
    return proxy;
  }

  async closeProxies() {
    await Promise.all([...this.#proxies].map((proxy) => proxy.close()));
    this.#proxies.clear();
  }
}

// Absent before Node 20.4 and 18.18.
if (Symbol.asyncDispose !== undefined) {
  Cluster.prototype[Symbol.asyncDispose] = function dispose() {
    return this.close();
  };
}
