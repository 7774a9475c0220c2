// Bytes that do not wake the loop (src/reactor/low_water.rs): parts of large results, and the
// answers to barriers in front of slower statements. On a real server over TCP.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const open = (t, size = 1) => openPool(t, cluster.options({ poolSize: size, minIdle: size }));

/**
 * A result of about this many bytes, in rows of 100. Each test has its own statement, so that the
 * pool knows nothing of it.
 */
const rowsOf = (test) =>
  `SELECT n, repeat('x', 83) AS filler FROM generate_series(1, $1::int) n /* ${test} */`;
const MUCH = 30_000;

test('a result that is shorter than those before it is not waited for', async (t) => {
  const pool = open(t);
  const other = openPool(t, cluster.options({ poolSize: 1 }), { timeoutMs: 0 });
  await other.query('SELECT 1');
  const late = other.query('SELECT pg_sleep(10)').then(
    () => assert.fail('a query of ten seconds was sooner'),
    () => {},
  );
  for (const count of [100, 170, 400, 700, 1500, 4000, 29_000]) {
    const sql = rowsOf(`shorter: ${count}`);
    for (let n = 0; n < 3; n += 1) assert.equal((await pool.query(sql, [MUCH])).length, MUCH);
    const rows = await Promise.race([pool.query(sql, [count]), late]);
    assert.deepEqual([rows.length, rows.at(-1).n], [count, count]);
  }
});

test('a result that is longer than those before it comes whole', async (t) => {
  const pool = open(t);
  const sql = rowsOf('longer');
  for (const count of [1000, 2000, MUCH, 3 * MUCH]) {
    const rows = await pool.query(sql, [count]);
    assert.deepEqual([rows.length, rows.at(-1).n], [count, count]);
  }
});

test('one that is given up while it arrives leaves the connection to the next', async (t) => {
  const pool = open(t);
  // Row by row, so that the caller can give it up in the middle.
  const sql = `SELECT n, repeat('x', 83) AS filler, CASE WHEN n % 300 = 0 THEN pg_sleep($2) END
                 FROM generate_series(1, $1::int) n`;
  for (let n = 0; n < 2; n += 1) assert.equal((await pool.query(sql, [3000, 0])).length, 3000);
  await assert.rejects(pool.query(sql, [3000, 0.05], { timeoutMs: 200 }), {
    code: 'HYPERION_QUERY_TIMEOUT',
  });
  assert.equal((await pool.query(sql, [3000, 0])).length, 3000);
});

test('what stands behind a large result in the pipeline is not forgotten', async (t) => {
  const pool = open(t);
  const large = rowsOf('pipeline');
  const small = 'SELECT $1::int AS n';
  for (let n = 0; n < 3; n += 1) {
    await pool.query(large, [MUCH]);
    await pool.query(small, [n]);
  }
  const lengths = await Promise.all(
    Array.from({ length: 40 }, async (_, n) =>
      n % 4 === 0
        ? (await pool.query(large, [n % 8 === 0 ? MUCH : 500])).length
        : (await pool.query(small, [n]))[0].n,
    ),
  );
  assert.deepEqual(
    lengths,
    Array.from({ length: 40 }, (_, n) => (n % 4 ? n : n % 8 ? 500 : MUCH)),
  );
});

/**
 * The number of connections. The reactor looks at a single one in each turn, whatever its low-water
 * mark.
 */
const MORE_THAN_LOOKED_AT = 2;
const SLOWER = 'SELECT pg_sleep($1), pg_backend_pid() AS pid';

/** A statement that the pool knows to take longer than a barrier. */
async function teach(pool) {
  let pid;
  for (let n = 0; n < 12; n += 1) [{ pid }] = await pool.query(SLOWER, [0.001]);
  return pid;
}

test('what is given up behind a barrier that nobody heard is cancelled', async (t) => {
  const pool = open(t, MORE_THAN_LOOKED_AT);
  await pool.ready();
  const pid = await teach(pool);
  for (let n = 0; n < 4; n += 1) {
    await assert.rejects(pool.query(SLOWER, [60], { timeoutMs: 30 }), {
      code: 'HYPERION_QUERY_TIMEOUT',
      outcome: 'not-committed',
    });
    const controller = new AbortController();
    const aborted = pool.query(SLOWER, [60], { signal: controller.signal });
    await pause(10);
    controller.abort();
    await assert.rejects(aborted, { code: 'HYPERION_ABORTED', outcome: 'not-committed' });
    assert.equal(await teach(pool), pid, 'the connection serves on');
  }
});

test('a fence is heard in front of such a statement, and the question that ends it is answered', async (t) => {
  const pool = open(t, MORE_THAN_LOOKED_AT);
  await pool.ready();
  t.after(() => cluster.unfence(cluster.primary));
  for (let n = 0; n < 3; n += 1) {
    await teach(pool);
    await cluster.fence(cluster.primary);
    const fenced = once(pool, 'fence');
    const query = pool.query(SLOWER, [0.001]);
    await fenced;
    await cluster.unfence(cluster.primary);
    assert.equal((await query).length, 1);
  }
});
