// Types that users and extensions made: their names, and arrays of them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';

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
    'CREATE TYPE made.pair AS (a int, b text)',
    'CREATE TYPE made.span AS RANGE (subtype = float8)',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
});
after(() => cluster?.close());

function open(t, options) {
  const pool = createPool(cluster.options({ poolSize: 1, searchPath: 'made', ...options }));
  t.after(() => pool.end());
  return pool;
}

/** SQL, the value, and the type's name. */
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
    await assert.rejects(pool.query('SELECT $1::doc AS v', [[]]), { code: '22P02' });
    const rows = await pool.query('SELECT $1::row_of AS v, $2::doc AS d', [[], {}]);
    assert.deepEqual(rows, [{ v: [], d: {} }]);
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

/** How many sessions there are of which this holds; asked anew within a transaction, too. */
async function inSessions(session, what) {
  await session.query('SELECT pg_stat_clear_snapshot()');
  const sql = `SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ${what}`;
  return (await session.query(sql)).length;
}

test('a connection that ends in between leaves the text, and no write is called undone', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const pool = open(t, { hosts: [`127.0.0.1:${proxy.port}`] });
  // What the answer needs of types is with the session then.
  await pool.query("SELECT '{sad}'::made.mood[]::text");
  // The answer comes at once, that to the question for the types does not.
  const locker = await cluster.openSession(cluster.primary);
  await locker.query('BEGIN; LOCK TABLE pg_catalog.pg_type IN ACCESS EXCLUSIVE MODE');
  const answer = pool.query("SELECT '{sad}'::made.mood[] AS v").catch((error) => error);
  const waits = "wait_event_type = 'Lock' AND query LIKE 'WITH RECURSIVE known%'";
  while ((await inSessions(locker, waits)) === 0);
  await proxy.cut();
  await locker.query('ROLLBACK');
  await locker.close();
  const result = await answer;
  assert.deepEqual(result, [{ v: '{sad}' }]);
  await proxy.pass();
  assert.deepEqual(await pool.query("SELECT '{sad}'::made.mood[] AS v"), [{ v: ['sad'] }]);
});

/** Hands on everything, but CancelRequests not before `letGo` is called. */
async function lateCancels(t, { host, port }) {
  let letGo;
  const released = new Promise((resolve) => (letGo = resolve));
  const listener = createServer((client) => {
    const server = connect({ host, port });
    for (const socket of [client, server]) socket.on('error', () => {});
    client.once('data', async (first) => {
      if (first.readInt32BE(4) === 80877102) await released;
      server.write(first);
      client.pipe(server);
    });
    server.pipe(client);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  return { address: `127.0.0.1:${listener.address().port}`, letGo };
}

test('a CancelRequest that comes late does not hit the question, and end its transaction', async (t) => {
  const relay = await lateCancels(t, cluster.primary);
  const pool = open(t, { hosts: [relay.address], cancelGraceMs: 60_000, connectTimeoutMs: 60_000 });
  const locker = await cluster.openSession(cluster.primary);
  const sessions = (what) => inSessions(locker, what);
  const tx = await pool.begin();
  // What the answer needs of types is with the session now.
  await tx.query("SELECT '{sad}'::mood[]::text");
  const sql = "SELECT '{sad}'::mood[] AS v FROM pg_sleep(0.3)";
  const answer = tx.query(sql, [], { timeoutMs: 50 });
  while ((await sessions("state = 'active' AND query LIKE '%pg_sleep(0.3)'")) === 0);
  await locker.query('BEGIN; LOCK TABLE pg_catalog.pg_type IN ACCESS EXCLUSIVE MODE');
  while ((await sessions("state = 'active' AND query LIKE '%pg_sleep(0.3)'")) > 0);
  for (let n = 0; n < 100; n++) await sessions("query LIKE 'WITH RECURSIVE known%'");
  relay.letGo();
  for (let n = 0; n < 100; n++) await sessions("query LIKE 'WITH RECURSIVE known%'");
  await locker.query('ROLLBACK');
  await locker.close();
  assert.deepEqual(await answer, [{ v: ['sad'] }]);
  assert.deepEqual(await tx.query('SELECT 1 AS one'), [{ one: 1 }]);
  await tx.commit();
});
