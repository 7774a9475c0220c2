// Many more queries at a time than connections (src/pool/placement/burst.rs): a few servers are
// kept at work, and heard in parts of several answers. Whatever is among them, every caller gets
// its own answer. On a real server over TCP.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { countsOf, openPool } from '../support/pools.js';

const CONNECTIONS = 10;

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(
    cluster.primary,
    'CREATE TABLE crowd (id int PRIMARY KEY, lane int NOT NULL)',
  );
});
after(() => cluster?.close());

const open = (t, options) => openPool(t, cluster.options({ poolSize: CONNECTIONS, ...options }));

const ONE = 'SELECT $1::int AS n';

/** Runs this many lanes of this many steps each at the same time. */
const lanes = (count, steps, step) =>
  Promise.all(
    Array.from({ length: count }, async (_, lane) => {
      for (let n = 0; n < steps; n += 1) await step(lane * steps + n, lane);
    }),
  );

async function askOne(pool, n) {
  const [row] = await pool.query(ONE, [n]);
  assert.equal(row.n, n);
}

/** The queries of the lanes, and their expected rows. */
const STEPS = [
  askOne,
  // Shorter than the values before, and much longer.
  async (pool, n) => {
    const sql = `SELECT n, repeat('x', 100) AS filler FROM generate_series(1, $1::int) n`;
    const rows = n % 10 === 0 ? 100 : n % 4;
    assert.equal((await pool.query(sql, [rows])).length, rows);
  },
  async (pool, n) => {
    await assert.rejects(pool.query('SELECT $1::int / 0 AS nothing', [n]), { code: '22012' });
  },
  async (pool, n, lane) => {
    const result = await pool.query('INSERT INTO crowd VALUES ($1, $2)', [n, lane]);
    assert.deepEqual([result.command, result.rowCount], ['INSERT', 1]);
  },
  async (pool, n) => {
    await assert.rejects(pool.query(ONE, [n], { signal: AbortSignal.abort() }), {
      code: 'HYPERION_ABORTED',
    });
  },
];

for (const count of [40, 200, 700]) {
  test(`everybody in a crowd of ${count} is answered, whatever the others ask for`, async (t) => {
    const pool = open(t);
    await lanes(count, 20, (n) => askOne(pool, n));
    await pool.query('TRUNCATE crowd');
    await lanes(count, 20, (n, lane) => STEPS[n % STEPS.length](pool, n, lane));
    const [{ written }] = await pool.query('SELECT count(*)::int AS written FROM crowd');
    assert.equal(written, (count * 20) / STEPS.length);
  });
}

test('what is given up in a crowd fails alone, and what waited behind it is answered', async (t) => {
  // Functions stand behind other queries here, whatever they do and however long they take.
  const pool = open(t, { pipelining: 'all' });
  const sleep = 'SELECT pg_sleep($1), $2::int AS n';
  // The pool knows it as quick, until it is slow once.
  await lanes(200, 10, (n) => (n % 5 === 0 ? pool.query(sleep, [0, n]) : askOne(pool, n)));
  let givenUp = 0;
  await lanes(200, 30, async (n) => {
    if (n % 600 !== 0) return askOne(pool, n);
    await assert.rejects(pool.query(sleep, [60, n], { timeoutMs: 200 }), {
      code: 'HYPERION_QUERY_TIMEOUT',
    });
    givenUp += 1;
  });
  assert.equal(givenUp, 10);
});

test('transactions find a connection while a crowd is served', async (t) => {
  const pool = open(t);
  await lanes(200, 10, (n) => askOne(pool, n));
  let transactions = 0;
  await Promise.all([
    lanes(200, 50, (n) => askOne(pool, n)),
    lanes(5, 10, (n) =>
      pool.transaction(async (transaction) => {
        const [row] = await transaction.query(ONE, [n]);
        assert.equal(row.n, n);
        transactions += 1;
      }),
    ),
  ]);
  assert.equal(transactions, 50);
});

test('one connection serves a crowd by itself', async (t) => {
  const pool = open(t, { poolSize: 1 });
  await lanes(100, 30, (n) => askOne(pool, n));
  assert.deepEqual(countsOf(pool), { maxSize: 1, size: 1, available: 1, inUse: 0, waiting: 0 });
});
