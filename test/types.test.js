// Parameters, from JavaScript to PostgreSQL: each one arrives the same on the first use of a statement and on the
// later ones. (`results.test.js` tests the way back.)

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';

let cluster;
let pool;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  pool = createPool(cluster.options({ poolSize: 1 }));
});
after(async () => {
  await pool?.end();
  await cluster?.close();
});

/** Parameter, its type, and what the server's text of it is. */
const PARAMETERS = [
  [null, 'int4', null],
  [undefined, 'text', null],
  [true, 'bool', 'true'],
  [false, 'text', 'false'],
  [32767, 'int2', '32767'],
  [-2147483648, 'int4', '-2147483648'],
  [Number.MAX_SAFE_INTEGER, 'int8', '9007199254740991'],
  [9223372036854775807n, 'int8', '9223372036854775807'],
  [123456789012345678901234567890n, 'numeric', '123456789012345678901234567890'],
  [4294967295, 'oid', '4294967295'],
  [0.1, 'float4', '0.1'],
  [0.1, 'float8', '0.1'],
  [1e21, 'float8', '1e+21'],
  [-0, 'float8', '-0'],
  [NaN, 'float8', 'NaN'],
  [-Infinity, 'float8', '-Infinity'],
  [1.5, 'numeric', '1.5'],
  [1e21, 'text', '1e+21'],
  [7, 'text', '7'],
  ['42', 'int4', '42'],
  ['12.500', 'numeric', '12.500'],
  ['é😀', 'text', 'é😀'],
  ['', 'text', ''],
  ['x'.repeat(1 << 20), 'text', 'x'.repeat(1 << 20)],
  [Buffer.from([0, 1, 255]), 'bytea', '\\x0001ff'],
  [new Uint8Array([222, 173]), 'bytea', '\\xdead'],
];

for (const [value, type, expected] of PARAMETERS) {
  const shown =
    typeof value === 'string' && value.length > 20 ? `${value.length} characters` : value;
  test(`parameter ${typeof value} ${String(shown)} as ${type}`, async () => {
    for (let use = 0; use < 3; use++) {
      const rows = await pool.query(`SELECT $1::${type}::text AS v`, [value]);
      assert.deepStrictEqual(rows, [{ v: expected }]);
    }
  });
}

/** Parameters that do not fit. The first use learns it from the server, the later ones know before. */
const MISFITS = [
  [1.5, 'int4'],
  [32768, 'int2'],
  [NaN, 'int8'],
  [2 ** 63, 'int8'],
  [9223372036854775808n, 'int8'],
  ['x', 'int4'],
];

for (const [value, type] of MISFITS) {
  test(`parameter ${String(value)} does not fit ${type}`, async () => {
    const sql = `SELECT $1::${type} AS v`;
    const refusals = ['22P02', '22003', 'HYPERION_PARAMETER'];
    for (let use = 0; use < 2; use++) {
      await assert.rejects(pool.query(sql, [value]), (error) => {
        assert.ok(refusals.includes(error.code), error.stack);
        return true;
      });
      assert.equal(Number((await pool.query(sql, [1]))[0].v), 1, 'the next one works');
    }
  });
}

test('hostile column names are own properties of plain objects', async () => {
  const names = [
    '__proto__',
    'constructor',
    'toString',
    "it's",
    'a"b',
    'new\nline',
    '\u2028',
    'ü',
    '`${1}`',
  ];
  const list = names.map((name, n) => `${n} AS "${name.replaceAll('"', '""')}"`);
  for (let use = 0; use < 2; use++) {
    const [row] = await pool.query(`SELECT ${list.join(', ')}`);
    assert.deepEqual(Object.keys(row), names);
    names.forEach((name, n) => assert.equal(Object.getOwnPropertyDescriptor(row, name).value, n));
    assert.equal(Object.getPrototypeOf(row), Object.prototype);
  }
  assert.deepEqual(await pool.query('SELECT 1 AS a, 2 AS b, 3 AS a'), [{ a: 3, b: 2 }]);
});
