// A session that is closed while a request of it is under way. PgBouncer before 1.22.1 then gave the server, and the
// answer that was still to come, to another client.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { findPooler, startCluster, skipWithoutPooler } from '../support/cluster/index.js';
import { openSession } from '../support/cluster/session.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const behindPooler = skipWithoutPooler();
const programs = behindPooler.skip
  ? []
  : [...new Set([findPooler(), findPooler({ prepares: true }) ?? findPooler()])];

let cluster;
before(async () => {
  if (!behindPooler.skip) cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const SECRET = "SELECT 'of the session that was closed' AS secret, pg_sleep(1)";

/** Runs `SECRET` on a session of its own, waits until the server is at it, and closes the session. */
async function leave(pool) {
  const connection = await pool.connect();
  const answer = connection.query(SECRET);
  answer.catch(() => {});
  await waitUntil('the server sleeps', async () => {
    const sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    const [[count]] = await cluster.query(cluster.primary, sql);
    return count === '1';
  });
  await connection.release(true);
  await assert.rejects(answer, { outcome: 'unknown' });
}

for (const mode of ['session', 'transaction']) {
  test(`no other client gets its answer, in ${mode} mode`, behindPooler, async (t) => {
    for (const program of programs) {
      const behind = await cluster.pooler(cluster.primary, { mode, size: 1, program });
      const pool = openPool(t, cluster.options({ hosts: [behind.address], poolSize: 1 }));
      await leave(pool);
      const other = await openSession(behind, cluster.credentials);
      t.after(() => other.close());
      for (let use = 0; use < 3; use++) {
        assert.deepEqual(await other.query(`SELECT 'asked', ${use}`), [['asked', String(use)]]);
      }
      await other.close();
      await pool.end();
    }
  });
}
