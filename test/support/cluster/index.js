// A PostgreSQL cluster for tests: real servers, real replication, real faults. README.md describes
// it.

import { externalCluster } from './external.js';
import { LocalCluster } from './local.js';

export { externalCluster } from './external.js';
export { findPooler, skipWithoutPooler } from './pooler.js';
export { startProxy } from './proxy.js';

const AUTH = ['scram-sha-256', 'md5', 'password', 'trust'];

/**
 * @typedef {object} ClusterOptions
 * @property {number} [nodes] how many, one of them the primary; 3 if not said
 * @property {string | number} [version] PostgreSQL's major version, 13 to 18; 15 if neither this nor
 *   HYPERION_PG_VERSION says another
 * @property {number} [synchronous] k of `synchronous_standby_names = 'ANY k (*)'`; 0 is asynchronous
 * @property {'scram-sha-256' | 'md5' | 'password' | 'trust'} [auth]
 * @property {Record<string, unknown>} [settings] more of postgresql.conf, for all nodes
 * @property {string} [binaries] the folder with the programs, instead of a version
 * @property {number} [maxConnections]
 * @property {boolean} [ownIdentity] a system identifier of its own; takes an initdb
 */

/**
 * Starts a cluster. All its standbys stream when the promise resolves.
 * @param {ClusterOptions} [options]
 * @returns {Promise<LocalCluster>}
 */
export async function startCluster({
  nodes = 3,
  version,
  synchronous = 0,
  auth = 'scram-sha-256',
  settings = {},
  binaries,
  maxConnections = 60,
  ownIdentity = false,
} = {}) {
  if (!Number.isInteger(nodes) || nodes < 1) throw new TypeError('nodes must be 1 or more');
  if (!Number.isInteger(synchronous) || synchronous < 0 || synchronous >= nodes) {
    throw new TypeError('synchronous must be 0 or more, and less than nodes');
  }
  if (!AUTH.includes(auth)) throw new TypeError(`auth must be one of ${AUTH.join(', ')}`);
  return LocalCluster.start({
    nodes,
    version,
    synchronous,
    auth,
    settings,
    binaries,
    maxConnections,
    ownIdentity,
  });
}

/** For tests that stop and start nodes: a cluster that was already there needs HYPERION_CTL. */
export const onOwnNodes = {
  skip: process.env.HYPERION_HOSTS && !process.env.HYPERION_CTL && 'HYPERION_CTL is not set',
};

/**
 * The cluster that HYPERION_HOSTS names, or a new one.
 * @param {ClusterOptions} [options] for the new one
 */
export function clusterFor(options) {
  return process.env.HYPERION_HOSTS ? externalCluster() : startCluster(options);
}
