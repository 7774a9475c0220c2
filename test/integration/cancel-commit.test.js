// The pool never cancels a COMMIT that waits for a synchronous standby. The server would answer a
// cancelled one with a commit that a failover can lose.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
let standby;
before(async () => {
  cluster = await startCluster({ nodes: 2, synchronous: 1 });
  await cluster.query(cluster.primary, 'CREATE TABLE kept (n int)');
  await cluster.query(cluster.primary, 'CREATE TABLE hidden (key text)');
  standby = cluster.nodes.find((node) => node !== cluster.primary);
  await cluster.stop(standby);
});
after(() => cluster?.close());

const unknown = (name) => ({ name, code: '40003', outcome: 'unknown', message: /never cancelled/ });
/** Sessions whose COMMIT waits. */
const waiting = async () => (await cluster.sessions("wait_event = 'SyncRep'")).length;
const cancels = async () => {
  const log = await cluster.primary.log();
  return (
    log.match(/canceling (wait for synchronous replication|statement) due to user request/g)
      ?.length ?? 0
  );
};

test('the deadline of all queries bounds a COMMIT, and cancels nothing', async () => {
  const pool = createPool(cluster.options({ poolSize: 2, queryTimeoutMs: 300 }));
  const before = await waiting();
  const committing = pool.transaction((tx) => tx.query('INSERT INTO kept VALUES (1)'));
  await assert.rejects(committing, unknown('TimeoutError'));
  assert.equal(await waiting(), before + 1, 'the server still waits');
  assert.equal(await cancels(), 0);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  assert.equal(pool.status().inUse, 0);
  await pool.end();
});

test('a COMMIT that is aborted is unknown, and cancels nothing', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const connection = await pool.connect();
  await connection.query('BEGIN');
  await connection.query('INSERT INTO kept VALUES (2)');
  const before = await waiting();
  const controller = new AbortController();
  const commit = connection.query('/* now */ commit', [], { signal: controller.signal });
  await waitUntil('it waits for a standby', async () => (await waiting()) > before);
  controller.abort(new Error('gone'));
  const error = await commit.catch((e) => e);
  assert.equal(error.cause.message, 'gone');
  await assert.rejects(Promise.reject(error), unknown('AbortError'));
  assert.equal(await waiting(), before + 1);
  assert.equal(await cancels(), 0);
  await connection.release();
  await pool.end();
});

test('a transaction whose signal is aborted while it commits is unknown, and cancels nothing', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const before = await waiting();
  const controller = new AbortController();
  const insert = (tx) => tx.query('INSERT INTO kept VALUES (5)');
  const transaction = pool.transaction(insert, { signal: controller.signal, retries: 3 });
  const settling = Promise.allSettled([transaction]);
  await waitUntil('it waits for a standby', async () => (await waiting()) > before);
  controller.abort(new Error('gone'));
  const [{ reason }] = await settling;
  const { name, code, outcome, query } = reason;
  assert.deepEqual([name, code, outcome, query], ['AbortError', '40003', 'unknown', 'COMMIT']);
  assert.equal(reason.cause.message, 'gone');
  assert.match(reason.message, /while COMMIT was under way/);
  assert.equal(await waiting(), before + 1, 'the server still waits');
  assert.equal(await cancels(), 0);
  await pool.end();
});

/** Ways in which the callback itself commits, and not `pool.transaction`. */
const OWN_COMMITS = {
  'tx.commit()': (tx) => tx.commit(),
  'tx.query of COMMIT': (tx) => tx.query('COMMIT'),
  'a script that ends in COMMIT': (tx) => tx.query('SELECT 1; COMMIT'),
  'a script that ends in END': (tx) => tx.query('SELECT 1; END'),
};

for (const [name, commit] of Object.entries(OWN_COMMITS)) {
  test(`${name} in a callback whose time is over is unknown, and cancels nothing`, async () => {
    const pool = createPool(cluster.options({ poolSize: 1 }));
    const before = [await waiting(), await cancels()];
    let attempts = 0;
    const transaction = pool.transaction(
      async (tx) => {
        attempts += 1;
        await tx.query('INSERT INTO kept VALUES (6)');
        await commit(tx);
      },
      { timeoutMs: 300, retries: 3 },
    );
    await assert.rejects(transaction, { name: 'TimeoutError', code: '40003', outcome: 'unknown' });
    assert.equal(attempts, 1);
    assert.deepEqual([await waiting(), await cancels()], [before[0] + 1, before[1]]);
    assert.equal(pool.status().inUse, 0);
    await pool.end();
  });
}

test('an autocommit write that is cancelled in that wait is not called undone', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const write = pool.query('INSERT INTO kept VALUES (3)', [], { timeoutMs: 200 });
  await assert.rejects(write, {
    name: 'TimeoutError',
    code: 'HYPERION_QUERY_TIMEOUT',
    outcome: 'unknown',
    message: /committed on the primary alone/,
  });
  await pool.end();
});

test('a script that commits is not cancelled either', async () => {
  const pool = createPool(cluster.options({ poolSize: 1 }));
  const before = await cancels();
  for (const commit of ['COMMIT; SELECT 1', 'END', '/* done */ end work']) {
    const script = `BEGIN; INSERT INTO kept VALUES (4); ${commit}`;
    await assert.rejects(pool.query(script, [], { timeoutMs: 200 }), unknown('TimeoutError'));
  }
  assert.equal(await cancels(), before);
  await pool.end();
});

const HIDES = { client_min_messages: 'error' };
const insertOf = (key) => `INSERT INTO hidden VALUES ('${key}')`;
/** The ways in which a session does not send the warning of a commit that no standby has. */
const HIDDEN = {
  'the parameters of the pool': [HIDES, (pool, sql, options) => pool.query(sql, [], options)],
  'the options of the server': [
    { options: '-c client_min_messages=error' },
    (pool, sql, options) => pool.query(sql, [], options),
  ],
  'its own text': [
    {},
    (pool, sql, options) =>
      pool.query(`SELECT set_config('client_min_messages', 'error', true); ${sql}`, [], options),
  ],
  'a SET on a connection of its own': [
    {},
    async (pool, sql, options) => {
      const connection = await pool.connect();
      try {
        await connection.query('SET client_min_messages = error');
        return await connection.query(sql, [], options);
      } finally {
        await connection.release(true);
      }
    },
  ],
};
const STATEMENTS = {
  'an INSERT': insertOf,
  'several statements': (key) => `${insertOf(key)}; SELECT 1`,
  'a DO block': (key) => `DO $$ BEGIN ${insertOf(key)}; END $$`,
};

for (const [name, [parameters, ask]] of Object.entries(HIDDEN)) {
  for (const [what, make] of Object.entries(STATEMENTS)) {
    test(`${what} whose wait for standbys may have been cancelled is unknown, where ${name} hides that`, async (t) => {
      const pool = openPool(t, cluster.options({ poolSize: 1, parameters }), { timeoutMs: 100 });
      const sql = make(`${name}, ${what}`);
      await assert.rejects(ask(pool, sql, { timeoutMs: 300 }), { outcome: 'unknown' });
      // What only reads is not in doubt.
      assert.deepEqual(await pool.query('SELECT 1 AS one', [], { timeoutMs: 60_000 }), [
        { one: 1 },
      ]);
    });
  }
}
