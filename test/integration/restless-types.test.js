// Tables and types that another client makes anew all the time: a read outside of a transaction is
// answered, and its values have the form of the types that its table had then.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { clusterFor, findPooler } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const program = findPooler({ prepares: true });
const thatPrepares = {
  skip:
    (process.env.HYPERION_HOSTS && 'it has no pooler') ||
    (program === undefined && 'no pgbouncer of 1.21 or later is installed'),
};
const CHANGES = 150;
const READERS = 12;
/** What the type is, a value of it, and how that is written in SQL. */
const TYPES = [
  ["TYPE restless AS ENUM ('a')", 'a', "'a'"],
  ['DOMAIN restless AS int', 7, '7'],
  ['DOMAIN restless AS float8', 0.5, '0.5'],
  ['DOMAIN restless AS timestamptz', '2024-01-02T03:04:05Z', "'2024-01-02 03:04:05+00'"],
  ['DOMAIN restless AS bytea', Buffer.from('ab'), "'\\x6162'"],
  ['TYPE restless AS (x int)', '(3)', 'ROW(3)'],
];

let cluster;
let ddl;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  ddl = await cluster.openSession(cluster.primary);
  await ddl.query('DROP TABLE IF EXISTS moving; DROP DOMAIN IF EXISTS restless');
});
after(async () => {
  await ddl?.close();
  await cluster?.close();
});

const make = (n) => {
  const [type, , text] = TYPES[n];
  return `CREATE ${type}; CREATE TABLE moving (n int, one restless, many restless[]);
    INSERT INTO moving VALUES (${n}, ${text}, ARRAY[${text}]::restless[])`;
};
const drop = (n) => `DROP TABLE moving; DROP ${TYPES[n][0].split(' ')[0]} restless`;

/** The table is made anew again and again while the pool reads it. */
async function readThrough(options, choices) {
  const pool = createPool(cluster.options({ poolSize: 4, acquireTimeoutMs: 60_000, ...options }));
  await ddl.query(make(0));
  let now = 0;
  let isOver = false;
  let reads = 0;
  const read = async () => {
    while (!isOver) {
      const texts = [
        ['SELECT n, one, many FROM moving', []],
        ['SELECT n, one, many FROM moving WHERE n = ANY($1)', [TYPES.map((_, n) => n)]],
      ];
      const [row] = await pool.query(...texts[reads++ % texts.length], choices);
      const [, value] = TYPES[row.n];
      assert.deepEqual(row, { n: row.n, one: value, many: [value] });
    }
  };
  const readers = Promise.all(Array.from({ length: READERS }, read));
  const change = async () => {
    for (let n = 0; n < CHANGES && !isOver; n++) {
      const next = (now + 1) % TYPES.length;
      await ddl.query(`BEGIN; ${drop(now)}; ${make(next)}; COMMIT`);
      now = next;
    }
  };
  try {
    await Promise.race([change(), readers]);
    isOver = true;
    await readers;
  } finally {
    isOver = true;
    await pool.end();
    await ddl.query(drop(now));
  }
}

test('reads of tables that are made anew all the time', () => readThrough({}, {}));

test('the same without prepared statements', () => readThrough({}, { prepare: false }));

test('the same in sessions in which text has another form', () =>
  readThrough({ parameters: { DateStyle: 'German' } }, {}));

test('the same behind a pooler that keeps prepared statements', thatPrepares, async (t) => {
  const settings = { max_prepared_statements: 200 };
  const pooler = await cluster.pooler(cluster.primary, { size: 4, program, settings });
  t.after(() => pooler.close());
  await readThrough({ hosts: [pooler.address] }, {});
});

/** What servers answer if a type is dropped while they run a statement. */
const OF_SERVERS = ['XX000', '22P02', '22P03', '42704', '0A000'];
const POOL_SIZE = 4;

/** Asks for values of a type that is made anew all the time. Returns how the calls have ended. */
async function askThrough(t, options, choices) {
  const make = "CREATE TYPE restless AS ENUM ('a')";
  await ddl.query(make);
  const pool = openPool(
    t,
    cluster.options({ poolSize: POOL_SIZE, acquireTimeoutMs: 60_000, ...options }),
  );
  let isOver = false;
  const ends = { answered: 0, ofServer: 0, unknown: 0 };
  const ask = async () => {
    while (!isOver) {
      try {
        const rows = await pool.query('SELECT $1::restless AS one', ['a'], choices);
        assert.deepEqual(rows, [{ one: 'a' }]);
        ends.answered++;
      } catch (error) {
        if (error.code === 'HYPERION_UNREADABLE_VALUE' && error.outcome === 'unknown') {
          ends.unknown++;
        } else {
          assert.ok(OF_SERVERS.includes(error.code), inspect(error));
          assert.equal(error.outcome, 'not-committed');
          ends.ofServer++;
        }
      }
    }
  };
  const callers = Promise.all(Array.from({ length: READERS }, ask));
  const change = async () => {
    for (let n = 0; n < 4 * CHANGES && !isOver; n++) {
      await ddl.query(`BEGIN; DROP TYPE restless; ${make}; COMMIT`);
    }
  };
  try {
    await Promise.race([change(), callers]);
    isOver = true;
    await callers;
  } finally {
    isOver = true;
    await ddl.query('DROP TYPE restless');
  }
  assert.ok(ends.answered > ends.ofServer + ends.unknown, inspect(ends));
  return ends;
}

test('values of a type that is made anew all the time, with a serialize', async (t) => {
  const types = { date: { serialize: String } };
  const { unknown } = await askThrough(t, { types }, {});
  assert.ok(unknown <= POOL_SIZE);
});

// The cast may call code of users, so that the pool does not run it again on its own. But once it
// has seen the type go, it runs it only where it knows the types of its results.
test('the same without a serialize', async (t) => {
  const { unknown } = await askThrough(t, {}, {});
  assert.ok(unknown <= POOL_SIZE);
});

test('the same declared to only read', async (t) => {
  const { unknown } = await askThrough(t, {}, { readOnly: true });
  assert.equal(unknown, 0);
});
