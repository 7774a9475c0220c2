// The pool's option `logger`: one event for each query that has ended.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { after, before, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  await cluster.query(cluster.primary, 'CREATE TABLE logged (n int PRIMARY KEY)');
});
after(() => cluster?.close());

/** A pool, and the events of its queries. The pool's first connection is open. */
async function logging(t, options) {
  const events = [];
  const logger = (event) => events.push(event);
  const pool = openPool(t, cluster.options({ logger, ...options }));
  await pool.ready();
  return { pool, events };
}

/** Events come in the next turn of the loop. */
async function heard(events) {
  await nextTurn();
  return events.splice(0);
}

const texts = (events) => events.map(({ sql }) => sql);

test('a query is logged once, with its text, times, host and count of rows', async (t) => {
  const { pool, events } = await logging(t, { poolSize: 1 });
  await pool.query('SELECT $1::int AS n FROM generate_series(1, 3)', [7]);
  const [event, ...others] = await heard(events);
  assert.deepEqual(others, []);
  const { durationMs, waitMs, ...rest } = event;
  assert.ok(durationMs > 0 && waitMs >= 0 && waitMs <= durationMs, `${waitMs} of ${durationMs}`);
  assert.deepEqual(rest, {
    sql: 'SELECT $1::int AS n FROM generate_series(1, 3)',
    rowCount: 3,
    command: 'SELECT',
    host: cluster.primary.address,
    attempts: 1,
  });
});

test('the wait for a connection is told from the time at work', async (t) => {
  const { pool, events } = await logging(t, { poolSize: 1, pipelining: 'off', name: 'small' });
  await Promise.all([pool.query('SELECT pg_sleep(0.2)::text'), pool.query('SELECT 2')]);
  const [first, second] = await heard(events);
  assert.ok(first.waitMs < 150 && first.durationMs >= 150, 'the first is at work');
  assert.ok(second.waitMs >= 150, 'the second waits');
  assert.deepEqual([first.name, second.name], ['small', 'small']);
});

test('a transaction is logged from BEGIN to COMMIT under one number', async (t) => {
  const { pool, events } = await logging(t, {});
  const options = { isolation: 'repeatable read', readOnly: true };
  const work = (tx) => tx.savepoint((inner) => inner.query('SELECT 1'));
  for (let n = 0; n < 2; n += 1) await pool.transaction(work, options);
  const all = await heard(events);
  const sql = [
    'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
    'SAVEPOINT hyperion_1',
    'SELECT 1',
    'RELEASE SAVEPOINT hyperion_1',
    'COMMIT',
  ];
  assert.deepEqual(texts(all), [...sql, ...sql]);
  const [first, second] = [new Set(), new Set()];
  all.forEach(({ transaction }, n) => (n < sql.length ? first : second).add(transaction));
  assert.deepEqual([first.size, second.size], [1, 1]);
  assert.notDeepEqual(first, second);
  for (const { host } of all) assert.equal(host, cluster.primary.address);
});

test('what fails is logged with the error that its caller gets', async (t) => {
  const { pool, events } = await logging(t, {});
  const error = await pool.query('SELECT 1 / 0').catch((thrown) => thrown);
  const [event] = await heard(events);
  assert.equal(event.error, error);
  assert.equal(event.rowCount, undefined);

  const inside = await pool
    .transaction(async (tx) => {
      await tx.query('INSERT INTO logged VALUES (1)');
      await tx.query('INSERT INTO logged VALUES (1)');
    })
    .catch((thrown) => thrown);
  const [begin, insert, again, rollback] = await heard(events);
  assert.deepEqual(texts([begin, insert, again, rollback]), [
    'BEGIN',
    'INSERT INTO logged VALUES (1)',
    'INSERT INTO logged VALUES (1)',
    'ROLLBACK',
  ]);
  assert.equal(again.error, inside);
  assert.deepEqual([insert.error, rollback.error], [undefined, undefined]);
});

test('what was never sent is logged too', async (t) => {
  const { pool, events } = await logging(t, {});
  const never = [
    () => pool.query('SELECT 1', 'no array'),
    () => pool.query('SELECT $1::int', [Symbol('no value')]),
    () => pool.query('SELECT 1', [], { timeoutMs: -1 }),
    () => pool.query('SELECT 1', [], { signal: AbortSignal.abort() }),
  ];
  for (const ask of never) {
    const error = await ask().catch((thrown) => thrown);
    const [event, ...others] = await heard(events);
    assert.equal(others.length, 0);
    assert.equal(event.error, error);
    assert.deepEqual([event.host, event.attempts], [null, 0]);
    assert.equal(event.waitMs, event.durationMs);
  }
  await pool.end();
  await assert.rejects(pool.query('SELECT 1'), { code: 'HYPERION_POOL_CLOSED' });
  const [{ error }] = await heard(events);
  assert.equal(error.code, 'HYPERION_POOL_CLOSED');
});

test('a query that runs once more behind a lost connection is one event', async (t) => {
  const { pool, events } = await logging(t, { poolSize: 1 });
  const slow = pool.query('SELECT 1 AS n FROM pg_sleep(0.3)', [], { readOnly: true });
  const stop = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.3)%' AND pid <> pg_backend_pid()`;
  let stopped = [];
  while (stopped.length === 0) stopped = await cluster.query(cluster.primary, stop);
  assert.deepEqual(await slow, [{ n: 1 }]);
  const [event, ...others] = await heard(events);
  assert.deepEqual([event.attempts, event.error, others.length], [2, undefined, 0]);
});

test('parameters are logged as they were, and only if that is asked for', async (t) => {
  const { pool, events } = await logging(t, { logParameters: true });
  const values = [1];
  const asked = pool.query('SELECT $1::int', values);
  values[0] = 2;
  await asked;
  assert.deepEqual((await heard(events))[0].parameters, [1]);
  await pool.query('SELECT 1');
  assert.equal('parameters' in (await heard(events))[0], false);
  const quiet = await logging(t, {});
  await quiet.pool.query('SELECT $1::int', [1]);
  assert.equal('parameters' in (await heard(quiet.events))[0], false);
});

test('values whose reading throws fail their query alone', async (t) => {
  const { pool, events } = await logging(t, { logParameters: true });
  const values = new Proxy([1], {
    get(target, key) {
      if (key === '0') throw new Error('boom');
      return Reflect.get(target, key);
    },
  });
  await assert.rejects(pool.query('SELECT $1::int', values), /boom/);
  const [event] = await heard(events);
  assert.match(event.error.message, /boom/);
  assert.equal((await pool.query('SELECT 1 AS n'))[0].n, 1);
});

test('slowQueryMs leaves out what was quick and did not fail', async (t) => {
  const { pool, events } = await logging(t, { slowQueryMs: 150 });
  await pool.query('SELECT 1');
  await pool.query('SELECT 2 FROM pg_sleep(0.2)');
  await pool.query('SELECT 1 / 0').catch(() => {});
  assert.deepEqual(texts(await heard(events)), ['SELECT 2 FROM pg_sleep(0.2)', 'SELECT 1 / 0']);
});

test('the logger runs in the context of the caller', async (t) => {
  const storage = new AsyncLocalStorage();
  const seen = [];
  const logger = ({ sql }) => seen.push([storage.getStore(), sql]);
  const pool = openPool(t, cluster.options({ logger }));
  const work = (name) => storage.run(name, () => pool.query(`SELECT '${name}'`));
  await Promise.all(['a', 'b', 'c'].map(work));
  await storage.run('d', () => pool.transaction((tx) => tx.query('SELECT 4')));
  await nextTurn();
  seen.sort(([a], [b]) => a.localeCompare(b));
  assert.deepEqual(seen, [
    ...['a', 'b', 'c'].map((name) => [name, `SELECT '${name}'`]),
    ...['BEGIN', 'SELECT 4', 'COMMIT'].map((sql) => ['d', sql]),
  ]);
});

const LOGGERS = {
  throws() {
    throw new Error('boom');
  },
  rejects: () => Promise.reject(new Error('boom')),
  'returns what throws': () => ({
    get then() {
      throw new Error('boom');
    },
  }),
};

for (const [what, fails] of Object.entries(LOGGERS)) {
  test(`a logger that ${what} harms nobody`, async (t) => {
    let calls = 0;
    const logger = (event) => {
      calls += 1;
      return fails(event);
    };
    const pool = openPool(t, cluster.options({ logger }));
    await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 2')]);
    await assert.rejects(pool.query('SELECT 1 / 0'), { code: '22012' });
    await nextTurn();
    assert.equal(calls, 3);
    assert.deepEqual(await pool.query('SELECT 3 AS n'), [{ n: 3 }]);
  });
}

test('all answers of a turn reach their callers before the logger runs', async (t) => {
  const order = [];
  const logger = ({ sql }) => order.push(`log ${sql}`);
  const pool = openPool(t, cluster.options({ logger, poolSize: 1 }));
  await pool.ready();
  const ask = (sql) => pool.query(sql).then(() => order.push(sql));
  await Promise.all(['SELECT 1', 'SELECT 2', 'SELECT 3'].map(ask));
  await nextTurn();
  for (const sql of ['SELECT 1', 'SELECT 2', 'SELECT 3']) {
    assert.ok(order.indexOf(sql) < order.indexOf(`log ${sql}`), order.join(', '));
  }
});

test('a logger may ask the pool', async (t) => {
  const rows = [];
  const logger = ({ sql }) => {
    if (sql !== 'SELECT 1') return;
    pool.query('SELECT 2 AS n').then((answer) => rows.push(...answer));
  };
  const pool = openPool(t, cluster.options({ logger }));
  await pool.query('SELECT 1');
  while (rows.length === 0) await sleep(5);
  assert.deepEqual(rows, [{ n: 2 }]);
});

test('several results are one event', async (t) => {
  const { pool, events } = await logging(t, {});
  await pool.query('SELECT 1; SELECT 2');
  const [event, ...others] = await heard(events);
  assert.deepEqual(
    [event.sql, event.rowCount, others.length],
    ['SELECT 1; SELECT 2', undefined, 0],
  );
});

test('parameters are read once, and are sent as they are logged', async (t) => {
  const { pool, events } = await logging(t, { logParameters: true });
  let reads = 0;
  const values = [0];
  Object.defineProperty(values, 0, { get: () => (reads += 1), enumerable: true });
  assert.deepEqual(await pool.query('SELECT $1::int AS n', values), [{ n: 1 }]);
  assert.deepEqual((await heard(events))[0].parameters, [1]);
});

test('an array of more parameters than there may be is not copied', async (t) => {
  const { pool, events } = await logging(t, { logParameters: true });
  const sparse = [];
  sparse.length = 2 ** 32 - 1;
  await assert.rejects(pool.query('SELECT 1', sparse), { code: 'HYPERION_PARAMETER_LIMIT' });
  const [event] = await heard(events);
  assert.equal(event.parameters, undefined);
});

test('a COMMIT that rolls back says so by its command', async (t) => {
  const { pool, events } = await logging(t, {});
  const failed = pool.transaction(async (tx) => {
    await tx.query('SELECT 1 / 0').catch(() => {});
  });
  await assert.rejects(failed);
  const last = (await heard(events)).at(-1);
  assert.equal(last.command ?? last.sql, 'ROLLBACK');
});

test('BEGIN is logged with the first query that is sent', async (t) => {
  const { pool, events } = await logging(t, {});
  await pool.transaction(async (tx) => {
    await tx.query('SELECT 1', 'no array').catch(() => {});
    await tx.query('SELECT 2');
  });
  const all = await heard(events);
  assert.deepEqual(texts(all), ['SELECT 1', 'BEGIN', 'SELECT 2', 'COMMIT']);
  assert.deepEqual([all[1].attempts, all[1].host], [1, cluster.primary.address]);
});

test('transactions of two pools have different numbers', async (t) => {
  const both = [await logging(t, {}), await logging(t, {})];
  for (const { pool } of both) await pool.transaction((tx) => tx.query('SELECT 1'));
  const numbers = [];
  for (const { events } of both) {
    for (const { transaction } of await heard(events)) numbers.push(transaction);
  }
  assert.equal(new Set(numbers).size, 2);
});

test('a logger goes on behind queries that were refused near the end of the stack', async (t) => {
  const { pool, events } = await logging(t, {});
  const deep = () => {
    pool.query('SELECT 1', 'no array').catch(() => {});
    deep();
  };
  assert.throws(deep, RangeError);
  await nextTurn();
  events.length = 0;
  await pool.query('SELECT 2');
  assert.ok(texts(await heard(events)).includes('SELECT 2'));
});

test('the first exception of a logger is a warning', async (t) => {
  const warnings = [];
  const listen = (warning) => warnings.push(warning.code);
  process.on('warning', listen);
  t.after(() => process.off('warning', listen));
  const logger = () => {
    throw new Error('boom');
  };
  const pool = openPool(t, cluster.options({ logger }));
  for (let n = 0; n < 3; n += 1) await pool.query('SELECT 1');
  await nextTurn();
  await nextTurn();
  assert.deepEqual(warnings, ['HYPERION_LOGGER_FAILED']);
});

test('wrong options are refused', () => {
  const wrong = (options, message) =>
    assert.throws(() => createPool({ user: 'u', ...options }), { message });
  wrong({ logger: true }, "option 'logger' must be a function, not true");
  wrong({ logParameters: 1 }, "option 'logParameters' must be true or false, not 1");
  wrong(
    { slowQueryMs: -1 },
    "option 'slowQueryMs' must be a number of milliseconds from 0 up, not -1",
  );
  wrong({ name: 5 }, "option 'name' must be a string, not 5");
});
