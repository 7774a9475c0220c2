// Reads from standbys: the replication lag, and conflicts with the standby's replay.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { isRetryable } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

async function open(t, clusterOptions, options) {
  const cluster = await startCluster({ nodes: 2, ...clusterOptions });
  t.after(() => cluster.close());
  await cluster.query(cluster.primary, 'CREATE TABLE kept (n int)');
  await cluster.query(cluster.primary, 'INSERT INTO kept SELECT generate_series(1, 1000)');
  await cluster.waitForReplication();
  const pool = openPool(t, cluster.options(options));
  const standby = cluster.nodes.find((node) => node !== cluster.primary);
  return { cluster, pool, standby };
}

/** Asks both hosts until the condition holds. The pool learns about hosts from their answers. */
const askUntil = (pool, what, holds) =>
  waitUntil(what, async () => {
    await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 1')]);
    return holds();
  });

test('a standby at work tells how far it is behind, and a primary does not', async (t) => {
  const { cluster, pool, standby } = await open(t, {}, { mode: 'any' });
  const lagOf = (node) => pool.cluster().find(({ host }) => host === node.address).replicationLagMs;
  const until = (holds) => askUntil(pool, 'it has said how far', () => holds(lagOf(standby)));
  assert.equal(lagOf(standby), null, 'not asked yet');
  await until((lag) => lag === 0);
  await cluster.query(standby, 'SELECT pg_wal_replay_pause()');
  await cluster.query(cluster.primary, 'DELETE FROM kept');
  await until((lag) => lag > 0);
  await cluster.query(standby, 'SELECT pg_wal_replay_resume()');
  await until((lag) => lag === 0);
  assert.equal(lagOf(cluster.primary), null);

  // A standby that receives nothing does not know its lag, and the pool reports that.
  await standby.follow("host=127.0.0.1 port=1 user='nobody'");
  standby.reload();
  await until((lag) => lag === null);
  const statusOf = (node) => pool.cluster().find(({ host }) => host === node.address);
  const { ages } = statusOf(standby);
  assert.equal(ages.replicationLagMs, null);
  assert.ok(ages.roleMs >= 0 && ages.stateMs <= ages.roleMs && ages.roundTripMs >= 0);
});

test('the pool’s own questions run nobody’s operators', async (t) => {
  const { cluster, pool, standby } = await open(
    t,
    {},
    {
      mode: 'standby',
      parameters: { search_path: 'theirs, pg_catalog' },
    },
  );
  const sql = [
    'CREATE SCHEMA theirs',
    `CREATE FUNCTION theirs.eq(pg_lsn, pg_lsn) RETURNS boolean LANGUAGE plpgsql
     AS $$ BEGIN RAISE EXCEPTION 'run as somebody else'; END $$`,
    'CREATE OPERATOR theirs.= (LEFTARG = pg_lsn, RIGHTARG = pg_lsn, FUNCTION = theirs.eq)',
  ];
  for (const statement of sql) await cluster.query(cluster.primary, statement);
  await cluster.waitForReplication();
  const lag = () => pool.cluster().find(({ host }) => host === standby.address).replicationLagMs;
  await askUntil(pool, 'it has caught up', () => lag() === 0);
  assert.doesNotMatch(standby.log(), /run as somebody else/);
});

test('what is known of a host that nobody asks grows old, and says so', async (t) => {
  const { cluster, pool, standby } = await open(t, {}, {});
  await pool.query('SELECT 1');
  const agesOf = (node) => pool.cluster().find(({ host }) => host === node.address).ages;
  // A login to the standby may still be under way.
  await waitUntil('it has logged in', () => agesOf(standby).stateMs !== null);
  const before = agesOf(standby).stateMs;
  await sleep(100);
  await pool.query('SELECT 1');
  assert.ok(agesOf(standby).stateMs >= before + 90, 'nobody has asked it since');
  assert.ok(agesOf(standby).stateMs > agesOf(cluster.primary).stateMs);
  assert.ok(agesOf(cluster.primary).roleMs < agesOf(standby).roleMs);
});

test('a read on a standby may be behind a write, and is not where the caller has waited for it', async (t) => {
  const { cluster, pool, standby } = await open(t, {}, { mode: 'standby' });
  const writer = openPool(t, cluster.options());
  const count = async (on) => (await on.query('SELECT count(*)::int AS n FROM kept'))[0].n;
  await cluster.query(standby, 'SELECT pg_wal_replay_pause()');
  await writer.query('INSERT INTO kept VALUES (1001)');
  const [{ lsn }] = await writer.query('SELECT pg_current_wal_insert_lsn() AS lsn');
  assert.equal(await count(writer), 1001, 'the primary has it');
  assert.equal(await count(pool), 1000, 'a standby may have it later, and is read all the same');

  const connection = await pool.connect();
  const reached = 'SELECT pg_last_wal_replay_lsn() >= $1 AS reached';
  const isReached = async () => (await connection.query(reached, [lsn]))[0].reached;
  assert.equal(await isReached(), false);
  await cluster.query(standby, 'SELECT pg_wal_replay_resume()');
  await waitUntil('the standby has replayed it', isReached);
  assert.equal(await count(connection), 1001);
  await connection.release();
});

test('a read that a standby’s replay is in the way of is asked again', async (t) => {
  const settings = { max_standby_streaming_delay: '0', hot_standby_feedback: 'off' };
  const { cluster, pool, standby } = await open(t, { settings }, { mode: 'standby' });
  const read = () => pool.query('SELECT (SELECT count(*)::int FROM kept) AS n FROM pg_sleep(1)');
  const active = "query LIKE '%FROM pg_sleep(1)' AND state = 'active'";
  const crossing = read();
  await cluster.waitForSession(active, standby);
  await cluster.query(cluster.primary, 'DELETE FROM kept WHERE n > 10');
  await cluster.query(cluster.primary, 'VACUUM (TRUNCATE false) kept');
  assert.deepEqual(await crossing, [{ n: 10 }], 'the snapshot of the second time');
  await cluster.waitForRow(
    standby,
    'SELECT 1 FROM pg_stat_database_conflicts WHERE confl_snapshot > 0',
  );

  // A transaction has read rows, so only its caller can repeat it.
  const seen = pool.transaction(async (tx) => {
    await tx.query('SELECT count(*) FROM kept');
    return tx.query('SELECT (SELECT count(*)::int FROM kept) AS n FROM pg_sleep(1)');
  });
  await cluster.waitForSession(active, standby);
  await cluster.query(cluster.primary, 'DELETE FROM kept');
  await cluster.query(cluster.primary, 'VACUUM (TRUNCATE false) kept');
  await assert.rejects(seen, { name: 'DatabaseError', code: '40001', outcome: 'not-committed' });
});

test('a database that is dropped under a read on a standby (57P04) is not waited for', async (t) => {
  const { cluster, standby } = await open(t, {}, {});
  await cluster.query(cluster.primary, 'CREATE DATABASE doomed');
  await cluster.waitForReplication();
  const options = { mode: 'standby', database: 'doomed', acquireTimeoutMs: 600_000 };
  const doomed = openPool(t, cluster.options(options));
  const [read, declared] = [{}, { readOnly: true }].map((of) =>
    doomed.query('SELECT pg_sleep(60)::text AS dropped', [], of),
  );
  const ended = Promise.allSettled([read, declared]);
  const active = "datname = 'doomed' AND state = 'active'";
  const areActive = async () => (await cluster.sessions(active, standby)).length === 2;
  await waitUntil('both are read', areActive);
  await cluster.query(cluster.primary, 'DROP DATABASE doomed');
  const [{ reason }, { reason: again }] = await ended;
  assert.deepEqual([reason.code, reason.outcome], ['40003', 'unknown']);
  assert.equal(reason.cause.code, '57P04');
  assert.equal(isRetryable(reason), false);
  assert.equal(again.code, '3D000');
});

test('a transaction from before a promotion stays read-only, and says nothing of its host', async (t) => {
  const { cluster, pool, standby } = await open(t, {}, { mode: 'any' });
  pool.setHosts([standby.address]);
  const events = [];
  for (const name of ['fence', 'rival']) pool.on(name, () => events.push(name));
  const tx = await pool.begin();
  await tx.query('SELECT count(*) FROM kept');
  await cluster.promote(standby);
  await assert.rejects(tx.query('INSERT INTO kept VALUES (0)'), {
    ...{ name: 'DatabaseError', code: '25006', outcome: 'not-committed' },
  });
  const [{ state, role, serves }] = pool.cluster();
  // A server before 14 does not report it to sessions, and the pool does not ask in a transaction.
  const [[number]] = await cluster.query(standby, 'SHOW server_version_num');
  const told = Number(number) < 140_000 ? 'standby' : 'read-write';
  assert.deepEqual([state, role, serves], ['up', told, true]);
  await tx.rollback();
  assert.equal((await pool.query('INSERT INTO kept VALUES (0)')).rowCount, 1);
  assert.deepEqual(events, []);
});
