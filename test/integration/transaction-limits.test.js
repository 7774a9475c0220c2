// Limits of transactions whose host is gone: it freezes while they are idle, or it dies before
// their first statement. On real servers.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
let node;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  node = cluster.primary;
  await cluster.query(node, 'CREATE TABLE limited (id int)');
});
// In case the test fails earlier.
afterEach(() => cluster.thaw(node).catch(() => {}));
after(() => cluster?.close());

/** Only the tested limit may end a wait soon. */
const options = { acquireTimeoutMs: 300_000, cancelGraceMs: 200, livenessCheckMs: 60_000 };

async function poolFor(t, given) {
  const pool = openPool(t, cluster.options({ ...options, poolSize: 2, ...given }), {
    timeoutMs: 100,
  });
  await pool.query('SELECT 1');
  return pool;
}

/** The result of `running`, or an error if it never settles. */
async function outcomeOf(running) {
  const settled = running.then(
    () => 'fulfilled',
    (error) => `${error.code} ${error.outcome}`,
  );
  const late = new AbortController();
  const unsettled = sleep(30_000, 'unsettled', { signal: late.signal }).catch(() => {});
  const first = await Promise.race([settled, unsettled]);
  late.abort();
  return first;
}

const insert = (tx) => tx.query('INSERT INTO limited VALUES (1)');
/** Silences the host until after the limit has passed. */
async function fallSilent(tx) {
  await insert(tx);
  await cluster.freeze(node);
  await sleep(1_000);
}
const timedOut = 'HYPERION_TRANSACTION_TIMEOUT not-committed';

for (const [name, run, expected] of [
  [
    'timeoutMs of transaction()',
    (pool) => pool.transaction(fallSilent, { timeoutMs: 700 }),
    timedOut,
  ],
  [
    'its signal',
    (pool) => pool.transaction(fallSilent, { signal: AbortSignal.timeout(700) }),
    'HYPERION_ABORTED not-committed',
  ],
  [
    'timeoutMs of begin(), and a statement behind it',
    async (pool) => {
      const tx = await pool.begin({ timeoutMs: 700 });
      await fallSilent(tx);
      await insert(tx);
    },
    timedOut,
  ],
  [
    'timeoutMs of begin(), and a rollback behind it',
    async (pool) => {
      const tx = await pool.begin({ timeoutMs: 700 });
      await fallSilent(tx);
      await tx.rollback();
    },
    timedOut,
  ],
  [
    'timeoutMs on a connection',
    async (pool) => {
      const connection = await pool.connect();
      try {
        await connection.transaction(fallSilent, { timeoutMs: 700 });
      } finally {
        await connection.release();
      }
    },
    timedOut,
  ],
]) {
  test(`${name} ends a transaction whose host has fallen silent while it was idle`, async (t) => {
    const pool = await poolFor(t);
    assert.equal(await outcomeOf(run(pool)), expected);
    await cluster.thaw(node);
    await waitUntil('the server has heard of the end', async () => {
      return (await cluster.sessions("state LIKE 'idle in transaction%'", node)).length === 0;
    });
    assert.equal((await cluster.query(node, 'SELECT count(*) FROM limited'))[0][0], '0');
    assert.equal(pool.status().inUse, 0);
  });
}

test('a ROLLBACK without a limit waits for a silent host no longer than livenessCheckMs', async (t) => {
  const pool = await poolFor(t, { livenessCheckMs: 300 });
  const failed = pool.transaction(async (tx) => {
    await insert(tx);
    await cluster.freeze(node);
    throw Object.assign(new Error('of the callback'), { code: 'OWN' });
  });
  assert.equal(await outcomeOf(failed), 'OWN undefined');
  await cluster.thaw(node);
  const tx = await pool.begin();
  await insert(tx);
  await cluster.freeze(node);
  assert.equal(await outcomeOf(tx.rollback()), 'fulfilled');
});

/** The connection breaks before the first query on it. */
async function insertBehindCrash(tx) {
  await cluster.crash(node);
  await insert(tx);
}

for (const [name, run, expected] of [
  [
    'timeoutMs of transaction()',
    (pool) => pool.transaction(insertBehindCrash, { timeoutMs: 2_000 }),
    /^HYPERION_TRANSACTION_TIMEOUT not-/,
  ],
  [
    'timeoutMs of begin(), and a rollback behind it',
    async (pool) => {
      const tx = await pool.begin({ timeoutMs: 2_000 });
      await assert.rejects(insertBehindCrash(tx), { code: 'HYPERION_TRANSACTION_TIMEOUT' });
      await tx.rollback();
    },
    /^HYPERION_TRANSACTION_TIMEOUT not-/,
  ],
  [
    'timeoutMs of the statement',
    (pool) =>
      pool.transaction(async (tx) => {
        await cluster.crash(node);
        await tx.query('SELECT 1', [], { timeoutMs: 300 });
      }),
    /^HYPERION_QUERY_TIMEOUT not-/,
  ],
]) {
  test(`${name} ends a transaction that waits for a host with its first statement`, async (t) => {
    const pool = await poolFor(t);
    try {
      assert.match(await outcomeOf(run(pool)), expected);
    } finally {
      await cluster.start(node);
    }
  });
}

// What stands in front of a transaction on a connection of the caller's own, with the server's
// answer to it.
const IN_FRONT = {
  'a slow INSERT': { sql: ['INSERT INTO fronts SELECT $1 FROM pg_sleep(0.5)'], rows: 1 },
  'several of them': {
    sql: Array.from({ length: 3 }, () => 'INSERT INTO fronts SELECT $1 FROM pg_sleep(0.2)'),
    rows: 3,
  },
  'a transaction of statements': {
    sql: ['BEGIN', 'INSERT INTO fronts SELECT $1 FROM pg_sleep(0.4)', 'COMMIT'],
    rows: 1,
  },
  'a CALL that commits in its middle and fails': {
    sql: ['CALL commit_and_fail($1)'],
    rows: 1,
    expected: 'P0001 unknown',
  },
  'a failure of its own': {
    sql: ['SELECT 1 / length(pg_sleep(0.4)::text)'],
    rows: 0,
    expected: '22012 not-committed',
  },
};
const LIMITS = {
  timeoutMs: () => ({ timeoutMs: 100 }),
  signal: () => ({ signal: AbortSignal.timeout(100) }),
};

for (const [front, { sql, rows, expected = 'fulfilled' }] of Object.entries(IN_FRONT)) {
  for (const [limit, make] of Object.entries(LIMITS)) {
    test(`${limit} of a transaction gives up nothing in front of it: ${front}`, async (t) => {
      // So slowly would it be rolled back if it waited.
      const pool = await poolFor(t, { cancelGraceMs: 60_000 });
      await pool.query('CREATE TABLE IF NOT EXISTS fronts (key text)');
      await pool.query(`CREATE OR REPLACE PROCEDURE commit_and_fail(key text) LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO fronts VALUES (key); COMMIT; PERFORM pg_sleep(0.4); RAISE 'no'; END $$`);
      const connection = await pool.connect();
      const key = `${front}, ${limit}`;
      const told = [];
      const before = sql.map(async (text) => {
        const of = await outcomeOf(connection.query(text, text.includes('$1') ? [key] : []));
        told.push(of);
        return of;
      });
      const transaction = connection.transaction((tx) => tx.query('SELECT 1'), make());
      const error = await transaction.catch((thrown) => thrown);
      const code = limit === 'signal' ? 'HYPERION_ABORTED' : 'HYPERION_TRANSACTION_TIMEOUT';
      assert.deepEqual([error.code, error.outcome], [code, 'not-committed']);
      assert.equal(error.query, 'SELECT 1');
      // It waits for nothing that is not its own.
      assert.ok(told.length < sql.length, 'what stands in front is under way');
      const outcomes = await Promise.all(before);
      assert.deepEqual(new Set(outcomes), new Set([expected]));
      const next = await connection.transaction((tx) =>
        tx.query('SELECT FROM fronts WHERE key = $1', [key]),
      );
      assert.equal(next.length, rows);
      await connection.release();
    });
  }
}
