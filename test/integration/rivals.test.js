// Two hosts that both claim to be the primary: the pool's decisions, and its events.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const WHERE = 'SELECT inet_server_port() AS port';

async function clusterOf(t, options) {
  const cluster = await startCluster({ nodes: 3, ...options });
  t.after(() => cluster.close());
  await cluster.query(cluster.primary, 'CREATE TABLE kept (word text)');
  await cluster.waitForReplication();
  return cluster;
}

function open(t, options) {
  const pool = openPool(t, { acquireTimeoutMs: 20_000, ...options }, { timeoutMs: 1000 });
  const rivals = [];
  pool.on('rival', (event) => rivals.push(event));
  /** Outstanding questions for a host's lineage keep no process alive. */
  const heard = () => waitUntil('a rival is told', () => rivals.length > 0);
  return { pool, rivals, heard };
}

const write = (pool, word) => pool.query('INSERT INTO kept VALUES ($1)', [word]);

async function wordsOn(cluster, node) {
  const rows = await cluster.query(node, 'SELECT word FROM kept ORDER BY word');
  return rows.map(([word]) => word);
}

for (const late of ['old', 'new']) {
  test(`the primary with the higher timeline serves when the ${late} one is late`, async (t) => {
    const cluster = await clusterOf(t);
    const [old, promoted] = cluster.nodes;
    await cluster.query(old, `CREATE ROLE plain LOGIN PASSWORD '${cluster.options().password}'`);
    await cluster.query(old, 'GRANT ALL ON kept TO plain');
    await cluster.waitForReplication();
    await cluster.promote(promoted);
    const nodes = late === 'old' ? [old, promoted] : [promoted, old];
    const proxy = await cluster.proxy(nodes[0]);
    await proxy.delay(60);
    const hosts = [`127.0.0.1:${proxy.port}`, nodes[1].address];
    // The pool needs no privilege to tell the hosts apart.
    const { pool, rivals, heard } = open(t, cluster.options({ hosts, user: 'plain' }));
    await pool.query('SELECT 1');
    await heard();
    const [atOld, atNew] = late === 'old' ? hosts : hosts.toReversed();
    const [of, primary] = late === 'old' ? [1, 2] : [2, 1];
    assert.deepEqual(rivals, [
      {
        ...(late === 'old' ? { host: atOld, primary: atNew } : { host: atNew, primary: atOld }),
        ...{ timeline: of, primaryTimeline: primary },
        decision: late === 'old' ? 'stays' : 'taken',
      },
    ]);
    await write(pool, 'a');
    assert.deepEqual([await wordsOn(cluster, old), await wordsOn(cluster, promoted)], [[], ['a']]);
  });
}

test('what runs on a primary is ended when a later one turns up, and moves there', async (t) => {
  const cluster = await clusterOf(t);
  const [old, promoted] = cluster.nodes;
  const proxy = await cluster.proxy(promoted);
  await proxy.delay(60);
  const hosts = [old.address, `127.0.0.1:${proxy.port}`];
  const { pool, rivals, heard } = open(t, cluster.options({ hosts, poolSize: 2 }));
  const tx = await pool.begin();
  await tx.query("INSERT INTO kept VALUES ('lost')");
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  await cluster.promote(promoted);
  const [{ port }] = await pool.query(WHERE);
  assert.equal(port, old.port, 'nothing has told the pool yet');

  await cluster.endSession(old, pid);
  await heard();
  assert.deepEqual(rivals, [
    {
      ...{ host: hosts[1], primary: hosts[0] },
      ...{ timeline: 2, primaryTimeline: 1, decision: 'taken' },
    },
  ]);
  await assert.rejects(tx.query('SELECT 1'), (error) => {
    assert.equal(error.code, 'HYPERION_CONNECTION_LOST');
    assert.equal(error.outcome, 'not-committed');
    assert.match(error.message, /is an old primary: it is on timeline 1, and timeline 2/);
    return true;
  });
  await tx.rollback();
  await write(pool, 'a');
  assert.deepEqual([await wordsOn(cluster, old), await wordsOn(cluster, promoted)], [[], ['a']]);
});

test('an old primary that comes back alone is refused until the new one is back', async (t) => {
  const cluster = await clusterOf(t);
  const [old, promoted, other] = cluster.nodes;
  const { pool, rivals } = open(t, cluster.options({ acquireTimeoutMs: 3000 }));
  await write(pool, 'a');
  await cluster.waitForReplication();
  await cluster.crash(old);
  await cluster.promote(promoted);
  await write(pool, 'b');
  await cluster.stop(other);
  await cluster.crash(promoted);
  await cluster.start(old);
  await assert.rejects(write(pool, 'c'), (error) => {
    assert.deepEqual([error.code, error.outcome], ['HYPERION_NO_PRIMARY', 'not-sent']);
    assert.match(error.message, /is an old primary: it is on timeline 1, and timeline 2/);
    return true;
  });
  assert.deepEqual(rivals, [
    {
      ...{ host: old.address, primary: promoted.address },
      ...{ timeline: 1, primaryTimeline: null, decision: 'refused' },
    },
  ]);
  await cluster.start(promoted);
  await write(pool, 'd');
  assert.deepEqual(await wordsOn(cluster, promoted), ['a', 'b', 'd']);
  assert.deepEqual(await wordsOn(cluster, old), ['a']);
});

test('of two that were promoted side by side neither serves until one is gone', async (t) => {
  const cluster = await clusterOf(t);
  const [old, left, right] = cluster.nodes;
  await cluster.crash(old);
  for (const node of [left, right]) await cluster.query(node, 'SELECT pg_promote()');
  const { pool, rivals, heard } = open(t, cluster.options({ acquireTimeoutMs: 1500 }));
  await pool.query('SELECT 1').catch(() => {});
  await heard();
  assert.equal(rivals.length, 1);
  const [{ timeline, primaryTimeline, decision }] = rivals;
  assert.deepEqual([timeline, primaryTimeline, decision], [2, 2, 'contested']);
  await assert.rejects(write(pool, 'a'), { code: 'HYPERION_SPLIT_BRAIN', outcome: 'not-sent' });
  const waiting = openPool(t, cluster.options({ acquireTimeoutMs: 20_000 }));
  await cluster.stop(left);
  await write(pool, 'b');
  await write(waiting, 'c');
  assert.deepEqual(await wordsOn(cluster, right), ['b', 'c']);
});

test('a host of another cluster is reported, and gets no write when the others are gone', async (t) => {
  const cluster = await clusterOf(t, { nodes: 1, auth: 'trust' });
  const stranger = await clusterOf(t, { nodes: 1, auth: 'trust', ownIdentity: true });
  const hosts = [cluster.primary.address, stranger.primary.address];
  const proxy = await stranger.proxy(stranger.primary);
  await proxy.delay(60);
  const { pool, rivals, heard } = open(
    t,
    cluster.options({ hosts: [hosts[0], `127.0.0.1:${proxy.port}`], acquireTimeoutMs: 800 }),
  );
  await write(pool, 'a');
  await heard();
  assert.equal(rivals[0].decision, 'stays');
  await cluster.crash(cluster.primary);
  // The first write may find its connection gone, and then its outcome is unknown.
  await write(pool, 'b').catch(() => {});
  await assert.rejects(write(pool, 'c'), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.match(error.message, /belongs to another cluster/);
    return true;
  });
  assert.deepEqual(await wordsOn(stranger, stranger.primary), []);
});

test('hosts that may not tell their timeline are served as they come, and reported', async (t) => {
  const cluster = await clusterOf(t);
  const [old, promoted] = cluster.nodes;
  await cluster.query(old, `CREATE ROLE plain LOGIN PASSWORD '${cluster.options().password}'`);
  await cluster.query(old, 'GRANT ALL ON kept TO plain');
  await cluster.query(old, 'REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC');
  await cluster.waitForReplication();
  await cluster.promote(promoted);
  const proxy = await cluster.proxy(promoted);
  await proxy.delay(60);
  const hosts = [old.address, `127.0.0.1:${proxy.port}`];
  const { pool, rivals, heard } = open(t, cluster.options({ hosts, user: 'plain' }));
  await write(pool, 'a');
  await heard();
  assert.deepEqual(rivals, [
    {
      ...{ host: hosts[1], primary: hosts[0], timeline: null, primaryTimeline: null },
      decision: 'stays',
    },
  ]);
  assert.deepEqual(await wordsOn(cluster, old), ['a']);
});

test('one server under two names is no rival of itself', async (t) => {
  const cluster = await clusterOf(t, { nodes: 1 });
  const proxy = await cluster.proxy(cluster.primary);
  const hosts = [cluster.primary.address, `127.0.0.1:${proxy.port}`];
  const { pool, rivals } = open(t, cluster.options({ hosts }));
  await write(pool, 'a');
  const sessions = () => cluster.sessions("backend_type = 'client backend'");
  const isAlone = async () => proxy.accepted > 0 && (await sessions()).length === 1;
  await waitUntil('its session is alone', isAlone);
  assert.deepEqual(rivals, []);
  assert.deepEqual(await wordsOn(cluster, cluster.primary), ['a']);
});

test('a cluster that was restored from before a promotion is served again, and the pool says so', async (t) => {
  const cluster = await clusterOf(t);
  const [old, promoted, other] = cluster.nodes;
  const { pool, rivals, heard } = open(t, cluster.options());
  const rewinds = [];
  pool.on('rewound', (event) => rewinds.push(event));
  await write(pool, 'a');
  await cluster.waitForReplication();
  await cluster.crash(old);
  await cluster.promote(promoted);
  await write(pool, 'b');
  await cluster.stop(other);
  await cluster.stop(promoted);
  await cluster.start(old);
  cluster.primary = old;
  const waiting = write(pool, 'c');
  await heard();
  assert.equal(rivals[0].decision, 'refused');
  // As long as one host does not answer, it may have the later timeline.
  await cluster.rejoin(other);
  await sleep(300);
  assert.deepEqual(rewinds, []);
  await cluster.rejoin(promoted);
  const settled = await waiting.catch(() => write(pool, 'd'));
  assert.equal(settled.rowCount, 1);
  assert.deepEqual(rewinds, [{ host: old.address, timeline: 1, previousTimeline: 2 }]);
  const words = await wordsOn(cluster, old);
  assert.equal(words[0], 'a');
  assert.ok(!words.includes('b'), 'what the event warns of');
});
