// A cluster that is already running. The environment names it.

import { spawn } from 'node:child_process';
import { Cluster } from './cluster.js';
import { DATABASE, USER } from './template.js';

/** The state of a node after each operation. */
const STATE_AFTER = {
  start: 'running',
  restart: 'running',
  thaw: 'running',
  rejoin: 'running',
  stop: 'stopped',
  crash: 'crashed',
  freeze: 'frozen',
};

/**
 * Reads `host:port` lists. IPv6 addresses stand in brackets.
 * @param {string} text
 * @param {number} defaultPort
 */
export function parseHosts(text, defaultPort) {
  return text.split(',').map((entry) => {
    const match = /^\s*(?:\[(?<literal>[^\]]+)\]|(?<name>[^\s:[\]]+))(?::(?<port>\d+))?\s*$/.exec(
      entry,
    );
    if (match === null) throw new Error(`not a host, nor host:port: "${entry}"`);
    const { literal, name, port } = match.groups;
    return { host: literal ?? name, port: port === undefined ? defaultPort : Number(port) };
  });
}

/** @augments Cluster */
export class ExternalCluster extends Cluster {
  #control;

  constructor({ hosts, control, ...credentials }) {
    super(credentials);
    this.#control = control;
    this.nodes = hosts.map(({ host, port }, index) => ({
      name: `n${index + 1}`,
      host,
      port,
      address: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
      state: 'running',
    }));
  }

  /** Finds the node that is not in recovery. */
  async findPrimary() {
    const sql = 'SELECT pg_is_in_recovery()';
    const answers = await Promise.allSettled(this.nodes.map((node) => this.query(node, sql)));
    const index = answers.findIndex(({ value }) => value?.[0][0] === 'f');
    if (index < 0) {
      const reasons = answers.map(
        ({ reason }, i) => `${this.nodes[i].address}: ${reason ?? 'standby'}`,
      );
      throw new Error(`HYPERION_HOSTS names no primary\n${reasons.join('\n')}`);
    }
    this.primary = this.nodes[index];
  }

  /** Runs `$HYPERION_CTL <operation> <host:port>`. */
  async #run(operation, node) {
    if (!this.#control) {
      throw new Error(`HYPERION_CTL is not set: it takes that command to ${operation} a node`);
    }
    // A shell splits the words of the command. The arguments reach the command unchanged, as "$@".
    const args = ['-c', `${this.#control} "$@"`, 'HYPERION_CTL', operation, node.address];
    const child = spawn('/bin/sh', args, { stdio: ['ignore', 'inherit', 'inherit'] });
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0) throw new Error(`HYPERION_CTL ${operation} ${node.address} ended with ${code}`);
    node.state = STATE_AFTER[operation] ?? node.state;
  }

  stop(node) {
    return this.#run('stop', node);
  }
  start(node) {
    return this.#run('start', node);
  }
  restart(node) {
    return this.#run('restart', node);
  }
  crash(node) {
    return this.#run('crash', node);
  }
  freeze(node) {
    return this.#run('freeze', node);
  }
  thaw(node) {
    return this.#run('thaw', node);
  }
  rejoin(node) {
    return this.#run('rejoin', node);
  }
  async promote(node) {
    await this.#run('promote', node);
    await this.waitUntilPromoted(node);
    this.primary = node;
  }

  /** Closes the proxies and sessions of this process. The cluster continues to run. */
  close() {
    return this.closeProxies();
  }
}

/**
 * The cluster that HYPERION_HOSTS names.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<ExternalCluster>}
 */
export async function externalCluster(env = process.env) {
  if (!env.HYPERION_HOSTS) throw new Error('HYPERION_HOSTS is not set');
  const cluster = new ExternalCluster({
    hosts: parseHosts(env.HYPERION_HOSTS, Number(env.HYPERION_PORT ?? 5432)),
    user: env.HYPERION_USER ?? USER,
    password: env.HYPERION_PASSWORD,
    database: env.HYPERION_DATABASE ?? DATABASE,
    control: env.HYPERION_CTL,
  });
  await cluster.findPrimary();
  return cluster;
}
