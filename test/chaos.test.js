// The main job: eight writers of unique keys through one pool over synchronous replication, while the
// primary is crashed and a standby promoted, three times in a row. Every acknowledged key is in the table
// exactly once, every other key at most once, and no promise stays unsettled.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';

const WRITERS = 8;
const CRASHES = 3;

/** Writes keys of its own until told to stop; remembers how each one ended. */
async function write(pool, writer, run) {
  for (let n = 0; !run.stopped; n++) {
    const key = `${writer}-${n}`;
    run.unsettled.add(key);
    try {
      await pool.query('INSERT INTO chaos (key) VALUES ($1)', [key]);
      run.acknowledged.add(key);
    } catch (error) {
      run.failed.push({ key, error });
    }
    run.unsettled.delete(key);
  }
}

/** Waits until the run has this many acknowledged writes more. */
async function progress(run, writes) {
  const goal = run.acknowledged.size + writes;
  while (run.acknowledged.size < goal) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('no acknowledged write is lost and none is applied twice through three crashes', async (t) => {
  const cluster = await clusterFor({ nodes: 3, synchronous: 1 });
  t.after(() => cluster.close());
  await cluster.query(
    cluster.primary,
    'DROP TABLE IF EXISTS chaos; CREATE TABLE chaos (id bigserial, key text NOT NULL)',
  );
  await cluster.waitForReplication();
  const pool = createPool(cluster.options({ poolSize: 10, acquireTimeoutMs: 20_000 }));
  const run = { stopped: false, acknowledged: new Set(), unsettled: new Set(), failed: [] };
  const writers = Array.from({ length: WRITERS }, (_, n) => write(pool, n, run));

  for (let crash = 0; crash < CRASHES; crash++) {
    await progress(run, 200);
    const deposed = cluster.primary;
    await cluster.crash(deposed);
    await cluster.failover();
    await progress(run, 200);
    await cluster.rejoin(deposed);
  }
  run.stopped = true;
  await Promise.all(writers);
  await pool.end();

  assert.equal(run.unsettled.size, 0, 'every promise has settled');
  const rows = await cluster.query(cluster.primary, 'SELECT key, count(*) FROM chaos GROUP BY key');
  const counts = new Map(rows.map(([key, count]) => [key, Number(count)]));
  const lost = [...run.acknowledged].filter((key) => !counts.has(key));
  const doubled = [...counts].filter(([, count]) => count > 1);
  assert.deepEqual(lost, [], 'acknowledged writes that are not in the table');
  assert.deepEqual(doubled, [], 'keys that are in the table more than once');
  for (const { error } of run.failed) {
    // Nothing but a lost answer may reach the writer: all else can be sent again.
    assert.equal(error.outcome, 'unknown', error.stack);
    assert.equal(error.code, '40003');
  }
  t.diagnostic(`${run.acknowledged.size} acknowledged, ${run.failed.length} unknown`);
});
