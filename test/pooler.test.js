// C21: behind PgBouncer in transaction mode. Each transaction may run in another session of the server, so that no
// state of a session may be relied on: no statement stays prepared.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { findPooler, startCluster } from './cluster/index.js';

const behindPooler = { skip: findPooler() === undefined && 'pgbouncer is not installed' };

let cluster;
let pooler;
before(async () => {
  if (behindPooler.skip) return;
  cluster = await startCluster({ nodes: 2 });
  pooler = await cluster.pooler(cluster.primary, { size: 2 });
  await cluster.query(cluster.primary, 'CREATE TABLE item (id int PRIMARY KEY)');
});
after(() => cluster?.close());

const open = (extra) =>
  createPool(cluster.options({ hosts: [pooler.address], statementCacheSize: 0, ...extra }));

test('C21 statements run in any session, with parameters, many at once', behindPooler, async () => {
  const pool = open({ poolSize: 10 });
  const count = 500;
  const ask = (n) => pool.query('SELECT $1::int AS n, pg_backend_pid() AS pid', [n]);
  const rows = (await Promise.all(Array.from({ length: count }, (_, n) => ask(n)))).flat();
  assert.deepEqual(
    rows.map(({ n }) => n),
    Array.from({ length: count }, (_, n) => n),
  );
  assert.ok(new Set(rows.map(({ pid }) => pid)).size <= 2, 'the pooler has two sessions');
  assert.ok(pool.status().size > 2, 'more connections share them');
  await pool.end();
});

test('C21 a transaction stays in one session, and rolls back whole', behindPooler, async () => {
  const pool = open({ poolSize: 4 });
  const insert = async (tx, id) => {
    const pids = [];
    for (let n = 0; n < 3; n++) {
      const sql = 'INSERT INTO item VALUES ($1) RETURNING pg_backend_pid() AS pid';
      pids.push((await tx.query(sql, [id + n]))[0].pid);
    }
    assert.equal(new Set(pids).size, 1);
  };
  await Promise.all([10, 20, 30, 40].map((id) => pool.transaction((tx) => insert(tx, id))));
  const reason = new Error('changed my mind');
  await assert.rejects(
    pool.transaction(async (tx) => {
      await insert(tx, 50);
      throw reason;
    }),
    (error) => error === reason,
  );
  assert.deepEqual(await pool.query('SELECT count(*)::int AS n FROM item'), [{ n: 12 }]);
  await pool.end();
});

test(
  'C21 a write that a fenced node refuses is told as not committed, at the least',
  behindPooler,
  async (t) => {
    // What the pooler told at login may be from before the fence, and nobody takes it back.
    const pool = open({ poolSize: 1, acquireTimeoutMs: 300 });
    t.after(() => cluster.unfence(cluster.primary));
    await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    await assert.rejects(pool.query('INSERT INTO item VALUES (1)'), (error) => {
      assert.match(error.code, /^(25006|HYPERION_NO_PRIMARY)$/);
      assert.match(error.outcome, /^not-(sent|committed)$/);
      return true;
    });
    await cluster.unfence(cluster.primary);
    // Until each of its two sessions has said so, the pooler may go on telling of the fence.
    for (let done = 0; done < 5;) {
      const written = await pool
        .query('INSERT INTO item VALUES ($1)', [100 + done])
        .catch((error) => error);
      if (written.rowCount === 1) done += 1;
      else assert.match(written.outcome, /^not-(sent|committed)$/);
    }
    await pool.end();
  },
);

test(
  'C21 with roleCheck a fence behind a pooler is seen, and nothing stale',
  behindPooler,
  async (t) => {
    // Two pools: what one of them is told by the pooler, the other is not.
    const options = { roleCheck: 'query', poolSize: 2 };
    const pools = [open(options), open({ ...options, acquireTimeoutMs: 300 })];
    t.after(() => Promise.all(pools.map((pool) => pool.end())));
    t.after(() => cluster.unfence(cluster.primary));
    for (const pool of pools) await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    const fenced = new Promise((resolve) => pools[0].once('fence', resolve));
    const waiting = pools[0].query('INSERT INTO item VALUES (200)');
    assert.equal((await fenced).role, 'read-only');
    for (const sql of ['INSERT INTO item VALUES (201)', 'SELECT 1']) {
      await assert.rejects(pools[1].query(sql), {
        code: 'HYPERION_NO_PRIMARY',
        outcome: 'not-sent',
      });
    }
    const held = await cluster.query(cluster.primary, 'SELECT id FROM item WHERE id >= 200');
    assert.deepEqual(held, []);
    await cluster.unfence(cluster.primary);
    assert.equal((await waiting).rowCount, 1);
    assert.equal((await pools[1].query('INSERT INTO item VALUES (201)')).rowCount, 1);
  },
);

test(
  'C21 a write that a role may not do is refused, however often it is looked at',
  behindPooler,
  async (t) => {
    const pool = open({ roleCheck: 'query', poolSize: 1 });
    t.after(() => pool.end());
    const name = 'refuses_writes';
    await cluster.query(
      cluster.primary,
      `CREATE FUNCTION ${name}() RETURNS void LANGUAGE sql SET transaction_read_only = on
     AS 'INSERT INTO item VALUES (300)'`,
    );
    await assert.rejects(pool.query(`SELECT ${name}()`), {
      code: '25006',
      outcome: 'not-committed',
    });
  },
);

test('C21 a standby behind a pooler is told from the primary', behindPooler, async () => {
  const standby = await cluster.pooler(cluster.nodes[1]);
  const pool = open({ hosts: [standby.address, pooler.address] });
  const [{ port }] = await pool.query("SELECT current_setting('port')::int AS port");
  assert.equal(port, cluster.primary.port);
  await pool.end();
});
