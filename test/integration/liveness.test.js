// Hosts that stop answering and close nothing, and long queries on healthy hosts.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 3 });
});
after(() => cluster?.close());

const WHERE = "SELECT current_setting('port')::int AS port";
/**
 * Short times, so that the tests are quick. Each is far longer than a healthy host takes to answer.
 */
const impatient = { livenessCheckMs: 150, connectTimeoutMs: 1500, acquireTimeoutMs: 60_000 };

test('a long query on a host that is well is asked after, and left alone', async (t) => {
  const applicationName = 'long-query';
  const pool = openPool(t, cluster.options({ ...impatient, applicationName, poolSize: 1 }));
  await pool.query('SELECT 1');
  const events = [];
  for (const name of ['host', 'primary', 'fence', 'rival']) {
    pool.on(name, (event) => events.push([name, event]));
  }
  // The pool may hear of the standbys only now.
  const isNews = ([, { previous }]) => previous !== 'unknown';
  let isDone = false;
  const long = pool.query('SELECT 7 AS seven FROM pg_sleep(2)').finally(() => (isDone = true));
  let most = 0;
  const sessions = async () =>
    (await cluster.sessions(`application_name = '${applicationName}'`)).length;
  while (!isDone) most = Math.max(most, await sessions());
  assert.equal((await long)[0].seven, 7);
  assert.equal(most, 2, 'one liveness probe besides it, however long it takes');
  assert.deepEqual(events.filter(isNews), []);
  const isAlone = async () => (await sessions()) === 1;
  await waitUntil('the liveness probe is gone', isAlone);
});

test(
  'a frozen standby is left for another one, and readers wait for nobody',
  onOwnNodes,
  async (t) => {
    const [frozen, other] = cluster.nodes.filter((node) => node !== cluster.primary);
    const hosts = [frozen.address, other.address];
    const pool = openPool(
      t,
      cluster.options({ ...impatient, hosts, mode: 'standby', poolSize: 2 }),
    );
    while (pool.cluster().some(({ connections }) => connections.open === 0)) {
      await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 1')]);
    }
    await cluster.freeze(frozen);
    // Once more, in case the test fails earlier.
    t.after(() => cluster.thaw(frozen).catch(() => {}));
    // One of the two goes to the frozen host. The caller declared it read-only, so the pool sends
    // it again.
    const ask = () => pool.query(WHERE, [], { readOnly: true });
    assert.deepEqual(await Promise.all([ask(), ask()]), [
      [{ port: other.port }],
      [{ port: other.port }],
    ]);
    await cluster.thaw(frozen);
    const isBack = () => pool.cluster().every(({ serves }) => serves);
    while (!isBack()) await ask();
  },
);

test(
  'a frozen primary: what was in flight is unknown once another one serves',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options(impatient));
    await pool.query('CREATE TABLE frozen_write (key int)');
    // Each node that may be promoted has the table.
    await cluster.waitForReplication();
    const old = cluster.primary;
    await cluster.freeze(old);
    const lost = assert.rejects(pool.query('INSERT INTO frozen_write VALUES (1)'), (error) => {
      assert.equal(error.name, 'ConnectionError');
      assert.equal(error.code, '40003');
      assert.equal(error.outcome, 'unknown');
      assert.equal(error.host, old.address);
      return true;
    });
    const promoted = await cluster.failover();
    await lost;
    assert.deepEqual(await pool.query(WHERE), [{ port: promoted.port }]);
    assert.equal((await pool.query('INSERT INTO frozen_write VALUES (2)')).rowCount, 1);
    assert.deepEqual(await cluster.query(promoted, 'SELECT key FROM frozen_write'), [['2']]);
    await cluster.thaw(old);
    await cluster.rejoin(old);
  },
);

test(
  'a frozen primary that is taken out of the list keeps nobody waiting',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options(impatient));
    await pool.query('CREATE TABLE taken_out (key int)');
    await cluster.waitForReplication();
    const old = cluster.primary;
    await cluster.freeze(old);
    const unknown = { code: '40003', outcome: 'unknown', host: old.address };
    const lost = assert.rejects(pool.query('INSERT INTO taken_out VALUES (1)'), unknown);
    await new Promise(setImmediate);
    pool.setHosts(cluster.nodes.filter((node) => node !== old).map((node) => node.address));
    await cluster.failover();
    assert.equal((await pool.query('INSERT INTO taken_out VALUES (2)')).rowCount, 1);
    await lost;
    await cluster.thaw(old);
    await cluster.rejoin(old);
  },
);

test('a blocked loop is no silent server', async (t) => {
  const pool = openPool(t, cluster.options({ ...impatient, connectTimeoutMs: 300 }));
  await pool.query('SELECT 1');
  const events = [];
  pool.on('host', (event) => event.previous !== 'unknown' && events.push(event));
  const answer = pool.query('SELECT 1 AS one FROM pg_sleep(0.3)');
  // Long enough for the pool to open the liveness probe and for the probe's time to pass, both after
  // the answer has arrived.
  const blockFor = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  await new Promise((resolve) => setTimeout(resolve, 160));
  blockFor(1000);
  assert.equal((await answer)[0].one, 1);
  await pool.query('SELECT 1');
  assert.deepEqual(events, []);
});

test(
  'a name that leads to another server now vouches for none that is silent',
  onOwnNodes,
  async (t) => {
    const [frozen, other] = cluster.nodes;
    // Two addresses with one port: the look-up decides which server the pool reaches.
    const { port } = await cluster.proxy(frozen);
    await cluster.proxy(other, { host: '127.0.0.2', port });
    let address = '127.0.0.1';
    const lookup = (name, options, callback) => callback(null, [{ address, family: 4 }]);
    const options = { ...impatient, hosts: ['db.example'], port, lookup, mode: 'any', poolSize: 2 };
    const pool = openPool(t, cluster.options(options), { timeoutMs: 1000 });
    const [{ port: first }] = await pool.query(WHERE);
    assert.equal(first, frozen.port);
    await frozen.freeze();
    t.after(() => frozen.thaw());
    address = '127.0.0.2';
    const stuck = pool.query("SELECT 'stuck'").catch((error) => error);
    // One query after the other, on new connections. Their answers prove nothing about the silent
    // server.
    let settled = false;
    stuck.then(() => {
      settled = true;
    });
    while (!settled) await pool.query(WHERE, [], { timeoutMs: 500 }).catch(() => {});
    assert.equal((await stuck).outcome, 'unknown');
    const [{ port: next }] = await pool.query(WHERE);
    assert.equal(next, other.port);
  },
);

test(
  'a reset that a session does not answer is given up, and nobody waits behind it',
  onOwnNodes,
  async (t) => {
    // The process of one session hangs, and the host is well.
    const hung = [];
    t.after(() => {
      for (const pid of hung) process.kill(pid, 'SIGCONT');
    });
    for (const poolSize of [1, 2]) {
      const pool = createPool(cluster.options({ ...impatient, poolSize }));
      const connection = await pool.connect();
      const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
      process.kill(pid, 'SIGSTOP');
      hung.push(pid);
      await connection.release();
      await waitUntil('the session is given up', () => pool.status().size === 0);
      assert.equal(pool.status().available, 0);
      const rows = await pool.query('SELECT pg_backend_pid() <> $1 AS other', [pid]);
      assert.deepEqual(rows, [{ other: true }]);
      await pool.end();
    }
  },
);
