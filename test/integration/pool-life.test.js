// The life of a pool and of its connections: warm-up, idleness, age, the queue, and the end.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { countsOf } from '../support/pools.js';
import { scriptedBackend } from '../support/scripted/backend.js';
import { waitUntil } from '../support/wait-until.js';

const SLEEP = 'SELECT pg_sleep($1)::text';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

const open = (options) => createPool(cluster.options(options));
const pidOf = async (pool) => (await pool.query('SELECT pg_backend_pid() AS pid'))[0].pid;
/** The number of the server's sessions with this name. */
const sessions = async (name) => (await cluster.sessions(`application_name = '${name}'`)).length;

test('ready resolves when a host serves and minIdle connections are open', async () => {
  const pool = open({ poolSize: 6, minIdle: 5, applicationName: 'warm' });
  assert.equal(await pool.ready(), undefined);
  assert.ok(pool.status().available >= 5);
  assert.equal(await sessions('warm'), 5);
  await pool.end();
  await assert.rejects(pool.ready(), { code: 'HYPERION_POOL_CLOSED' });
});

test('a pool with minIdle is warm without being asked', async () => {
  const pool = open({ poolSize: 3, minIdle: 2, allowExitOnIdle: false });
  await waitUntil('both are open', () => pool.status().available === 2);
  await pool.end();
});

test('ready of a pool that keeps nothing warm logs in once', async () => {
  const pool = open();
  await Promise.all([pool.ready(), pool.ready()]);
  assert.deepEqual(countsOf(pool), { maxSize: 10, size: 1, available: 1, inUse: 0, waiting: 0 });
  await pool.end();
});

test('ready fails by acquireTimeoutMs, and says of each host why', async () => {
  const silent = await scriptedBackend(async (frontend) => {
    await frontend.startup();
    await frontend.message();
  });
  const pool = createPool(silent.options({ acquireTimeoutMs: 50, minIdle: 1 }));
  const error = await pool.ready().catch((e) => e);
  assert.equal(error.name, 'PoolTimeoutError');
  assert.equal(error.code, 'HYPERION_NO_PRIMARY');
  assert.equal(error.hosts.length, 1);
  await pool.end();
  await silent.close();
});

test('ready fails at once where no waiting helps', async () => {
  const pool = createPool({ ...cluster.options(), password: 'wrong', acquireTimeoutMs: 60_000 });
  await assert.rejects(pool.ready(), { code: '28P01' });
  await pool.end();
});

test('free connections are closed after idleTimeoutMs, down to minIdle', async () => {
  const pool = open({ poolSize: 5, idleTimeoutMs: 50, minIdle: 1, applicationName: 'idle' });
  await Promise.all(Array.from({ length: 5 }, () => pool.query(SLEEP, [0.05])));
  assert.equal(pool.status().size, 5);
  await waitUntil('the others are closed', () => pool.status().size === 1);
  // The pool sent Terminate, so the server has ended the sessions.
  await waitUntil('one session is left', async () => (await sessions('idle')) === 1);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('a connection older than maxLifetimeMs is replaced, and never in the middle of work', async () => {
  const pool = open({ poolSize: 1, maxLifetimeMs: 60 });
  const first = await pidOf(pool);
  const [{ pid }] = await pool.query('SELECT pg_sleep(0.2)::text, pg_backend_pid() AS pid');
  assert.equal(pid, first);
  assert.notEqual(await pidOf(pool), first);
  await pool.end();
});

test('a connection is used maxUses times, a transaction being one use', async () => {
  const pool = open({ poolSize: 1, maxUses: 2 });
  const pids = [];
  for (let n = 0; n < 4; n++) pids.push(await pidOf(pool));
  assert.equal(pids[0], pids[1]);
  assert.notEqual(pids[1], pids[2]);
  assert.equal(pids[2], pids[3]);
  await pool.transaction(async (tx) => {
    const own = [];
    for (let n = 0; n < 4; n++) own.push(await pidOf(tx));
    assert.equal(new Set(own).size, 1);
  });
  await pool.end();
});

test('the waiting line is first come, first served, over connections and transactions', async () => {
  const pool = open({ poolSize: 1 });
  await pool.ready();
  const order = [];
  const note = (n) => () => order.push(n);
  const work = [pool.query(SLEEP, [0.05]).then(note(0))];
  for (let n = 1; n < 12; n += 3) {
    work.push(pool.query(SLEEP, [0.001]).then(note(n)));
    work.push(pool.transaction((tx) => tx.query('SELECT 1').then(note(n + 1))));
    work.push(
      pool.connect().then(async (connection) => {
        order.push(n + 2);
        await connection.release();
      }),
    );
  }
  await Promise.all(work);
  assert.deepEqual(
    order,
    Array.from({ length: 13 }, (_, n) => n),
  );
  await pool.end();
});

test('maxQueue bounds the waiting line, with a clear error', async () => {
  const pool = open({ poolSize: 1, maxQueue: 3 });
  await pool.ready();
  const running = pool.query(SLEEP, [0.05]);
  await turn();
  const waiting = [1, 2, 3].map((n) => pool.query('SELECT $1::int AS n', [n]));
  await assert.rejects(pool.query('SELECT 4'), {
    name: 'PoolTimeoutError',
    code: 'HYPERION_QUEUE_FULL',
    outcome: 'not-sent',
    message: /3 queries wait for a connection already, which is maxQueue/,
  });
  await Promise.all([running, ...waiting]);
  await pool.end();
});

test('end finishes what runs, serves what waits, and says goodbye to the server', async () => {
  const pool = open({ poolSize: 2, applicationName: 'ending' });
  const work = Array.from({ length: 10 }, (_, n) =>
    pool.query('SELECT pg_sleep(0.01)::text, $1::int AS n', [n]),
  );
  await turn();
  const ended = pool.end();
  assert.equal(pool.end({ timeoutMs: 1 }), ended, 'the same promise');
  await assert.rejects(pool.query('SELECT 1'), {
    code: 'HYPERION_POOL_CLOSED',
    outcome: 'not-sent',
  });
  await assert.rejects(pool.begin(), { code: 'HYPERION_POOL_CLOSED' });
  await assert.rejects(pool.connect(), { code: 'HYPERION_POOL_CLOSED' });
  assert.deepEqual(
    (await Promise.all(work)).map(([{ n }]) => n),
    work.map((_, n) => n),
  );
  assert.equal(await ended, undefined);
  assert.deepEqual(countsOf(pool), { maxSize: 2, size: 0, available: 0, inUse: 0, waiting: 0 });
  await waitUntil('no session is left', async () => (await sessions('ending')) === 0);
});

test("end({ waiting: 'refuse' }) refuses what has no connection yet", async () => {
  const pool = open({ poolSize: 1 });
  await pool.ready();
  const running = pool.query(SLEEP, [0.05]);
  await turn();
  const waiting = [pool.query('SELECT 1'), pool.begin(), pool.connect()];
  const refused = Promise.allSettled(waiting);
  await pool.end({ waiting: 'refuse' });
  for (const { reason } of await refused) {
    assert.equal(reason.code, 'HYPERION_POOL_CLOSED');
    assert.equal(reason.outcome, 'not-sent');
  }
  assert.deepEqual(await running, [{ pg_sleep: '' }]);
});

test('end({ timeoutMs }) cancels what is left, on the server too', async () => {
  const pool = open({ poolSize: 3, applicationName: 'overdue' });
  const [slow, short] = [pool.query(SLEEP, [60]), pool.query(SLEEP, [0.01])];
  const connection = await pool.connect();
  const waiting = Array.from({ length: 3 }, () => pool.query(SLEEP, [60]));
  const left = Promise.allSettled([slow, ...waiting]);
  await short;
  await pool.end({ timeoutMs: 50 });
  const outcomes = (await left).map(({ reason }) => [reason.code, reason.outcome]);
  assert.deepEqual(outcomes[0], ['HYPERION_POOL_CLOSED', 'not-committed']);
  for (const [code] of outcomes) assert.equal(code, 'HYPERION_POOL_CLOSED');
  await assert.rejects(connection.query('SELECT 1'), { outcome: 'not-sent' });
  await connection.release();
  await waitUntil('no session is left', async () => (await sessions('overdue')) === 0);
});

test('end({ timeoutMs: 0 }) rolls an open transaction back', async () => {
  const pool = open({ poolSize: 2, applicationName: 'open' });
  await pool.query('DROP TABLE IF EXISTS ended; CREATE TABLE ended (n int)');
  const idle = await pool.begin();
  await idle.query('INSERT INTO ended VALUES (1)');
  const busy = await pool.begin();
  await busy.query('INSERT INTO ended VALUES (2)');
  // Its connection knows the description of the statement by then, so the pool sends it at once.
  for (let n = 0; n < 2; n += 1) await busy.query(SLEEP, [0]);
  const sleeping = busy.query(SLEEP, [60]);
  const rejected = assert.rejects(sleeping, {
    code: 'HYPERION_POOL_CLOSED',
    outcome: 'not-committed',
  });
  await pool.end({ timeoutMs: 0 });
  await rejected;
  await assert.rejects(idle.commit(), { outcome: 'not-committed' });
  await busy.rollback();
  await waitUntil('no session is left', async () => (await sessions('open')) === 0);
  const reader = open();
  assert.deepEqual(await reader.query('SELECT n FROM ended'), []);
  await reader.end();
});

test('a transaction whose pool has ended for good was rolled back, and says so', async () => {
  const pool = open({ poolSize: 3, applicationName: 'late' });
  await pool.query('DROP TABLE IF EXISTS late; CREATE TABLE late (n int)');
  const insert = 'INSERT INTO late VALUES (1)';
  let goOn;
  const gate = new Promise((resolve) => (goOn = resolve));
  let transaction;
  await new Promise((inserted) => {
    transaction = pool.transaction(async (tx) => {
      await tx.query(insert);
      inserted();
      await gate;
    });
  });
  const [left, undone] = [await pool.begin(), await pool.begin()];
  for (const tx of [left, undone]) await tx.query(insert);
  await pool.end({ timeoutMs: 0 });
  await waitUntil('no session is left', async () => (await sessions('late')) === 0);
  // The addon keeps nothing of a pool after its last socket has closed.
  for (let n = 0; n < 10; n += 1) await turn();
  goOn();
  const gone = { code: 'HYPERION_POOL_CLOSED', outcome: 'not-committed' };
  await assert.rejects(transaction, gone);
  await assert.rejects(left.query(insert), gone);
  await assert.rejects(left.commit(), gone);
  await undone.rollback();
  const reader = open();
  assert.deepEqual(await reader.query('SELECT n FROM late'), []);
  await reader.end();
});

test('end of a server that does not answer: closed after timeoutMs and cancelGraceMs', async () => {
  const mute = await scriptedBackend(async (frontend, connection) => {
    if (connection > 0) return;
    await frontend.logIn();
  });
  const pool = createPool(mute.options({ cancelGraceMs: 30 }));
  const query = pool.query('SELECT one').catch((error) => error);
  await waitUntil('it is sent', () => pool.status().inUse > 0);
  await pool.end({ timeoutMs: 20 });
  const error = await query;
  assert.equal(error.code, 'HYPERION_POOL_CLOSED');
  assert.equal(error.outcome, 'unknown');
  await mute.close();
});

test('wrong options of end are refused, and do not end the pool', async () => {
  const pool = open();
  for (const options of [{ timeout: 1 }, { timeoutMs: -1 }, { waiting: 'drop' }, 5]) {
    await assert.rejects(pool.end(options), { code: 'HYPERION_CONFIGURATION' });
  }
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('await using ends the pool', { skip: Symbol.asyncDispose === undefined }, async () => {
  const pool = open();
  await pool.query('SELECT 1');
  await pool[Symbol.asyncDispose]();
  assert.equal(pool.status().size, 0);
  await assert.rejects(pool.query('SELECT 1'), { code: 'HYPERION_POOL_CLOSED' });
});
