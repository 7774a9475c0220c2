// Host names that lead to several servers: the former and the present primary while name servers
// know both, or a primary and its standby in turn.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const FIRST = '127.0.0.2';
const SECOND = '127.0.0.3';
const WHERE = 'INSERT INTO kept VALUES (1) RETURNING inet_server_port() AS port';

async function start(t, nodes = 2) {
  const cluster = await startCluster({ nodes });
  t.after(() => cluster.close());
  await cluster.query(cluster.primary, 'CREATE TABLE kept (key int)');
  await cluster.waitForReplication();
  return cluster;
}

/**
 * Two addresses with one port, and a look-up that gives the addresses `choose(n)` to the nth
 * question.
 */
async function startName(cluster, [first, second], choose) {
  const one = await cluster.proxy(first, { host: FIRST });
  const other = await cluster.proxy(second, { host: SECOND, port: one.port });
  let lookups = 0;
  const lookup = (_name, _options, callback) => {
    lookups += 1;
    const addresses = choose(lookups);
    callback(
      null,
      addresses.map((address) => ({ address, family: 4 })),
    );
  };
  return { one, other, options: { hosts: [`db.example:${one.port}`], lookup } };
}

function open(t, cluster, options) {
  const pool = openPool(t, cluster.options(options));
  const events = [];
  for (const name of ['fence', 'host']) pool.on(name, (event) => events.push([name, event]));
  pool.on('error', () => {});
  return { pool, events };
}

const CHOICES = {
  both: () => [FIRST, SECOND],
  'both, in turn': (n) => (n % 2 ? [FIRST, SECOND] : [SECOND, FIRST]),
  'one of them, in turn': (n) => [n % 2 ? FIRST : SECOND],
};

for (const [what, choose] of Object.entries(CHOICES)) {
  for (const how of ['fenced', 'a standby']) {
    test(`a name that leads to ${what}, of which the first is ${how}, is served by the other`, async (t) => {
      const cluster = await start(t);
      const [old, next] = cluster.nodes;
      await cluster.fence(old);
      await cluster.promote(next);
      if (how === 'a standby') await cluster.rejoin(old);
      const name = await startName(cluster, [old, next], choose);
      const { pool, events } = open(t, cluster, { ...name.options, poolSize: 4 });
      // The pool grows, and its sessions end one after the other. Each new session looks up the
      // name.
      const user = async () => {
        for (let round = 0; round < 30; round += 1) {
          const [{ port }] = await pool.query(WHERE);
          assert.equal(port, next.port);
        }
      };
      do {
        await Promise.all(Array.from({ length: 8 }, user));
      } while (pool.status().size < 4);
      assert.deepEqual(
        events.filter(([event]) => event === 'fence'),
        [],
      );
      assert.ok(name.one.accepted <= 8, `${name.one.accepted} logins to the first`);
    });
  }
}

test('a pool that serves is not stopped by a standby at another address of its name', async (t) => {
  const cluster = await start(t);
  const [primary, standby] = cluster.nodes;
  let addresses = [FIRST];
  const name = await startName(cluster, [primary, standby], () => addresses);
  const { pool, events } = open(t, cluster, { ...name.options, poolSize: 6 });
  await pool.query(WHERE);
  const connection = await pool.connect();
  await connection.query('SELECT 1');
  events.length = 0;
  // From here on, look-ups give only the standby.
  addresses = [SECOND];
  const user = async () => {
    for (let round = 0; round < 20; round += 1) {
      const [{ port }] = await pool.query(WHERE);
      assert.equal(port, primary.port);
    }
  };
  await Promise.all([1, 2, 3, 4].map(user));
  await connection.query(WHERE);
  assert.ok(name.other.accepted > 0, 'the standby was asked');
  assert.deepEqual(events, []);
  await connection.release();
});

test('sessions that serve are not believed behind their own fence, wherever their name leads', async (t) => {
  const cluster = await start(t);
  const [old, next] = cluster.nodes;
  let addresses = [FIRST];
  const name = await startName(cluster, [old, next], () => addresses);
  const { pool, events } = open(t, cluster, { ...name.options, poolSize: 3 });
  await Promise.all([1, 2, 3].map(() => pool.query(WHERE)));
  addresses = [SECOND, FIRST];
  await cluster.fence(old);
  const writes = Promise.all(Array.from({ length: 6 }, () => pool.query(WHERE)));
  await once(pool, 'fence');
  await cluster.promote(next);
  for (const [{ port }] of await writes) assert.equal(port, next.port);
  assert.equal(events.filter(([event]) => event === 'fence').length, 1);
});
