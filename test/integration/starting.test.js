// Servers that answer 57P03: they start up, accept no sessions yet, or shut down. The pool asks
// them again, and waiting callers are served in the end. On real servers.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

/**
 * A pool that waits long, even for a server that does not listen yet, and a query that waits
 * already.
 */
function ask(t, cluster, options) {
  const patient = { acquireTimeoutMs: 60_000, failFast: false };
  const pool = openPool(t, cluster.options({ ...patient, ...options }));
  return { pool, waiting: pool.query('SELECT 1 AS one') };
}

/** Waits until a host has answered 57P03 with this text. */
async function untilRefused(pool, why) {
  const isRefused = () => pool.cluster().some(({ state }) => state === 'refusing');
  await waitUntil('a host refuses', isRefused);
  const [{ lastError }] = pool.cluster();
  assert.equal(lastError.code, '57P03');
  assert.match(lastError.message, why);
}

/** A caller that waits for a shorter time learns the reason, and that nothing was sent. */
async function assertRefused(cluster, why, options) {
  const pool = createPool(cluster.options({ acquireTimeoutMs: 1000, failFast: false, ...options }));
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.name, 'PoolTimeoutError');
    assert.equal(error.outcome, 'not-sent');
    assert.match(error.hosts[0].why, why);
    return true;
  });
  await pool.end();
}

test('a server that is starting up is asked until it has started', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const { primary } = cluster;
  await cluster.stop(primary);
  // A recovery that looks for WAL in an archive, until the test lets the archive answer that there
  // is none.
  const go = path.join(primary.dataFolder, 'go');
  // It also ends when the folder is gone, however the test ends.
  const command = `while [ -d ${primary.dataFolder} ] && [ ! -e ${go} ]; do sleep 0.01; done; false`;
  await primary.configure({ restore_command: command });
  await primary.write('recovery.signal', '');
  const started = cluster.start(primary);
  const { pool, waiting } = ask(t, cluster);
  const why = /the database system is starting up/;
  await untilRefused(pool, why);
  await assertRefused(cluster, why);
  writeFileSync(go, '');
  assert.deepEqual(await waiting, [{ one: 1 }]);
  await started;
});

test('a standby that does not accept sessions serves as soon as it is promoted', async (t) => {
  const cluster = await startCluster({ nodes: 2 });
  t.after(() => cluster.close());
  const [old, standby] = cluster.nodes;
  await cluster.stop(standby);
  await standby.configure({ hot_standby: 'off' });
  void cluster.start(standby).catch(() => {});
  const hosts = [standby.address];
  const { pool, waiting } = ask(t, cluster, { hosts });
  const why = /the database system is not (yet )?accepting connections|is starting up/;
  await untilRefused(pool, why);
  await assertRefused(cluster, why, { hosts });
  await cluster.crash(old);
  await standby.triggerPromotion();
  assert.deepEqual(await waiting, [{ one: 1 }]);
});

test('a server that is shutting down finishes what runs, and serves when it is back', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const early = createPool(cluster.options({ poolSize: 1 }));
  const connection = await early.connect();
  await connection.query('SELECT 1');
  const stopped = cluster.stop(cluster.primary, 'smart');
  const isClosed = async () => {
    const session = await cluster.openSession(cluster.primary).catch(() => null);
    await session?.close();
    return session === null;
  };
  await waitUntil('the server has heard of it', isClosed);
  const why = /the database system is shutting down/;
  const { pool, waiting } = ask(t, cluster);
  await untilRefused(pool, why);
  await assertRefused(cluster, why);
  assert.deepEqual(await connection.query('SELECT 2 AS two'), [{ two: 2 }]);
  await Promise.all([connection.release(), early.end()]);
  await stopped;
  await cluster.start(cluster.primary);
  assert.deepEqual(await waiting, [{ one: 1 }]);
});

test('a standby that refuses for good does not end the wait for a primary that is restarted', async (t) => {
  const cluster = await startCluster({ nodes: 2 });
  t.after(() => cluster.close());
  const { primary } = cluster;
  const standby = cluster.nodes.find((node) => node !== primary);
  await standby.write('pg_hba.conf', 'host all all all reject\n');
  await standby.reload();
  const pool = openPool(t, cluster.options({ acquireTimeoutMs: 60_000 }));
  await pool.query('SELECT 1');
  await cluster.crash(primary);
  // The pool may still send the first query on a broken connection.
  await pool.query('SELECT 1', [], { readOnly: true, timeoutMs: 100 }).catch(() => {});
  const refuses = () => pool.cluster().some(({ state }) => state === 'refusing');
  await waitUntil('the standby has refused', refuses);
  const waiting = Promise.all([
    pool.query('SELECT 1 AS one'),
    pool.transaction((tx) => tx.query('SELECT 1 AS one')),
  ]);
  waiting.catch(() => {});
  // The pool asks both again meanwhile.
  await sleep(1_500);
  await cluster.start(primary);
  assert.deepEqual(await waiting, [[{ one: 1 }], [{ one: 1 }]]);

  // If both refuse, no call waits.
  await primary.write('pg_hba.conf', 'host all all all reject\n');
  await primary.reload();
  await waitUntil('both have refused', async () => {
    const sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state <> ''";
    await pool.query(sessions, [], { timeoutMs: 1_000 }).catch(() => {});
    return pool.cluster().every(({ state }) => state === 'refusing');
  });
  await assert.rejects(pool.query('SELECT 1'), { code: '28000', outcome: 'not-sent' });
});
