// Changes that the open sessions of a host do not show, and a new session does: where the host's
// name leads now, where a balancer in front of it leads, and settings that the server reads at the
// login.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

/** A cluster with a table. */
async function start(t, nodes) {
  const cluster = await startCluster({ nodes });
  t.after(() => cluster.close());
  await cluster.query(cluster.primary, 'CREATE TABLE kept (key int)');
  await cluster.waitForReplication();
  return cluster;
}

/** Promotes the standby. The old primary lives on, fenced or as a standby. */
async function depose(cluster, how) {
  const [old, next] = cluster.nodes;
  await cluster.fence(old);
  await cluster.promote(next);
  if (how === 'a standby') await cluster.rejoin(old);
}

/**
 * Three callers ask without a pause, so that one always waits, until they are served again after
 * `move`.
 */
async function writeAcross(pool, move) {
  const errors = [];
  let hasMoved = false;
  const user = async () => {
    for (let served = 0; served < 2;) {
      const counts = hasMoved;
      try {
        await pool.query('INSERT INTO kept VALUES (1)');
        if (counts) served += 1;
      } catch (error) {
        assert.match(error.code, /^HYPERION_(NO_PRIMARY|POOL_TIMEOUT)$/);
        errors.push(error);
        assert.ok(errors.length < 150, `no primary was found: ${error.message}`);
      }
    }
  };
  const users = Promise.all([user(), user(), user()]);
  await waitUntil('somebody waits', () => errors.length >= 3);
  await move();
  hasMoved = true;
  await users;
}

/**
 * The primary at these options serves. Another node replaces it, and new sessions are led there.
 */
async function follow(t, cluster, how, options, move) {
  const pool = openPool(t, cluster.options({ poolSize: 3, acquireTimeoutMs: 300, ...options }));
  const fences = [];
  pool.on('fence', ({ role }) => fences.push(role));
  // A caller that keeps its connection does not show where new sessions are led.
  const kept = await pool.connect();
  await kept.query('SELECT 1');
  await pool.query('INSERT INTO kept VALUES (0)');
  const [old, next] = cluster.nodes;
  await depose(cluster, how);
  await kept.query('SELECT 1').catch(() => {});
  await writeAcross(pool, async () => {
    // The pool hears of a server that is slow to restart as a standby before new sessions are led
    // elsewhere.
    await waitUntil('the fence is told', () => fences.length > 0);
    await move();
  });
  await kept.query('SELECT 1').catch(() => {});
  await pool.query('INSERT INTO kept VALUES (2)');
  await kept.release();
  assert.equal(fences.length, 1);
  const [[written]] = await cluster.query(next, 'SELECT count(*) FROM kept WHERE key = 2');
  assert.equal(written, '1');
  if (how === 'fenced') {
    const [[behind]] = await cluster.query(old, 'SELECT count(*) FROM kept WHERE key > 0');
    assert.equal(behind, '0', 'nothing was written behind the fence');
  }
}

for (const how of ['fenced', 'a standby']) {
  test(`a name follows the primary, and the one before lives on, ${how}`, async (t) => {
    const cluster = await start(t, 2);
    const [old, next] = cluster.nodes;
    const { port } = await cluster.proxy(old, { host: '127.0.0.2' });
    await cluster.proxy(next, { host: '127.0.0.3', port });
    let address = '127.0.0.2';
    const lookup = (_hostname, _options, callback) => callback(null, [{ address, family: 4 }]);
    const move = () => (address = '127.0.0.3');
    await follow(t, cluster, how, { hosts: [`db.example:${port}`], lookup }, move);
  });

  test(`a balancer leads to the primary, and the one before lives on, ${how}`, async (t) => {
    const cluster = await start(t, 2);
    const [old, next] = cluster.nodes;
    const balancer = await cluster.proxy(old);
    const hosts = [balancer.address];
    await follow(t, cluster, how, { hosts }, () => balancer.leadTo(next));
  });
}

for (const roleCheck of ['reported', 'query']) {
  test(`a fence of the database alone is seen to be lifted, roleCheck '${roleCheck}'`, async (t) => {
    const cluster = await start(t, 1);
    const { primary } = cluster;
    const pool = openPool(t, cluster.options({ poolSize: 3, acquireTimeoutMs: 300, roleCheck }));
    await pool.query('INSERT INTO kept VALUES (0)');
    const set = 'ALTER DATABASE hyperion SET default_transaction_read_only = on';
    await cluster.query(primary, set);
    // Open sessions go on writing, so an operator who fences in this way ends them.
    const others = "pid <> pg_backend_pid() AND backend_type = 'client backend'";
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${others}`;
    await cluster.query(primary, end);
    await writeAcross(pool, async () => {
      const session = await cluster.openSession(primary);
      // The operator's own session is read-only too.
      await session.query('SET default_transaction_read_only = off');
      await session.query('ALTER DATABASE hyperion RESET default_transaction_read_only');
      await session.close();
    });
  });
}
