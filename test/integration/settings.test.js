// The settings that decide the text form of values change no result, wherever they were set.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

/** Values that settings could change, and their expected form. */
const SENSITIVE = `SELECT $1::int AS n, '2024-01-02 03:04:05.5+00'::timestamptz AS a, '2024-01-02 03:04:05'::timestamp AS b,
  '2024-01-02'::date AS c, '1 year -2 days 03:00:00'::interval AS d, 0.1::float4 AS e, 0.1::float8 + 0.2 AS f,
  '\\x00ff'::bytea AS g, '{2024-01-02}'::date[] AS h, '{0.1}'::float4[] AS i`;
const UNCHANGED = {
  n: 1,
  a: '2024-01-02T03:04:05.5Z',
  b: '2024-01-02T03:04:05',
  c: '2024-01-02',
  d: '1 year -2 days +03:00:00',
  e: 0.1,
  f: 0.1 + 0.2,
  g: Buffer.from([0, 255]),
  h: ['2024-01-02'],
  i: [0.1],
};
const SETTINGS = {
  DateStyle: 'German',
  IntervalStyle: 'iso_8601',
  extra_float_digits: '-10',
  bytea_output: 'escape',
  TimeZone: 'Asia/Kathmandu',
};

test('settings of a session, of a role and of the pool change no result', async (t) => {
  let number = 0;
  /** A new statement, unknown to all connections of the pool. */
  const check = async (on, how) => {
    const sql = `${SENSITIVE} /* ${(number += 1)} */`;
    for (let use = 0; use < 3; use++) {
      assert.deepStrictEqual(await on.query(sql, [1]), [UNCHANGED], how);
    }
  };
  await check(pool, 'as it is');
  for (const [name, value] of Object.entries(SETTINGS)) {
    await pool.transaction(async (tx) => {
      await tx.query(`SET LOCAL ${name} = '${value}'`);
      await check(tx, `SET ${name}`);
    });
    await pool.transaction(async (tx) => {
      await tx.query('SELECT set_config($1, $2, true)', [name, value]);
      await check(tx, `set_config ${name}`);
    });
  }
  const parameters = openPool(t, cluster.options({ poolSize: 1, parameters: SETTINGS }));
  await check(parameters, 'by the option parameters');

  const [[user]] = await cluster.query(cluster.primary, 'SELECT current_user');
  const alter = (what) => cluster.query(cluster.primary, `ALTER ROLE "${user}" ${what}`);
  for (const [name, value] of Object.entries(SETTINGS)) await alter(`SET ${name} = '${value}'`);
  const ofRole = openPool(t, cluster.options({ poolSize: 1 }));
  try {
    await check(ofRole, 'by the role');
    const [, [row]] = await ofRole.query(`SELECT 1; ${SENSITIVE.replace('$1', '1')}`);
    assert.deepStrictEqual(row, UNCHANGED, 'by the role, in the simple protocol');
  } finally {
    for (const name of Object.keys(SETTINGS)) await alter(`RESET ${name}`);
  }
});

test('what changes a session, for how long it may be, changes no result', async (t) => {
  let number = 0;
  const fresh = () => `${SENSITIVE} /* session ${(number += 1)} */`;
  const check = async (on, how) => {
    const sql = fresh();
    // The first result comes as text, the second in binary.
    for (let use = 0; use < 2; use++) {
      assert.deepStrictEqual(await on.query(sql, [1]), [UNCHANGED], how);
    }
  };
  const single = openPool(t, cluster.options({ poolSize: 1 }));
  const ways = {
    SET: (name, value) => [`SET ${name} = '${value}'`],
    'SET in a script': (name, value) => [`SELECT 1; SET ${name} = '${value}'; SELECT 2`],
    'SET in a block': (name, value) => [`DO $$ BEGIN SET ${name} = '${value}'; END $$`],
    set_config: (name, value) => ['SELECT set_config($1, $2, false)', [name, value]],
  };
  for (const [way, change] of Object.entries(ways)) {
    for (const [name, value] of Object.entries(SETTINGS)) {
      const how = `${way} ${name}`;
      const connection = await single.connect();
      // The pool sends nothing behind the first statement of a connection.
      await connection.query('SELECT 1');
      // Sent right behind the change, without waiting for its answer.
      const behind = fresh();
      const [, rows] = await Promise.all([
        connection.query(...change(name, value)),
        connection.query(behind, [1]),
      ]);
      assert.deepStrictEqual(rows, [UNCHANGED], `${how}, behind it`);
      await check(connection, how);
      await connection.query('DISCARD ALL');
      await check(connection, `${how}, discarded`);
      await connection.query(...change(name, value));
      await connection.query('BEGIN');
      await connection.query(...change(name, value));
      await connection.query('ROLLBACK');
      await check(connection, `${how}, and again in a transaction that was rolled back`);
      await connection.release();
      await check(single, `${how}, released`);
      await single
        .transaction(async (tx) => {
          await tx.query(...change(name, value));
          await check(tx, `${how}, in a transaction`);
          throw new Error('undo');
        })
        .catch((error) => assert.equal(error.message, 'undo', error.stack));
      await check(single, `${how}, rolled back`);
    }
  }
});

test('a session whose settings were changed and reset answers a first use in one flight again', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const counted = openPool(t, cluster.options({ hosts: [proxy.address], poolSize: 1 }));
  let number = 0;
  const cost = async () => {
    const before = proxy.roundTrips;
    await counted.query(`SELECT now() /* ${(number += 1)} */`);
    return proxy.roundTrips - before;
  };
  await counted.query('SELECT 1');
  assert.equal(await cost(), 1);
  await counted.query("SET extra_float_digits = '-10'");
  await cost();
  assert.equal(await cost(), 1, 'after SET, and the DISCARD ALL behind it');
  await counted.transaction((tx) => tx.query("SET LOCAL extra_float_digits = '-10'"));
  assert.equal(await cost(), 1, 'after SET LOCAL');
  const connection = await counted.connect();
  await connection.query("SET DateStyle = 'German'");
  await connection.release();
  await cost();
  assert.equal(await cost(), 1, 'after a session of its own');
});

test('a binary cursor gives the same values, or an error that says so', async () => {
  await pool.transaction(async (tx) => {
    await tx.query(`DECLARE c BINARY SCROLL CURSOR FOR ${SENSITIVE.replace('$1', '1')}`);
    for (let use = 0; use < 2; use++) {
      assert.deepStrictEqual(await tx.query('FETCH 1 FROM c'), [UNCHANGED]);
      await tx.query('MOVE ABSOLUTE 0 FROM c');
    }
  });
});
