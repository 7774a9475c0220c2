// Pools that end with their tests.

import { after } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from './cluster/index.js';

/**
 * A pool that ends with the test.
 * @param {import('node:test').TestContext} t
 * @param {import('../../typings/index.js').PoolOptions} options
 * @param {import('../../typings/index.js').EndOptions} [end] how it ends
 */
export function openPool(t, options, end) {
  const pool = createPool(options);
  t.after(() => pool.end(end));
  return pool;
}

/** The counts in `status()` of this moment, without the cumulative ones. */
export function countsOf(pool) {
  const { maxSize, size, available, inUse, waiting } = pool.status();
  return { maxSize, size, available, inUse, waiting };
}

/**
 * A cluster for all tests of a file, and a pool on it. Both are closed after the tests.
 * @param {import('./cluster/index.js').ClusterOptions} wanted
 * @param {import('../../typings/index.js').PoolOptions} [options]
 */
export async function clusterAndPool(wanted, options) {
  const cluster = await clusterFor(wanted);
  const pool = createPool(cluster.options(options));
  after(async () => {
    await pool.end();
    await cluster.close();
  });
  return { cluster, pool };
}
