// Large results, of which not every part wakes the loop (src/reactor/low_water.rs), on a real server over TCP.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { startCluster } from './cluster/index.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

function open(t) {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  t.after(() => pool.end());
  return pool;
}

/** About so many bytes, in rows of 100. A statement of its own for each test, with nothing learned. */
const rowsOf = (test) =>
  `SELECT n, repeat('x', 83) AS filler FROM generate_series(1, $1::int) n /* ${test} */`;
const MUCH = 30_000;

test('a result that is shorter than those before it is not waited for', async (t) => {
  const pool = open(t);
  const other = createPool(cluster.options({ poolSize: 1 }));
  t.after(() => other.end({ timeoutMs: 0 }));
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
  // Row by row, so that there is a middle to give it up in.
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
