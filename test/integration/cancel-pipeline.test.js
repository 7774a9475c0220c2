// Queries that share a connection: a caller gives up one of them, and the others are not affected.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { Random } from '../support/random.js';

/**
 * Waits this many seconds and writes a key. As a function, it is one quick statement to the pool.
 */
const SLOW = 'SELECT slow($1, $2) AS n';
const INSERT = 'INSERT INTO shared VALUES ($1) RETURNING n';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(
    cluster.primary,
    `CREATE TABLE shared (n int);
     CREATE FUNCTION slow(seconds float8, key int) RETURNS int LANGUAGE plpgsql AS $$
       BEGIN
         PERFORM pg_sleep(seconds);
         INSERT INTO shared VALUES (key);
         RETURN key;
       END $$`,
  );
});
after(() => cluster?.close());

/**
 * A pool of one connection whose statements are known to be quick, so that they share it. On a busy machine that takes more
 * than one of each.
 */
async function sharedPool(options) {
  const pool = createPool(cluster.options({ poolSize: 1, pipelining: 'all', ...options }));
  for (let shared = false; !shared;) {
    const queries = [0, 1].flatMap(() => [pool.query(SLOW, [0, -1]), pool.query(INSERT, [-1])]);
    await turn();
    shared = pool.status().waiting === 0;
    await Promise.all(queries);
  }
  return pool;
}

const keys = async () =>
  (await cluster.query(cluster.primary, 'DELETE FROM shared RETURNING n'))
    .map(([n]) => Number(n))
    .filter((n) => n >= 0)
    .sort((a, b) => a - b);

test('behind others: its caller is told at once, and nobody else is disturbed', async () => {
  const pool = await sharedPool();
  await keys();
  const controller = new AbortController();
  const { signal } = controller;
  const order = [];
  const note = (n) => () => order.push(n);
  const queries = [
    pool.query(SLOW, [0.3, 1]).then(note(1)),
    pool.query(INSERT, [2], { signal }).then(note(2), note('aborted')),
    pool.query(INSERT, [3], { timeoutMs: 50 }).then(note(3), note('late')),
    pool.query(INSERT, [4]).then(note(4)),
  ];
  await turn();
  assert.equal(pool.status().waiting, 0, 'they were all written');
  controller.abort();
  await Promise.all(queries);
  assert.deepEqual(order, ['aborted', 'late', 1, 4]);
  // The bytes were written and can't be taken back, so the outcome is unknown.
  assert.deepEqual(await keys(), [1, 2, 3, 4]);
  await pool.end();
});

test('what is told of it: it was sent, and may run', async () => {
  const pool = await sharedPool();
  const head = pool.query(SLOW, [0.2, 1]);
  const behind = pool.query(INSERT, [2], { timeoutMs: 20 });
  await assert.rejects(behind, {
    name: 'TimeoutError',
    code: 'HYPERION_QUERY_TIMEOUT',
    outcome: 'unknown',
    message: /sent behind others/,
  });
  await head;
  await pool.end();
});

test('at work with others behind: it alone is cancelled', async () => {
  const pool = await sharedPool();
  await keys();
  const slow = pool.query(SLOW, [60, 1], { timeoutMs: 10 });
  const others = [2, 3, 4].map((n) => pool.query(INSERT, [n]));
  await assert.rejects(slow, { name: 'TimeoutError', outcome: 'not-committed' });
  await Promise.all(others);
  assert.deepEqual(await keys(), [2, 3, 4]);
  assert.equal(pool.status().size, 1);
  await pool.end();
});

test('several of one connection, given up by one signal', async () => {
  const pool = await sharedPool();
  await keys();
  const controller = new AbortController();
  const { signal } = controller;
  const queries = [
    pool.query(SLOW, [60, 1], { signal }),
    pool.query(INSERT, [2]),
    // The server comes to it long after its caller has given it up. It is slow, so the pool cancels
    // it then.
    pool.query(SLOW, [60, 3], { signal }),
    pool.query(INSERT, [4]),
  ];
  await turn();
  controller.abort();
  const settled = await Promise.allSettled(queries);
  assert.deepEqual(
    settled.map(({ value, reason }) => value?.[0].n ?? [reason.name, reason.outcome]),
    [['AbortError', 'not-committed'], 2, ['AbortError', 'unknown'], 4],
  );
  assert.deepEqual(await keys(), [2, 4]);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('400 rounds: a cancel that comes too late hits a neighbour, which is not lost nor done twice', async () => {
  const random = new Random(20_261_124);
  const pools = await Promise.all(Array.from({ length: 8 }, () => sharedPool()));
  await keys();
  const expected = [];
  let key = 0;
  const lane = async (pool) => {
    for (let round = 0; round < 50; round++) {
      // It ends at about the time when the CancelRequest arrives, 20 ms later.
      const own = key++;
      const seconds = (19_500 + random.below(3_500)) / 1e6;
      const slow = pool.query(SLOW, [seconds, own], { timeoutMs: 5 });
      const neighbours = Array.from({ length: 4 }, () => key++);
      const others = neighbours.map((n) => pool.query(SLOW, [0.002, n]));
      const [given, ...rest] = await Promise.allSettled([slow, ...others]);
      if (given.status === 'fulfilled') expected.push(own);
      else assert.match(given.reason.outcome, /^not-(committed|sent)$/, given.reason);
      assert.deepEqual(
        rest.map(({ value, reason }) => value?.[0].n ?? reason),
        neighbours,
      );
      expected.push(...neighbours);
    }
  };
  await Promise.all(pools.map(lane));
  expected.sort((a, b) => a - b);
  assert.deepEqual(await keys(), expected);
  await Promise.all(pools.map((pool) => pool.end()));
  const log = await cluster.primary.log();
  const hits = log.match(/canceling statement due to user request/g)?.length ?? 0;
  const cancelled = 400 - expected.filter((n) => n % 5 === 0).length;
  // Otherwise these rounds have proven nothing.
  assert.ok(cancelled > 0 && hits > cancelled, `${hits} hits, ${cancelled} of them were meant`);
});

test('a statement that could commit half-way shares a connection with nobody', async () => {
  const pool = await sharedPool();
  await cluster.query(
    cluster.primary,
    'CREATE PROCEDURE halves(key int) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shared VALUES (key); COMMIT; END $$',
  );
  await keys();
  for (let n = 0; n < 3; n++) await pool.query('CALL halves($1)', [-1]);
  const slow = pool.query(SLOW, [60, 1], { timeoutMs: 100 });
  const call = pool.query('CALL halves($1)', [2]);
  await turn();
  assert.equal(pool.status().waiting, 1);
  await assert.rejects(slow, { outcome: 'not-committed' });
  await call;
  assert.deepEqual(await keys(), [2]);
  await pool.end();
});

test('a statement that its own statement_timeout ends is a DatabaseError, whoever else is given up', async () => {
  const pool = await sharedPool({ parameters: { statement_timeout: '50' } });
  const slow = pool.query(SLOW, [60, 1], { timeoutMs: 5000 });
  await assert.rejects(slow, { name: 'DatabaseError', code: '57014', outcome: 'not-committed' });
  await sleep(1);
  await pool.end();
});
