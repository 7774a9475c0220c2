// A pool whose process is in trouble: too much work at once, no free descriptors, a blocked loop,
// constant garbage collection, an end of the pool in the middle.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';

const run = promisify(execFile);
const onUnix = { skip: process.platform === 'win32' && 'a shell sets the limit' };

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

/** Keeps the loop from turning. */
function block(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/**
 * Runs a module text in a process of its own, after a shell command and with flags of Node if
 * given.
 */
async function inOwnProcess(source, { options = {}, shell = '', flags = [] } = {}) {
  const text = `
    import { createPool } from ${JSON.stringify(new URL('../../js/index.mjs', import.meta.url).href)};
    const options = ${JSON.stringify(cluster.options(options))};
    ${source}`;
  const node = [process.execPath, ...flags, '--input-type=module', '--eval', text];
  const { stdout } = await run('/bin/sh', ['-c', `${shell} exec "$@"`, 'sh', ...node]);
  return JSON.parse(stdout);
}

test('end waits for what runs and what waits, and connects for it where it must', async () => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  const work = Array.from({ length: 10 }, (_, n) =>
    pool.query('SELECT $1::int AS n, pg_sleep(0.01)::text', [n]),
  );
  const transaction = pool.transaction(async (tx) => {
    await tx.query('SELECT 1');
    return (await tx.query('SELECT 2 AS two'))[0].two;
  });
  const ended = pool.end();
  assert.equal(pool.end(), ended, 'a second call gives the same promise');
  const late = { code: 'HYPERION_POOL_CLOSED', outcome: 'not-sent' };
  await assert.rejects(pool.query('SELECT 1'), late);
  await assert.rejects(
    pool.transaction(() => {}),
    late,
  );
  await ended;
  const rows = (await Promise.all(work)).flat();
  assert.deepEqual(
    rows.map(({ n }) => n),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
  assert.equal(await transaction, 2);
  await assert.rejects(pool.query('SELECT 1'), late);
});

test('end while no host can be had resolves when the last call has failed', async () => {
  const options = { hosts: ['127.0.0.1:1'], acquireTimeoutMs: 200, failFast: false };
  const pool = createPool(cluster.options(options));
  const waiting = Promise.allSettled([pool.query('SELECT 1'), pool.query('SELECT 2')]);
  await pool.end();
  for (const { reason } of await waiting) assert.equal(reason.code, 'HYPERION_NO_PRIMARY');
  await createPool(cluster.options(options)).end();
});

test('end from a listener, in the middle of a delivery', async () => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  let ended;
  pool.on('notice', () => (ended ??= pool.end()));
  const raise = "DO $$ BEGIN RAISE NOTICE 'now'; END $$";
  const settled = await Promise.allSettled([pool.query(raise), pool.query('SELECT 1 AS one')]);
  assert.deepEqual(
    settled.map(({ status }) => status),
    ['fulfilled', 'fulfilled'],
  );
  await ended;
});

test('an answer that lay in the kernel while the loop was blocked wins over a deadline', async () => {
  const options = { poolSize: 1, acquireTimeoutMs: 400, connectTimeoutMs: 400 };
  const pool = createPool(cluster.options(options));
  await pool.query('SELECT 1');
  const first = pool.query('SELECT pg_sleep(0.1)::text');
  // Waits for the connection, which is free long before the deadline. But the loop is blocked.
  const second = pool.query('SELECT 2 AS two');
  await new Promise((resolve) => setTimeout(resolve, 20));
  block(1000);
  await first;
  assert.deepEqual(await second, [{ two: 2 }]);
  await pool.end();
});

test('a login that a blocked loop held up is done again', async () => {
  const pool = createPool(cluster.options({ connectTimeoutMs: 200 }));
  const answer = pool.query('SELECT 1 AS one');
  // In the middle of the login.
  await new Promise((resolve) => setImmediate(resolve));
  block(1000);
  assert.deepEqual(await answer, [{ one: 1 }]);
  await pool.end();
});

test(
  'without descriptors there is an error, and with them again a connection',
  onUnix,
  async () => {
    const source = `
    import { closeSync, openSync } from 'node:fs';
    const [pool, waiting] = [200, 60_000].map((acquireTimeoutMs) => createPool({ ...options, acquireTimeoutMs }));
    const open = [];
    for (;;) {
      try { open.push(openSync('/dev/null')); } catch { break; }
    }
    const refused = (() => { try { createPool(options); } catch (error) { return error.code; } })();
    const error = await pool.query('SELECT 1').catch((error) => error);
    const later = waiting.query('SELECT 1 AS one');
    setTimeout(() => open.forEach((fd) => closeSync(fd)), 100);
    const rows = [await later, await pool.query('SELECT 2 AS two')];
    console.log(JSON.stringify({ refused, code: error.code, outcome: error.outcome, why: error.hosts?.[0].why ?? error.message, rows }));
    await Promise.all([pool.end(), waiting.end()]);`;
    // Node itself needs some twenty.
    const { refused, code, outcome, why, rows } = await inOwnProcess(source, {
      shell: 'ulimit -n 64;',
      options: { acquireTimeoutMs: 200 },
    });
    assert.equal(refused, 'HYPERION_NOT_STARTED', 'a pool has a descriptor of its own');
    assert.equal(code, 'HYPERION_NO_PRIMARY');
    assert.equal(outcome, 'not-sent');
    assert.match(why, /EMFILE|too many open files/i);
    assert.deepEqual(rows, [[{ one: 1 }], [{ two: 2 }]]);
  },
);

test('a hundred thousand queries at once are served in their order', async () => {
  const pool = createPool(cluster.options({ poolSize: 10, acquireTimeoutMs: 600_000 }));
  const count = 100_000;
  const answers = await Promise.all(
    Array.from({ length: count }, (_, n) => pool.query('SELECT $1::int AS n', [n])),
  );
  for (let n = 0; n < count; n++) assert.equal(answers[n][0].n, n);
  await pool.end();
  const single = createPool(cluster.options({ poolSize: 1, acquireTimeoutMs: 600_000 }));
  const order = [];
  await Promise.all(
    Array.from({ length: 1000 }, (_, n) => single.query('SELECT 1').then(() => order.push(n))),
  );
  assert.deepEqual(
    order,
    Array.from({ length: 1000 }, (_, n) => n),
  );
  await single.end();
});

test('a hundred thousand calls that all fail at once settle, and the pool goes on', async () => {
  // The calls in the queue wait until all others have been refused.
  const pool = createPool(
    cluster.options({ poolSize: 2, maxQueue: 10, acquireTimeoutMs: 600_000 }),
  );
  const work = Array.from({ length: 100_000 }, () => pool.query('SELECT 1 AS one'));
  const settled = await Promise.allSettled(work);
  const refused = settled.filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 100_000 - 10);
  for (const { reason } of refused) {
    assert.equal(reason.code, 'HYPERION_QUEUE_FULL');
    assert.equal(reason.outcome, 'not-sent');
  }
  const down = createPool(
    cluster.options({ hosts: ['127.0.0.1:1'], acquireTimeoutMs: 100, failFast: false }),
  );
  const lost = await Promise.allSettled(
    Array.from({ length: 100_000 }, () => down.query('SELECT 1')),
  );
  assert.ok(lost.every(({ reason }) => reason?.code === 'HYPERION_NO_PRIMARY'));
  await down.end();
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('results, pools and errors outlive what they came from, however often memory is collected', async () => {
  const source = `
    const kept = [];
    const forget = async () => {
      // No code keeps a reference to this pool or ends it.
      const pool = createPool({ ...options, poolSize: 2 });
      kept.push(await pool.query("SELECT i, 'value ' || i AS text FROM generate_series(1, 50) i"));
      kept.push(await pool.query('nonsense').catch((error) => [{ i: 0, text: error.code }]));
    };
    for (let round = 0; round < 20; round++) {
      await forget();
      gc();
    }
    const pool = createPool({ ...options, poolSize: 2 });
    const lane = async () => {
      for (let n = 0; n < 300; n++) {
        const answer = pool.query('SELECT $1::int AS n, repeat($2, 100) AS text', [n, 'y']);
        if (n % 3 === 0) gc();
        const [row] = await answer;
        if (row.n !== n || row.text.length !== 100) throw new Error(JSON.stringify(row));
      }
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    await pool.end();
    gc();
    const wrong = kept.filter((rows) => rows.some(({ i, text }) => text !== (i ? 'value ' + i : '42601')));
    console.log(JSON.stringify({ kept: kept.length, wrong: wrong.length }));`;
  const { kept, wrong } = await inOwnProcess(source, { flags: ['--expose-gc'] });
  assert.equal(kept, 40);
  assert.equal(wrong, 0);
});
