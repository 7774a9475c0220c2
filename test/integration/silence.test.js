// A primary that falls silent and closes nothing is left for a promoted standby by proof alone. The
// times after which a silent host is suspected are so long here that they have no part in it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 3 });
});
after(() => cluster?.close());

const patient = { livenessCheckMs: 600_000, connectTimeoutMs: 600_000, acquireTimeoutMs: 60_000 };
const WHERE = "SELECT current_setting('port')::int AS port";

/** Collects what a pool tells of its hosts, from now on. */
function newsOf(pool) {
  const news = [];
  for (const name of ['host', 'primary', 'fence', 'rival']) {
    pool.on(name, (event) => {
      if (event.previous !== 'unknown') news.push([name, event]);
    });
  }
  return news;
}

/** Freezes the primary during the test. */
async function freezePrimary(t) {
  const old = cluster.primary;
  await cluster.freeze(old);
  t.after(async () => {
    await cluster.thaw(old);
    if (old !== cluster.primary) await cluster.rejoin(old);
  });
  return old;
}

test(
  'a call after the promotion succeeds, though the idle primary is frozen',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options(patient));
    await pool.query('CREATE TABLE after_promotion (key int)');
    await cluster.waitForReplication();
    // No connection has heard the primary lately.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await freezePrimary(t);
    const promoted = await cluster.failover();
    await pool.query('INSERT INTO after_promotion VALUES (1)');
    assert.deepEqual(await pool.query(WHERE), [{ port: promoted.port }]);
  },
);

test(
  'a busy primary is left too, and what was in flight there is unknown',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options({ ...patient, poolSize: 4 }));
    await pool.query('CREATE TABLE busy (key int)');
    await cluster.waitForReplication();
    const old = await freezePrimary(t);
    const write = assert.rejects(pool.query('INSERT INTO busy VALUES (1)'), (error) => {
      assert.equal(error.outcome, 'unknown');
      assert.equal(error.host, old.address);
      return true;
    });
    const read = pool.query(WHERE, [], { readOnly: true });
    const promoted = await cluster.failover();
    await write;
    assert.deepEqual(await read, [{ port: promoted.port }]);
    await pool.query('INSERT INTO busy VALUES (2)');
    assert.deepEqual(await cluster.query(promoted, 'SELECT key FROM busy'), [['2']]);
  },
);

test(
  'a primary that comes back without a promotion keeps its seat and its calls',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options({ ...patient, poolSize: 2 }));
    await pool.query('CREATE TABLE came_back (key int)');
    const news = newsOf(pool);
    const old = cluster.primary;
    await cluster.freeze(old);
    // Once more, in case the test fails earlier.
    t.after(() => cluster.thaw(old).catch(() => {}));
    const sent = pool.query('INSERT INTO came_back VALUES (1)');
    const isScouted = () =>
      pool.cluster().some(({ serves, connections }) => !serves && connections.open > 0);
    while (!isScouted()) await new Promise(setImmediate);
    const held = pool.query('INSERT INTO came_back VALUES (2)');
    await cluster.thaw(old);
    await Promise.all([sent, held]);
    assert.deepEqual(await cluster.query(old, 'SELECT count(*) FROM came_back'), [['2']]);
    assert.deepEqual(news, []);
  },
);

test(
  'long queries are no silence, and a frozen postmaster is no silent server',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options({ ...patient, poolSize: 3 }));
    await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_sleep(0.1)')));
    const news = newsOf(pool);
    const file = path.join(cluster.primary.dataFolder, 'postmaster.pid');
    const postmaster = Number(readFileSync(file, 'utf8').split('\n')[0]);
    t.after(() => process.kill(postmaster, 'SIGCONT'));
    process.kill(postmaster, 'SIGSTOP');
    await Promise.all([1, 2].map(() => pool.query('SELECT pg_sleep(3)')));
    process.kill(postmaster, 'SIGCONT');
    assert.deepEqual(news, []);
    const others = pool.cluster().filter(({ serves }) => !serves);
    assert.deepEqual(
      others.map(({ connections }) => connections.open),
      [0, 0],
    );
  },
);
