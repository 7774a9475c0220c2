// pool.connect(): a connection for session work, and the state of its session after the caller has
// released it. On real servers.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import process from 'node:process';
import { inspect } from 'node:util';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';
import * as scripted from '../support/scripted/backend.js';
import { waitUntil } from '../support/wait-until.js';

// One connection, so that the next user of a session is known.
const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });
await pool.query('DROP TABLE IF EXISTS visits; CREATE TABLE visits (key int)');
await pool.query(`
  CREATE OR REPLACE FUNCTION set_zone() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN SET TimeZone = 'Asia/Tokyo'; RETURN 1; END $$;
  CREATE OR REPLACE PROCEDURE become() LANGUAGE plpgsql AS $$ BEGIN SET ROLE pg_monitor; END $$`);

const pidOf = async (queryable) => {
  const [{ pid }] = await queryable.query('SELECT pg_backend_pid() AS pid');
  return pid;
};

test('a connection is its user’s until it is released, and one session', async () => {
  const connection = await pool.connect();
  assert.equal(pool.status().inUse, 1);
  await connection.query("SET application_name = 'mine'");
  await connection.query('CREATE TEMP TABLE notes (text text)');
  await connection.query('INSERT INTO notes VALUES ($1)', ['a']);
  const pids = await Promise.all([pidOf(connection), pidOf(connection), pidOf(connection)]);
  assert.equal(new Set(pids).size, 1);
  assert.deepEqual(await connection.query('SELECT * FROM notes'), [{ text: 'a' }]);
  const [{ application_name }] = await connection.query('SHOW application_name');
  assert.equal(application_name, 'mine');
  await connection.release();
  assert.equal(pool.status().inUse, 0);
});

test('a released connection says so, and releasing it again changes nothing', async () => {
  const connection = await pool.connect();
  const released = connection.release();
  assert.equal(connection.release(), released);
  await released;
  await connection[Symbol.asyncDispose]();
  const expected = {
    ...{ name: 'ConfigurationError', code: 'HYPERION_CONNECTION_RELEASED', outcome: 'not-sent' },
  };
  await assert.rejects(connection.query('SELECT 1'), { ...expected, query: 'SELECT 1' });
  await assert.rejects(connection.begin(), expected);
  await assert.rejects(
    connection.transaction(() => {}),
    expected,
  );
  // The second release must not release another caller's connection.
  const other = await pool.connect();
  await connection.release();
  assert.equal(pool.status().inUse, 1);
  await other.release();
});

test('release waits for what runs', async () => {
  const connection = await pool.connect();
  const running = connection.query('SELECT 1 AS one FROM pg_sleep(0.05)');
  await connection.release();
  assert.deepEqual(await running, [{ one: 1 }]);
});

test('transactions on a connection: begin, transaction, savepoints, and one at a time', async () => {
  const connection = await pool.connect();
  const pid = await pidOf(connection);
  const tx = await connection.begin({ isolation: 'serializable' });
  await tx.query('INSERT INTO visits VALUES (1)');
  const [{ transaction_isolation }] = await connection.query('SHOW transaction_isolation');
  assert.equal(transaction_isolation, 'serializable', 'the session is in the transaction');
  await assert.rejects(connection.begin(), { code: 'HYPERION_TRANSACTION_OPEN' });
  await tx.rollback();
  assert.equal(await connection.transaction((inner) => pidOf(inner)), pid);
  const reason = new Error('no');
  const failed = connection.transaction(async (inner) => {
    await inner.query('INSERT INTO visits VALUES (2)');
    throw reason;
  });
  await assert.rejects(failed, (error) => error === reason);
  await connection.transaction(async (inner) => {
    await inner.query('INSERT INTO visits VALUES (3)');
    await inner.savepoint((sp) => sp.query('INSERT INTO visits VALUES (4)'));
  });
  // A transaction that fails at COMMIT leaves a usable session.
  const swallowed = connection.transaction((inner) => inner.query('SELECT 1/0').catch(() => {}));
  await assert.rejects(swallowed, { code: 'HYPERION_TRANSACTION_ROLLED_BACK' });
  assert.equal(await pidOf(connection), pid);
  assert.deepEqual(await connection.query('SELECT key FROM visits ORDER BY key'), [
    ...[{ key: 3 }, { key: 4 }],
  ]);
  // A transaction that is open at the release is rolled back.
  const left = await connection.begin();
  await left.query('INSERT INTO visits VALUES (5)');
  await connection.release();
  await assert.rejects(left.query('SELECT 1'), { code: 'HYPERION_TRANSACTION_FINISHED' });
  assert.deepEqual(await pool.query('SELECT count(*)::int AS count FROM visits'), [{ count: 2 }]);
  assert.equal(await pidOf(pool), pid, 'the connection itself went back to the pool');
});

test('a transaction that the server does not let go in time takes its connection along', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const hosts = [proxy.address];
  const frozen = openPool(t, cluster.options({ hosts, poolSize: 1, cancelGraceMs: 50 }), {
    timeoutMs: 0,
  });
  const connection = await frozen.connect();
  await connection.query('SELECT 1');
  await proxy.silent();
  const late = connection.transaction((tx) => tx.query('SELECT 2'), { timeoutMs: 50 });
  await assert.rejects(late, { name: 'TimeoutError', code: 'HYPERION_TRANSACTION_TIMEOUT' });
  await assert.rejects(connection.query('SELECT 1'), {
    ...{ name: 'ConnectionError', code: 'HYPERION_CONNECTION_LOST', outcome: 'not-sent' },
  });
  await connection.release();
  assert.equal(frozen.status().inUse, 0);
  await proxy.pass();
});

/** Kinds of session state, how to make each, and how to see it. */
const TRACES = [
  ['a setting', "SET work_mem = '3MB'", 'SHOW work_mem'],
  ['a role', 'SET ROLE pg_monitor', 'SELECT current_user'],
  [
    'an isolation level',
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    'SHOW transaction_read_only',
  ],
  ['a temporary table', 'CREATE TEMP TABLE t ()', "SELECT to_regclass('pg_temp.t')::text"],
  [
    'a prepared statement',
    'PREPARE p AS SELECT 1',
    'SELECT count(*)::int FROM pg_prepared_statements WHERE from_sql',
  ],
  [
    'a channel',
    'DO $$ BEGIN LISTEN news; END $$',
    'SELECT count(*)::int FROM pg_listening_channels()',
  ],
  [
    'a cursor',
    'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
    'SELECT count(*)::int FROM pg_cursors WHERE is_holdable',
  ],
  [
    'an advisory lock',
    'SELECT pg_advisory_lock(7)',
    "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'",
  ],
  ['set_config', "SELECT set_config('a.b', 'c', false)", "SELECT current_setting('a.b', true)"],
  [
    'set_config beside a condition',
    "SELECT set_config('a.c', 'c', false) FROM (SELECT 1 WHERE true) x",
    "SELECT current_setting('a.c', true)",
  ],
  [
    'set_config behind a long text',
    `SELECT length('${'x'.repeat(70_000)}'), set_config('a.d', 'c', false)`,
    "SELECT current_setting('a.d', true)",
  ],
  ['a role by a block', 'DO $$ BEGIN SET ROLE pg_monitor; END $$', 'SELECT current_user'],
  ['a table by INTO', 'SELECT 1 AS a INTO\n LOCAL TEMP u', "SELECT to_regclass('pg_temp.u')::text"],
  [
    'a table by EXPLAIN ANALYZE',
    'EXPLAIN ANALYZE CREATE TEMP TABLE v AS SELECT 1',
    "SELECT to_regclass('pg_temp.v')::text",
  ],
  [
    'a cursor behind a line break',
    'DECLARE k CURSOR WITH\nHOLD FOR SELECT 1',
    'SELECT count(*)::int FROM pg_cursors WHERE is_holdable',
  ],
  [
    'a setting by its view',
    "UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'",
    'SHOW search_path',
  ],
  ['a time zone by a function', 'SELECT set_zone()', 'SHOW TimeZone'],
  ['a role by a procedure', 'CALL become()', 'SELECT current_user'],
  [
    'read-only by set_config',
    "SELECT set_config('default_transaction_read_only', 'on', false)",
    'SHOW transaction_read_only',
  ],
];

const values = (rows) => Object.values(rows[0])[0];

for (const [what, change, look] of TRACES) {
  test(`${what} is gone for the next user, in the same session`, async () => {
    const [pid, clean] = [await pidOf(pool), values(await pool.query(look))];
    const check = async (how) => {
      // At once, while the reset is under way.
      const [seen, next] = await Promise.all([pool.query(look), pidOf(pool)]);
      assert.equal(values(seen) || clean, clean, how);
      assert.equal(next, pid, `${how}: the connection was kept`);
    };
    const connection = await pool.connect();
    await connection.query(change);
    assert.notEqual(values(await connection.query(look)), clean);
    void connection.release();
    await check('after connect');
    await pool.query(change);
    await check('after query');
    await pool.transaction((tx) => tx.query(change));
    await check('after transaction');
  });
}

/** What outlasts the failure of the statement that made it, how it is asked for, and how to see it. */
const LOCKS = "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'";
const LOCK = 'SELECT pg_advisory_lock(7), 1/(SELECT 0)';
const LEFT_BY_FAILING = [
  ['an advisory lock', (on) => on.query(LOCK), LOCKS],
  [
    'an advisory lock, with a parameter',
    (on) => on.query('SELECT pg_try_advisory_lock($1), 1/(SELECT 0)', [7]),
    LOCKS,
  ],
  [
    'an advisory lock, cancelled',
    (on) => on.query('SELECT pg_advisory_lock(7), pg_sleep(60)', [], { timeoutMs: 100 }),
    LOCKS,
  ],
  ['an advisory lock, in a script', (on) => on.query(`${LOCK}; SELECT 1`), LOCKS],
  [
    'an advisory lock, by a block',
    (on) => on.query("DO $$ BEGIN PERFORM pg_advisory_lock(7); RAISE 'no'; END $$"),
    LOCKS,
  ],
  [
    'a prepared statement, by a block',
    (on) => on.query("DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; RAISE 'no'; END $$"),
    'SELECT count(*)::int FROM pg_prepared_statements WHERE from_sql',
  ],
  [
    'a setting, by a block that commits',
    (on) => on.query("DO $$ BEGIN SET my.own = 'x'; COMMIT; RAISE 'no'; END $$"),
    "SELECT coalesce(current_setting('my.own', true), '')",
  ],
];

for (const [what, change, look] of LEFT_BY_FAILING) {
  test(`${what}: what a failure leaves is gone for the next user, in the same session`, async () => {
    // A used connection is reset, whatever an earlier test has left.
    const connection = await pool.connect();
    await connection.query('SELECT 1');
    await connection.release();
    const [pid, clean] = [await pidOf(pool), values(await pool.query(look))];
    const check = async (how) => {
      const [seen, next] = await Promise.all([pool.query(look), pidOf(pool)]);
      assert.deepEqual([values(seen), next], [clean, pid], how);
    };
    await assert.rejects(change(pool));
    await check('after query');
    await assert.rejects(pool.transaction((tx) => change(tx)));
    await check('after transaction');
    await pool.transaction(async (tx) => {
      await assert.rejects(tx.savepoint((inner) => change(inner)));
    });
    await check('after a savepoint');
  });
}

test('a plain statement that fails costs no reset', async () => {
  const named = `SELECT count(*)::int AS count FROM pg_prepared_statements`;
  const [{ count }] = await pool.query(named);
  await assert.rejects(pool.query('SELECT 1/0'));
  await assert.rejects(pool.query('INSERT INTO no_such_table VALUES ($1)', [1]));
  await assert.rejects(pool.query("SELECT set_config('a.b', 'c', false), 1/(SELECT 0)"));
  await assert.rejects(pool.transaction((tx) => tx.query('SELECT pg_advisory_lock(1) FRM t')));
  const [after_] = await pool.query(named);
  assert.ok(after_.count >= count, 'what was prepared is prepared still');
});

test('a transaction in which a function makes the session read-only is not repeated without end', async (t) => {
  const sql = "SELECT set_config('default_transaction_read_only', 'on', false); SELECT 1";
  await pool.query('DROP FUNCTION IF EXISTS make_read_only');
  await pool.query(`CREATE FUNCTION make_read_only() RETURNS int LANGUAGE sql AS $$ ${sql} $$`);
  const own = openPool(t, cluster.options({ poolSize: 1 }));
  const one = await own.transaction((tx) => tx.query('SELECT make_read_only() AS one'));
  assert.deepEqual(one, [{ one: 1 }]);
});

test('what a function did in a dedicated session is discarded as well', async () => {
  const connection = await pool.connect();
  await connection.query("DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$");
  await connection.release();
  const [{ value }] = await pool.query("SELECT current_setting('a.b', true) AS value");
  assert.equal(value || null, null);
});

test('statements that were prepared before a reset are prepared again', async () => {
  const connection = await pool.connect();
  const sql = 'SELECT $1::int AS n';
  for (const n of [1, 2, 3]) assert.deepEqual(await connection.query(sql, [n]), [{ n }]);
  await connection.query('DISCARD ALL');
  assert.deepEqual(await connection.query(sql, [4]), [{ n: 4 }]);
  void connection.release();
  assert.deepEqual(await pool.query(sql, [5]), [{ n: 5 }]);
  const tx = await pool.begin();
  assert.deepEqual(await tx.query(sql, [6]), [{ n: 6 }]);
  await tx.query('SET LOCAL work_mem = 64');
  await tx.query('DEALLOCATE ALL');
  assert.deepEqual(await tx.query(sql, [7]), [{ n: 7 }]);
  await tx.commit();
  assert.deepEqual(await pool.query(sql, [8]), [{ n: 8 }]);
});

test('SET LOCAL costs no reset', async () => {
  const named = "SELECT count(*)::int AS count FROM pg_prepared_statements WHERE name LIKE 'h%'";
  for (let n = 0; n < 3; n++) await pool.query(named);
  const [{ count }] = await pool.query(named);
  assert.ok(count > 0);
  await pool.transaction((tx) => tx.query("SET LOCAL work_mem = '1MB'"));
  const [after_] = await pool.query(named);
  assert.ok(after_.count >= count, 'what was prepared is prepared still');
});

test('with resetOnRelease: false a session stays as its users leave it', async (t) => {
  const kept = openPool(
    t,
    cluster.options({ poolSize: 1, resetOnRelease: false, maxResultBytes: 50_000 }),
  );
  const connection = await kept.connect();
  await connection.query("SET work_mem = '3MB'");
  await connection.release();
  assert.deepEqual(await kept.query('SHOW work_mem'), [{ work_mem: '3MB' }]);
  await assert.rejects(kept.query(LOCK));
  const long = { code: 'HYPERION_RESULT_TOO_LARGE' };
  await assert.rejects(kept.query("SELECT pg_advisory_lock(8), repeat('x', 100000) AS x"), long);
  assert.deepEqual(await kept.query(LOCKS), [{ count: 2 }]);
  assert.deepEqual(await kept.query('SHOW work_mem'), [{ work_mem: '3MB' }]);
});

test('options that become parameters of the sessions survive a reset', async (t) => {
  const schema = await pool.query('CREATE SCHEMA IF NOT EXISTS "an app"');
  assert.equal(schema.command, 'CREATE SCHEMA');
  const set = openPool(
    t,
    cluster.options({
      ...{ poolSize: 1, statementTimeoutMs: 5000, lockTimeoutMs: 4000 },
      ...{ idleInTransactionTimeoutMs: 3000, applicationName: 'till', searchPath: ['an app'] },
      parameters: { 'my.tenant': '42', work_mem: '2MB' },
    }),
  );
  const look = async () => {
    const sql = `SELECT current_setting(name) AS value FROM unnest(ARRAY['statement_timeout', 'lock_timeout',
      'idle_in_transaction_session_timeout', 'application_name', 'search_path', 'my.tenant', 'work_mem']) name`;
    return (await set.query(sql)).map(({ value }) => value);
  };
  // The pool's own limit for idle transactions applies first.
  const expected = ['5s', '4s', '4s', 'till', '"an app"', '42', '2MB'];
  assert.deepEqual(await look(), expected);
  const connection = await set.connect();
  await connection.query(
    "SET statement_timeout = 0; SET search_path = public; SET work_mem = '9MB'",
  );
  void connection.release();
  assert.deepEqual(await look(), expected);
  await set.query("SET statement_timeout = '20ms'");
  assert.deepEqual(await look(), expected);
});

test('default_transaction_read_only is no parameter for a pool', () => {
  for (const parameters of [
    { default_transaction_read_only: 'off' },
    { options: '-c default_transaction_read_only=on' },
  ]) {
    assert.throws(() => createPool(cluster.options({ parameters })), {
      name: 'ConfigurationError',
      message: /must not set default_transaction_read_only/,
    });
  }
});

test('a session that was set read-only is no fence, and the next user can write', async (t) => {
  const events = [];
  const fenced = (event) => events.push(event);
  pool.on('fence', fenced);
  t.after(() => pool.off('fence', fenced));
  const connection = await pool.connect();
  await connection.query('SET default_transaction_read_only = on');
  await assert.rejects(connection.query('INSERT INTO visits VALUES (9)'), { code: '25006' });
  void connection.release();
  assert.equal((await pool.query('INSERT INTO visits VALUES (9)')).rowCount, 1);
  await pool.query('SET default_transaction_read_only = on');
  assert.equal((await pool.query('INSERT INTO visits VALUES (9)')).rowCount, 1);
  assert.deepEqual(events, []);
});

test('a connection inside of a transaction that nobody ended is closed, not handed on', async () => {
  const connection = await pool.connect();
  const pid = await pidOf(connection);
  await connection.query('BEGIN');
  await connection.query('INSERT INTO visits VALUES (100)');
  await connection.release();
  assert.deepEqual(await pool.query('SELECT 1 AS one FROM visits WHERE key = 100'), []);
  assert.notEqual(await pidOf(pool), pid);
});

test('a lost connection says so, and what it had sent', async () => {
  const connection = await pool.connect();
  const pid = await pidOf(connection);
  const running = connection.query('SELECT pg_sleep(30)');
  const lost = assert.rejects(running, (error) => {
    assert.deepEqual([error.name, error.code], ['ConnectionError', '40003']);
    assert.equal(error.outcome, 'unknown');
    assert.equal(error.cause.code, '57P01');
    return true;
  });
  await cluster.waitForSession(`pid = ${pid} AND wait_event = 'PgSleep'`);
  await cluster.endSession(cluster.primary, pid);
  await lost;
  await assert.rejects(connection.query('SELECT 1'), {
    ...{ name: 'ConnectionError', code: 'HYPERION_CONNECTION_LOST', outcome: 'not-sent' },
  });
  await connection.release();
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
});

test('what its holder let go of is taken back when it is collected as garbage', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  for (const [code, take] of Object.entries({
    HYPERION_TRANSACTION_ABANDONED: () => pool.begin(),
    HYPERION_CONNECTION_ABANDONED: () => pool.connect(),
  })) {
    const warned = once(process, 'warning');
    await (async () => {
      const holder = await take();
      await holder.query('SELECT 1');
    })();
    // The pool has one connection, so this call waits until the other caller releases it.
    const waiting = pool.query('SELECT 1 AS one');
    for (let settled = false; !settled;) {
      collect();
      await turn();
      settled = pool.status().waiting === 0;
    }
    assert.deepEqual(await waiting, [{ one: 1 }]);
    const [warning] = await warned;
    assert.match(warning.message, /was never (finished|released)/);
    assert.equal(warning.code, code);
    assert.match(warning.detail, /connect\.test\.js/);
  }
});

test('what is at work holds what it stands on, though its user holds it no more', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const forAWhile = async () => {
    for (let n = 0; n < 20; n += 1) {
      collect();
      await turn();
    }
  };
  const warnings = [];
  const heard = (warning) => warnings.push(warning.message);
  process.on('warning', heard);
  // Each function drops its references to the connection that it took.
  const ways = [
    async () => {
      const tx = await (async () => (await pool.connect()).begin())();
      await tx.query('SELECT 1');
      await forAWhile();
      await tx.commit();
    },
    async () => (await pool.connect()).transaction((tx) => tx.query('SELECT 1').then(forAWhile)),
    async () => {
      const tx = await pool.begin();
      return tx.savepoint((outer) =>
        outer.savepoint((inner) => forAWhile().then(() => inner.query('SELECT 1'))),
      );
    },
  ];
  for (const way of ways) {
    await way();
    assert.deepEqual(warnings.splice(0), []);
    // Now the pool may take the connection back.
    const waiting = pool.query('SELECT 1');
    while (pool.status().waiting > 0) await forAWhile();
    await waiting;
    await waitUntil('it was taken back', () => warnings.length > 0);
    warnings.length = 0;
  }
  process.off('warning', heard);
});

test('a request behind a reset that fails is not run there, and not lost', async (t) => {
  // The server refuses the reset, and then the guard in front of the next request, which was
  // already sent.
  const refusal = { S: 'ERROR', V: 'ERROR', C: '57014', M: 'canceling statement', R: 'x' };
  let ran = 0;
  const backend = await scripted.scriptedBackend(async (frontend, connection) => {
    await frontend.logIn();
    frontend.send(scripted.firstAnswer(scripted.dataRow('1')));
    if (connection > 0) {
      ran += 1;
      return;
    }
    const reset = await frontend.until('Q');
    assert.equal(reset.body.toString(), 'DISCARD ALL\0');
    // The barrier.
    await frontend.until('S');
    const guard = await frontend.until('P');
    assert.equal(guard.body.toString(), '\0DISCARD ALL\0\0\0');
    const [refused, ready] = [scripted.error(refusal), scripted.readyForQuery()];
    frontend.send(refused, ready, ready, refused);
    await frontend.until('X');
  });
  t.after(() => backend.close());
  const one = openPool(t, backend.options());
  const connection = await one.connect();
  assert.deepEqual(await connection.query('SELECT one'), [{ one: 1 }]);
  void connection.release();
  assert.deepEqual(await one.query('SELECT one FROM other'), [{ one: 1 }]);
  assert.deepEqual([ran, backend.connections], [1, 2]);
});

test('release(true), or an error, closes the connection with whatever it is at', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const pidOf = async (queryable) =>
    (await queryable.query('SELECT pg_backend_pid() AS pid'))[0].pid;
  for (const reason of [true, new Error('of no use any more')]) {
    const connection = await pool.connect();
    const pid = await pidOf(connection);
    assert.match(inspect(connection), /^Connection \{ host: '.*', state: 'taken' \}$/);
    const sleeping = connection.query('SELECT pg_sleep(60)');
    const lost = assert.rejects(sleeping, { code: '40003', outcome: 'unknown' });
    await cluster.waitForSession(`pid = ${pid} AND state = 'active' AND query LIKE '%pg_sleep%'`);
    assert.equal(connection.release(reason), connection.release());
    await lost;
    assert.match(inspect(connection), /state: 'released'/);
    assert.notEqual(await pidOf(pool), pid);
  }
  // A falsy value is not a reason, since a `finally` block may pass an error that is undefined.
  const connection = await pool.connect();
  const pid = await pidOf(connection);
  await connection.release(undefined);
  assert.equal(await pidOf(pool), pid);
});
