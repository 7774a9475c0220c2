// The memory that results leave in use, and the memory that one kept cell of a large result keeps
// in use (docs/design/rows-and-memory.md).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { clusterAndPool } from '../support/pools.js';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

const MIB = 1024 * 1024;
/**
 * A batch that is not ASCII is UTF-16: two bytes for each of its 32 KiB at most, and the row that
 * crosses that bound.
 */
const PINNED_BY_A_CELL = 2 * 32 * 1024;

/**
 * Bytes in use after full collections. It takes several, since finalizers run after a collection.
 */
async function used() {
  for (let round = 0; round < 4; round++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const { pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const MIXED = `SELECT n, n::int8 AS big, 'some text that is long enough ' || n AS t, n::numeric / 4 AS price,
  now() AS at, '\\x00ff'::bytea AS bytes, ARRAY[n, NULL] AS list, '{"a":"some longer text"}'::jsonb AS doc
  FROM generate_series(1, $1::int) n`;

test('a million rows leave nothing behind', async () => {
  await pool.query(MIXED, [50_000]);
  const start = await used();
  let rows = 0;
  while (rows < 1_000_000) rows += (await pool.query(MIXED, [50_000])).length;
  const left = (await used()) - start;
  assert.ok(left < 4 * MIB, `${left} bytes are left of ${rows} rows`);
});

for (const column of ['t', 'bytes', 'list', 'doc', 'at', 'price']) {
  test(`a kept cell holds at most its batch's text: ${column}`, async () => {
    await pool.query(MIXED, [5_000]);
    const kept = [];
    const start = await used();
    for (let n = 0; n < 100; n++) {
      // The batches in the middle are full.
      kept.push((await pool.query(MIXED, [5_000]))[2_500][column]);
    }
    const each = ((await used()) - start) / kept.length;
    assert.ok(each < PINNED_BY_A_CELL * 1.1, `${each} bytes for each kept cell`);
    assert.equal(kept.length, 100);
  });
}

test('a Buffer of a result is its own memory', async () => {
  for (let use = 0; use < 2; use++) {
    const [{ v }] = await pool.query("SELECT '\\x00ff61'::bytea AS v");
    assert.deepEqual([v.byteOffset, v.buffer.byteLength], [0, 3]);
  }
});
