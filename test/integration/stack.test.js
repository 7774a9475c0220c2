// Calls near the end of the stack, where each called function may throw a RangeError: the test
// tries every depth. No caller gets the answer of another call, no connection is lost, and the pool
// goes on serving. On a real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
let pool;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  pool = createPool(cluster.options({ poolSize: 4 }));
  await pool.query('DROP TABLE IF EXISTS deep; CREATE TABLE deep (key int PRIMARY KEY)');
});
after(async () => {
  await pool?.end();
  await cluster?.close();
});

/**
 * The depths before the end of the stack and after it that the tests try, with frames of two sizes.
 */
const BEFORE = 130;
const BEHIND = 12;

const narrow = (depth, run) => (depth > 0 ? narrow(depth - 1, run) : run());
function wide(depth, run, a, b, c, d, e) {
  return depth > 0 ? wide(depth - 1, run, a, b, c, d, e) : run();
}

/** The depth at which the stack ends for a function that needs little of it. */
function endOf(descend) {
  let [low, high] = [0, 100_000];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    try {
      descend(middle, () => {});
      low = middle;
    } catch {
      high = middle;
    }
  }
  return low;
}

/** The result of `run` at each depth: `{ value }`, or `{ error }` if it threw or rejected. */
async function atEachDepth(run, judge, step = 1) {
  let done = 0;
  for (const descend of [narrow, wide]) {
    // V8 compiles functions during the first calls.
    for (let n = 0; n < 3; n += 1) await judge(await settled(() => run(-1)), -1);
    const end = endOf(descend);
    for (let depth = end - BEFORE; depth < end + BEHIND; depth += step) {
      done += 1;
      const key = done;
      const outcome = await settled(() => descend(depth, () => run(key)));
      await judge(outcome, key);
    }
  }
}

async function settled(call) {
  try {
    return { value: await call() };
  } catch (error) {
    return { error };
  }
}

const isEndOfStack = (error) => error instanceof RangeError && /call stack/.test(error.message);

/** After each call: other calls get their own answers, and all connections are free. */
async function isWell() {
  const rows = await Promise.all([1, 2].map((n) => pool.query('SELECT $1::int AS n', [n])));
  assert.deepEqual(rows, [[{ n: 1 }], [{ n: 2 }]]);
  for (let n = 0; pool.status().inUse > 0 && n < 1000; n += 1) await turn();
  assert.equal(pool.status().inUse, 0);
}

const point = { parse: (text) => text, serialize: ([x, y]) => `(${x},${y})` };
const QUERIES = {
  'a query': (key) => pool.query('SELECT $1::int AS key', [key]),
  'a query with a signal': (key) =>
    pool.query('SELECT $1::int AS key', [key], { signal: new AbortController().signal }),
  'a query with a limit': (key) =>
    pool.query('SELECT $1::int AS key', [key], { timeoutMs: 60_000 }),
  'a query of a text that nobody has sent': (key) => pool.query(`SELECT ${key} AS key`),
  'a query with parameters': (key) =>
    pool.query('SELECT $1::int AS key, $2::jsonb, $3::int[], $4::bytea', [
      ...[key, { a: [key] }, [key, [key]].slice(0, 1), Buffer.from([1, 2])],
    ]),
  'a query with types': (key) =>
    pool.query('SELECT $1::int AS key, $2::point', [key, [1, 2]], { types: { point } }),
  'a query of a new text with types': (key) =>
    pool.query(`SELECT $1::int AS key, $2::point, ${key}`, [key, [1, 2]], { types: { point } }),
  'several queries': async (key) => {
    const both = [1, 2].map((n) => pool.query('SELECT $1::int + $2::int AS key', [key - n, n]));
    const [[first]] = await Promise.all(both);
    return [first];
  },
};

for (const [name, run] of Object.entries(QUERIES)) {
  test(`${name} gets its own answer or none`, async () => {
    await atEachDepth(run, async ({ value, error }, key) => {
      if (error === undefined) assert.equal(value[0].key, key);
      else assert.ok(isEndOfStack(error), error);
      await isWell();
    });
  });
}

const LEASES = {
  'pool.connect': () => pool.connect(),
  'pool.connect with a signal': () => pool.connect({ signal: new AbortController().signal }),
  'pool.connect with a limit': () => pool.connect({ timeoutMs: 60_000 }),
  'pool.begin': () => pool.begin(),
  'pool.begin with a limit': () => pool.begin({ timeoutMs: 60_000 }),
};

for (const [name, run] of Object.entries(LEASES)) {
  test(`${name} loses no connection`, async () => {
    await atEachDepth(run, async ({ value, error }, key) => {
      if (error === undefined) {
        assert.deepEqual(await value.query('SELECT $1::int AS key', [key]), [{ key }]);
        await (value.release ?? value.rollback).call(value);
      } else assert.ok(isEndOfStack(error), error);
      await isWell();
    });
  });
}

test('pool.transaction and pool.ready', async () => {
  const work = (key) => pool.transaction((tx) => tx.query('SELECT $1::int AS key', [key]));
  await atEachDepth(work, async ({ value, error }, key) => {
    if (error === undefined) assert.equal(value[0].key, key);
    else assert.ok(isEndOfStack(error), error);
    await isWell();
  });
  await atEachDepth(
    () => pool.ready(),
    async ({ error }) => {
      assert.ok(error === undefined || isEndOfStack(error), error);
      await isWell();
    },
  );
});

test('what a connection is asked', async () => {
  const ways = [
    (connection, key) => connection.query('SELECT $1::int AS key', [key]),
    (connection, key) => connection.transaction((tx) => tx.query('SELECT $1::int AS key', [key])),
    async (connection, key) => {
      const tx = await connection.begin();
      try {
        return await tx.query('SELECT $1::int AS key', [key]);
      } finally {
        await tx.rollback();
      }
    },
  ];
  for (const way of ways) {
    let connection = await pool.connect();
    const run = (key) => way(connection, key);
    await atEachDepth(run, async ({ value, error }, key) => {
      if (error === undefined) assert.equal(value[0].key, key);
      else assert.ok(isEndOfStack(error), error);
      await connection.release();
      await isWell();
      connection = await pool.connect();
    });
    await connection.release();
  }
});

test('a connection is given back, whatever release() says', async () => {
  for (const prepare of [() => {}, (connection) => connection.begin()]) {
    let connection = await pool.connect();
    await prepare(connection);
    await atEachDepth(
      () => connection.release(),
      async ({ error }) => {
        if (error !== undefined) {
          assert.ok(isEndOfStack(error), error);
          await connection.release().catch(() => {});
        }
        await isWell();
        connection = await pool.connect();
        await prepare(connection);
      },
    );
    await connection.release();
  }
});

test('a savepoint does not make its transaction do what nobody asked for', async () => {
  const tx = { current: await pool.begin() };
  const run = (key) => tx.current.savepoint((inner) => inner.query('SELECT $1::int AS key', [key]));
  await atEachDepth(run, async ({ value, error }, key) => {
    if (error === undefined) assert.equal(value[0].key, key);
    else assert.ok(isEndOfStack(error) || isEndOfStack(error.cause), error);
    await tx.current.rollback();
    await isWell();
    tx.current = await pool.begin();
  });
  await tx.current.rollback();
});

for (const how of ['commit', 'rollback']) {
  test(`${how}() says what has become of the transaction`, async () => {
    await pool.query('DELETE FROM deep');
    let tx = null;
    let key = 0;
    const anew = async () => {
      key += 1;
      tx = await pool.begin();
      await tx.query('INSERT INTO deep VALUES ($1)', [key]);
    };
    await anew();
    await atEachDepth(
      () => tx[how](),
      async ({ error }) => {
        let isThere = how === 'commit';
        if (error !== undefined) {
          assert.ok(isEndOfStack(error), error);
          // Nothing was sent, so the caller still has the connection.
          await tx.rollback();
          isThere = false;
        }
        const rows = await pool.query('SELECT key FROM deep WHERE key = $1', [key]);
        assert.equal(rows.length, isThere ? 1 : 0);
        await isWell();
        await anew();
      },
    );
    await tx.rollback();
  });
}

test('pool.end() ends the pool, or can be called again', async () => {
  const [first] = [pool];
  try {
    pool = createPool(cluster.options({ poolSize: 1 }));
    await atEachDepth(
      () => pool.end(),
      async ({ error }) => {
        if (error !== undefined) {
          assert.ok(isEndOfStack(error), error);
          assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
          await pool.end();
        }
        await assert.rejects(pool.query('SELECT 1'), { code: 'HYPERION_POOL_CLOSED' });
        pool = createPool(cluster.options({ poolSize: 1 }));
      },
      4,
    );
    await pool.end();
  } finally {
    pool = first;
  }
});
