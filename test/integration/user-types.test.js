// Types of users and extensions: their names, and arrays of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  for (const sql of [
    'DROP SCHEMA IF EXISTS made CASCADE',
    'CREATE SCHEMA made',
    "CREATE TYPE made.mood AS ENUM ('sad', 'so,so', 'NULL', 'say \"hi\"')",
    'CREATE DOMAIN made.big AS int8',
    'CREATE DOMAIN made.bigger AS made.big CHECK (value > 0)',
    'CREATE DOMAIN made.row_of AS int[]',
    'CREATE DOMAIN made.doc AS jsonb',
    'CREATE DOMAIN made.email AS text',
    'CREATE DOMAIN made.file AS bytea',
    'CREATE DOMAIN made.moment AS timestamptz',
    'CREATE DOMAIN made.id AS oid',
    'CREATE TYPE made.pair AS (a int, b text)',
    'CREATE TYPE made.span AS RANGE (subtype = float8)',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
});
after(() => cluster?.close());

const open = (t, options) =>
  openPool(t, cluster.options({ poolSize: 1, searchPath: 'made', ...options }));

/** Sessions that the pool asks for types. */
const ASKS = "query LIKE '%WITH RECURSIVE asked%'";

/** An SQL expression, its value, and the name of its type. */
const CASES = [
  ["'sad'::mood", 'sad', 'mood'],
  [
    `'{sad,"so,so",NULL,"NULL","say \\"hi\\""}'::mood[]`,
    ['sad', 'so,so', null, 'NULL', 'say "hi"'],
    '_mood',
  ],
  ["'[2:3][1:1]={{sad},{sad}}'::mood[]", [['sad'], ['sad']], '_mood'],
  ["'{}'::mood[]", [], '_mood'],
  ['NULL::mood[]', null, '_mood'],
  ['7::bigger', 7n, 'int8'],
  ["'{7,NULL,9223372036854775807}'::bigger[]", [7n, null, 9223372036854775807n], '_bigger'],
  ["ARRAY['{1,2}'::row_of]", ['{1,2}'], '_row_of'],
  [`ROW(1, 'x y')::pair`, '(1,"x y")', 'pair'],
  [
    `ARRAY[ROW(1, 'x "y"')::pair, NULL, ROW(NULL, 'a\\b')::pair]`,
    ['(1,"x ""y""")', null, '(,"a\\\\b")'],
    '_pair',
  ],
  ["'[1.5,2)'::span", '[1.5,2)', 'span'],
  [`'{"[1.5,2)",empty}'::span[]`, ['[1.5,2)', 'empty'], '_span'],
];

for (const mode of ['first uses', 'in a transaction', 'many at once']) {
  test(`values and names of such types: ${mode}`, async (t) => {
    const pool = open(t, { poolSize: 3 });
    const check = async (on) => {
      for (const [sql, value, name] of CASES) {
        for (let use = 0; use < 4; use++) {
          const rows = await on.query(`SELECT ${sql} AS v, $1::int AS n`, [use]);
          assert.deepStrictEqual(rows, [{ v: value, n: use }], `${sql}, use ${use}`);
          assert.equal(rows.fields[0].typeName, name, sql);
        }
      }
    };
    if (mode === 'first uses') await check(pool);
    else if (mode === 'in a transaction') await pool.transaction(check);
    else await Promise.all(Array.from({ length: 9 }, () => check(pool)));
  });
}

test('arrays are parameters of such types, and an empty one never becomes an empty object', async (t) => {
  const pool = open(t);
  const cases = [
    [['sad', null, 'NULL', 'say "hi"'], 'mood[]'],
    [[['sad'], ['so,so']], 'mood[]'],
    [[], 'mood[]'],
    [[7n, null], 'bigger[]'],
    [[], 'bigger[]'],
    [[], 'doc[]'],
  ];
  for (const [value, type] of cases) {
    for (let use = 0; use < 3; use++) {
      assert.deepEqual(await pool.query(`SELECT $1::${type} AS v`, [value]), [{ v: value }], type);
    }
  }
  for (let use = 0; use < 3; use++) {
    const rows = await pool.query('SELECT $1::row_of AS v, $2::doc AS d, $3::doc AS e', [
      [],
      {},
      [],
    ]);
    assert.deepEqual(rows, [{ v: [], d: {}, e: [] }]);
  }
});

test('arrays that are empty, or of NULLs alone, go to types that have no binary form', async (t) => {
  const pool = open(t);
  await cluster.query(cluster.primary, 'CREATE DOMAIN made.right_of AS aclitem');
  t.after(() => cluster.query(cluster.primary, 'DROP DOMAIN made.right_of'));
  for (const type of ['aclitem', 'gtsvector', 'right_of', 'mood', 'int4', 'email']) {
    for (let use = 0; use < 3; use++) {
      for (const [value, expected] of [
        [[null], '{NULL}'],
        [[null, null], '{NULL,NULL}'],
        [[], '{}'],
      ]) {
        const sql = `SELECT $1::${type}[]::text AS v`;
        assert.deepEqual(await pool.query(sql, [value]), [{ v: expected }], type);
      }
    }
  }
});

test('a parameter of a domain is fitted to the type under it, in each use', async (t) => {
  const moment = new Date('2024-02-29T12:34:56.789Z');
  const object = { a: 1, when: moment };
  /** The domain or array, valid values with their text, and invalid values. */
  const cases = [
    ['email', [['a@b', 'a@b']], [object, ['a'], Buffer.from('a')]],
    [
      'doc',
      [
        [object, JSON.parse(JSON.stringify(object))],
        [
          [1, [null]],
          [1, [null]],
        ],
      ],
      [],
    ],
    ['file', [[Buffer.from([0, 255]), Buffer.from([0, 255])]], [object, ['a'], moment]],
    ['moment', [[moment, moment.toISOString()]], [object, ['a'], Buffer.from('a')]],
    ['bigger', [[2 ** 40, BigInt(2 ** 40)]], [object, [1], 1.5, 2 ** 64]],
    ['id', [[2 ** 32 - 1, 2 ** 32 - 1]], [-1, 2 ** 32, 0.5]],
    [
      'row_of',
      [
        [
          [1, null],
          [1, null],
        ],
      ],
      [object, [1.5], Buffer.from('a')],
    ],
    ['mood', [['sad', 'sad']], [object, ['sad']]],
    ['mood[]', [[['sad'], ['sad']]], [object, Buffer.from('a')]],
    [
      'email[]',
      [
        [
          ['a', null],
          ['a', null],
        ],
      ],
      [object, [object], [Buffer.from('a')]],
    ],
    ['pair', [['(1,x)', '(1,x)']], [object, [1, 'x']]],
  ];
  for (const [type, fitting, others] of cases) {
    const sql = `SELECT $1::${type} AS v`;
    for (const first of [...fitting.keys(), ...others.keys()]) {
      // Each value is the first one of its statement once, and so the pool asks for the types
      // because of it.
      const pool = open(t);
      if (first < others.length) {
        const refused = { code: 'HYPERION_PARAMETER', outcome: 'not-sent' };
        await assert.rejects(pool.query(sql, [others[first]]), refused, `${type} ${first}`);
      }
      for (const [value, becomes] of [...fitting.slice(first), ...fitting, ...fitting]) {
        assert.deepEqual(await pool.query(sql, [value]), [{ v: becomes }], type);
      }
      await pool.transaction(async (tx) => {
        for (const value of others) {
          await assert.rejects(tx.query(sql, [value]), ({ code, message }) => {
            assert.equal(code, 'HYPERION_PARAMETER');
            assert.ok(message.startsWith(`parameter $1 of type ${type}: `), message);
            return true;
          });
        }
        for (const [value, becomes] of fitting) {
          assert.deepEqual(await tx.query(sql, [value]), [{ v: becomes }], type);
        }
      });
    }
  }
});

test('what is behind a parameter is known in the transaction that makes its type', async (t) => {
  const pool = open(t, { poolSize: 2 });
  const failed = new Error('on purpose');
  const making = pool.transaction(async (tx) => {
    await tx.query('CREATE DOMAIN lately AS jsonb');
    assert.deepEqual(await tx.query('SELECT $1::lately AS v', [[1]]), [{ v: [1] }]);
    throw failed;
  });
  await assert.rejects(making, failed);
  // The same text means another type now.
  await pool.query('CREATE DOMAIN lately AS int[]');
  const many = () => pool.query('SELECT $1::lately AS v', [[1]]);
  for (const rows of await Promise.all(Array.from({ length: 20 }, many))) {
    assert.deepEqual(rows, [{ v: [1] }]);
  }
  await pool.query('DROP DOMAIN lately');
});

test('a call is not sent where no server tells in time what is behind its parameter', async (t) => {
  const pool = open(t, { connectTimeoutMs: 300 });
  // After this the session has cached the catalog rows that the statement itself needs.
  for (const value of ['{}', '[1]']) {
    assert.deepEqual(await pool.query('SELECT $1::doc::text AS v', [value]), [{ v: value }]);
  }
  const locker = await cluster.openSession(cluster.primary);
  await locker.lock('pg_catalog.pg_type');
  const ask = () => pool.query('SELECT $1::doc::text AS v', [{ a: 1 }]);
  await assert.rejects(ask(), { code: 'HYPERION_UNRESOLVED_TYPES', outcome: 'not-sent' });
  await locker.unlock();
  await locker.close();
  assert.deepEqual(await ask(), [{ v: '{"a": 1}' }]);
});

test('a connection that ends before it has told leaves a call to the next one', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  for (const inTransaction of [false, true]) {
    const pool = open(t, { hosts: [`127.0.0.1:${proxy.port}`] });
    for (const value of ['{}', '[1]']) {
      assert.deepEqual(await pool.query('SELECT $1::doc::text AS v', [value]), [{ v: value }]);
    }
    const locker = await cluster.openSession(cluster.primary);
    await locker.lock('pg_catalog.pg_type');
    const ask = (on) => on.query('SELECT $1::doc::text AS v', [{ a: 1 }]);
    const answer = inTransaction ? pool.transaction(ask) : ask(pool);
    await waitUntil('it asks', async () => (await locker.others(ASKS)).length > 0);
    await proxy.cut();
    await locker.unlock();
    await locker.close();
    await proxy.pass();
    assert.deepEqual(await answer, [{ v: '{"a": 1}' }]);
  }
});

test('a type is known in the transaction that makes it, and nowhere if that is rolled back', async (t) => {
  const pool = open(t);
  const failed = new Error('on purpose');
  const making = pool.transaction(async (tx) => {
    await tx.query("CREATE TYPE fresh AS ENUM ('x')");
    assert.deepEqual(await tx.query("SELECT '{x}'::fresh[] AS v"), [{ v: ['x'] }]);
    throw failed;
  });
  await assert.rejects(making, failed);
  await pool.query('CREATE TYPE fresh AS (a int)');
  assert.deepEqual(await pool.query('SELECT ARRAY[ROW(1)::fresh] AS v'), [{ v: ['(1)'] }]);
  await pool.query('DROP TYPE fresh');
});

test('several statements in one query, arrays for rows, and a cursor', async (t) => {
  const pool = open(t);
  const [first, second] = await pool.query("SELECT '{sad}'::mood[] AS v; SELECT '{7}'::big[] AS v");
  assert.deepEqual([first, second], [[{ v: ['sad'] }], [{ v: [7n] }]]);
  const other = open(t);
  const options = { rowMode: 'array' };
  assert.deepEqual(await other.query("SELECT '{sad}'::mood[], 1", [], options), [[['sad'], 1]]);
  await other.transaction(async (tx) => {
    await tx.query("DECLARE c CURSOR FOR SELECT '{7}'::big[] AS v");
    assert.deepEqual(await tx.query('FETCH 1 FROM c'), [{ v: [7n] }]);
  });
});

test('the end of a transaction that stands behind several statements holds up no type', async (t) => {
  const sql = "SELECT 1 AS n; SELECT '{sad,NULL}'::mood[] AS v";
  for (const end of ['commit', 'rollback']) {
    for (let run = 0; run < 8; run++) {
      const tx = await open(t).begin();
      await tx.query('SELECT 1');
      const [results] = await Promise.all([tx.query(sql), tx[end]()]);
      const [{ v }] = results[1];
      assert.deepEqual([v, results[1].fields[0].typeName], [['sad', null], '_mood'], end);
    }
  }
});

test('choices by oid are for values and for the elements of arrays', async (t) => {
  const pool = open(t);
  const [{ mood, list }] = await pool.query(
    "SELECT 'mood'::regtype::oid AS mood, 'mood[]'::regtype::oid AS list",
  );
  const ask = (types) =>
    pool.query("SELECT 'sad'::mood AS v, '{sad,NULL}'::mood[] AS l", [], { types });
  for (let use = 0; use < 3; use++) {
    const upper = { parse: (text) => text.toUpperCase() };
    assert.deepEqual(await ask({ [mood]: upper }), [{ v: 'SAD', l: ['SAD', null] }]);
    assert.deepEqual(await ask({ [list]: upper }), [{ v: 'sad', l: '{SAD,NULL}' }]);
    assert.deepEqual(await ask(undefined), [{ v: 'sad', l: ['sad', null] }]);
  }
  const serialize = (value) => (Array.isArray(value) ? `{${value.join()}}` : value.toLowerCase());
  for (let use = 0; use < 3; use++) {
    const types = { [mood]: { serialize }, [list]: { serialize } };
    const rows = await pool.query('SELECT $1::mood AS v, $2::mood[] AS l', ['SAD', ['sad']], {
      types,
    });
    assert.deepEqual(rows, [{ v: 'sad', l: ['sad'] }]);
  }
  const numbers = await pool.query("SELECT '{7}'::bigger[] AS v", [], {
    types: { int8: 'number' },
  });
  assert.deepEqual(numbers, [{ v: [7] }]);
});

test('an answer waits for its types when the pool ends, is aborted, or times out', async (t) => {
  const pool = open(t);
  await pool.ready();
  const controller = new AbortController();
  const queries = [
    pool.query("SELECT '{sad}'::mood[] AS v"),
    pool.query("SELECT '{7}'::big[] AS v", [], { signal: controller.signal, timeoutMs: 10_000 }),
  ];
  await pool.end();
  controller.abort();
  assert.deepEqual(await Promise.all(queries), [[{ v: ['sad'] }], [{ v: [7n] }]]);
});

/** A write whose types are being asked for behind a lock, and who holds the lock. */
async function writeUntold(t, pool, options = {}) {
  await cluster.query(cluster.primary, 'DROP TABLE IF EXISTS made.untold');
  await cluster.query(cluster.primary, 'CREATE TABLE made.untold (v made.mood[])');
  const sql = "INSERT INTO made.untold VALUES ('{sad}') RETURNING v";
  const locker = await cluster.openSession(cluster.primary);
  t.after(() => locker.close());
  // After this each session has cached the catalog rows that the statement itself needs.
  const warm = () =>
    pool.query(`BEGIN; INSERT INTO made.untold VALUES ('{sad}') RETURNING v::text; ROLLBACK;
      SELECT pg_sleep(0.05)`);
  await Promise.all([warm(), warm()]);
  await locker.lock('pg_catalog.pg_type');
  const answer = pool.query(sql, [], options).catch((error) => error);
  await waitUntil('it asks', async () => (await locker.others(ASKS)).length > 0);
  const isWritten = async () =>
    (await cluster.query(cluster.primary, 'SELECT v FROM made.untold')).length === 1;
  return { answer, locker, isWritten };
}

test('a write that loses its only connection while its types are asked for is an error', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const pool = open(t, { hosts: [`127.0.0.1:${proxy.port}`], poolSize: 1 });
  const { answer, locker, isWritten } = await writeUntold(t, pool);
  await proxy.cut();
  await locker.unlock();
  const { code, outcome } = await answer;
  assert.deepEqual([code, outcome], ['HYPERION_UNREADABLE_VALUE', 'unknown']);
  assert.ok(await isWritten());
  await proxy.pass();
  assert.deepEqual(await pool.query("SELECT '{sad}'::made.mood[] AS v"), [{ v: ['sad'] }]);
});

test('a write that loses its connection meanwhile has its types asked for on another one', async (t) => {
  const pool = open(t, { poolSize: 2 });
  const { answer, locker, isWritten } = await writeUntold(t, pool);
  for (const pid of await locker.others(ASKS)) {
    await locker.query(`SELECT pg_terminate_backend(${pid})`);
  }
  await locker.unlock();
  assert.deepEqual(await answer, [{ v: ['sad'] }]);
  assert.ok(await isWritten());
});

test('a write whose time is over while its types are asked for is an error', async (t) => {
  const pool = open(t);
  const { answer, locker, isWritten } = await writeUntold(t, pool, { timeoutMs: 250 });
  const { code, outcome } = await answer;
  await locker.unlock();
  assert.deepEqual([code, outcome], ['HYPERION_QUERY_TIMEOUT', 'unknown']);
  assert.ok(await isWritten());
});

const CANCEL_REQUEST = 80877102;

/** Forwards everything to the primary, but CancelRequests not before `letGo` is called. */
async function lateCancels() {
  let letGo;
  const released = new Promise((resolve) => (letGo = resolve));
  const { address } = await cluster.proxy(cluster.primary, {
    fromClient(chunk, link) {
      if (chunk.length < 8 || chunk.readInt32BE(4) !== CANCEL_REQUEST) return chunk;
      released.then(() => link.server.write(chunk));
      return null;
    },
  });
  return { address, letGo };
}

test('a CancelRequest that comes late does not hit the question, and end its transaction', async (t) => {
  const cancels = await lateCancels();
  const pool = open(t, {
    hosts: [cancels.address],
    cancelGraceMs: 60_000,
    connectTimeoutMs: 60_000,
  });
  const locker = await cluster.openSession(cluster.primary);
  const tx = await pool.begin();
  // After this the session has cached the catalog rows that the statement itself needs.
  await tx.query("SELECT '{sad}'::mood[]::text");
  const sql = "SELECT '{sad}'::mood[] AS v FROM pg_sleep(1.5)";
  const answer = tx.query(sql, [], { timeoutMs: 1000 });
  const isRunning = async () =>
    (await locker.others("wait_event = 'PgSleep' AND query LIKE '%pg_sleep(1.5)'")).length > 0;
  await waitUntil('it runs', isRunning);
  await locker.lock('pg_catalog.pg_type');
  await waitUntil('it is over', async () => !(await isRunning()));
  for (let n = 0; n < 100; n++) await locker.others(ASKS);
  cancels.letGo();
  for (let n = 0; n < 20; n++) await locker.others(ASKS);
  await locker.unlock();
  await locker.close();
  assert.deepEqual(await answer, [{ v: ['sad'] }]);
  assert.deepEqual(await tx.query('SELECT 1 AS one'), [{ one: 1 }]);
  await tx.commit();
});
