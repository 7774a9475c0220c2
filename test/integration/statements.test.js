// What the pool learns from the text of a statement, and what a statement leaves behind. A
// statement that no pool can run is refused before it is sent, a transaction that a call leaves
// open reaches no other caller, sessions are clean for their next caller, and outcomes are true.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool, isRetryable } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(cluster.primary, 'CREATE TABLE orders (id int)');
});
after(() => cluster?.close());

const open = (t, options) => openPool(t, cluster.options({ poolSize: 1, ...options }));
const errorOf = (promise) =>
  promise.then(
    (value) => assert.fail(`resolved: ${JSON.stringify(value)}`),
    (error) => error,
  );
const told = ({ name, code, outcome }) => ({ name, code, outcome });
const orders = async (id) => {
  const sql = `SELECT count(*) FROM orders WHERE id = ${id}`;
  return Number((await cluster.query(cluster.primary, sql))[0][0]);
};

const LEFT_OPEN = { name: 'TransactionError', code: 'HYPERION_TRANSACTION_LEFT_OPEN' };

test('a text that leaves a transaction open is refused before it is sent', async (t) => {
  const pool = open(t);
  for (const sql of [
    'BEGIN',
    '/* a */ start transaction isolation level serializable',
    'SELECT 1; BEGIN',
    'BEGIN; INSERT INTO orders VALUES (1)',
    'BEGIN; INSERT INTO orders VALUES (1); COMMIT AND CHAIN',
  ]) {
    const error = await errorOf(pool.query(sql));
    assert.deepEqual(told(error), { ...LEFT_OPEN, outcome: 'not-sent' }, sql);
    assert.match(error.message, /pool\.transaction/);
  }
  assert.equal(await orders(1), 0);
  await pool.query('BEGIN; INSERT INTO orders VALUES (2); COMMIT');
  assert.equal(await orders(2), 1);
  const connection = await pool.connect();
  await connection.query('BEGIN');
  await connection.query('INSERT INTO orders VALUES (3)');
  await connection.query('COMMIT');
  await connection.query('BEGIN');
  await connection.query('INSERT INTO orders VALUES (4)');
  await connection.release();
  await pool.query('INSERT INTO orders VALUES (5)');
  assert.deepEqual(await Promise.all([3, 4, 5].map(orders)), [1, 0, 1]);
});

// Where a backslash may escape a quote, the text does not show its statements.
const UNCLEAR = String.raw`SELECT 'a\' AS a`;

test('a transaction that a call leaves open unseen is rolled back before others have the connection', async (t) => {
  const pool = open(t);
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  const sql = `${UNCLEAR}; BEGIN; INSERT INTO orders VALUES (10)`;
  const write = 'INSERT INTO orders VALUES ($1)';
  const [error, first, second] = await Promise.all([
    errorOf(pool.query(sql)),
    pool.query(write, [11]),
    pool.query(write, [12]),
  ]);
  assert.deepEqual(told(error), { ...LEFT_OPEN, outcome: 'not-committed' });
  assert.deepEqual([first.rowCount, second.rowCount], [1, 1]);
  assert.deepEqual(await Promise.all([10, 11, 12].map(orders)), [0, 1, 1]);
  assert.notEqual((await pool.query('SELECT pg_backend_pid() AS pid'))[0].pid, pid);
  const committed = `${UNCLEAR}; BEGIN; INSERT INTO orders VALUES (13); COMMIT; BEGIN`;
  assert.equal((await errorOf(pool.query(committed))).outcome, 'unknown');
  assert.equal(await orders(13), 1);
});

test('a script that fails in its own transaction leaves nothing open', async (t) => {
  const pool = open(t, { resetOnRelease: false });
  const sql = 'BEGIN; INSERT INTO orders VALUES (20); SELECT 1/0; COMMIT';
  const error = await errorOf(pool.query(sql));
  assert.deepEqual([error.code, error.outcome], ['22012', 'not-committed']);
  await pool.query('INSERT INTO orders VALUES (21)');
  assert.deepEqual(await Promise.all([20, 21].map(orders)), [0, 1]);
});

test('a script that fails says what is true of it', async (t) => {
  const pool = open(t);
  const outcome = async (sql) => (await errorOf(pool.query(sql))).outcome;
  const insert = 'INSERT INTO orders VALUES (30)';
  assert.equal(await outcome('select 1; selec'), 'not-committed');
  assert.equal(await outcome(`${insert}; SELECT 1/0`), 'not-committed');
  assert.equal(await outcome(`BEGIN; ${insert}; ROLLBACK; SELECT 1/0`), 'not-committed');
  assert.equal(await orders(30), 0);
  assert.equal(await outcome(`BEGIN; ${insert}; COMMIT; SELECT 1/0`), 'unknown');
  assert.equal(await orders(30), 1);
});

test('comments in front and semicolons in strings hide nothing of a lost statement in a transaction', async (t) => {
  for (const sql of [
    '/* app */ INSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
    '-- name: save\nINSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
    "INSERT INTO orders SELECT 40 FROM pg_sleep(0.3) WHERE ';commit' <> ''",
    'INSERT INTO orders VALUES (41); INSERT INTO orders SELECT 40 FROM pg_sleep(0.3)',
  ]) {
    const pool = open(t);
    let attempts = 0;
    await pool.transaction(
      async (tx) => {
        attempts += 1;
        const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
        const running = tx.query(sql);
        if (attempts === 1) {
          const end = `SELECT pg_terminate_backend(${pid})`;
          setTimeout(() => cluster.query(cluster.primary, end), 50);
        }
        await running;
      },
      { retries: 3 },
    );
    assert.equal(attempts, 2, sql);
  }
  assert.equal(await orders(40), 4);
});

test('a call that is declared to change nothing is never of unknown outcome', async (t) => {
  const pool = open(t);
  for (let lost = 0; lost < 2; lost += 1) {
    const sql = 'SELECT pg_terminate_backend(pg_backend_pid())';
    const error = await errorOf(pool.query(sql, [], { readOnly: true }));
    assert.deepEqual([error.code, error.outcome], ['HYPERION_CONNECTION_LOST', 'not-committed']);
    assert.ok(isRetryable(error));
  }
});

test('PREPARE TRANSACTION is not for a transaction that ends by methods', async (t) => {
  const pool = open(t);
  const error = await errorOf(pool.transaction((tx) => tx.query("PREPARE TRANSACTION 'x'")));
  assert.deepEqual(told(error), {
    name: 'TransactionError',
    code: 'HYPERION_PREPARE_TRANSACTION',
    outcome: 'not-sent',
  });
});

test('what a pool has no use for is refused before it is sent, with a code of its own', async (t) => {
  const pool = open(t);
  const connection = await pool.connect();
  const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
  for (const [sql, code] of [
    ['COPY orders FROM STDIN', 'HYPERION_COPY'],
    ['/* a */ copy orders (id) from stdin with (format csv)', 'HYPERION_COPY'],
    ['COPY (SELECT 1) TO STDOUT', 'HYPERION_COPY'],
    ['SELECT 1; COPY orders TO STDOUT', 'HYPERION_COPY'],
    ['LISTEN news', 'HYPERION_LISTEN'],
    ['SELECT 1; LISTEN news', 'HYPERION_LISTEN'],
    ["SET client_encoding = 'LATIN1'", 'HYPERION_CLIENT_ENCODING'],
    ["SET NAMES 'LATIN1'", 'HYPERION_CLIENT_ENCODING'],
    ["SELECT set_config('client_encoding', 'LATIN1', false)", 'HYPERION_CLIENT_ENCODING'],
    ['START_REPLICATION SLOT a LOGICAL 0/0', 'HYPERION_REPLICATION'],
  ]) {
    const expected = { name: 'ConfigurationError', code, outcome: 'not-sent' };
    assert.deepEqual(told(await errorOf(connection.query(sql))), expected, sql);
  }
  await connection.query('NOTIFY news');
  await connection.query('UNLISTEN *');
  for (const name of ['utf8', 'UTF-8', 'unicode']) {
    await connection.query(`SET client_encoding = '${name}'`);
  }
  assert.equal((await connection.query('SELECT pg_backend_pid() AS pid'))[0].pid, pid);
  await connection.release();
  assert.equal((await errorOf(pool.query('COPY orders TO STDOUT'))).code, 'HYPERION_COPY');
});

test('a COPY that no text shows is refused by the protocol, and its connection lives', async (t) => {
  const pool = open(t);
  const pidOf = async (queryable) =>
    (await queryable.query('SELECT pg_backend_pid() AS pid'))[0].pid;
  const pid = await pidOf(pool);
  const insert = 'INSERT INTO orders VALUES (50)';
  const into = await errorOf(
    pool.query(`${UNCLEAR}; ${insert}; COPY orders FROM STDIN; ${insert}`),
  );
  assert.deepEqual([into.code, into.outcome], ['HYPERION_COPY', 'not-committed']);
  assert.equal(await orders(50), 0);
  const from = await errorOf(pool.query(`${UNCLEAR}; COPY orders TO STDOUT; ${insert}`));
  assert.deepEqual([from.code, from.outcome], ['HYPERION_COPY', 'unknown']);
  assert.equal(await orders(50), 1);
  const connection = await pool.connect();
  const tx = await connection.begin();
  await tx.query(insert);
  const inside = await errorOf(tx.query(`${UNCLEAR}; COPY orders FROM STDIN`));
  assert.deepEqual([inside.code, inside.outcome], ['HYPERION_COPY', 'not-committed']);
  assert.match(inside.message, /transaction has failed/);
  assert.equal((await errorOf(tx.query('SELECT 1'))).code, '25P02');
  await tx.rollback();
  assert.equal(await pidOf(connection), pid);
  await connection.release();
  assert.equal(await orders(50), 1);
  assert.equal(await pidOf(pool), pid);
});

test('a wrong number of parameters is not tried again', async (t) => {
  const pool = open(t);
  let attempts = 0;
  const wrong = pool.transaction(
    (tx) => {
      attempts += 1;
      return tx.query('SELECT $1::int', []);
    },
    { retries: 5 },
  );
  assert.equal((await errorOf(wrong)).code, '08P01');
  assert.equal(attempts, 1);
});

test('of class 08 those are tried again that pass', () => {
  for (const [code, expected] of [
    ...['08000', '08001', '08003', '08006'].map((of) => [of, true]),
    ...['08004', '08007', '08P01'].map((of) => [of, false]),
  ]) {
    assert.equal(isRetryable(Object.assign(new Error('x'), { code })), expected, code);
  }
});

test('what its hint says of repeating is what isRetryable says', async (t) => {
  const pool = open(t);
  const statement = 'SELECT 26 AS a';
  // By a trigger, so that the text shows nothing.
  const part = "'DEAL' || 'LOCATE ALL'";
  await pool.query(
    `CREATE TABLE dropping ();
     CREATE FUNCTION drop_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE ${part}; RETURN NULL; END $$;
     CREATE TRIGGER dropping AFTER INSERT ON dropping EXECUTE FUNCTION drop_all()`,
  );
  for (let use = 0; use < 3; use += 1) await pool.query(statement);
  const stale = await errorOf(
    pool.transaction(async (tx) => {
      await tx.query(statement);
      await tx.query('INSERT INTO dropping DEFAULT VALUES', [], { prepare: false });
      await tx.query(statement);
    }),
  );
  assert.equal(stale.code, '26000');
  assert.match(stale.hint, /repeated/);
  assert.ok(isRetryable(stale));
  const own = await errorOf(pool.query('EXECUTE no_such'));
  assert.deepEqual([own.code, isRetryable(own)], ['26000', false]);
});

const BATCH = `CREATE OR REPLACE PROCEDURE batch(i int, code text) LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO orders VALUES (i); COMMIT; RAISE EXCEPTION 'x' USING errcode = code; END $$`;
const SLOW = `CREATE OR REPLACE PROCEDURE slow(i int) LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO orders VALUES (i); COMMIT; PERFORM pg_sleep(60); END $$`;

test('whether a procedure had an effect that has failed or was cancelled, nobody knows', async (t) => {
  const pool = open(t, { poolSize: 2 });
  await pool.query(BATCH);
  await pool.query(SLOW);
  const connection = await pool.connect();
  const block =
    "DO $$ BEGIN INSERT INTO orders VALUES (704); COMMIT; RAISE 'x' USING errcode = '40001'; END $$";
  const timeoutMs = 200;
  const calls = {
    701: ['40P01', () => pool.query("CALL batch(701, '40P01')")],
    702: ['40001', () => pool.query('/* a */ call batch($1, $2)', [702, '40001'])],
    703: ['25006', () => connection.query('CALL batch($1, $2)', [703, '25006'])],
    704: ['40001', () => pool.query(block)],
    705: ['HYPERION_QUERY_TIMEOUT', () => pool.query('CALL slow(705)', [], { timeoutMs })],
    706: ['HYPERION_QUERY_TIMEOUT', () => connection.query('CALL slow(706)', [], { timeoutMs })],
    707: [
      'HYPERION_ABORTED',
      () => pool.query('CALL slow($1)', [707], { signal: AbortSignal.timeout(200) }),
    ],
    708: [
      '57014',
      async () => {
        await connection.query("SET statement_timeout = '200ms'");
        return connection.query('CALL slow(708)');
      },
    ],
  };
  for (const [id, [code, call]] of Object.entries(calls)) {
    for (let use = 1; use <= 3; use += 1) {
      const error = await errorOf(call());
      assert.deepEqual([error.code, error.outcome], [code, 'unknown'], id);
      assert.ok(!isRetryable(error), id);
      // It ran once for each call.
      assert.equal(await orders(id), use, id);
    }
  }
  await connection.release();
  const ending = createPool(cluster.options({ poolSize: 1 }));
  const late = errorOf(ending.query('CALL slow(709)'));
  await waitUntil('it runs', async () => (await orders(709)) > 0);
  await ending.end({ timeoutMs: 50 });
  const { code, outcome } = await late;
  assert.deepEqual([code, outcome], ['HYPERION_POOL_CLOSED', 'unknown']);
});

test('in a transaction, and before it runs, a procedure has no effect', async (t) => {
  const pool = open(t);
  await pool.query(BATCH);
  const failed = [
    () => pool.transaction((tx) => tx.query("CALL batch(711, '40P01')")),
    () => pool.query('CALL no_such_procedure()'),
    () => pool.query("DO $$ BEGIN INSERT INTO orders VALUES (711); RAISE 'x'; END $$"),
    () => pool.query('CALL batch($1, $2)', ['no number', 'x']),
    () => pool.query("INSERT INTO orders VALUES (711); CALL batch(711, '40P01')"),
    () => pool.query('VACUUM no_such_table; SELECT 1/0'),
    () => pool.query('CREATE INDEX i ON orders (no_such_column)'),
    () => pool.query('ANALYZE no_such_table'),
    () => pool.query('ANALYZE orders, no_such_table'),
    () => pool.query('REINDEX TABLE no_such_table'),
  ];
  for (const call of failed) {
    const error = await errorOf(call());
    assert.deepEqual([error.outcome, await orders(711)], ['not-committed', 0], String(call));
  }
});

test('statistics of the first parts of a table are committed before a later one fails', async (t) => {
  const pool = openPool(
    t,
    cluster.options({ poolSize: 1, parameters: { 'analyzed.fails': 'on' } }),
  );
  await pool.query(`DROP TABLE IF EXISTS parted;
    CREATE TABLE parted (a int) PARTITION BY RANGE (a);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
    INSERT INTO parted SELECT g % 20 FROM generate_series(1, 1000) g;
    CREATE OR REPLACE FUNCTION fail_analyzed(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
      IF current_setting('analyzed.fails', true) = 'on' THEN RAISE 'no'; END IF; RETURN x; END $$`);
  await pool.transaction(async (tx) => {
    await tx.query('SET LOCAL analyzed.fails = off');
    await tx.query('CREATE INDEX ON parted_2 (fail_analyzed(a))');
  });
  const stats = "SELECT count(*)::int AS n FROM pg_stats WHERE tablename LIKE 'parted%'";
  await assert.rejects(
    pool.transaction((tx) => tx.query('ANALYZE parted')),
    { code: 'P0001', outcome: 'not-committed' },
  );
  assert.deepEqual(await pool.query(stats), [{ n: 0 }]);
  await assert.rejects(pool.query('ANALYZE parted'), { code: 'P0001', outcome: 'unknown' });
  assert.deepEqual(await pool.query(stats), [{ n: 2 }]);
});

test('an index that could not be built beside others is left behind', async (t) => {
  const pool = open(t);
  await pool.query('DROP TABLE IF EXISTS twice; CREATE TABLE twice (i int)');
  await pool.query('INSERT INTO twice VALUES (1), (1)');
  const build = 'CREATE UNIQUE INDEX CONCURRENTLY twice_i ON twice (i)';
  const error = await errorOf(pool.query(build));
  assert.deepEqual([error.code, error.outcome], ['23505', 'unknown']);
  const left = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'twice_i'::regclass";
  assert.deepEqual(await pool.query(left), [{ indisvalid: false }]);
});

test('a text without a statement in it is refused in a transaction that has failed', async (t) => {
  const pool = open(t);
  for (const sql of ['', ' ; ', '-- nothing', '/* nothing */;']) {
    assert.deepEqual([...(await pool.query(sql))], []);
    const connection = await pool.connect();
    await connection.query('BEGIN');
    assert.deepEqual([...(await connection.query(sql))], []);
    const all = await Promise.allSettled(['SELECT 1/0', sql, sql].map((s) => connection.query(s)));
    const codes = all.map(({ reason }) => reason.code);
    assert.deepEqual(codes, ['22012', '25P02', '25P02'], sql);
    assert.equal((await errorOf(connection.query(sql))).code, '25P02');
    await connection.query('ROLLBACK');
    assert.deepEqual([...(await connection.query(sql))], []);
    await connection.release();
    const committed = pool.transaction(async (tx) => {
      await errorOf(tx.query('SELECT 1/0'));
      await errorOf(tx.query(sql));
    });
    assert.equal((await errorOf(committed)).code, 'HYPERION_TRANSACTION_ROLLED_BACK');
  }
});
