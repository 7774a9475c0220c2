// The pool finds the primary among all hosts, whatever the other hosts do, and follows it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 3, synchronous: 1 });
  await cluster.query(
    cluster.primary,
    'DROP TABLE IF EXISTS events; CREATE TABLE events (key text)',
  );
  await cluster.waitForReplication();
});
after(() => cluster?.close());

const WHERE = 'SELECT current_setting($1)::int AS port';

test('the primary is found wherever it stands in the list', async () => {
  const hosts = cluster.hosts();
  for (let turn = 0; turn < hosts.length; turn++) {
    const rotated = [...hosts.slice(turn), ...hosts.slice(0, turn)];
    const pool = createPool(cluster.options({ hosts: rotated }));
    assert.deepEqual(await pool.query(WHERE, ['port']), [{ port: cluster.primary.port }]);
    await pool.end();
  }
});

test('silent, black-holed and refusing hosts in front of the primary do not stop it', async (t) => {
  const [silent, hole] = cluster.nodes.filter((node) => node !== cluster.primary);
  const proxies = [await cluster.proxy(silent), await cluster.proxy(hole)];
  t.after(() => Promise.all(proxies.map((proxy) => proxy.close())));
  await proxies[0].silent();
  await proxies[1].blackHole();
  const hosts = [
    ...proxies.map(({ host, port }) => `${host}:${port}`),
    '127.0.0.1:1',
    cluster.primary.address,
  ];
  // Far longer than the test may take, so that the test fails if it waits for a connect timeout.
  const pool = createPool(cluster.options({ hosts, connectTimeoutMs: 600_000 }));
  assert.deepEqual(await pool.query(WHERE, ['port']), [{ port: cluster.primary.port }]);
  await pool.end();
});

test('all hosts down: the error says of each one why', async () => {
  const hosts = ['127.0.0.1:1', '[::1]:1'];
  const pool = createPool(cluster.options({ hosts, acquireTimeoutMs: 300, failFast: false }));
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.equal(error.outcome, 'not-sent');
    assert.deepEqual(
      error.hosts.map(({ host }) => host),
      hosts,
    );
    for (const { why } of error.hosts) assert.match(why, /ECONNREFUSED|EADDRNOTAVAIL|ENETUNREACH/);
    return true;
  });
  await pool.end();
});

test('a wrong password ends the wait at once', async () => {
  const pool = createPool(cluster.options({ password: 'wrong', acquireTimeoutMs: 600_000 }));
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.name, 'DatabaseError');
    assert.equal(error.code, '28P01');
    assert.equal(error.outcome, 'not-sent');
    return true;
  });
  await pool.end();
});

/** Ways in which a host refuses a role for good. */
const REFUSALS = {
  28000: 'ALTER ROLE unwanted NOLOGIN',
  42501: 'REVOKE CONNECT ON DATABASE closed FROM PUBLIC',
};

for (const [code, refuse] of Object.entries(REFUSALS)) {
  test(`what no waiting heals (${code}) ends the wait at once`, async (t) => {
    const ask = (sql) => cluster.query(cluster.primary, sql);
    await ask("CREATE ROLE unwanted LOGIN PASSWORD 'u'");
    t.after(() => ask('DROP ROLE unwanted'));
    await ask('CREATE DATABASE closed');
    t.after(() => ask('DROP DATABASE closed'));
    await ask(refuse);
    await cluster.waitForReplication();
    const credentials = { user: 'unwanted', password: 'u', database: 'closed' };
    const pool = openPool(t, cluster.options({ ...credentials, acquireTimeoutMs: 600_000 }));
    await assert.rejects(pool.query('SELECT 1'), { code, outcome: 'not-sent' });
  });
}

for (const refuse of ['NOLOGIN', "PASSWORD 'another'"]) {
  test(`where new logins are refused (${refuse}), the sessions that are open serve who waits`, async (t) => {
    const ask = (sql) => cluster.query(cluster.primary, sql);
    await ask("CREATE ROLE kept LOGIN PASSWORD 'k'");
    t.after(() => ask('DROP ROLE kept'));
    const options = { user: 'kept', password: 'k', poolSize: 10, acquireTimeoutMs: 60_000 };
    const pool = openPool(t, cluster.options(options));
    const told = new Promise((resolve) => {
      pool.on('host', ({ error }) => error && /^28/.test(error.code) && resolve());
    });
    // One session, which runs a query when the role is refused.
    await pool.query('SELECT 1');
    const work = pool.query('SELECT 1 FROM pg_sleep(0.5)');
    await cluster.waitForSession("usename = 'kept' AND state = 'active'");
    await ask(`ALTER ROLE kept ${refuse}`);
    const waiting = Array.from({ length: 40 }, () => pool.query('SELECT 1 AS one'));
    await told;
    await work;
    for (const rows of await Promise.all(waiting)) assert.deepEqual(rows, [{ one: 1 }]);
    assert.equal(pool.status().size, 1);
  });
}

test('a session that the server ends is replaced without the user noticing', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  await cluster.endSession(cluster.primary, pid);
  const [{ pid: next }] = await pool.query('SELECT pg_backend_pid() AS pid');
  assert.notEqual(next, pid);
  await pool.end();
});

test('a statement whose connection is cut ends as unknown, and the pool goes on', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const pool = createPool(cluster.options({ hosts: [proxy.address] }));
  const sleeping = pool.query("SELECT pg_sleep(60)::text AS x, 'marked' AS mark");
  await cluster.waitForSession("query LIKE '%marked%' AND state = 'active'");
  await proxy.cut();
  await assert.rejects(sleeping, (error) => {
    assert.equal(error.name, 'ConnectionError');
    assert.equal(error.code, '40003');
    assert.equal(error.outcome, 'unknown');
    assert.equal(error.host, proxy.address);
    return true;
  });
  await proxy.pass();
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('a read that the caller declares read-only is sent again', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const pool = createPool(cluster.options({ hosts: [proxy.address] }));
  await pool.query('SELECT 1');
  const read = pool.query('SELECT pg_sleep(0.2)::text, 7 AS seven', [], { readOnly: true });
  await cluster.waitForSession("query LIKE '%seven%' AND state = 'active'");
  await proxy.cut();
  await proxy.pass();
  assert.equal((await read)[0].seven, 7);
  await pool.end();
});

test('a crash, a promotion and a failback are followed', onOwnNodes, async () => {
  const pool = createPool(cluster.options({ acquireTimeoutMs: 20_000 }));
  const primaries = [];
  pool.on('primary', ({ host }) => primaries.push(host));
  await pool.query("INSERT INTO events VALUES ('before')");
  const old = cluster.primary;
  await cluster.crash(old);
  const waiting = pool.query("INSERT INTO events VALUES ('during')");
  const promoted = await cluster.failover();
  assert.equal((await waiting).rowCount, 1);
  assert.deepEqual(await pool.query(WHERE, ['port']), [{ port: promoted.port }]);
  await cluster.rejoin(old);
  assert.deepEqual(
    primaries,
    [old, promoted].map((node) => node.address),
  );
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM events ORDER BY key');
  assert.deepEqual(rows, [['before'], ['during']]);
  await pool.end();
});
