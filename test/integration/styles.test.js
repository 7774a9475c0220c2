// Settings that decide how values are written and read as text: each type under each such setting,
// set in each possible way, on first and on later uses. Results are the same as without the
// setting, and parameters mean what they mean in a session of psql.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

/**
 * Types, an expression for each, and its value in JavaScript, which no setting of the session may
 * change.
 */
const TYPES = [
  ['bool', `true`, true],
  ['int4', `-7`, -7],
  ['int8', `9007199254740993::int8`, 9007199254740993n],
  ['numeric', `0.10::numeric`, '0.10'],
  ['text', `'a "b" NULL'::text`, 'a "b" NULL'],
  ['uuid', `'00000000-0000-0000-0000-00000000000a'::uuid`, '00000000-0000-0000-0000-00000000000a'],
  ['jsonb', `jsonb_build_object('a', 0.1)`, { a: 0.1 }],
  ['float4', `0.1::float4`, 0.1],
  ['float8', `0.1::float8 + 0.2`, 0.1 + 0.2],
  ['date', `make_date(2024, 1, 2)`, '2024-01-02'],
  ['early_date', `make_date(-44, 3, 15)`, '-000043-03-15'],
  ['timestamp', `make_timestamp(2024, 1, 2, 3, 4, 5.5)`, '2024-01-02T03:04:05.5'],
  ['timestamptz', `to_timestamp(1704164645.5)`, '2024-01-02T03:04:05.5Z'],
  ['infinite', `make_timestamp(2024, 1, 2, 3, 4, 5) + 'infinity'::timestamp - 'infinity'`, null],
  ['time', `make_time(3, 4, 5.25)`, '03:04:05.25'],
  ['interval', `make_interval(1, 0, 0, -2, 3)`, '1 year -2 days +03:00:00'],
  ['negative', `make_interval(0, 0, 0, -1, -2, -3, -4.5)`, '-1 days -02:03:04.5'],
  ['bytea', `decode('00ff5c', 'hex')`, Buffer.from([0, 255, 92])],
].filter(([type]) => type !== 'infinite');

/** Each type, its array, a domain over it, and an array of that domain. */
const COLUMNS = TYPES.flatMap(([type, expression, value]) => {
  const domain = `styled_${type}`;
  return [
    [`a_${type}`, expression, value],
    [`b_${type}`, `ARRAY[${expression}, NULL]`, [value, null]],
    [`c_${type}`, `(${expression})::${domain}`, value],
    [`d_${type}`, `ARRAY[(${expression})::${domain}, NULL]`, [value, null]],
  ];
});
const LIST = COLUMNS.map(([name, expression]) => `${expression} AS ${name}`).join(', ');
const OBJECT = Object.fromEntries(COLUMNS.map(([name, , value]) => [name, value]));
const ARRAY = COLUMNS.map(([, , value]) => value);

/**
 * Values to write, as a parameter and as a literal, with `$` in their place. All of them come back
 * as text.
 */
const WRITTEN = [
  ['02/01/04', `$::date::text`],
  ['02/01/04', `extract(month FROM $::date)::text`],
  ['03.04.05', `extract(year FROM $::date)::text`],
  ['02/01/04 03:04', `extract(epoch FROM $::timestamptz)::text`],
  ['-1 2:03:04', `extract(epoch FROM $::interval)::text`],
  ['-1 2:03:04', `$::interval::text`],
  ['0.30000000000000004', `$::float8::text`],
  ['{a,NULL}', `array_to_json($::text[])::text`],
];
const written = (place) =>
  `SELECT ${WRITTEN.map(([, expression], n) => `${expression.replace('$', place(n))} AS w${n}`).join(', ')}`;
const BY_LITERAL = written((n) => `'${WRITTEN[n][0]}'`);
const BY_PARAMETER = written((n) => `$${n + 1}`);
const VALUES = WRITTEN.map(([value]) => value);

/** Arrays with NULLs, which `array_nulls = off` would turn into strings. */
const WITH_NULLS = [
  ['text', ['x', null, 'NULL']],
  ['varchar', ['x', null]],
  ['name', ['x', null]],
  ['styled_text', ['x', null]],
  ['styled_mood', ['sad', null, 'NULL']],
  ['styled_feeling', ['sad', null]],
  ['styled_words', ['sad', null]],
  ['int4', [1, null]],
  ['styled_int4', [1, null]],
  ['float8', [0.5, null]],
  ['numeric', ['-12.500', null]],
  ['numeric', [1.5, null]],
  ['styled_numeric', ['0.00012', null, 'NaN']],
  ['uuid', ['00000000-0000-0000-0000-00000000000a', null]],
  ['bool', [true, null]],
  ['jsonb', [{ a: 1 }, null]],
  ['json', [{ a: 1 }, null]],
  ['bytea', [Buffer.from([1]), null]],
  ['styled_bytea', [Buffer.from([1]), null]],
];

/**
 * Values for the settings. All but the last set differ from the settings by which this client reads
 * text.
 */
const SETS = [
  {
    DateStyle: 'German',
    IntervalStyle: 'iso_8601',
    extra_float_digits: '-10',
    array_nulls: 'off',
    TimeZone: 'Asia/Kathmandu',
    bytea_output: 'escape',
  },
  {
    DateStyle: 'SQL, DMY',
    IntervalStyle: 'sql_standard',
    extra_float_digits: '0',
    array_nulls: 'off',
    TimeZone: '<-20>+20',
    standard_conforming_strings: 'off',
  },
  {
    DateStyle: 'Postgres, YMD',
    IntervalStyle: 'postgres_verbose',
    extra_float_digits: '3',
    TimeZone: 'America/St_Johns',
  },
  { extra_float_digits: '0' },
  { DateStyle: 'ISO, DMY', array_nulls: 'off', TimeZone: '<+99>-99' },
];

let cluster;
let user;
let database;
/** The text that a session of psql would make of each written value, for each set. */
const plain = [];
const ask = (sql) => cluster.query(cluster.primary, sql);
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  [[user, database]] = await ask('SELECT current_user, current_database()');
  for (const [type] of TYPES) {
    const of = { early_date: 'date', negative: 'interval' }[type] ?? type;
    await ask(`CREATE DOMAIN styled_${type} AS ${of}`);
  }
  await ask(`CREATE TYPE styled_mood AS ENUM ('sad', 'NULL')`);
  await ask('CREATE DOMAIN styled_feeling AS styled_mood');
  await ask('CREATE DOMAIN styled_words AS styled_text');
  for (const [n, set] of SETS.entries()) {
    const lines = Object.entries(set).map(([name, value]) => `SET ${name} = '${value}';`);
    const lasting = Object.entries(set).map(
      ([name, value]) => `PERFORM set_config('${name}', '${value}', false);`,
    );
    await ask(
      `CREATE FUNCTION restyle_${n}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ${lasting.join(' ')} END $$`,
    );
    const session = await cluster.openSession(cluster.primary);
    for (const line of lines) await session.query(line);
    plain.push((await session.query(BY_LITERAL))[0]);
    await session.close();
  }
});
after(() => cluster?.close());

let number = 0;
/** Each call makes a statement that is new to the pool. */
const fresh = (sql) => `${sql} /* ${(number += 1)} */`;

/** All reads and writes on one pool, connection or transaction. */
async function check(on, set, how, { scripts = true } = {}) {
  const sql = fresh(`SELECT ${LIST}`);
  for (const use of [1, 2, 3]) {
    const rows = await on.query(sql).catch((error) => {
      throw new Error(`${how}, use ${use}`, { cause: error });
    });
    assert.deepStrictEqual(rows, [OBJECT], `${how}, use ${use}`);
  }
  const asArrays = await on.query(fresh(`SELECT ${LIST}`), [], { rowMode: 'array' });
  assert.deepStrictEqual(asArrays, [ARRAY], `${how}, rowMode array`);
  if (scripts) {
    const script = await on.query(fresh(`SELECT 1 AS n; SELECT ${LIST}; SELECT 2 AS n`));
    assert.deepStrictEqual(script, [[{ n: 1 }], [OBJECT], [{ n: 2 }]], `${how}, in a script`);
  }

  const expected = plain[SETS.indexOf(set)];
  const byParameter = fresh(BY_PARAMETER);
  for (const use of [1, 2]) {
    const [literal] = await on.query(fresh(BY_LITERAL));
    assert.deepStrictEqual(Object.values(literal), expected, `${how}, literals`);
    const [row] = await on.query(byParameter, VALUES);
    assert.deepStrictEqual(Object.values(row), expected, `${how}, parameters, use ${use}`);
  }
  const nulls = WITH_NULLS.map(([type], n) => `$${n + 1}::${type}[] AS n${n}`).join(', ');
  const sent = fresh(`SELECT ${nulls}`);
  for (const use of [1, 2]) {
    const [row] = await on.query(
      sent,
      WITH_NULLS.map(([, value]) => value),
    );
    for (const [n, [type, value]] of WITH_NULLS.entries()) {
      const came = type.endsWith('numeric') ? value.map((v) => v && String(v)) : value;
      assert.deepStrictEqual(row[`n${n}`], came, `${how}, an array of ${type}, use ${use}`);
    }
  }
}

const MODES = [{}, { statementCacheSize: 0 }];

/** Runs `body` with a pool of one connection for each mode. */
async function withPools(options, body) {
  for (const mode of MODES) {
    const pool = createPool(cluster.options({ poolSize: 1, ...mode, ...options }));
    try {
      await body(pool, JSON.stringify(mode));
    } finally {
      await pool.end();
    }
  }
}

const shown = (set) => JSON.stringify(set);

for (const set of SETS) {
  const settings = Object.entries(set);
  test(`by the option parameters: ${shown(set)}`, async () => {
    await withPools({ parameters: set }, (pool, mode) => check(pool, set, mode));
  });

  const standing = {
    'the server': ['ALTER SYSTEM', 'SELECT pg_reload_conf()'],
    'the role': [() => `ALTER ROLE "${user}"`],
    'the database': [() => `ALTER DATABASE "${database}"`],
  };
  for (const [way, [alter, reload]] of Object.entries(standing)) {
    test(`by ${way}: ${shown(set)}`, async () => {
      const what = typeof alter === 'string' ? alter : alter();
      const open = createPool(cluster.options({ poolSize: 1 }));
      try {
        // A session that is already open, and whose settings were right.
        await open.query(fresh('SELECT 0.1::float8 AS n'));
        await open.query(fresh('SELECT 1; SELECT 2'));
        for (const [name, value] of settings) await ask(`${what} SET ${name} = '${value}'`);
        if (reload) {
          await ask(reload);
          await new Promise((resolve) => setTimeout(resolve, 100));
          const sql = fresh(`SELECT ${LIST}`);
          for (const use of [1, 2]) {
            assert.deepStrictEqual(await open.query(sql), [OBJECT], `reloaded, use ${use}`);
          }
        }
        await withPools({}, async (pool, mode) => {
          await check(pool, set, mode);
          await pool.transaction((tx) => check(tx, set, `${mode}, in a transaction`));
        });
      } finally {
        for (const [name] of settings) await ask(`${what} RESET ${name}`);
        if (reload) await ask(reload);
        await open.end();
      }
    });
  }

  test(`in a session: ${shown(set)}`, async () => {
    const ways = {
      SET: (name, value) => [`SET ${name} = '${value}'`],
      set_config: (name, value) => ['SELECT set_config($1, $2, false)', [name, value]],
    };
    await withPools({}, async (pool, mode) => {
      for (const [way, change] of Object.entries(ways)) {
        const connection = await pool.connect();
        for (const setting of settings) await connection.query(...change(...setting));
        await check(connection, set, `${mode}, ${way}`);
        await connection.release();
      }
      await pool.transaction(async (tx) => {
        for (const [name, value] of settings) await tx.query(`SET LOCAL ${name} = '${value}'`);
        await check(tx, set, `${mode}, SET LOCAL`);
      });
      const restyle = `SELECT restyle_${SETS.indexOf(set)}()`;
      await pool.transaction(async (tx) => {
        await tx.query(restyle);
        // No answer shows the change. For texts of several statements the pool relies on the
        // earlier state of the session.
        await check(tx, set, `${mode}, a function in a transaction`, { scripts: false });
      });
      const connection = await pool.connect();
      await connection.query(restyle);
      await check(connection, set, `${mode}, a function`, { scripts: false });
      await connection.release();
    });
    // A pool that does not reset sessions passes this change on to the next caller.
    await withPools({ resetOnRelease: false }, async (pool, mode) => {
      await pool.query(`SELECT restyle_${SETS.indexOf(set)}()`);
      await check(pool, set, `${mode}, a function that nobody resets`, { scripts: false });
    });
  });
}

for (const [way, [options, choices]] of Object.entries({
  'prepare: false': [{}, { prepare: false }],
  'statementCacheSize: 0': [{ statementCacheSize: 0 }, {}],
})) {
  test(`a column that always was text comes to be of another type: ${way}`, async () => {
    const parameters = SETS[0];
    for (const [name, expression, value] of COLUMNS) {
      for (const how of ['pool', 'transaction']) {
        await ask('DROP TABLE IF EXISTS restyled');
        await ask('CREATE TABLE restyled AS SELECT inet(NULL) AS v');
        const pool = createPool(cluster.options({ poolSize: 1, parameters, ...options }));
        try {
          const read = (on) => on.query('SELECT v FROM restyled', [], choices);
          assert.deepStrictEqual(await read(pool), [{ v: null }]);
          await ask('DROP TABLE restyled');
          await ask(`CREATE TABLE restyled AS SELECT ${expression} AS v`);
          for (const use of [1, 2]) {
            const rows = await (how === 'pool' ? read(pool) : pool.transaction(read));
            assert.deepStrictEqual(rows, [{ v: value }], `${name}, ${how}, use ${use}`);
          }
        } finally {
          await pool.end();
        }
      }
    }
    await ask('DROP TABLE restyled');
  });
}

/** The results of several statements in one text, with types that are new to the pool. */
async function inOneText(parameters, body) {
  const pool = createPool(cluster.options({ poolSize: 1, parameters }));
  try {
    return await body(pool);
  } finally {
    await pool.end();
  }
}

test('the first use of a type stands among several statements', async () => {
  for (const set of SETS) {
    for (const [name, expression, value] of COLUMNS) {
      const select = `SELECT ${expression} AS v`;
      for (const sql of [`${select}; SELECT 1`, `SELECT 1; ${select}`, `${select}; ${select}`]) {
        const came = await inOneText(set, (pool) => pool.query(sql));
        const told = `${name}: ${sql}`;
        for (const [row] of came) if ('v' in row) assert.deepStrictEqual(row.v, value, told);
      }
      for (const sql of [`;${select}`, `/* x */ ; ; (${select});`]) {
        const [row] = await inOneText(set, (pool) => pool.query(sql));
        assert.deepStrictEqual(row.v, value, `${name}: ${sql}`);
      }
    }
    const made = `CREATE DOMAIN styled_new AS float8; CREATE TABLE restyled (n int);
      INSERT INTO restyled VALUES (1);
      SELECT ARRAY[(0.1::float8 + 0.2)::styled_new] AS v, ARRAY['sad', NULL]::styled_mood[] AS m;
      SELECT n FROM restyled`;
    const ways = [
      (pool) => pool.query(made),
      (pool) => pool.query(`BEGIN; ${made}; COMMIT`).then((results) => results.slice(1, -1)),
      (pool) => pool.transaction((tx) => tx.query(made)),
    ];
    for (const way of ways) {
      const came = await inOneText(set, way);
      assert.deepStrictEqual(came[3], [{ v: [0.1 + 0.2], m: ['sad', null] }]);
      assert.deepStrictEqual(came[4], [{ n: 1 }]);
      await ask('DROP TABLE restyled');
      await ask('DROP DOMAIN styled_new');
    }
  }
});

test('a role that may not be told of types has its several statements run all the same', async (t) => {
  const { password } = cluster.options();
  await ask(
    `DROP ROLE IF EXISTS styled_plain; CREATE ROLE styled_plain LOGIN PASSWORD '${password}'`,
  );
  await ask('CREATE TABLE restyled (n int); GRANT ALL ON restyled TO styled_plain');
  await ask('REVOKE SELECT ON pg_catalog.pg_type FROM PUBLIC');
  t.after(async () => {
    await ask('GRANT SELECT ON pg_catalog.pg_type TO PUBLIC');
    await ask('DROP TABLE restyled; DROP ROLE styled_plain');
  });
  const pool = openPool(
    t,
    cluster.options({ poolSize: 1, user: 'styled_plain', password, parameters: SETS[0] }),
  );
  const sql = `INSERT INTO restyled VALUES (1); SELECT ARRAY['sad']::styled_mood[] AS v`;
  for (const use of [1, 2]) {
    const [, rows] = await pool.query(sql);
    assert.deepStrictEqual(rows, [{ v: '{sad}' }], `use ${use}`);
  }
  assert.deepStrictEqual(await ask('SELECT count(*) AS n FROM restyled'), [['2']]);

  // A refusal would end the transaction, and undo the work before it.
  const another = openPool(
    t,
    cluster.options({ poolSize: 1, user: 'styled_plain', password, parameters: SETS[0] }),
  );
  await another.transaction(
    async (tx) => {
      await tx.query('INSERT INTO restyled VALUES (2)');
      for (const use of [1, 2]) {
        const [, rows] = await tx.query(sql);
        assert.deepStrictEqual(rows, [{ v: '{sad}' }], `use ${use} in a transaction`);
      }
    },
    { retries: 0 },
  );
  assert.deepStrictEqual(await ask('SELECT count(*) AS n FROM restyled'), [['5']]);
});
