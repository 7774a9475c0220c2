// What a server does to the sessions of a pool: it ends them, refuses them, crashes, or delays a
// commit. On real servers.

import assert from 'node:assert/strict';
import process from 'node:process';
import { after, before, test } from 'node:test';

import { createPool, isRetryable } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1, maxConnections: 20 });
  await cluster.query(cluster.primary, 'CREATE TABLE item (id int PRIMARY KEY)');
});
after(() => cluster?.close());

const since14 = {
  skip:
    Number(process.env.HYPERION_PG_VERSION ?? 15) < 14 &&
    'PostgreSQL 14 brought idle_session_timeout',
};
const since17 = {
  skip:
    Number(process.env.HYPERION_PG_VERSION ?? 15) < 17 &&
    'PostgreSQL 17 brought transaction_timeout',
};
const PID = 'SELECT pg_backend_pid() AS pid';
const pidOf = async (queryable) => (await queryable.query(PID))[0].pid;

/** Waits until a server process has ended. */
const untilGone = (pid) =>
  waitUntil(`the session ${pid} is gone`, async () => {
    const sql = `SELECT 1 FROM pg_stat_activity WHERE pid = ${pid}`;
    return (await cluster.query(cluster.primary, sql)).length === 0;
  });

/**
 * Waits until a statement with this word in its text runs, and returns the process id of its
 * session.
 */
function untilRunning(word, { on = cluster, wait = '%' } = {}) {
  const waits = `coalesce(wait_event, '') LIKE '${wait}'`;
  return on.waitForSession(`query LIKE '%${word}%' AND state = 'active' AND ${waits}`);
}

test('a server without a free place for more sessions is alive, and the pool makes do', async () => {
  // Only the connections that are reserved for superusers are left.
  const occupants = await Promise.all(
    Array.from({ length: 12 }, () => cluster.openSession(cluster.primary)),
  );
  const pool = createPool(cluster.options({ poolSize: 40, acquireTimeoutMs: 60_000 }));
  const events = [];
  for (const name of ['primary', 'fence', 'rival']) pool.on(name, () => events.push(name));
  pool.on('host', ({ state }) => events.push(state));
  const work = Array.from({ length: 60 }, (_, n) =>
    pool.query('SELECT $1::int AS n, pg_sleep(0.02)::text', [n]),
  );
  const rows = (await Promise.all(work)).flat();
  assert.deepEqual(
    rows.map(({ n }) => n),
    Array.from({ length: 60 }, (_, n) => n),
  );
  assert.ok(pool.status().size <= 8, `${pool.status().size} sessions in 8 places`);
  assert.deepEqual(events, ['up', 'primary'], 'the host is not suspected');
  await pool.end();
  await Promise.all(occupants.map((session) => session.close()));
});

test('who finds no place at all is served when there is one', async () => {
  const occupants = await Promise.all(
    Array.from({ length: 20 }, () => cluster.openSession(cluster.primary)),
  );
  const pool = createPool(cluster.options({ acquireTimeoutMs: 60_000 }));
  const waiting = pool.query('SELECT 1 AS one');
  const short = createPool(cluster.options({ acquireTimeoutMs: 100 }));
  await assert.rejects(short.query('SELECT 1'), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.match(error.hosts[0].why, /too many clients/);
    return true;
  });
  await short.end();
  await occupants.pop().close();
  assert.deepEqual(await waiting, [{ one: 1 }]);
  await pool.end();
  await Promise.all(occupants.map((session) => session.close()));
});

for (const mode of ['fast', 'immediate']) {
  test(`the only server restarts (${mode}): what waits is served, what ran is unknown`, async () => {
    const pool = createPool(cluster.options({ poolSize: 2, acquireTimeoutMs: 60_000 }));
    const running = pool.query(`SELECT pg_sleep(60)::text AS "restarted ${mode}"`);
    const settled = Promise.allSettled([running]);
    await untilRunning(`restarted ${mode}`);
    await cluster.stop(cluster.primary, mode);
    const waiting = pool.query('SELECT 1 AS one');
    await cluster.start(cluster.primary);
    const [{ reason }] = await settled;
    assert.equal(reason.code, '40003');
    assert.equal(reason.outcome, 'unknown');
    assert.deepEqual(await waiting, [{ one: 1 }]);
    await pool.end();
  });
}

test(
  'a session that is ended for its idleness (57P05) is never seen by a user',
  since14,
  async () => {
    const parameters = { idle_session_timeout: '50' };
    const pool = createPool(cluster.options({ poolSize: 1, parameters }));
    const states = [];
    pool.on('host', ({ state }) => states.push(state));
    const pid = await pidOf(pool);
    await untilGone(pid);
    assert.notEqual(await pidOf(pool), pid);
    assert.deepEqual(states, ['up'], 'it says nothing of the host');
    await pool.end();
  },
);

test('a transaction that is ended for its idleness (25P03) fails at its next statement', async () => {
  const parameters = { idle_in_transaction_session_timeout: '50' };
  const pool = createPool(cluster.options({ poolSize: 1, parameters }));
  const transaction = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO item VALUES (1)');
    await untilGone(await pidOf(tx));
    await tx.query('SELECT 1');
  });
  const code = 'HYPERION_TRANSACTION_ABANDONED';
  await assert.rejects(transaction, { name: 'TransactionError', code, outcome: 'not-committed' });
  assert.deepEqual(await pool.query('SELECT count(*)::int AS n FROM item'), [{ n: 0 }]);
  await pool.end();
});

test(
  'a transaction that outlasts transaction_timeout (25P04) fails, at work and idle, and is not repeated',
  since17,
  async () => {
    const parameters = { transaction_timeout: '50' };
    const pool = createPool(cluster.options({ poolSize: 2, parameters }));
    const states = [];
    pool.on('host', ({ state }) => states.push(state));
    const isIt = (error) => {
      assert.deepEqual(
        [error.name, error.code, error.outcome, error.cause?.code],
        ['TimeoutError', 'HYPERION_TRANSACTION_TIMEOUT', 'not-committed', '25P04'],
      );
      assert.match(error.message, /transaction_timeout/);
      assert.equal(isRetryable(error), false);
      return true;
    };
    let runs = 0;
    for (const [goesOn, isIdle] of [
      [(tx) => tx.query('SELECT 1'), true],
      [(tx) => tx.query('SELECT pg_sleep(60)::text'), false],
      // The COMMIT was never sent.
      [() => {}, true],
    ]) {
      runs += 1;
      const transaction = pool.transaction(
        async (tx) => {
          await tx.query('INSERT INTO item VALUES ($1)', [1700 + runs]);
          if (isIdle) await untilGone(await pidOf(tx));
          await goesOn(tx);
        },
        { retries: 3 },
      );
      await assert.rejects(transaction, isIt, `${runs}`);
    }
    const sleep = "SELECT pg_sleep(60)::text FROM nextval('naps')";
    await pool.query('CREATE SEQUENCE naps');
    await assert.rejects(pool.query(sleep, [], { readOnly: true }), isIt);
    // A query that may write runs in a transaction of its own, whose end may come before the limit.
    await assert.rejects(pool.query(sleep), { code: '40003', outcome: 'unknown' });
    assert.deepEqual(await pool.query('SELECT last_value::int AS n FROM naps'), [{ n: 2 }]);
    const items = 'SELECT count(*)::int AS n FROM item WHERE id > 1700';
    assert.deepEqual(await pool.query(items), [{ n: 0 }]);
    assert.deepEqual(states, ['up'], 'it says nothing of the host');
    await pool.end();
  },
);

test('a server process is killed, and all others with it (57P02)', async () => {
  const pool = createPool(cluster.options({ poolSize: 3, acquireTimeoutMs: 60_000 }));
  await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_sleep(0.05)::text')));
  const running = pool.query('SELECT pg_sleep(60)::text AS bystander');
  const transaction = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO item VALUES (2)');
    // As the kernel does when it is out of memory.
    process.kill(await pidOf(tx), 'SIGKILL');
    await tx.query('SELECT 1');
  });
  const [{ reason: bystander }, { reason: victim }] = await Promise.allSettled([
    running,
    transaction,
  ]);
  assert.equal(bystander.code, '40003');
  assert.equal(bystander.outcome, 'unknown');
  assert.equal(victim.outcome, 'not-committed');
  // The server recovers and answers 57P03 meanwhile. Then the pool recovers too.
  assert.deepEqual(await pool.query('SELECT count(*)::int AS n FROM item'), [{ n: 0 }]);
  await pool.end();
});

const REFUSALS = {
  statement_timeout: {
    code: '57014',
    parameters: { statement_timeout: '30' },
    sql: 'SELECT pg_sleep(60)::text',
  },
  lock_timeout: {
    code: '55P03',
    parameters: { lock_timeout: '30' },
    sql: 'INSERT INTO item VALUES (3)',
    async prepare() {
      const session = await cluster.openSession(cluster.primary);
      await session.lock('item');
      return () => session.close();
    },
  },
  'a full disk': {
    code: '53100',
    sql: "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$",
  },
  'no memory': {
    code: '53200',
    sql: "DO $$ BEGIN RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200'; END $$",
  },
  'a limit for temporary files': {
    code: '53400',
    parameters: { temp_file_limit: '64', work_mem: '64' },
    sql: 'SELECT n FROM generate_series(1, 200000) AS n ORDER BY random() OFFSET 199999',
  },
};

for (const [name, { code, parameters, sql, prepare }] of Object.entries(REFUSALS)) {
  test(`${name} (${code}) fails its query alone, and the session goes on`, async (t) => {
    const pool = createPool(cluster.options({ poolSize: 1, parameters }));
    const pid = await pidOf(pool);
    const undo = await prepare?.();
    if (undo) t.after(undo);
    await assert.rejects(pool.query(sql), (error) => {
      assert.equal(error.name, 'DatabaseError');
      assert.equal(error.code, code, error.stack);
      assert.equal(error.outcome, 'not-committed');
      assert.equal(error.host, cluster.primary.address);
      return true;
    });
    assert.equal(await pidOf(pool), pid);
    await pool.end();
  });
}

test('a database that is dropped under its sessions ends the wait at once (3D000)', async () => {
  await cluster.query(cluster.primary, 'CREATE DATABASE doomed');
  const pool = createPool(cluster.options({ database: 'doomed', acquireTimeoutMs: 600_000 }));
  await pool.query('SELECT 1');
  await cluster.query(cluster.primary, 'DROP DATABASE doomed WITH (FORCE)');
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.code, '3D000');
    assert.equal(error.outcome, 'not-sent');
    return true;
  });
  await pool.end();
});

/** A commit that waits for a silent synchronous standby, and the events that end its wait. */
const LONELY_COMMITS = {
  'a cancelled wait': { end: 'pg_cancel_backend', code: 'HYPERION_NOT_REPLICATED' },
  'an ended session': { end: 'pg_terminate_backend', code: '40003' },
};

test('a commit that waits for a dead standby is never reported as done', async (t) => {
  // statement_timeout does not bound this wait.
  const settings = { statement_timeout: '50' };
  const lonely = await startCluster({ nodes: 2, synchronous: 1 });
  t.after(() => lonely.close());
  await lonely.query(lonely.primary, 'CREATE TABLE item (id text PRIMARY KEY)');
  await lonely.freeze(lonely.nodes[1]);
  for (const [name, { end, code }] of Object.entries(LONELY_COMMITS)) {
    for (const kind of ['autocommit', 'transaction']) {
      await t.test(`${name}, ${kind}`, async () => {
        const id = `${end} ${kind}`;
        const pool = createPool(
          lonely.options({ hosts: [lonely.primary.address], parameters: settings }),
        );
        const insert = (queryable) => queryable.query('INSERT INTO item VALUES ($1)', [id]);
        const write = kind === 'autocommit' ? insert(pool) : pool.transaction(insert);
        const settled = Promise.allSettled([write]);
        const word = kind === 'autocommit' ? 'INSERT INTO item' : 'COMMIT';
        const pid = await untilRunning(word, { on: lonely, wait: 'SyncRep' });
        await lonely.query(lonely.primary, `SELECT ${end}(${pid})`);
        const [{ reason }] = await settled;
        assert.equal(reason?.code, code);
        assert.equal(reason.outcome, 'unknown');
        const [[count]] = await lonely.query(
          lonely.primary,
          `SELECT count(*) FROM item WHERE id = '${id}'`,
        );
        assert.equal(count, '1', 'it is committed on the primary alone');
        assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }], 'the pool goes on');
        await pool.end();
      });
    }
  }
});

test('a read that ends its own sessions is sent three times and no more', async () => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  await pool.query('CREATE SEQUENCE deaths');
  const deadly = "SELECT nextval('deaths'), pg_terminate_backend(pg_backend_pid())";
  await assert.rejects(pool.query(deadly, [], { readOnly: true }), {
    code: 'HYPERION_CONNECTION_LOST',
    outcome: 'not-committed',
  });
  assert.deepEqual(await pool.query('SELECT last_value::int AS n FROM deaths'), [{ n: 3 }]);
  await pool.end();
});

test('what a lost connection was at in a transaction of its user is not committed', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2 }));
  await pool.query('DROP TABLE IF EXISTS own; CREATE TABLE own (id int)');
  const slow = (id) => `INSERT INTO own SELECT ${id} FROM pg_sleep(600)`;
  const expected = [
    // The calls on the connection, and the outcome of each.
    [[slow(1)], ['not-committed']],
    [
      [slow(2), 'COMMIT'],
      ['unknown', 'not-sent'],
    ],
    // No answer has reported whether the transaction has ended.
    [
      ['COMMIT', slow(3)],
      ['done', 'unknown'],
    ],
    [
      ['ROLLBACK', slow(4)],
      ['done', 'unknown'],
    ],
  ];
  for (const [asked, outcomes] of expected) {
    const connection = await pool.connect();
    await connection.query('BEGIN');
    const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
    const told = asked.map((sql) =>
      connection.query(sql).then(
        () => 'done',
        (error) => error.outcome,
      ),
    );
    await untilRunning('pg_sleep(600)', { on: cluster });
    await cluster.query(cluster.primary, `SELECT pg_terminate_backend(${pid})`);
    assert.deepEqual(await Promise.all(told), outcomes, asked.join('; '));
    await connection.release(true);
  }
});
