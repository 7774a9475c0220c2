// Runs failovers one after the other on one cluster, with clients under load. Returns when the
// promoted node first accepted a write, and when each client's writes were acknowledged.

import { fork } from 'node:child_process';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startCluster } from '../../test/support/cluster/index.js';
import { waitUntil } from '../../test/support/wait-until.js';
import { watchFirstWrite } from './first-write.js';

const WRITER = fileURLToPath(new URL('writer.js', import.meta.url));
const SETUP = 'CREATE TABLE failover (id bigserial, key text NOT NULL)';
/** How many writes each pool makes before the crash, and again after the promotion. */
const MORE_WRITES = 100;
/** Longer than an acknowledgement takes, shorter than any promotion. In ms. */
const SETTLED_MS = 50;

/**
 * @typedef {object} Case
 * @property {string[]} clients names in CLIENTS; all are present in the same failovers
 * @property {number} [pools] how many of each client
 * @property {number} [writers] how many of each pool
 * @property {number} [everyMs] from one write of a writer to its next
 * @property {boolean} [blackHoled] the dead host answers no SYN; otherwise it refuses
 *
 * @typedef {object} Round
 * @property {number} crashed when the primary was dead, in ms
 * @property {number} promoted when the new primary first took a write, in ms
 * @property {Record<string, number[][]>} times when each write was acknowledged, by client and
 * pool, in ms
 */

/** A process with one client under load, which answers one question at a time. */
class Writer {
  #process;
  #answer;

  constructor(client, { pools = 1, writers = 8, everyMs = 4 }, connection) {
    const args = [client, ...[pools, writers, everyMs].map(String), JSON.stringify(connection)];
    this.#process = fork(WRITER, args);
    this.#process.on('message', (said) => this.#answer.resolve(said));
    this.#process.once('exit', (code) =>
      this.#answer.reject(new Error(`a writer ended with ${code}`)),
    );
    this.ready = this.#next();
  }

  #next() {
    const promise = new Promise((resolve, reject) => {
      this.#answer = { resolve, reject };
    });
    // After the last answer no code awaits this promise.
    promise.catch(() => {});
    return promise;
  }

  #ask(what) {
    const answer = this.#next();
    this.#process.send(what);
    return answer;
  }

  /** How many writes of each pool were acknowledged. @returns {Promise<number[]>} */
  async counts() {
    return (await this.#ask('count')).counts;
  }

  /** @returns {Promise<number[][]>} */
  async stop() {
    return (await this.#ask('stop')).times;
  }

  kill() {
    this.#process.kill();
  }
}

const now = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * The primary dies with all its connections, and a standby is promoted. Replication is
 * asynchronous, so that the time which the other standby needs to find its new primary is not
 * measured.
 * @param {Case} options
 * @param {number} count
 * @param {(done: number) => void} [progress]
 * @returns {Promise<Round[]>}
 */
export async function failovers(options, count, progress = () => {}) {
  const cluster = await startCluster({ nodes: 3, maxConnections: 300 });
  try {
    await cluster.query(cluster.primary, SETUP);
    const rounds = [];
    while (rounds.length < count) {
      rounds.push(await failover(cluster, options));
      progress(rounds.length);
    }
    return rounds;
  } finally {
    await cluster.close();
  }
}

async function failover(cluster, options) {
  const deposed = cluster.primary;
  const proxy = options.blackHoled ? await cluster.proxy(deposed) : undefined;
  const hosts = cluster.nodes.map((node) =>
    node === deposed && proxy ? proxy.address : node.address,
  );
  const connection = { ...cluster.options(), hosts };
  const writers = options.clients.map((client) => [
    client,
    new Writer(client, options, connection),
  ]);
  let watcher;
  try {
    await Promise.all(writers.map(([, writer]) => writer.ready));
    await untilWritten(writers, MORE_WRITES);
    const standbys = await cluster.runningStandbys();
    await cluster.waitForReplication();
    await cluster.crash(deposed);
    const crashed = now();
    await proxy?.blackHole();
    // The least time that a controller takes to be certain.
    await sleep(200);
    const chosen = await mostAdvanced(cluster, standbys);
    watcher = await watchFirstWrite(chosen, cluster.credentials);
    await cluster.promote(chosen);
    const promoted = await watcher.firstWrite();
    await untilWritten(writers, MORE_WRITES);
    const times = {};
    for (const [client, writer] of writers) times[client] = await writer.stop();
    await cluster.rejoin(deposed);
    return { crashed, promoted, times };
  } finally {
    for (const [, writer] of writers) writer.kill();
    await watcher?.close();
    await proxy?.close();
  }
}

async function mostAdvanced(cluster, standbys) {
  const positions = await Promise.all(standbys.map((node) => cluster.position(node)));
  const best = positions.reduce((a, b) => (b.received > a.received ? b : a));
  return standbys[positions.indexOf(best)];
}

/** Waits until each pool has made this many more writes. */
async function untilWritten(writers, more) {
  const count = () => Promise.all(writers.map(([, writer]) => writer.counts()));
  const before = await count();
  const isThere = async () =>
    (await count()).every((counts, w) => counts.every((n, pool) => n >= before[w][pool] + more));
  const what = `${more} more writes of every pool`;
  await waitUntil(what, isThere, { timeoutMs: 60_000, intervalMs: 20 });
}

/**
 * How long after the promoted node's first write each pool's first write was acknowledged, in ms,
 * over all rounds.
 */
export function delays(rounds, client) {
  return rounds.flatMap(({ crashed, promoted, times }) =>
    times[client].map((pool) => pool.find((time) => time > crashed + SETTLED_MS) - promoted),
  );
}

/** For how long no write of a pool was acknowledged, in ms. */
export function outages(rounds, client) {
  return rounds.flatMap(({ crashed, times }) =>
    times[client].map((pool) => {
      const next = pool.findIndex((time) => time > crashed + SETTLED_MS);
      return pool[next] - pool[next - 1];
    }),
  );
}
