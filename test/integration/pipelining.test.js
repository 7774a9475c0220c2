// Which queries the pool sends behind others on a connection, and which ones a lock that another
// query waits for must never hold up. On real servers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(
    cluster.primary,
    `CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
     INSERT INTO hot SELECT g, 0 FROM generate_series(1, 500) g;
     CREATE TABLE altered (id int PRIMARY KEY);
     INSERT INTO altered SELECT generate_series(1, 500);
     CREATE VIEW locking AS SELECT * FROM hot FOR UPDATE;
     CREATE FUNCTION add(which int) RETURNS int LANGUAGE sql
       AS 'UPDATE hot SET n = n + 1 WHERE id = $1 RETURNING n'`,
  );
});
after(() => cluster?.close());

const open = (t, options) => openPool(t, cluster.options(options), { timeoutMs: 0 });

const ADD = 'UPDATE hot SET n = n + 1 WHERE id = $1';
const READ = 'SELECT n FROM hot WHERE id = $1';
const ALTERED = 'SELECT id FROM altered WHERE id = $1';

const many = (count, ask) => Promise.all(Array.from({ length: count }, (_, n) => ask(n)));

/** After this the pool knows the statement as quick. */
async function warm(pool, ...statements) {
  for (let round = 0; round < 20; round += 1) {
    for (const sql of statements) await many(100, (n) => pool.query(sql, [n + 2]));
  }
}

/** After this, queries that are asked in one turn share one connection. */
async function share(pool, ...statements) {
  for (let shared = false; !shared;) {
    const queries = statements.flatMap((sql) => [pool.query(sql, [7]), pool.query(sql, [8])]);
    await turn();
    shared = pool.status().waiting === 0;
    await Promise.all(queries);
  }
}

/** Statements that may wait for a row's lock, or for another lock of a transaction. */
const LOCKING = {
  'an UPDATE': ADD,
  'FOR UPDATE': 'SELECT n FROM hot WHERE id = $1 FOR UPDATE',
  'a function with an UPDATE': 'SELECT add($1)',
  'WITH an UPDATE': `WITH u AS (${ADD} RETURNING n) SELECT n FROM u`,
  'an advisory lock': 'SELECT pg_advisory_xact_lock($1::int)',
  'a view with FOR UPDATE': 'SELECT n FROM locking WHERE id = $1',
};

for (const [name, sql] of Object.entries(LOCKING)) {
  test(`a transaction gets what it waits for beside ${name} that waits for it`, async (t) => {
    const one = open(t, { poolSize: 10 });
    const other = open(t, { poolSize: 10 });
    for (const [holder, pool] of [
      [one, other],
      [one, one],
    ]) {
      await warm(pool, sql);
      for (const beside of [5, 10, 31, 60]) {
        const queries = [];
        await holder.transaction(async (tx) => {
          await tx.query(sql, [1]);
          for (let n = 1; n <= beside; n += 1) queries.push(pool.query(sql, [n]));
          await pool.query(sql, [400]);
        });
        await Promise.all(queries);
      }
    }
  });
}

test('a write that waits for a lock holds up none of the others', async (t) => {
  const holder = open(t, { poolSize: 1 });
  const pool = open(t, { poolSize: 4 });
  await warm(pool, ADD);
  let blocked;
  await holder.transaction(async (tx) => {
    await tx.query(ADD, [1]);
    blocked = pool.query(ADD, [1]);
    await many(100, (n) => pool.query(ADD, [n + 2]));
  });
  await blocked;
});

test('reads that stand behind one of a table that is being altered are asked elsewhere', async (t) => {
  const holder = open(t, { poolSize: 1 });
  const pool = open(t, { poolSize: 2 });
  await warm(pool, READ, ALTERED);
  const lease = await pool.connect();
  await share(pool, READ, ALTERED);
  let stuck;
  await holder.transaction(async (tx) => {
    await tx.query('ALTER TABLE altered ADD COLUMN more int');
    stuck = pool.query(ALTERED, [1]);
    const others = many(30, (n) => pool.query(READ, [n + 1]));
    await turn();
    assert.equal(pool.status().waiting, 0, 'all of them stand behind it');
    await lease.release();
    assert.equal((await others).length, 30);
    assert.equal((await pool.query(READ, [9])).length, 1);
  });
  assert.deepEqual(await stuck, [{ id: 1 }]);
});

test('a connection is opened for reads that are stuck, and all of them are over with their pool', async (t) => {
  const holder = open(t, { poolSize: 1 });
  const pool = open(t, { poolSize: 10 });
  for (let n = 0; n < 20; n += 1) {
    await pool.query(READ, [n]);
    await pool.query(ALTERED, [n]);
  }
  assert.equal(pool.status().size, 1);
  let stuck;
  await holder.transaction(async (tx) => {
    await tx.query('LOCK TABLE altered');
    stuck = [pool.query(ALTERED, [1]), pool.query(ALTERED, [2])];
    await many(5, (n) => pool.query(READ, [n + 1]));
    assert.ok(pool.status().size > 1);
  });
  assert.deepEqual(await Promise.all(stuck), [[{ id: 1 }], [{ id: 2 }]]);
  await pool.end();
});

test('whoever gives up a read that is in two places is told once, and the connections serve on', async (t) => {
  const holder = open(t, { poolSize: 1 });
  const pool = open(t, { poolSize: 3 });
  await warm(pool, ALTERED);
  const stuck = [];
  await holder.transaction(async (tx) => {
    await tx.query('LOCK TABLE altered');
    for (let n = 1; n <= 12; n += 1) {
      const query = pool.query(ALTERED, [n], { timeoutMs: 100 + n });
      stuck.push(query.then(assert.fail, (error) => error.code));
    }
    const codes = new Set(await Promise.all(stuck));
    assert.deepEqual([...codes], ['HYPERION_QUERY_TIMEOUT']);
    assert.equal((await many(40, (n) => pool.query(READ, [n + 1]))).length, 40);
  });
  assert.deepEqual(await pool.query(ALTERED, [5]), [{ id: 5 }]);
});

test('writes stand behind others where all may, and nothing does where none may', async (t) => {
  const all = open(t, { poolSize: 1, pipelining: 'all' });
  await share(all, ADD, READ);
  for (const [pipelining, sql] of [
    ['off', READ],
    ['off', ADD],
    ['reads', ADD],
  ]) {
    const pool = open(t, { poolSize: 1, pipelining });
    for (let n = 0; n < 20; n += 1) await pool.query(sql, [7]);
    const queries = [pool.query(sql, [7]), pool.query(sql, [8])];
    await turn();
    assert.equal(pool.status().waiting, 1, `${pipelining}: ${sql}`);
    await Promise.all(queries);
  }
});
