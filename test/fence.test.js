// A primary that is fenced read-only while its sessions stay open (ALTER SYSTEM SET
// default_transaction_read_only, reload) takes no write of this pool, and answers from it are not handed
// out behind the fence.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';

let cluster;
/** Nodes of a cluster that is already there are stopped and started by the command in HYPERION_CTL. */
const onOwnNodes = {
  skip: process.env.HYPERION_HOSTS && !process.env.HYPERION_CTL && 'HYPERION_CTL is not set',
};
before(async () => {
  cluster = await clusterFor({ nodes: 2 });
  await cluster.query(
    cluster.primary,
    'DROP TABLE IF EXISTS fenced; CREATE TABLE fenced (key int)',
  );
});
after(() => cluster?.close());

test('C7 a write on an idle connection to a fenced primary waits for the fence to end', async (t) => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  t.after(() => pool.end());
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('INSERT INTO fenced VALUES (1)');
  await cluster.fence(cluster.primary);
  const fenced = new Promise((resolve) => pool.once('fence', resolve));

  const write = pool.query('INSERT INTO fenced VALUES (2)');
  const { host, role } = await fenced;
  assert.equal(host, cluster.primary.address);
  assert.equal(role, 'read-only');
  const before = await cluster.query(cluster.primary, 'SELECT key FROM fenced');
  assert.deepEqual(before, [['1']], 'the write was refused');

  await cluster.unfence(cluster.primary);
  assert.equal((await write).rowCount, 1);
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced ORDER BY key');
  assert.deepEqual(rows, [['1'], ['2']], 'the write was applied exactly once');
});

test('C7 a read behind a fenced barrier is not handed out', async (t) => {
  const pool = createPool(cluster.options({ poolSize: 1, acquireTimeoutMs: 500 }));
  t.after(() => pool.end());
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1 AS one');
  await cluster.fence(cluster.primary);
  await assert.rejects(pool.query('SELECT 1 AS one'), (error) => {
    assert.equal(error.name, 'PoolTimeoutError');
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.match(error.message, /^no writable primary available after 500ms/);
    assert.equal(error.outcome, 'not-sent');
    for (const { host, why } of error.hosts) {
      const isPrimary = host === cluster.primary.address;
      const expected = isPrimary ? /default_transaction_read_only is on/ : /is a standby/;
      assert.match(why, expected);
    }
    assert.equal(error.hosts.length, cluster.nodes.length);
    return true;
  });
  await cluster.unfence(cluster.primary);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
});

test('F5 a transaction that was open before the fence commits; the next one waits', async (t) => {
  const pool = createPool(cluster.options({ poolSize: 2, acquireTimeoutMs: 500 }));
  t.after(() => pool.end());
  t.after(() => cluster.unfence(cluster.primary));
  await pool.transaction(async (tx) => {
    await tx.query('INSERT INTO fenced VALUES (10)');
    await cluster.fence(cluster.primary, { barrier: false });
    await tx.query('INSERT INTO fenced VALUES (11)');
  });
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced WHERE key >= 10');
  assert.deepEqual(rows, [['10'], ['11']]);
  await assert.rejects(
    pool.transaction((tx) => tx.query('INSERT INTO fenced VALUES (12)')),
    { code: 'HYPERION_NO_PRIMARY' },
  );
});

test('T2 F7 a write that the fence comes across is delivered, and its host takes no more', async (t) => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  t.after(() => pool.end());
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1');
  const fenced = new Promise((resolve) => pool.once('fence', resolve));
  const crossing = pool.query('INSERT INTO fenced SELECT 20 FROM pg_sleep(0.3)');
  const running =
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO fenced SELECT 20%' AND state = 'active'";
  while ((await cluster.query(cluster.primary, running))[0][0] === '0');
  await cluster.fence(cluster.primary, { barrier: false });
  assert.equal((await crossing).rowCount, 1, 'it is committed there');
  assert.equal((await fenced).host, cluster.primary.address);

  const next = pool.query('INSERT INTO fenced VALUES (21)');
  await cluster.unfence(cluster.primary);
  assert.equal((await next).rowCount, 1);
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced WHERE key >= 20');
  assert.deepEqual(rows, [['20'], ['21']]);
});

test('a role whose sessions are read-only by themselves is told so, and nothing loops', async (t) => {
  const { primary } = cluster;
  t.after(() => cluster.query(primary, 'DROP ROLE IF EXISTS reader'));
  await cluster.query(
    primary,
    `DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'r';
     ALTER ROLE reader SET default_transaction_read_only = on`,
  );
  await cluster.waitForReplication();
  const options = { user: 'reader', password: 'r', acquireTimeoutMs: 300 };
  const pool = createPool(cluster.options(options));
  t.after(() => pool.end());
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    const why = error.hosts.find(({ host }) => host === primary.address)?.why;
    assert.match(why, /default_transaction_read_only is on/);
    return true;
  });
});

test(
  'C7 C8 a pool that was idle through a fence and a promotion reads nothing stale',
  onOwnNodes,
  async (t) => {
    const pool = createPool(cluster.options({ poolSize: 4 }));
    t.after(() => pool.end());
    const count = () => pool.query('SELECT count(*)::int AS n FROM fenced WHERE key = 30');
    await Promise.all([1, 2, 3, 4].map(count));
    const [deposed, promoted] = [cluster.primary, ...(await cluster.runningStandbys())];
    await cluster.fence(deposed);
    await cluster.waitForReplication();
    await cluster.promote(promoted);
    // The deposed primary is still there, and so are this pool's sessions on it.
    await cluster.query(promoted, 'INSERT INTO fenced VALUES (30)');
    const counts = (await Promise.all([1, 2, 3, 4].map(count))).flat();
    assert.deepEqual(counts, Array(4).fill({ n: 1 }));
    await cluster.rejoin(deposed);
  },
);
