// What a pool reports of its cluster, and changes of its hosts while it runs.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor, onOwnNodes, startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 3 });
});
after(() => cluster?.close());

const WHERE = "SELECT current_setting('port')::int AS port";

const open = (t, options) => openPool(t, cluster.options(options));

const event = (pool, name, fits = () => true) =>
  new Promise((resolve) => {
    // A pool without outstanding calls keeps no process alive.
    const awake = setInterval(() => {}, 1000);
    const listen = (news) => {
      if (!fits(news)) return;
      clearInterval(awake);
      pool.off(name, listen);
      resolve(news);
    };
    pool.on(name, listen);
  });

test('a pool tells of each host what its sessions have said', async (t) => {
  const pool = open(t, { mode: 'any', poolSize: 3 });
  const unheard = pool.cluster();
  assert.deepEqual(
    unheard.map(({ host, state, role, serves, lastError, tls, roundTripMs, connections }) => ({
      ...{ host, state, role, serves, lastError, tls, roundTripMs, connections },
    })),
    cluster.nodes.map((node) => ({
      ...{ host: node.address, state: 'unknown', role: null, serves: false },
      ...{ lastError: null, tls: null, roundTripMs: null, connections: { open: 0, busy: 0 } },
    })),
  );
  while (pool.cluster().some(({ roundTripMs }) => roundTripMs === null)) {
    await Promise.all(Array.from({ length: 9 }, () => pool.query('SELECT 1')));
  }
  for (const { host, state, role, serves, since, connections } of pool.cluster()) {
    const isPrimary = host === cluster.primary.address;
    assert.deepEqual([state, serves], ['up', true]);
    assert.equal(role, isPrimary ? 'read-write' : 'standby');
    assert.ok(since instanceof Date && since <= new Date());
    assert.deepEqual(connections, { open: 1, busy: 0 });
  }
  const slow = pool.query('SELECT pg_sleep(0.1)::text');
  await new Promise(setImmediate);
  assert.equal(pool.cluster().filter(({ connections }) => connections.busy === 1).length, 1);
  await slow;
});

test('a closed pool tells what it knew last, and that nothing is open', async () => {
  const pool = createPool(cluster.options());
  await pool.query('SELECT 1');
  await pool.end();
  for (const { connections } of pool.cluster()) {
    assert.deepEqual(connections, { open: 0, busy: 0 });
  }
  assert.throws(() => pool.setHosts(['h']), { code: 'HYPERION_POOL_CLOSED' });
});

test('a pool that is ending takes no other hosts, and finishes on those that it has', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const work = [1, 2].map((n) => pool.query('SELECT $1::int AS n FROM pg_sleep(0.05)', [n]));
  const before = pool.cluster().map(({ host }) => host);
  const ended = pool.end();
  assert.throws(() => pool.setHosts(['127.0.0.1:1']), { code: 'HYPERION_POOL_CLOSED' });
  assert.deepEqual((await Promise.all(work)).flat(), [{ n: 1 }, { n: 2 }]);
  await ended;
  assert.deepEqual(
    pool.cluster().map(({ host }) => host),
    before,
  );
});

test('events tell when hosts go and come', onOwnNodes, async (t) => {
  const standby = cluster.nodes.find((node) => node !== cluster.primary);
  const pool = open(t, { mode: 'standby', hosts: [standby.address], acquireTimeoutMs: 20_000 });
  const up = event(pool, 'host');
  await pool.query('SELECT 1');
  assert.deepEqual(await up, {
    ...{ host: standby.address, state: 'up', previous: 'unknown', role: 'standby', error: null },
  });
  const suspected = event(pool, 'host', ({ state }) => state === 'suspected');
  const down = event(pool, 'host', ({ state }) => ['down', 'refusing'].includes(state));
  await cluster.stop(standby, 'fast');
  assert.match((await suspected).error.code, /57P01|HYPERION_CONNECTION_LOST/);
  assert.equal((await down).host, standby.address);
  const [told] = pool.cluster();
  assert.equal(told.serves, false);
  assert.equal(told.role, 'standby');
  assert.ok(told.lastError.message.length > 0);
  const back = event(pool, 'host', ({ state }) => state === 'up');
  const waiting = pool.query(WHERE);
  await cluster.start(standby);
  assert.deepEqual(await waiting, [{ port: standby.port }]);
  assert.equal((await back).role, 'standby');
});

test('the list of hosts is changed while the pool is at work', async (t) => {
  const [first, second, third] = cluster.nodes;
  const pool = open(t, { mode: 'any', hosts: [first.address], poolSize: 2 });
  assert.deepEqual(await pool.query(WHERE), [{ port: first.port }]);
  const running = pool.query(`${WHERE} FROM pg_sleep(0.2)`);
  await new Promise(setImmediate);
  pool.setHosts([second.address, third.address]);
  assert.deepEqual(
    pool.cluster().map(({ host }) => host),
    [second.address, third.address],
  );
  for (let n = 0; n < 20; n++) {
    const [{ port }] = await pool.query(WHERE);
    assert.ok(port !== first.port);
  }
  assert.deepEqual(await running, [{ port: first.port }], 'what runs is not disturbed');
  assert.ok(pool.status().size <= 2);
});

test('the primary is followed when it leaves the list and when it comes back', async (t) => {
  const { primary } = cluster;
  const others = cluster.nodes.filter((node) => node !== primary).map((node) => node.address);
  const pool = open(t);
  const found = [];
  pool.on('primary', ({ host, previous }) => found.push({ host, previous }));
  await pool.query('SELECT 1');
  pool.setHosts(others);
  const waiting = pool.query(WHERE);
  // The pool has asked both, and both have answered that they are standbys.
  const areAsked = () => pool.cluster().every(({ connections }) => connections.open > 0);
  await waitUntil('both are asked', areAsked);
  pool.setHosts([...others, primary.address]);
  assert.deepEqual(await waiting, [{ port: primary.port }]);
  assert.deepEqual(found, [{ host: primary.address, previous: null }], 'it is the same primary');
});

test('the list of hosts changes under load, and no write is lost or done twice', async (t) => {
  const { primary } = cluster;
  await cluster.query(primary, 'DROP TABLE IF EXISTS kept; CREATE TABLE kept (key int)');
  const others = cluster.nodes.filter((node) => node !== primary).map((node) => node.address);
  const pool = open(t, { poolSize: 4, acquireTimeoutMs: 60_000 });
  let key = 0;
  let isOver = false;
  const writers = Array.from({ length: 8 }, async () => {
    while (!isOver) await pool.query('INSERT INTO kept VALUES ($1)', [++key]);
  });
  const written = async (more) => {
    for (const enough = key + more; key < enough;) await new Promise(setImmediate);
  };
  for (let change = 0; change < 20; change++) {
    await written(50);
    pool.setHosts(others);
    await new Promise(setImmediate);
    pool.setHosts(change % 2 === 0 ? [primary.address] : [...others, primary.address]);
  }
  isOver = true;
  await Promise.all(writers);
  const counts = 'SELECT count(*), count(DISTINCT key) FROM kept';
  assert.deepEqual(await cluster.query(primary, counts), [[`${key}`, `${key}`]]);
});

test('a wrong list of hosts is refused, and the old one stays', async (t) => {
  const pool = open(t);
  for (const hosts of [[], 'h:0', [5], null, undefined, 7, ['a b']]) {
    assert.throws(() => pool.setHosts(hosts), {
      name: 'ConfigurationError',
      code: 'HYPERION_CONFIGURATION',
    });
  }
  assert.throws(() => pool.setHosts(['h:0']), /^ConfigurationError: the list of hosts must /);
  assert.equal(pool.cluster().length, cluster.nodes.length);
  assert.equal((await pool.query('SELECT 1 AS one'))[0].one, 1);
});

test('in another cluster nothing holds that was told of types', async (t) => {
  const [before, behind] = await Promise.all([
    startCluster({ nodes: 1 }),
    startCluster({ nodes: 1 }),
  ]);
  t.after(() => Promise.all([before.close(), behind.close()]));
  const on = (of, sql) => of.query(of.primary, sql);
  await on(before, "CREATE TYPE mood AS ENUM ('sad')");
  // The same oids belong to other types there.
  await on(behind, 'CREATE TYPE pair AS (a int, b int)');
  await on(behind, "CREATE TYPE mood AS ENUM ('sad')");
  const pool = openPool(t, before.options({ poolSize: 1 }));
  const check = async () => {
    const rows = await pool.query("SELECT $1::mood AS m, '{sad}'::mood[] AS l", ['sad']);
    assert.deepEqual(rows, [{ m: 'sad', l: ['sad'] }]);
    assert.deepEqual(
      rows.fields.map(({ typeName }) => typeName),
      ['mood', '_mood'],
    );
  };
  for (let use = 0; use < 3; use++) await check();
  pool.setHosts([behind.primary.address]);
  for (let use = 0; use < 3; use++) await check();
  const rows = await pool.query('SELECT ARRAY[ROW(1, 2)::pair] AS l, ROW(1, 2)::pair AS p');
  assert.deepEqual(rows, [{ l: ['(1,2)'], p: '(1,2)' }]);
  assert.deepEqual(
    rows.fields.map(({ typeName }) => typeName),
    ['_pair', 'pair'],
  );
});
