// The pool's own question for user-made types. Whatever becomes of the question, the caller's
// transaction around it goes on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const VALUE = "SELECT '{sad}'::moods.mood[] AS v";
const TEXT = [{ v: '{sad}' }];
const ARRAY = [{ v: ['sad'] }];
const UNREADABLE = 'HYPERION_UNREADABLE_VALUE';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  for (const sql of [
    'DROP SCHEMA IF EXISTS moods CASCADE',
    'DROP ROLE IF EXISTS limited',
    "CREATE ROLE limited LOGIN PASSWORD 'limited'",
    'GRANT limited TO CURRENT_USER',
    'CREATE SCHEMA moods',
    "CREATE TYPE moods.mood AS ENUM ('sad')",
    'CREATE TABLE moods.kept (id int)',
    'GRANT USAGE ON SCHEMA moods TO limited',
    'GRANT ALL ON moods.kept TO limited',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
});
after(() => cluster?.close());

const open = (t, options) => openPool(t, cluster.options({ poolSize: 1, ...options }));

async function withoutRight(t) {
  await cluster.query(cluster.primary, 'REVOKE SELECT ON pg_catalog.pg_type FROM PUBLIC');
  t.after(() => cluster.query(cluster.primary, 'GRANT SELECT ON pg_catalog.pg_type TO PUBLIC'));
}

const kept = async () =>
  (await cluster.query(cluster.primary, 'SELECT id FROM moods.kept ORDER BY id')).flat();

/**
 * Inserts, reads a value whose type the pool asks for, and inserts once more, in one transaction.
 */
async function insertAround(transaction, [first, second], prepare = () => {}, options = {}) {
  const insert = 'INSERT INTO moods.kept VALUES ($1)';
  return transaction(async (tx) => {
    await tx.query(insert, [first]);
    const undo = await prepare(tx);
    const answer = await tx.query(VALUE, [], options).catch(({ code }) => code);
    await undo?.();
    await tx.query(insert, [second]);
    return answer;
  });
}

test('a role that may not read pg_type', async (t) => {
  await withoutRight(t);
  await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
  const pool = open(t, { user: 'limited', password: 'limited' });
  const plain = (work) => pool.transaction(work);
  assert.deepEqual(await insertAround(plain, [1, 2]), TEXT);
  const inSavepoint = (work) => pool.transaction((tx) => tx.savepoint(work));
  assert.deepEqual(await insertAround(inSavepoint, [3, 4]), TEXT);
  assert.deepEqual(await kept(), ['1', '2', '3', '4']);
  // This insert is pipelined behind the read, and its parameter has such a type too.
  const sql = "SELECT $1::moods.mood[] = '{sad}' AS same";
  const both = await pool.transaction((tx) =>
    Promise.all([tx.query(VALUE), tx.query(sql, [['sad']]), tx.query('SELECT 1 AS one')]),
  );
  assert.deepEqual(both, [TEXT, [{ same: true }], [{ one: 1 }]]);
});

test('a role for one transaction alone, in a pool whose own role may', async (t) => {
  await withoutRight(t);
  await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
  const pool = open(t);
  const asLimited = (work) =>
    pool.transaction(async (tx) => {
      await tx.query('SET LOCAL ROLE limited');
      return work(tx);
    });
  assert.deepEqual(await insertAround(asLimited, [1, 2]), TEXT);
  assert.deepEqual(await kept(), ['1', '2']);
  assert.deepEqual(await pool.query(VALUE), ARRAY);
});

test('a lock on pg_type, with every limit that may hit the question', async (t) => {
  const locker = await cluster.openSession(cluster.primary);
  t.after(() => locker.close());
  const lock = async (tx) => {
    // After this the session has cached the catalog rows that the statement itself needs.
    await tx.query("SELECT '{sad}'::moods.mood[]::text");
    await locker.lock('pg_catalog.pg_type');
    return () => locker.unlock();
  };
  for (const limit of [
    {},
    { lockTimeoutMs: 200 },
    { statementTimeoutMs: 200 },
    { timeoutMs: 200 },
  ]) {
    await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
    const { timeoutMs, ...options } = limit;
    const pool = open(t, options);
    const work = (callback) => pool.transaction(callback);
    const answer = await insertAround(work, [1, 2], lock, { timeoutMs });
    const expected = timeoutMs === undefined ? UNREADABLE : 'HYPERION_QUERY_TIMEOUT';
    assert.equal(answer, expected, JSON.stringify(limit));
    assert.deepEqual(await kept(), ['1', '2'], JSON.stringify(limit));
    assert.deepEqual(await pool.query(VALUE), ARRAY, 'no such refusal is remembered');
  }
});

test('parameters whose types a lock keeps from being told are not guessed', async (t) => {
  const locker = await cluster.openSession(cluster.primary);
  t.after(() => locker.close());
  for (const sql of [
    'DROP TABLE IF EXISTS moods.notes',
    'DROP DOMAIN IF EXISTS moods.note, moods.document',
    'CREATE DOMAIN moods.note AS text',
    'CREATE DOMAIN moods.document AS jsonb',
    'CREATE TABLE moods.notes (note moods.note, document moods.document)',
  ]) {
    await cluster.query(cluster.primary, sql);
  }
  const lock = () => locker.lock('pg_catalog.pg_type');
  const refusal = { code: 'HYPERION_UNRESOLVED_TYPES', outcome: 'not-sent' };
  for (const [column, value, saved] of [
    ['note', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['document', [1, 2], '[1, 2]'],
  ]) {
    const sql = `INSERT INTO moods.notes (${column}) VALUES ($1)`;
    // After this a session has cached the catalog rows that the statement itself needs.
    const warm = (on) => on.query(`PREPARE warm AS ${sql}; DEALLOCATE warm`);
    const read = `SELECT ${column}::text FROM moods.notes WHERE ${column} IS NOT NULL`;
    await cluster.query(cluster.primary, 'TRUNCATE moods.notes');
    const pool = open(t);
    await warm(pool);
    await lock();
    await assert.rejects(pool.query(sql, [value]), refusal);
    await locker.unlock();
    // Another pool, since the first one may have heard the answer to its last question by now.
    const tx = await open(t).begin();
    await warm(tx);
    await lock();
    await assert.rejects(tx.query(sql, [value]), refusal);
    await locker.unlock();
    await tx.query(sql, [value]);
    await tx.commit();
    assert.deepEqual(await cluster.query(cluster.primary, read), [[saved]]);
    // A lock that is held for less than three questions take is waited for.
    const another = open(t);
    await warm(another);
    await lock();
    const sent = another.query(sql, [value]);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await locker.unlock();
    await sent;
    assert.deepEqual(await cluster.query(cluster.primary, read), [[saved], [saved]]);
  }
});

test('pg_cancel_backend that hits the question', async (t) => {
  await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
  const locker = await cluster.openSession(cluster.primary);
  t.after(() => locker.close());
  const pool = open(t);
  const cancel = async (tx) => {
    const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
    await tx.query("SELECT '{sad}'::moods.mood[]::text");
    await locker.lock('pg_catalog.pg_type');
    let isOver = false;
    const cancelling = (async () => {
      while (!isOver) {
        const waits = `pid = ${pid} AND wait_event_type = 'Lock'`;
        await locker.query('SELECT pg_stat_clear_snapshot()');
        await locker.query(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE ${waits}`);
      }
    })();
    return async () => {
      isOver = true;
      await cancelling;
      await locker.unlock();
    };
  };
  const work = (callback) => pool.transaction(callback);
  assert.equal(await insertAround(work, [1, 2], cancel), UNREADABLE);
  assert.deepEqual(await kept(), ['1', '2']);
});

/** A pool behind a proxy that replaces statements of the pool by others. */
async function openThrough(t, turn) {
  const { address } = await cluster.proxy(cluster.primary, {
    fromClient(chunk) {
      const turned = turn(chunk.toString('latin1'), (found, other) => other.padEnd(found.length));
      return Buffer.from(turned, 'latin1');
    },
  });
  return open(t, { hosts: [address], port: undefined });
}

const BEGINS = 'SAVEPOINT hyperion_types; SET LOCAL';
const WAY_BACK = 'ROLLBACK TO SAVEPOINT hyperion_types; RELEASE SAVEPOINT hyperion_types';

test('a question that is refused, and the way back from it, too, for a while', async (t) => {
  await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
  let ways = 0;
  const pool = await openThrough(t, (text, put) => {
    if (text.includes(BEGINS)) {
      return text.replace(/SET LOCAL lock_timeout = '500ms'/, (of) => put(of, 'SELECT 1/0'));
    }
    if (!text.includes(WAY_BACK)) return text;
    ways += 1;
    return ways > 3 ? text : text.replace(WAY_BACK, put(WAY_BACK, 'SELECT 1'));
  });
  const plain = (work) => pool.transaction(work);
  assert.equal(await insertAround(plain, [1, 2]), UNREADABLE);
  assert.deepEqual(await kept(), ['1', '2']);
  assert.ok(ways > 3);
});

test('a transaction that the question ends is told why by the call that needed it', async (t) => {
  await cluster.query(cluster.primary, 'TRUNCATE moods.kept');
  const turn = (text, put) =>
    text.replace('SAVEPOINT hyperion_types; SET', (of) => put(of, 'SELECT 1/0; SET'));
  const pool = await openThrough(t, turn);
  const insert = 'INSERT INTO moods.kept VALUES (1)';
  const work = async (tx) => {
    await tx.query(insert);
    await tx.query(VALUE);
  };
  const [{ host }] = pool.cluster();
  await assert.rejects(pool.transaction(work), { code: '22012', outcome: 'not-committed', host });
  // All later queries in the transaction fail with this as their cause.
  const tx = await pool.begin();
  await tx.query(insert);
  const answers = await Promise.allSettled([tx.query(VALUE), tx.query('SELECT 1')]);
  assert.deepEqual(
    answers.map(({ reason }) => [reason.code, reason.cause?.code]),
    [
      ['22012', undefined],
      ['25P02', '22012'],
    ],
  );
  await tx.rollback();
  // A call whose parameters needed the types.
  const asked = pool.transaction(async (of) => {
    await of.query(insert);
    await of.query('SELECT $1::moods.mood[]', [['sad']]);
  });
  await assert.rejects(asked, { code: '22012', outcome: 'not-committed' });
  assert.deepEqual(await kept(), []);
});

test('a snapshot that is older than a type teaches nobody that it is not there', async (t) => {
  const pool = open(t);
  await cluster.query(cluster.primary, 'DROP TYPE IF EXISTS moods.later');
  const sql = "SELECT '{sad}'::moods.later[] AS v";
  await pool.transaction(
    async (tx) => {
      await tx.query('SELECT count(*) FROM moods.kept');
      await cluster.query(cluster.primary, "CREATE TYPE moods.later AS ENUM ('sad')");
      assert.deepEqual(await tx.query(sql), ARRAY);
    },
    { isolation: 'repeatable read' },
  );
  assert.deepEqual(await pool.query(sql), ARRAY);
});

/** Types, a value of each, and the parameter for that value. */
const NEWER = [
  ['"Mo""od"[]', `'{sad}'`, ['sad']],
  ['"Mo""od"[]', `ARRAY['sad', NULL]::newer."Mo""od"[]`, ['sad', null]],
  ['whole[]', `'{1,2}'`, [1, 2]],
  ['wholer[]', `'{1,NULL}'`, [1, null]],
  ['boxes[]', `'{(1,1),(0,0);(2,2),(1,1)}'`, ['(1,1),(0,0)', '(2,2),(1,1)']],
  ['list', `'{1,2}'`, [1, 2]],
  ['moods', `'{sad}'`, ['sad']],
  ['pair[]', `'{"(1,x)"}'`, ['(1,x)']],
  ['span[]', `'{"[1,3)"}'`, ['[1,3)']],
  ['document', `'{"a": 1}'`, { a: 1 }],
  ['document[]', `ARRAY['{"a": 1}']::newer.document[]`, [{ a: 1 }]],
];

test('types that are newer than the snapshot are told in its transaction', async (t) => {
  await cluster.query(cluster.primary, 'DROP SCHEMA IF EXISTS newer CASCADE');
  for (const settings of [
    { isolation: 'repeatable read' },
    { isolation: 'serializable', readOnly: true },
  ]) {
    const pool = open(t, { poolSize: 2 });
    await pool.transaction(async (tx) => {
      await tx.query('SELECT count(*) FROM moods.kept');
      for (const sql of [
        'CREATE SCHEMA newer',
        `CREATE TYPE newer."Mo""od" AS ENUM ('sad')`,
        'CREATE DOMAIN newer.whole AS int',
        'CREATE DOMAIN newer.wholer AS newer.whole',
        'CREATE DOMAIN newer.boxes AS box',
        'CREATE DOMAIN newer.list AS int[]',
        'CREATE DOMAIN newer.moods AS newer."Mo""od"[]',
        'CREATE TYPE newer.pair AS (a int, b text)',
        'CREATE TYPE newer.span AS RANGE (subtype = int)',
        'CREATE DOMAIN newer.document AS jsonb',
      ]) {
        await cluster.query(cluster.primary, sql);
      }
      for (const [type, sql, value] of NEWER) {
        const [read] = await tx.query(`SELECT (${sql})::newer.${type} AS v`);
        assert.deepEqual(read, { v: value }, type);
        const [{ v }] = await tx.query(`SELECT $1::newer.${type} AS v`, [value]);
        assert.deepEqual(v, value, `${type} as a parameter`);
      }
    }, settings);
    // The answer to that question holds.
    for (const [type, sql, value] of NEWER) {
      const ask = (on) =>
        on.query(`SELECT (${sql})::newer.${type} AS v, $1::newer.${type} AS w`, [value]);
      for (let use = 0; use < 3; use++) {
        assert.deepEqual([...(await ask(pool))], [{ v: value, w: value }], type);
      }
    }
    await cluster.query(cluster.primary, 'DROP SCHEMA newer CASCADE');
  }
});

test('types that are newer than the snapshot are known between the statements of a text', async (t) => {
  const settings = { extra_float_digits: '0', IntervalStyle: 'iso_8601', DateStyle: 'German' };
  for (const [n, parameters] of [{}, settings].entries()) {
    const pool = open(t, { parameters });
    for (const [type, sql, value] of [
      ['float8', '0.1::float8 + 0.2', 0.1 + 0.2],
      ['interval', "'1 day 02:00'::interval", '1 day 02:00:00'],
      ['date', "'2024-02-01'::date", '2024-02-01'],
    ]) {
      const results = await pool.transaction(
        async (tx) => {
          await tx.query('SELECT count(*) FROM moods.kept');
          await cluster.query(cluster.primary, `CREATE DOMAIN moods.${type}_${n} AS ${type}`);
          return tx.query(`SELECT 1; SELECT ARRAY[${sql}]::moods.${type}_${n}[] AS v`);
        },
        { isolation: 'repeatable read' },
      );
      assert.deepEqual(results[1], [{ v: [value] }], `${type} ${JSON.stringify(parameters)}`);
    }
  }
});

test('a type that its own statement drops in a transaction leaves no array as text', async (t) => {
  await cluster.query(
    cluster.primary,
    `CREATE DOMAIN moods.brief AS text; CREATE FUNCTION moods.end_it() RETURNS int
     LANGUAGE plpgsql AS $$ BEGIN DROP DOMAIN moods.brief; RETURN 1; END $$`,
  );
  const pool = open(t);
  const sql = `SELECT '{a,b}'::moods.brief[] AS v, CASE WHEN i = 2 THEN moods.end_it() END AS x
    FROM generate_series(1, 2) AS i`;
  for (const before of [[], ['SELECT 1']]) {
    const tx = await pool.begin();
    for (const first of before) await tx.query(first);
    const answer = await tx.query(sql).catch(({ code }) => code);
    // The type may be known by now.
    if (answer !== UNREADABLE) assert.deepEqual(answer[0].v, ['a', 'b']);
    assert.deepEqual(await tx.query('SELECT 1 AS one'), [{ one: 1 }]);
    await tx.rollback();
  }
});

test('an answer that can’t be read makes nothing else of its transaction unknown', async (t) => {
  const locker = await cluster.openSession(cluster.primary);
  t.after(() => locker.close());
  await cluster.query(
    cluster.primary,
    'DROP TABLE IF EXISTS moods.felt; CREATE TABLE moods.felt (id int, v moods.mood[])',
  );
  const sql = "INSERT INTO moods.felt VALUES (1, '{sad}') RETURNING v";
  const pool = open(t);
  const ask = async (tx) => {
    await tx.query(`PREPARE warm AS ${sql}; DEALLOCATE warm; SELECT '{sad}'::moods.mood[]::text`);
    await locker.query('BEGIN; LOCK TABLE pg_catalog.pg_type IN ACCESS EXCLUSIVE MODE');
    try {
      return await tx.query(sql);
    } finally {
      await locker.query('ROLLBACK');
    }
  };
  const count = () => cluster.query(cluster.primary, 'SELECT count(*) FROM moods.felt');
  await assert.rejects(pool.transaction(ask), { code: UNREADABLE, outcome: 'not-committed' });
  const failing = async (tx) => {
    await assert.rejects(ask(tx), { code: UNREADABLE, outcome: 'unknown' });
    await tx.query('SELECT 1/0');
  };
  await assert.rejects(pool.transaction(failing), { code: '22012', outcome: 'not-committed' });
  assert.deepEqual(await count(), [['0']]);
  await pool.transaction((tx) => assert.rejects(ask(tx), { code: UNREADABLE }));
  assert.deepEqual(await count(), [['1']]);
});

test('a read whose types are gone when they are asked for is sent again', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const pool = open(t, { hosts: [proxy.address] });
  const make = (value) =>
    cluster.query(
      cluster.primary,
      `DROP TABLE IF EXISTS moods.fleeting; DROP DOMAIN IF EXISTS moods.number; CREATE DOMAIN
       moods.number AS int; CREATE TABLE moods.fleeting AS SELECT ARRAY[${value}]::moods.number[] v`,
    );
  await make(7);
  await pool.query('SELECT 1');
  await proxy.delay(200);
  const read = pool.query('SELECT v FROM moods.fleeting');
  // Its answer may still be on the way.
  await cluster.waitForSession("query = 'SELECT v FROM moods.fleeting' AND state = 'idle'");
  await make(8);
  assert.deepEqual(await read, [{ v: [8] }]);
  await proxy.pass();
});

test('where text has another style, reads that come at once go by types that were told', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const options = {
    hosts: [proxy.address],
    poolSize: 3,
    parameters: { DateStyle: 'German' },
  };
  const pool = open(t, options);
  await cluster.query(
    cluster.primary,
    `CREATE DOMAIN moods.moment AS timestamptz; CREATE TABLE moods.diary AS
     SELECT ARRAY['2024-01-02 03:04:05+00']::moods.moment[] AS v`,
  );
  const read = (n) => pool.query(`SELECT v FROM moods.diary WHERE $1 = $1`, [n]);
  const held = await Promise.all([1, 2, 3].map(() => pool.connect()));
  await Promise.all(held.map((connection) => connection.release()));
  await proxy.delay(50);
  const reads = [];
  for (let n = 0; n < 20; n++) {
    reads.push(read(n));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const rows of await Promise.all(reads)) {
    assert.deepEqual(rows, [{ v: ['2024-01-02T03:04:05Z'] }]);
  }
  await proxy.pass();
});

test('a question for types waits for the end of a script that is sent in steps', async (t) => {
  const pool = open(t, { pipelining: 'all', parameters: { DateStyle: 'German' } });
  const make = [1, 2].map(
    (n) => `DROP TABLE IF EXISTS moods.t${n}; DROP TYPE IF EXISTS moods.m${n};
      CREATE TYPE moods.m${n} AS ENUM ('a'); CREATE TABLE moods.t${n} AS SELECT '{a}'::moods.m${n}[] m`,
  );
  await cluster.query(cluster.primary, make.join(';'));
  const read = (n) => {
    const sql = `SELECT m FROM moods.t${n} WHERE $1::text[] IS NOT NULL`;
    return pool.query(sql, [['x']], { prepare: false });
  };
  for (let n = 0; n < 5; n++) await Promise.all([read(1), read(2)]);
  for (let round = 0; round < 20; round++) {
    await cluster.query(cluster.primary, make.join(';'));
    const reads = [1, 2, 1, 2, 1, 2].map(read);
    const script = pool.query(`INSERT INTO moods.kept VALUES (${round}); SELECT m FROM moods.t1`);
    await Promise.allSettled(reads);
    assert.deepEqual(await script, [[], [{ m: ['a'] }]]);
  }
});

test('a role of one session that may not be told of types refuses nothing to others', async (t) => {
  await withoutRight(t);
  const pool = open(t, { poolSize: 2, parameters: { DateStyle: 'German' } });
  await cluster.query(
    cluster.primary,
    `DROP DOMAIN IF EXISTS moods.day CASCADE; CREATE DOMAIN moods.day AS date;
     CREATE TABLE moods.days AS SELECT ARRAY['2024-02-01']::moods.day[] AS v`,
  );
  const connection = await pool.connect();
  await connection.query('SET ROLE limited');
  await connection.query("SELECT '{sad}'::moods.mood[] AS v; SELECT 1 AS one");
  await connection.release();
  for (let use = 0; use < 3; use++) {
    const answers = await pool.query('SELECT v FROM moods.days; SELECT 2 AS two');
    assert.deepEqual(answers, [[{ v: ['2024-02-01'] }], [{ two: 2 }]]);
  }
});

test('a transaction whose caller waits for types is not idle', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const hosts = [proxy.address];
  const pool = open(t, { hosts, idleInTransactionTimeoutMs: 300 });
  await pool.query('SELECT 1');
  await proxy.delay(200);
  const work = async (tx) => [await tx.query(VALUE), await tx.query('SELECT 1 AS one')];
  assert.deepEqual(await pool.transaction(work), [ARRAY, [{ one: 1 }]]);
  await proxy.pass();
});

test('a read that waits for types outlasts neither the pool’s end nor its caller’s time', async () => {
  const make = `DROP TABLE IF EXISTS moods.shelf; CREATE TABLE moods.shelf AS ${VALUE}`;
  await cluster.query(cluster.primary, make);
  const begun = async (whenAsked) => {
    const { address } = await cluster.proxy(cluster.primary, {
      fromClient(chunk) {
        const asks = chunk.includes('pg_catalog.pg_type AS');
        if (asks) setImmediate(whenAsked);
        return asks ? null : chunk;
      },
    });
    return createPool(cluster.options({ hosts: [address], poolSize: 1, connectTimeoutMs: 60_000 }));
  };
  let ended;
  const pool = await begun(() => (ended ??= pool.end({ timeoutMs: 100 })));
  const read = pool.query('SELECT v FROM moods.shelf');
  await assert.rejects(read, { code: 'HYPERION_POOL_CLOSED', outcome: 'not-committed' });
  await ended;

  const other = await begun(() => {});
  const late = other.query('SELECT v FROM moods.shelf', [], { timeoutMs: 200 });
  await assert.rejects(late, { code: 'HYPERION_QUERY_TIMEOUT', outcome: 'not-committed' });
  const controller = new AbortController();
  const third = await begun(() => controller.abort());
  const aborted = third.query('SELECT v FROM moods.shelf', [], { signal: controller.signal });
  await assert.rejects(aborted, { code: 'HYPERION_ABORTED', outcome: 'not-committed' });
  await Promise.all([other.end({ timeoutMs: 1 }), third.end({ timeoutMs: 1 })]);
});
