// timeoutMs and signal: a query that its caller gives up, in each phase of the query, and the state
// of the connection afterwards.

import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { readFile } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';

import { AbortError, createPool, QueryTimeoutError } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';
import { Random } from '../support/random.js';
import * as backend from '../support/scripted/backend.js';
import { scriptedBackend } from '../support/scripted/backend.js';
import { waitUntil } from '../support/wait-until.js';

const SLEEP = 'SELECT pg_sleep($1)::text';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });
await pool.query('DROP TABLE IF EXISTS given_up; CREATE TABLE given_up (n int)');

const timedOut = (outcome) => ({
  name: 'TimeoutError',
  code: 'HYPERION_QUERY_TIMEOUT',
  outcome,
});
const aborted = (outcome, cause) => ({
  name: 'AbortError',
  code: 'HYPERION_ABORTED',
  outcome,
  ...(cause === undefined ? {} : { cause }),
});
const RUNS = "query LIKE '%pg_sleep%' AND state = 'active'";

test('a query that takes too long is cancelled on the server, and the next one runs', async () => {
  const error = await pool.query(SLEEP, [60], { timeoutMs: 50 }).catch((e) => e);
  assert.ok(error instanceof QueryTimeoutError);
  const { name, code, outcome } = error;
  assert.deepEqual({ name, code, outcome }, timedOut('not-committed'));
  assert.match(error.message, /not done within 50 ms/);
  assert.equal(error.query, SLEEP);
  assert.equal(error.host, cluster.options().hosts[0]);
  assert.match(error.stack, /cancel\.test\.js/);
  assert.deepEqual(await cluster.sessions(RUNS), []);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  assert.equal(pool.status().size, 1, 'its connection serves on');
});

test('a query that is aborted while it runs is cancelled, with the reason as cause', async () => {
  const controller = new AbortController();
  const running = pool.query(SLEEP, [60], { signal: controller.signal });
  await cluster.waitForSession(RUNS);
  const reason = new Error('the user has gone');
  controller.abort(reason);
  const error = await running.catch((e) => e);
  assert.ok(error instanceof AbortError);
  assert.equal(error.cause, reason);
  assert.equal(error.outcome, 'not-committed');
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
});

test('a signal that was aborted before sends nothing', async () => {
  const signal = AbortSignal.abort('gone');
  const query = pool.query('INSERT INTO given_up VALUES (1)', [], { signal });
  await assert.rejects(query, aborted('not-sent', 'gone'));
  assert.deepEqual(await pool.query('SELECT n FROM given_up'), []);
});

test('a signal that a parameter aborts while it is read sends nothing', async (t) => {
  const chosen = openPool(t, cluster.options({ poolSize: 1, types: { int4: { serialize } } }));
  let controller = null;
  function serialize(value) {
    controller?.abort('gone');
    return String(value);
  }
  const sql = 'INSERT INTO given_up VALUES ($1)';
  await chosen.query(sql, [1]);
  await pool.query('DELETE FROM given_up');
  const params = [1];
  Object.defineProperty(params, 0, { get: () => serialize(1) });
  for (const [on, values] of [
    [chosen, [1]],
    [pool, params],
  ]) {
    controller = new AbortController();
    const query = on.query(sql, values, { signal: controller.signal });
    await assert.rejects(query, aborted('not-sent', 'gone'));
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
  }
  assert.deepEqual(await pool.query('SELECT n FROM given_up'), []);
});

test('what still waits for a connection is taken back, and the others keep their order', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const order = [];
  const head = pool.query(SLEEP, [0.2]);
  const queries = Array.from({ length: 10 }, (_, n) =>
    pool
      .query('INSERT INTO given_up VALUES ($1)', [n], n % 3 === 0 ? { signal } : undefined)
      .then(() => order.push(n)),
  );
  const settling = Promise.allSettled(queries);
  const late = pool.query('SELECT 1', [], { timeoutMs: 50 });
  await turn();
  assert.equal(pool.status().waiting, 11);
  controller.abort();
  assert.equal(pool.status().waiting, 7);
  await assert.rejects(late, timedOut('not-sent'));
  assert.equal(pool.status().waiting, 6);
  const settled = await settling;
  settled.forEach(({ status, reason }, n) => {
    assert.equal(status, n % 3 === 0 ? 'rejected' : 'fulfilled');
    if (n % 3 === 0) assert.equal(reason.outcome, 'not-sent');
  });
  await head;
  assert.deepEqual(order, [1, 2, 4, 5, 7, 8]);
  const rows = await pool.query('DELETE FROM given_up RETURNING n');
  assert.equal(rows.length, 6);
});

test('given up while its host is looked up, connected to, or logs in', async () => {
  const lookups = [];
  const lookup = (name, options, callback) => lookups.push(callback);
  const unresolved = createPool({ ...cluster.options(), hosts: ['nowhere.test'], lookup });
  const silent = await scriptedBackend(async (frontend) => {
    await frontend.startup();
    await frontend.message();
  });
  const mute = createPool(silent.options());
  for (const stuck of [unresolved, mute]) {
    const controller = new AbortController();
    const waits = stuck.query('SELECT 1', [], { signal: controller.signal });
    const short = stuck.query('SELECT 1', [], { timeoutMs: 10 });
    await assert.rejects(short, timedOut('not-sent'));
    controller.abort();
    await assert.rejects(waits, aborted('not-sent'));
    assert.equal(stuck.status().waiting, 0);
    await stuck.end();
  }
  assert.equal(lookups.length, 1);
  await silent.close();
});

test('what was answered is answered: a late abort does nothing', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  assert.deepEqual(await pool.query('SELECT 1 AS one', [], { signal }), [{ one: 1 }]);
  controller.abort();
  assert.deepEqual(await pool.query(SLEEP, [0.05]), [{ pg_sleep: '' }]);
});

test('10,000 queries with one signal leave no listener and no warning', async () => {
  const warnings = [];
  const onWarning = (warning) => warnings.push(warning);
  process.on('warning', onWarning);
  const { signal } = new AbortController();
  const queries = Array.from({ length: 10_000 }, (_, n) =>
    pool.query('SELECT $1::int AS n', [n], { signal }),
  );
  assert.equal(getEventListeners(signal, 'abort').length, 1);
  const rows = await Promise.all(queries);
  assert.ok(rows.every(([row], n) => row.n === n));
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  await assert.rejects(pool.query('SELECT 1/0', [], { signal }), { code: '22012' });
  await assert.rejects(pool.query('SELECT $1', [() => {}], { signal }), {
    code: 'HYPERION_PARAMETER',
  });
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  await turn();
  process.off('warning', onWarning);
  assert.deepEqual(warnings, []);
});

test('the pool can bound all queries, and a query can lift the bound', async () => {
  const bounded = createPool(cluster.options({ poolSize: 2, queryTimeoutMs: 200 }));
  await bounded.query('SELECT 1', [], { timeoutMs: 0 });
  await assert.rejects(bounded.query(SLEEP, [60]), timedOut('not-committed'));
  await bounded.query(SLEEP, [0.4], { timeoutMs: 0 });
  await assert.rejects(bounded.query(SLEEP, [60], { timeoutMs: 10 }), timedOut('not-committed'));
  const transaction = bounded.transaction((tx) => tx.query(SLEEP, [60]));
  await assert.rejects(transaction, timedOut('not-committed'));
  assert.deepEqual(await bounded.query('SELECT 1 AS one'), [{ one: 1 }]);
  await bounded.end();
});

test('wrong options of a query are refused by name', async () => {
  for (const [options, message] of [
    [{ timeoutMs: -1 }, /'timeoutMs' must be an integer/],
    [{ timeoutMs: 1.5 }, /'timeoutMs' must be an integer/],
    [{ timeoutMs: '5' }, /'timeoutMs' must be an integer/],
    [{ timeoutMs: 2 ** 31 }, /'timeoutMs' must be an integer/],
    [{ signal: {} }, /'signal' must be an AbortSignal/],
    [{ prepare: 1 }, /'prepare' must be true or false/],
  ]) {
    const query = pool.query('SELECT 1', [], options);
    await assert.rejects(query, { code: 'HYPERION_CONFIGURATION', message });
  }
});

test('in a transaction a cancelled statement fails it, and nothing of it stays', async () => {
  const failed = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO given_up VALUES (1)');
    const slow = tx.query(SLEEP, [60], { timeoutMs: 50 });
    // It waits until the cancel is over, and finds a failed transaction.
    const behind = tx.query('INSERT INTO given_up VALUES (2)');
    await assert.rejects(slow, timedOut('not-committed'));
    await assert.rejects(behind, { code: '25P02' });
  });
  await assert.rejects(failed, { code: 'HYPERION_TRANSACTION_ROLLED_BACK' });
  assert.deepEqual(await pool.query('SELECT n FROM given_up'), []);
});

test('in a transaction what is held behind another statement is taken back', async () => {
  await pool.transaction(async (tx) => {
    const first = tx.query(SLEEP, [0.1]);
    const controller = new AbortController();
    const { signal } = controller;
    const second = tx.query('INSERT INTO given_up VALUES (2)', [], { signal });
    const third = tx.query('INSERT INTO given_up VALUES (3)');
    await turn();
    controller.abort();
    await assert.rejects(second, aborted('not-sent'));
    await Promise.all([first, third]);
  });
  assert.deepEqual(await pool.query('DELETE FROM given_up RETURNING n'), [{ n: 3 }]);
});

test('what follows a cancelled query on its connection is never hit, 400 times of 400', async () => {
  for (let round = 0; round < 400; round++) {
    const controller = new AbortController();
    const slow = pool.query(SLEEP, [60], { signal: controller.signal });
    const next = pool.query('SELECT pg_sleep(0.001)::text, $1::int AS n', [round]);
    await turn();
    controller.abort();
    await assert.rejects(slow, aborted('not-committed'));
    assert.equal((await next)[0].n, round);
  }
  assert.equal(pool.status().size, 1);
});

/**
 * Blocks the loop in a callback of a socket or file, after which the loop looks at deadlines first.
 */
const blockInCallback = (milliseconds) =>
  new Promise((resolve) => {
    readFile(new URL(import.meta.url), () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
      resolve();
    });
  });

test('the reply that lay in the kernel wins over a deadline that passed meanwhile', async () => {
  for (let round = 0; round < 3; round++) {
    const queries = [
      pool.query(SLEEP, [0.1], { timeoutMs: 200 }),
      pool.query('SELECT 1 AS one', [], { timeoutMs: 10_000 }),
    ];
    await turn();
    await blockInCallback(500);
    assert.deepEqual(await Promise.all(queries), [[{ pg_sleep: '' }], [{ one: 1 }]]);
    const signalled = pool.query(SLEEP, [0.1], { signal: AbortSignal.timeout(200) });
    await turn();
    await blockInCallback(500);
    assert.deepEqual(await signalled, [{ pg_sleep: '' }]);
  }
});

test('1000 random aborts under load, and all other queries are right', async () => {
  const random = new Random(20_261_123);
  const loaded = createPool(cluster.options({ poolSize: 4 }));
  await loaded.query(SLEEP, [0]);
  const WRITE = 'INSERT INTO given_up SELECT $1 FROM pg_sleep($2)';
  /** Keys, by what their callers know of the rows. */
  const keys = { there: new Set(), absent: new Set(), unknown: new Set() };
  let next = 0;
  /** A write, by one of the calls that take a signal. */
  const write = (key, seconds, signal) => {
    const params = [key, seconds];
    if (random.below(3) > 0) return loaded.query(WRITE, params, { signal });
    return loaded.transaction((tx) => tx.query(WRITE, params), { signal });
  };
  const lane = async () => {
    for (let n = 1; n <= 250; n++) {
      const controller = new AbortController();
      const [own, other] = [next++, next++];
      const all = [
        write(own, random.below(4) / 1000, controller.signal),
        loaded.query(WRITE, [other, 0]),
        loaded.query('SELECT $1::int AS n', [n]),
      ];
      setTimeout(() => controller.abort(), random.below(6));
      const [given, written, read] = await Promise.allSettled(all);
      assert.equal(written.status, 'fulfilled', written.reason?.stack);
      assert.deepEqual(read.value, [{ n }], read.reason?.stack);
      keys.there.add(other);
      if (given.status === 'fulfilled') keys.there.add(own);
      else {
        assert.equal(given.reason.name, 'AbortError', given.reason.stack);
        keys[given.reason.outcome === 'unknown' ? 'unknown' : 'absent'].add(own);
      }
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  const rows = await loaded.query('DELETE FROM given_up RETURNING n');
  const held = new Set(rows.map(({ n }) => n));
  assert.equal(held.size, rows.length, 'nothing was written twice');
  assert.deepEqual(
    [...keys.there].filter((key) => !held.has(key)),
    [],
  );
  assert.deepEqual(
    [...keys.absent].filter((key) => held.has(key)),
    [],
  );
  const given = keys.absent.size + keys.unknown.size;
  assert.ok(given > 50, `only ${given} of 1000 aborts came in time`);
  // A query that was given up behind others may still run.
  for (let n = 0; n < 400 && loaded.status().inUse > 0; n++) await pause(5);
  assert.equal(loaded.status().inUse, 0);
  await loaded.end();
});

test('a server that answers neither the query nor the cancel: closed after cancelGraceMs', async () => {
  const cancels = [];
  const server = await scriptedBackend(async (frontend, connection) => {
    if (connection === 1) {
      cancels.push(await frontend.startup());
      frontend.end();
      return;
    }
    if (connection > 1 && cancels.length > 0 && connection < 3) {
      // Another attempt to cancel.
      cancels.push(await frontend.startup());
      return;
    }
    await frontend.logIn();
    if (connection === 0) return;
    frontend.send(backend.firstAnswer(backend.dataRow('1')));
  });
  const lonely = createPool(server.options({ cancelGraceMs: 40, connectTimeoutMs: 1000 }));
  const query = lonely.query('SELECT one', [], { timeoutMs: 200 });
  const error = await query.catch((e) => e);
  assert.equal(error.code, 'HYPERION_QUERY_TIMEOUT');
  assert.equal(error.outcome, 'unknown');
  assert.match(error.message, /answered neither it nor a CancelRequest within 40 ms/);
  // 80877102, and the key that the server gave (PostgreSQL manual, 55.7).
  const packet = Buffer.concat([80_877_102, 4242, 2424].map(backend.int32));
  assert.deepEqual(cancels[0], packet);
  assert.equal(lonely.status().size, 0);
  await lonely.end();
  await server.close();
});

test('a cancel connection that the server keeps open: its session gets no other work', async () => {
  const requests = [];
  const held = await scriptedBackend(async (frontend, connection) => {
    if (connection === 1) {
      await frontend.startup();
      return;
    }
    await frontend.logIn();
    requests.push(connection);
    if (connection === 0) {
      await turn();
      await waitUntil('the second connection', () => held.connections === 2);
      frontend.send(
        backend.parseComplete,
        backend.error({ S: 'ERROR', V: 'ERROR', C: '57014', M: 'canceled' }),
        backend.readyForQuery(),
      );
      await frontend.message().then(({ tag }) => requests.push(tag));
      return;
    }
    frontend.send(backend.firstAnswer(backend.dataRow('1')));
  });
  const lonely = createPool(held.options({ cancelGraceMs: 60 }));
  await assert.rejects(
    lonely.query('SELECT one', [], { timeoutMs: 200 }),
    timedOut('not-committed'),
  );
  assert.deepEqual(await lonely.query('SELECT one'), [{ one: 1 }]);
  // The pool terminated the first session, and the query ran on another one.
  assert.deepEqual(requests.toSorted(), [0, 2, 'X'].toSorted());
  await lonely.end();
  await held.close();
});

test('a process in which every query was given up ends by itself', async () => {
  const { spawn } = await import('node:child_process');
  const source = `
    import { createPool } from ${JSON.stringify(new URL('../../js/index.mjs', import.meta.url).href)};
    const pool = createPool(${JSON.stringify(cluster.options())});
    await pool.query('SELECT pg_sleep(60)::text', [], { timeoutMs: 20 }).catch(({ code }) => console.log(code));`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source]);
  const output = [];
  child.stdout.on('data', (data) => output.push(data));
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  assert.equal(String(Buffer.concat(output)).trim(), 'HYPERION_QUERY_TIMEOUT');
});

test('a query that is given up before it is written does not hold up those behind it', async () => {
  const tx = await pool.begin();
  const give = new AbortController();
  const first = tx.query('INSERT INTO given_up VALUES (1)', [], { signal: give.signal });
  give.abort();
  await assert.rejects(first, aborted('not-sent'));
  assert.equal((await tx.query('SELECT 1 AS n', [], { timeoutMs: 60_000 }))[0].n, 1);
  const second = new AbortController();
  const later = tx.query('SELECT 2', [], { signal: second.signal });
  second.abort();
  await assert.rejects(later, aborted('not-sent'));
  assert.equal((await tx.query('SELECT 3 AS n'))[0].n, 3);
  await tx.commit();
});
