// pool.query(): its results, its errors, and that an error harms no other call.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool, countsOf } from '../support/pools.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 4 });
await pool.query(
  `DROP TABLE IF EXISTS things, children, parents, shifting;
   CREATE TABLE things (id int PRIMARY KEY, name text)`,
);

test('rows are plain objects; what else a result carries does not show', async () => {
  const rows = await pool.query('SELECT 1 AS id, $1::text AS name', ['x']);
  assert.deepStrictEqual(rows, [{ id: 1, name: 'x' }]);
  assert.equal(rows.rowCount, 1);
  assert.equal(rows.command, 'SELECT');
  assert.deepEqual(
    rows.fields.map(({ name, typeOid }) => [name, typeOid]),
    [
      ['id', 23],
      ['name', 25],
    ],
  );
  assert.deepEqual(Object.keys(rows), ['0']);
  assert.equal(rows.rows, rows);
  const scripted = await pool.query('SELECT 1 AS one; SELECT 2 AS two');
  assert.deepEqual(
    scripted.map((result) => result.rows),
    [[{ one: 1 }], [{ two: 2 }]],
  );
  assert.equal(JSON.stringify(rows), '[{"id":1,"name":"x"}]');
});

test('commands without rows tell how many rows they changed', async () => {
  const inserted = await pool.query("INSERT INTO things VALUES (1, 'a'), (2, 'b')");
  assert.deepStrictEqual(inserted, []);
  assert.equal(inserted.command, 'INSERT');
  assert.equal(inserted.rowCount, 2);
  assert.equal((await pool.query('UPDATE things SET name = $1', ['c'])).rowCount, 2);
  assert.equal((await pool.query('DELETE FROM things')).rowCount, 2);
  const created = await pool.query('CREATE TEMPORARY TABLE t ()');
  assert.equal(created.rowCount, null);
  assert.equal(created.command, 'CREATE TABLE');
  const empty = await pool.query('');
  assert.deepStrictEqual(empty, []);
  assert.equal(empty.command, '');
});

test('the same statement gives the same answer however often and wherever it was prepared', async () => {
  const ask = (n) =>
    pool.query('SELECT $1::int AS n, $2::text AS t, $3::float8 AS f', [n, `t${n}`, n / 2]);
  const expected = (n) => [{ n, t: `t${n}`, f: n / 2 }];
  for (let n = 0; n < 3; n++) assert.deepEqual(await ask(n), expected(n));
  const numbers = Array.from({ length: 500 }, (_, n) => n);
  const answers = await Promise.all(numbers.map(ask));
  assert.deepEqual(answers, numbers.map(expected));
});

test('a large result comes whole and in order', async () => {
  const rows = await pool.query(
    "SELECT i AS id, repeat('é😀x', i % 50) AS name FROM generate_series(1, 50000) i",
  );
  assert.equal(rows.length, 50_000);
  rows.forEach((row, n) => {
    assert.equal(row.id, n + 1);
    assert.equal(row.name.length, ((n + 1) % 50) * 4);
  });
  const [{ long }] = await pool.query("SELECT repeat('ä', 3000000) AS long");
  assert.equal(long, 'ä'.repeat(3_000_000));
});

test('a result beyond maxResultBytes is its own error, and harms no neighbour', async () => {
  const small = createPool(cluster.options({ poolSize: 1, maxResultBytes: 100_000 }));
  const long = "SELECT repeat('x', 1000) AS x FROM generate_series(1, $1::int) AS n";
  const tooLarge = { code: 'HYPERION_RESULT_TOO_LARGE', outcome: 'unknown' };
  for (let round = 0; round < 3; round += 1) {
    const [first, second, third] = await Promise.allSettled([
      small.query(long, [90]),
      small.query(long, [100]),
      small.query(long, [90]),
    ]);
    assert.equal(first.value.length, 90);
    assert.equal(second.reason.code, tooLarge.code);
    assert.equal(third.value.length, 90);
  }
  await assert.rejects(small.query('SELECT 1 AS a; ' + long.replace('$1', '1000')), tooLarge);
  assert.equal((await small.query('SELECT 1 AS one'))[0].one, 1);
  await small.end();
});

test('a row whose text is longer than a string can be is its own error', async () => {
  const long = (length) => pool.query("SELECT repeat('x', $1::int) AS x", [length]);
  assert.equal((await long(1_000_000))[0].x.length, 1_000_000);
  await assert.rejects(long(2 ** 28), { code: 'HYPERION_RESULT_TOO_LARGE', outcome: 'unknown' });
  assert.equal((await long(1_000_000))[0].x.length, 1_000_000);
});

test('several statements in one call give several results', async () => {
  const results = await pool.query(
    "SELECT 1 AS one; INSERT INTO things VALUES (9, 'z'); SELECT 'x' AS a, 2.5::float8 AS b",
  );
  assert.equal(results.length, 3);
  assert.deepStrictEqual(results[0], [{ one: 1 }]);
  assert.equal(results[1].rowCount, 1);
  assert.deepStrictEqual(results[2], [{ a: 'x', b: 2.5 }]);
  await pool.query('DELETE FROM things');
});

test('an error of the server has its fields, and the caller is in the stack', async () => {
  await pool.query("INSERT INTO things VALUES (1, 'a')");
  async function callerOfThis() {
    await pool.query('INSERT INTO things VALUES ($1, $2)', [1, 'secret value']);
  }
  await assert.rejects(callerOfThis(), (error) => {
    assert.equal(error.name, 'DatabaseError');
    assert.equal(error.code, '23505');
    assert.equal(error.constraint, 'things_pkey');
    assert.equal(error.table, 'things');
    assert.equal(error.schema, 'public');
    assert.equal(error.severity, 'ERROR');
    assert.match(error.detail, /already exists/);
    assert.equal(error.outcome, 'not-committed');
    assert.equal(error.host, cluster.primary.address);
    assert.equal(error.query, 'INSERT INTO things VALUES ($1, $2)');
    assert.match(error.stack, /callerOfThis/);
    assert.doesNotMatch(JSON.stringify(error) + error.stack, /secret value/);
    return true;
  });
  await assert.rejects(pool.query('SELECT nothing FROM nowhere'), { code: '42P01', position: 21 });
  await pool.query('DELETE FROM things');
});

test('a deferred constraint that fails at the end fails the call', async () => {
  await pool.query('CREATE TABLE parents (id int PRIMARY KEY)');
  await pool.query(
    'CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)',
  );
  for (let n = 0; n < 3; n++) {
    await assert.rejects(pool.query('INSERT INTO children VALUES ($1)', [n]), { code: '23503' });
  }
  assert.deepEqual(await pool.query('SELECT * FROM children'), []);
});

test('an error in a pipeline harms none of its neighbours', async () => {
  const ask = (n) => pool.query('SELECT 10 / $1::int AS n', [n % 7]).catch((error) => error.code);
  for (let n = 1; n < 7; n++) await ask(n);
  const answers = await Promise.all(Array.from({ length: 700 }, (_, n) => ask(n)));
  answers.forEach((answer, n) => {
    if (n % 7 === 0) assert.equal(answer, '22012');
    else assert.deepEqual(answer, [{ n: Math.trunc(10 / (n % 7)) }]);
  });
});

test('a table that changes under a prepared statement is noticed and healed', async () => {
  await pool.query('CREATE TABLE shifting (a int)');
  await pool.query('INSERT INTO shifting VALUES (1)');
  const ask = () => pool.query('SELECT * FROM shifting');
  for (let n = 0; n < 3; n++) assert.deepEqual(await ask(), [{ a: 1 }]);
  await pool.query("ALTER TABLE shifting ADD COLUMN b text DEFAULT 'new'");
  for (let n = 0; n < 3; n++) assert.deepEqual(await ask(), [{ a: 1, b: 'new' }]);
  await pool.query('ALTER TABLE shifting ALTER COLUMN a TYPE text');
  for (let n = 0; n < 3; n++) assert.deepEqual(await ask(), [{ a: '1', b: 'new' }]);
});

test('more statements than a connection keeps prepared still run', async () => {
  const small = createPool(cluster.options({ poolSize: 1, statementCacheSize: 3 }));
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 8; n++) {
      assert.deepEqual(await small.query(`SELECT ${n} + $1::int AS n`, [1]), [{ n: n + 1 }]);
    }
  }
  const [{ count }] = await small.query(
    'SELECT count(*)::int AS count FROM pg_prepared_statements',
  );
  assert.ok(count <= 3, `${count} prepared statements`);
  await small.end();
  const none = createPool(cluster.options({ poolSize: 1, statementCacheSize: 0 }));
  for (let n = 0; n < 3; n++) await none.query('SELECT $1::int', [n]);
  const rows = await none.query('SELECT name FROM pg_prepared_statements');
  assert.deepEqual(rows, []);
  await none.end();
});

test('what is wrong with a call is told by rejection, and the next call works', async () => {
  const rejects = (call, expected) => assert.rejects(call, expected);
  await rejects(pool.query(), { name: 'ConfigurationError' });
  await rejects(pool.query(7), { name: 'ConfigurationError' });
  await rejects(pool.query('SELECT $1', 'x'), { name: 'ConfigurationError' });
  await rejects(pool.query('SELECT $1::text', [Symbol('x')]), { code: 'HYPERION_PARAMETER' });
  await rejects(pool.query('SELECT $1::text', ['\0']), { name: 'ConfigurationError' });
  await rejects(pool.query('SELECT $1::text', ['\ud800']), { name: 'ConfigurationError' });
  await rejects(pool.query('SELECT \0'), { name: 'ConfigurationError' });
  await rejects(pool.query('SELECT $1::int', []), { code: '08P01' });
  await rejects(pool.query('SELECT 1', new Array(65_536).fill(1)), {
    code: 'HYPERION_TOO_MANY_PARAMETERS',
  });
  await rejects(pool.query('COPY things FROM STDIN'), { name: 'ConfigurationError' });
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
});

test('65535 parameters work', async () => {
  const numbers = Array.from({ length: 65_535 }, (_, n) => n);
  const list = numbers.map((n) => `$${n + 1}::int`).join(',');
  const [{ sum }] = await pool.query(
    `SELECT (SELECT sum(x) FROM unnest(ARRAY[${list}]) x)::text AS sum`,
    numbers,
  );
  assert.equal(sum, String((65_534 * 65_535) / 2));
});

test('the waiting line is served in order, and told when it is too late', async () => {
  const one = createPool(cluster.options({ poolSize: 1, acquireTimeoutMs: 300 }));
  await one.query('SELECT 1');
  const slow = one.query('SELECT pg_sleep(1)::text AS done');
  const late = one.query('SELECT 2 AS two');
  await assert.rejects(late, {
    name: 'PoolTimeoutError',
    code: 'HYPERION_POOL_TIMEOUT',
    outcome: 'not-sent',
  });
  assert.deepEqual(await slow, [{ done: '' }]);
  assert.deepEqual(await one.query('SELECT 2 AS two'), [{ two: 2 }]);
  await one.end();
});

test('status counts, and end waits for what runs', async () => {
  const two = createPool(cluster.options({ poolSize: 2 }));
  assert.deepEqual(countsOf(two), { maxSize: 2, size: 0, available: 0, inUse: 0, waiting: 0 });
  await two.query('SELECT 1');
  assert.deepEqual(countsOf(two), { maxSize: 2, size: 1, available: 1, inUse: 0, waiting: 0 });
  const running = two.query("SELECT pg_sleep(0.2)::text, 'late' AS answer");
  const ended = two.end();
  assert.equal(two.end(), ended, 'a second end is the same promise');
  await assert.rejects(two.query('SELECT 1'), { code: 'HYPERION_POOL_CLOSED' });
  assert.equal((await running)[0].answer, 'late');
  await ended;
});
