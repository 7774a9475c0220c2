// The events of a pool: sessions that come and go, callers that take connections and give them
// back.

import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { after, before, test } from 'node:test';

import { clusterFor, onOwnNodes, startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 2 });
});
after(() => cluster?.close());

function hear(pool, name) {
  const events = [];
  pool.on(name, (event) => events.push(event));
  return events;
}

test('each session that is logged in is told, and its end with a reason', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const connects = hear(pool, 'connect');
  const removes = hear(pool, 'remove');
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  const { address } = cluster.primary;
  const [first] = connects.filter(({ host }) => host === address);
  assert.equal(first.role, 'read-write');
  assert.match(first.address, /^(127\.0\.0\.1|::1)$/);
  assert.ok(first.durationMs > 0);
  assert.equal(first.tls, pool.cluster().find(({ host }) => host === address).tls);
  await pool.query('SELECT pg_terminate_backend($1)', [pid]).catch(() => {});
  await waitUntil('its end is told', () => removes.some(({ reason }) => reason === 'lost'));
  const lost = removes.find(({ reason }) => reason === 'lost');
  assert.deepEqual([lost.host, lost.error.code], [address, '57P01']);
  await pool.query('SELECT 1');
  await pool.end();
  assert.equal(connects.length, removes.length);
  assert.ok(removes.some(({ reason, error }) => reason === 'ended' && error === null));
});

test('a connection that is older than its time, or unused, is removed for that', async (t) => {
  const used = openPool(t, cluster.options({ poolSize: 1, maxUses: 1 }));
  const ends = hear(used, 'remove');
  await used.query('SELECT 1');
  await waitUntil('it is removed', () => ends.some(({ reason }) => reason === 'expired'));
  const idle = openPool(t, cluster.options({ poolSize: 1, idleTimeoutMs: 50 }));
  const removes = hear(idle, 'remove');
  await idle.query('SELECT 1');
  await waitUntil('it is removed', () => removes.some(({ reason }) => reason === 'idle'));
});

test('who takes a connection is told, and who gives it back', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const acquired = hear(pool, 'acquire');
  const released = hear(pool, 'release');
  const host = cluster.primary.address;
  await pool.query('SELECT 1');
  await pool.transaction((tx) => tx.query('SELECT 1'));
  const connection = await pool.connect();
  await connection.query('SELECT 1');
  await connection.release();
  const tx = await pool.begin();
  await tx.query('SELECT 1');
  await tx.rollback();
  const what = (events) => events.map((event) => [event.what, event.host]);
  const each = ['transaction', 'connection', 'transaction'].map((word) => [word, host]);
  await waitUntil('all is told', () => released.length === 3);
  assert.deepEqual(what(acquired), each);
  assert.deepEqual(what(released), each);
  const reasons = released.map(({ reason }) => reason);
  assert.deepEqual(reasons, ['finished', 'released', 'finished']);
  for (const { waitMs } of acquired) assert.ok(waitMs > 0);
  for (const { heldMs } of released) assert.ok(heldMs > 0);
});

test('a caller that begins while nobody listens has no event at its end', async (t) => {
  const pool = openPool(t, cluster.options());
  const connection = await pool.connect();
  const released = hear(pool, 'release');
  await connection.release();
  await pool.end();
  assert.deepEqual(released, []);
});

test('a listener may ask the pool, and end it', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const asked = new Promise((resolve) => {
    pool.once('acquire', () => resolve(pool.query('SELECT 2 AS n')));
  });
  const ended = new Promise((resolve) => pool.once('release', () => resolve(pool.end())));
  await pool.transaction((tx) => tx.query('SELECT 1'));
  assert.deepEqual([...(await asked)], [{ n: 2 }]);
  await ended;
});

test('no event is called error: a host that is down ends no process', async (t) => {
  const pool = openPool(t, { ...cluster.options(), hosts: ['127.0.0.1:1'], failFast: true });
  const emitted = [];
  const { emit } = pool;
  pool.emit = (name, ...rest) => {
    emitted.push(name);
    return emit.call(pool, name, ...rest);
  };
  await assert.rejects(pool.query('SELECT 1'), (error) => error.code === 'HYPERION_UNREACHABLE');
  await waitUntil('its host is told', () => emitted.includes('host'));
  assert.ok(!emitted.includes('error'));
});

test('a failover is published with its pool, and is counted', onOwnNodes, async (t) => {
  const own = await startCluster({ nodes: 2 });
  t.after(() => own.close());
  const messages = [];
  const listener = (message) => messages.push(message);
  subscribe('hyperiondb-client:failover', listener);
  t.after(() => unsubscribe('hyperiondb-client:failover', listener));
  const pool = openPool(t, own.options({ name: 'main', acquireTimeoutMs: 60_000 }));
  const primaries = hear(pool, 'primary');
  const fences = hear(pool, 'fence');
  await pool.query('SELECT 1');
  const previous = own.primary.address;
  await own.fence(own.primary);
  await assert.rejects(
    pool.query('CREATE TABLE fenced ()', [], { timeoutMs: 500 }),
    (error) => error.outcome !== 'unknown',
  );
  await own.primary.crash();
  await own.failover();
  await pool.query('CREATE TABLE after_failover ()');
  const { address: host } = own.primary;
  assert.notEqual(host, previous);
  const [message, ...others] = messages;
  assert.deepEqual(others, [], 'the first primary is no failover');
  const { pool: of, name, database, ...event } = message;
  assert.deepEqual([of, name, database], [pool, 'main', own.database]);
  assert.deepEqual([event.host, event.previous], [host, previous]);
  assert.equal(primaries.length, 2);
  const status = pool.status();
  assert.deepEqual([status.failovers, status.fences], [1, fences.length]);
  assert.equal(fences.length, 1);
});
