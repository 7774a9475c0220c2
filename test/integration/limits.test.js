// Limits of transactions and of the wait for a connection: timeoutMs and signal, on a real server.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import process from 'node:process';
import { beforeEach, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const SLEEP = 'SELECT pg_sleep(60)::text';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });
await pool.query('DROP TABLE IF EXISTS limited; CREATE TABLE limited (n int)');
beforeEach(() => pool.query('DELETE FROM limited'));

const REASON = new Error('the user has gone');
const aborted = (outcome) => (error) => {
  const { name, code, cause } = error;
  assert.deepEqual([name, code, error.outcome], ['AbortError', 'HYPERION_ABORTED', outcome]);
  assert.equal(cause, REASON);
  return true;
};
const late = { name: 'TimeoutError', code: 'HYPERION_TRANSACTION_TIMEOUT' };
const listeners = (signal) => getEventListeners(signal, 'abort').length;
const insert = (queryable, n) => queryable.query('INSERT INTO limited VALUES ($1)', [n]);
const kept = async () => (await pool.query('SELECT n FROM limited ORDER BY n')).map(({ n }) => n);
const pidOf = async (queryable) => (await queryable.query('SELECT pg_backend_pid() AS pid'))[0].pid;
const SLEEPS = "state = 'active' AND query LIKE 'SELECT pg_sleep(60)%'";
const sleepers = () => cluster.sessions(SLEEPS);
const untilAsleep = () => cluster.waitForSession(SLEEPS);

/** Each call that takes a connection. None of them may get as far as using it. */
const WAYS = {
  'begin()': (options) => pool.begin(options),
  'transaction()': (options) => pool.transaction(() => assert.fail('ran'), options),
  'connect()': (options) => pool.connect(options),
};

for (const [name, ask] of Object.entries(WAYS)) {
  test(`${name} leaves the line when its signal is aborted, or its time is over`, async () => {
    const holder = await pool.connect();
    const controller = new AbortController();
    const { signal } = controller;
    const served = [];
    const queries = [1, 2].map((n) => () => insert(pool, n).then(() => served.push(n)));
    const first = queries[0]();
    const waiting = ask({ signal });
    const second = queries[1]();
    const short = ask({ timeoutMs: 20 });
    const settling = Promise.allSettled([waiting]);
    assert.equal(pool.status().waiting, 4);
    await assert.rejects(short, { name: 'TimeoutError', outcome: 'not-sent' });
    assert.equal(pool.status().waiting, 3);
    controller.abort(REASON);
    assert.equal(pool.status().waiting, 2, 'at once');
    const [{ reason }] = await settling;
    aborted('not-sent')(reason);
    assert.equal(listeners(signal), 0);
    await assert.rejects(ask({ signal }), aborted('not-sent'));
    await holder.release();
    await Promise.all([first, second]);
    assert.deepEqual(served, [1, 2]);
    assert.equal(pool.status().inUse, 0);
  });
}

test('a connection is its own for as long as it likes, once it is found', async () => {
  const controller = new AbortController();
  const connection = await pool.connect({ signal: controller.signal, timeoutMs: 1000 });
  assert.equal(listeners(controller.signal), 0);
  controller.abort(REASON);
  assert.deepEqual(await connection.query('SELECT 1 AS one'), [{ one: 1 }]);
  await connection.release();
});

test('null says of every option what undefined says: nothing', async (t) => {
  const query = ['readOnly', 'rowMode', 'types', 'timeoutMs', 'signal', 'prepare'];
  const begin = ['isolation', 'readOnly', 'deferrable', 'timeoutMs', 'signal'];
  const all = (names) => Object.fromEntries(names.map((name) => [name, null]));
  const types = { int8: 'number' };
  const ones = createPool({
    ...cluster.options({ poolSize: 1 }),
    ...all(['mode', 'lookup']),
    types,
  });
  t.after(() => ones.end(all(['timeoutMs', 'waiting'])));
  for (const nothing of [all, () => null]) {
    assert.deepEqual(await ones.query('SELECT 1::int8 AS n', null, nothing(query)), [{ n: 1 }]);
    await ones.transaction((tx) => tx.query('SELECT 1'), nothing([...begin, 'retries']));
    await (await ones.begin(nothing(begin))).commit();
    const connection = await ones.connect(nothing(['timeoutMs', 'signal']));
    await connection.transaction((tx) => tx.query('SELECT 1'), nothing([...begin, 'retries']));
    await (await connection.begin(nothing(begin))).commit();
    await connection.release();
  }
  await createPool(cluster.options()).end(null);
});

test('wrong options of connect are refused by name', async () => {
  for (const [options, message] of [
    [{ timeoutMs: 0 }, /'timeoutMs' of pool\.connect\(\) must be an integer from 1/],
    [{ signal: {} }, /'signal' of pool\.connect\(\) must be an AbortSignal/],
    [{ resetOnRelease: false }, /unknown option 'resetOnRelease' of pool\.connect\(\): allowed: /],
    ['x', /must be an object/],
  ]) {
    await assert.rejects(pool.connect(options), { code: 'HYPERION_CONFIGURATION', message });
  }
  await assert.rejects(pool.begin({ signal: 1 }), { message: /'signal' must be an AbortSignal/ });
});

for (const limit of ['timeoutMs', 'signal']) {
  /** Limits that pass while the server works, and the errors that callers get. */
  const passing = (outcome) => {
    if (limit === 'timeoutMs') {
      return { options: { timeoutMs: 100 }, error: { ...late, outcome } };
    }
    const controller = new AbortController();
    untilAsleep().then(() => controller.abort(REASON));
    return { options: { signal: controller.signal }, error: aborted(outcome) };
  };

  test(`${limit} of a transaction cancels what runs, and its connection serves on`, async () => {
    const pid = await pidOf(pool);
    const { options, error } = passing('not-committed');
    const outcomes = [];
    const transaction = pool.transaction(async (tx) => {
      await insert(tx, 1);
      // Three queries that were sent together: the server runs the first, and the others fail
      // behind it.
      const all = [tx.query(SLEEP), insert(tx, 2), insert(tx, 3)];
      for (const { reason } of await Promise.allSettled(all)) outcomes.push(reason?.outcome);
      await insert(tx, 4);
    }, options);
    await assert.rejects(transaction, error);
    assert.deepEqual(outcomes, Array(3).fill('not-committed'));
    assert.deepEqual(await sleepers(), []);
    assert.deepEqual(await kept(), []);
    assert.equal(await pidOf(pool), pid);
    assert.equal(pool.status().inUse, 0);
  });

  test(`${limit} of a transaction that was begun by hand, and is not finished`, async () => {
    const pid = await pidOf(pool);
    const { options, error } = passing('not-committed');
    const tx = await pool.begin(options);
    await insert(tx, 1);
    await assert.rejects(tx.query(SLEEP), error);
    const over = limit === 'signal' ? aborted('not-committed') : late;
    await assert.rejects(tx.query('SELECT 1'), over);
    await assert.rejects(tx.commit(), over);
    await tx[Symbol.asyncDispose]();
    assert.equal(pool.status().inUse, 0, 'what is left is rolled back when the block is left');
    assert.deepEqual(await kept(), []);
    assert.equal(await pidOf(pool), pid);
  });

  test(`${limit} of a transaction on a connection of one's own leaves that intact`, async () => {
    const connection = await pool.connect();
    const { options, error } = passing('not-committed');
    await connection.query('CREATE TEMP TABLE mine (n int)');
    const transaction = connection.transaction(async (tx) => {
      await tx.query('INSERT INTO mine VALUES (1)');
      await tx.query(SLEEP);
    }, options);
    await assert.rejects(transaction, error);
    assert.deepEqual(await connection.query('SELECT n FROM mine'), []);
    await assert.rejects(connection.query('SELECT 1/0'), { code: '22012' }, 'it is over');
    await connection.release();
  });
}

test('a transaction whose signal is aborted between its statements is rolled back', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const tx = await pool.begin({ signal });
  await insert(tx, 1);
  assert.equal(listeners(signal), 1);
  controller.abort(REASON);
  assert.equal(listeners(signal), 0);
  await assert.rejects(tx.query('SELECT 1'), aborted('not-committed'));
  assert.deepEqual(await kept(), []);
  assert.equal(pool.status().inUse, 0);
});

test('a signal that is aborted right behind the callback, and before COMMIT, rolls back', async () => {
  const controller = new AbortController();
  const abort = () => controller.abort(REASON);
  const transaction = pool.transaction((tx) => insert(tx, 1).then(() => queueMicrotask(abort)), {
    signal: controller.signal,
  });
  await assert.rejects(transaction, aborted('not-committed'));
  assert.deepEqual(await kept(), []);
  assert.equal(pool.status().inUse, 0);
});

test('100 transactions share one listener on their signal, and leave none', async (t) => {
  const warnings = [];
  const onWarning = (warning) => warnings.push(warning);
  process.on('warning', onWarning);
  t.after(() => process.off('warning', onWarning));
  const { signal } = new AbortController();
  const all = Array.from({ length: 100 }, (_, n) =>
    pool.transaction((tx) => insert(tx, n), { signal }),
  );
  assert.equal(listeners(signal), 1);
  await Promise.all(all);
  assert.equal(listeners(signal), 0);
  assert.equal((await kept()).length, 100);
  await turn();
  assert.deepEqual(warnings, []);
});

test('the error of a limit, and that of a query that was not awaited, say where it was', async () => {
  const { address } = cluster.primary;
  const asleep = (tx) => tx.query(SLEEP);
  await assert.rejects(pool.transaction(asleep, { timeoutMs: 100 }), { ...late, host: address });
  const controller = new AbortController();
  untilAsleep().then(() => controller.abort(REASON));
  const transaction = pool.transaction(asleep, { signal: controller.signal });
  await assert.rejects(transaction, { name: 'AbortError', host: address });
  const careless = async (tx) => {
    await tx.savepoint((sp) => sp.query('SELECT 1/0')).catch(() => {});
    void tx.query('SELECT 1');
  };
  const code = 'HYPERION_QUERY_NOT_AWAITED';
  await assert.rejects(pool.transaction(careless), { code, host: address });

  // The limit also applies where the server has reported no error: all queries have succeeded, and
  // none runs.
  const slow = async (tx) => {
    await tx.query('SELECT 1');
    await new Promise(() => {});
  };
  await assert.rejects(pool.transaction(slow, { timeoutMs: 50 }), { ...late, host: address });
  const tx = await pool.begin({ timeoutMs: 50 });
  const isOpen = () => tx.query('SELECT 1').then(Boolean, () => false);
  await waitUntil('it is over', async () => !(await isOpen()));
  await assert.rejects(tx.commit(), { ...late, host: address });
  const hasty = async (tx) => void tx.query('SELECT 1');
  await assert.rejects(pool.transaction(hasty), { code, host: address });
  const open = (tx) =>
    new Promise((resolve) => {
      const never = new Promise(() => {});
      void tx.savepoint((sp) => sp.query('SELECT 1').then(() => (resolve(), never)));
    });
  await assert.rejects(pool.transaction(open), { code, host: address });
});

for (const limit of ['timeoutMs', 'signal']) {
  test(`${limit} of a transaction bounds its last attempt as its first`, async () => {
    const controller = new AbortController();
    const { signal } = controller;
    let attempts = 0;
    const transaction = pool.transaction(
      async (tx) => {
        attempts += 1;
        await insert(tx, attempts);
        if (attempts < 2)
          await tx.query("DO $$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$");
        untilAsleep().then(() => controller.abort(REASON));
        await tx.query(SLEEP);
      },
      { ...(limit === 'signal' ? { signal } : { timeoutMs: 1000 }), retries: 1000 },
    );
    const error = { ...late, outcome: 'not-committed' };
    await assert.rejects(transaction, limit === 'signal' ? aborted('not-committed') : error);
    assert.equal(attempts, 2);
    assert.equal(listeners(signal), 0);
    assert.deepEqual(await kept(), []);
  });
}

test('a signal ends the pause before the next attempt, and all further ones', async () => {
  const controller = new AbortController();
  let attempts = 0;
  const transaction = pool.transaction(
    async (tx) => {
      attempts += 1;
      setImmediate(() => controller.abort(REASON));
      await tx.query("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$");
    },
    { signal: controller.signal, retries: 1000 },
  );
  await assert.rejects(transaction, aborted('not-committed'));
  assert.equal(attempts, 1);
});

test('a server that answers no cancel: the connection is closed, and nothing is committed', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const frozen = openPool(
    t,
    cluster.options({ hosts: [proxy.address], poolSize: 1, cancelGraceMs: 50 }),
    { timeoutMs: 0 },
  );
  const controller = new AbortController();
  const transaction = frozen.transaction(
    async (tx) => {
      await insert(tx, 1);
      await proxy.silent();
      const query = tx.query(SLEEP);
      setImmediate(() => controller.abort(REASON));
      await query;
    },
    { signal: controller.signal },
  );
  await assert.rejects(transaction, aborted('not-committed'));
  assert.equal(frozen.status().inUse, 0);
  await proxy.pass();
  assert.deepEqual(await frozen.query('SELECT 1 AS one'), [{ one: 1 }]);
  assert.deepEqual(await kept(), []);
});
