// Each mode is served by the hosts that libpq's target_session_attrs would choose, and the pool
// spreads reads over them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
let primary;
let standbys;
before(async () => {
  cluster = await clusterFor({ nodes: 3 });
  primary = cluster.primary.port;
  standbys = ports(cluster.nodes.filter((node) => node !== cluster.primary));
});
after(() => cluster?.close());

const WHERE = "SELECT current_setting('port')::int AS port";

function ports(nodes) {
  return nodes.map((node) => node.port).sort((a, b) => a - b);
}

/** Opens a pool for the test. */
const open = (t, options) => openPool(t, cluster.options(options));

/** The ports of the servers that answer `count` queries at the same time. */
async function served(pool, count = 60) {
  const ask = () => pool.query(WHERE);
  const rows = (await Promise.all(Array.from({ length: count }, ask))).flat();
  return [...new Set(rows.map(({ port }) => port))].sort((a, b) => a - b);
}

/** Asks until the condition holds. A pool moves its connections while it is in use. */
const until = (pool, holds) =>
  waitUntil('the pool is served so', async () => holds(await served(pool, 10)));

test('each mode is served by the hosts that fit', async (t) => {
  const all = ports(cluster.nodes);
  for (const [mode, expected] of [
    ['read-write', [primary]],
    ['primary', [primary]],
    ['read-only', standbys],
    ['standby', standbys],
    ['prefer-standby', standbys],
    ['any', all],
  ]) {
    const pool = open(t, { mode, poolSize: 9 });
    await until(pool, (seen) => seen.length === expected.length);
    assert.deepEqual(await served(pool), expected, mode);
  }
});

test('target_session_attrs of a connection string means the same', async (t) => {
  const { user, password, database, hosts } = cluster.options();
  const credentials = `${user}:${encodeURIComponent(password ?? '')}`;
  const url = `postgres://${credentials}@${hosts.join(',')}/${database}?target_session_attrs=standby`;
  const pool = openPool(t, url);
  for (const port of await served(pool)) assert.notEqual(port, primary);
});

test('a primary that is read-only serves readers and the mode primary', async (t) => {
  t.after(() => cluster.unfence(cluster.primary));
  const kept = open(t, { mode: 'primary' });
  assert.deepEqual(await served(kept), [primary]);
  const reader = open(t, { mode: 'read-only', hosts: [cluster.primary.address] });
  const waiting = reader.query(WHERE);
  await cluster.fence(cluster.primary);
  assert.deepEqual(await waiting, [{ port: primary }]);
  assert.deepEqual(await served(kept), [primary]);
  await assert.rejects(kept.query('CREATE TABLE refused ()'), {
    code: '25006',
    outcome: 'not-committed',
  });
});

test('each way to balance the load uses all hosts that are equally near', async (t) => {
  for (const loadBalance of ['random', 'least-connections']) {
    const pool = open(t, { mode: 'standby', poolSize: 4, loadBalance });
    await until(pool, (seen) => seen.length === 2);
  }
});

test('the nearest host is the one with the shortest round trip', async (t) => {
  const [near, far] = cluster.nodes.filter((node) => node !== cluster.primary);
  const proxy = await cluster.proxy(far);
  t.after(() => proxy.close());
  await proxy.delay(50);
  const hosts = [proxy.address, near.address];
  const pool = open(t, { mode: 'standby', hosts, loadBalance: 'nearest', poolSize: 4 });
  await until(pool, (seen) => seen.length === 1 && seen[0] === near.port);
  assert.deepEqual(await served(pool, 4), [near.port]);
});

test('no host that fits: the error says what each of them is', async (t) => {
  const options = { mode: 'standby', hosts: [cluster.primary.address], acquireTimeoutMs: 300 };
  await assert.rejects(open(t, options).query(WHERE), (error) => {
    assert.equal(error.name, 'PoolTimeoutError');
    assert.equal(error.code, 'HYPERION_NO_HOST');
    assert.equal(error.outcome, 'not-sent');
    assert.deepEqual(error.hosts, [{ host: cluster.primary.address, why: 'takes writes' }]);
    return true;
  });
});

test('prefer-standby settles for the primary, and moves back', onOwnNodes, async (t) => {
  const [standby, other] = cluster.nodes.filter((node) => node !== cluster.primary);
  const hosts = [cluster.primary.address, standby.address];
  const pool = open(t, { mode: 'prefer-standby', hosts, poolSize: 3 });
  assert.deepEqual(await served(pool), [standby.port]);
  await cluster.stop(standby, 'immediate');
  t.after(() => cluster.waitForReplication());
  const reads = () => pool.query(WHERE, [], { readOnly: true });
  assert.deepEqual(await reads(), [{ port: primary }]);
  assert.deepEqual(await served(pool), [primary]);
  await cluster.start(standby);
  await until(pool, (seen) => seen.length === 1 && seen[0] === standby.port);
  assert.ok(other.state === 'running', 'the third node is not in the list');
});
