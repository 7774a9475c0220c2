// Results, from PostgreSQL to JavaScript. Each value is the same in the text and in the binary
// format: on the first use of a statement, on later uses, and by the simple protocol. Strings are
// what psql shows.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clusterAndPool, openPool } from '../support/pools.js';
import { AS_SHOWN, VALUES } from '../support/values.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

/** The alias stands in front of a FROM, so that an expression may have one. */
const select = (sql) => `SELECT $1::int AS n, ${sql.replace(/( FROM |$)/, ' AS v$1')}`;

async function eachWay(sql, expected, on = pool) {
  for (let use = 0; use < 3; use++) {
    const [row] = await on.query(select(sql), [use]);
    assert.deepStrictEqual(row.v, expected, `use ${use}`);
  }
  const [, [row]] = await on.query(`SELECT 0; ${select(sql).replace('$1', '0')}`);
  assert.deepStrictEqual(row.v, expected, 'by the simple protocol');
}

const shorten = (text) => (text.length > 60 ? `${text.slice(0, 60)}...` : text);

for (const [sql, expected] of VALUES) {
  test(`result ${shorten(sql)}`, () => eachWay(sql, expected));
}

const literal = (value) => `'${value.replaceAll("'", "''")}'`;

for (const [type, values] of Object.entries(AS_SHOWN)) {
  for (const value of values) {
    test(`result ${shorten(literal(value))}::${type} is what psql shows`, async () => {
      const sql = `${literal(value)}::${type}`;
      const [[shown]] = await cluster.query(cluster.primary, `SELECT ${sql}`);
      await eachWay(sql, shown);
    });
  }
}

test('fields say the name of the type', async () => {
  const { fields } = await pool.query(
    `SELECT 1::int8 AS a, '{}'::text[] AS b, NULL::pg_class AS c`,
  );
  assert.deepEqual(
    fields.map(({ typeName }) => typeName),
    ['int8', '_text', 'pg_class'],
  );
});

test('fields say where a column comes from, as the catalog has it', async () => {
  await pool.query('DROP TABLE IF EXISTS told');
  await pool.query('CREATE TABLE told (a int, gone int, price numeric(6, 2), code varchar(3))');
  await pool.query('ALTER TABLE told DROP COLUMN gone');
  const columns = await pool.query(
    `SELECT attname AS name, atttypid AS "typeOid", typname AS "typeName", attrelid AS "tableOid",
      attnum AS "columnNumber", atttypmod AS modifier FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
      WHERE attrelid = 'told'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
  );
  assert.deepEqual(
    columns.map(({ columnNumber }) => columnNumber),
    [1, 3, 4],
  );
  const nowhere = { typeOid: 23, typeName: 'int4', tableOid: 0, columnNumber: 0, modifier: -1 };
  const expected = [...columns, { name: 'sum', ...nowhere }, { name: 'a', ...nowhere }];
  for (let use = 0; use < 3; use++) {
    const { fields } = await pool.query('SELECT *, a + $1::int AS sum, 1 AS a FROM told', [use]);
    assert.deepStrictEqual([...fields], expected, `use ${use}`);
  }
  const [, last] = await pool.query('TABLE told; TABLE told');
  assert.deepStrictEqual([...last.fields], [...columns]);
});

/**
 * Values of all sizes that the server computes from a pseudo-random `h` of 64 bits, the same in
 * each run.
 */
const MADE = {
  numeric: `(h::numeric * 10::numeric ^ (h % 40)::int) / 10::numeric ^ (n % 37)`,
  interval: `make_interval(months => (h % 5000)::int, days => (h / 5000 % 4000)::int) + (h % 987654321987) * interval '1 us'`,
  timestamptz: `timestamptz '2000-01-01 00:00+00' + (h % 200000000000) * interval '1 s' * (1 + n % 45) / 44 + h % 1000003 * interval '1 us'`,
  timestamp: `timestamp '2000-01-01 00:00' + (h % 200000000000) * interval '1 s' + h % 1000003 * interval '1 us'`,
  date: `date '2000-01-01' + (h % 2400000)::int`,
  timetz: `timetz '00:00+00' + (h % 86400000000) * interval '1 us'`,
  float8: `(h::float8 * 10::float8 ^ (h % 200))`,
  float4: `(h::float8 * 10::float8 ^ (h % 19))::float4`,
  uuid: `md5(h::text)::uuid`,
  bytea: `decode(repeat(md5(h::text), (n % 9)::int), 'hex')`,
  'text[]': `ARRAY[md5(h::text), NULL, chr((1 + abs(h % 55000))::int) || '"\\{},', '', 'NULL']`,
  'int8[]': `ARRAY[[h, NULL], [n, -n]]`,
  'numeric[]': `ARRAY[h::numeric / 1000, NULL]`,
  'timestamptz[]': `ARRAY[timestamptz '2000-01-01 00:00+00' + (h % 200000000000) * interval '1 s', 'infinity', NULL]`,
};

/** How JavaScript has the server's text in UTC. Values of other types are the text itself. */
const READ = {
  timestamptz: toIso,
  timestamp: toIso,
  date: toIso,
  float8: Number,
  float4: Number,
  int8: BigInt,
  bytea: (shown) => Buffer.from(shown.slice(2), 'hex'),
};

/** `0044-03-15 12:00:00+00 BC` as `-000043-03-15T12:00:00Z`. */
function toIso(shown) {
  if (shown.endsWith('infinity')) return shown;
  const [, digits, rest, era] = /^(\d+)(-[-\d :.+]+?)( BC)?$/.exec(shown);
  const year = era ? 1 - digits : Number(digits);
  const isPlain = year >= 1 && year <= 9999;
  const expanded = `${year < 0 ? '-' : '+'}${String(Math.abs(year)).padStart(6, '0')}`;
  return (isPlain ? digits : expanded) + rest.replace(' ', 'T').replace(/\+00$/, 'Z');
}

function readEach(value, read) {
  if (Array.isArray(value)) return value.map((element) => readEach(element, read));
  return value === null ? null : read(value);
}

for (const [type, expression] of Object.entries(MADE)) {
  test(`thousands of ${type} are the same in both formats, and what the server shows`, async (t) => {
    const open = (zone) => {
      const own = openPool(t, cluster.options({ parameters: { TimeZone: zone } }));
      return own;
    };
    const from =
      'FROM (SELECT n, hashint8extended(n, 7) AS h FROM generate_series(1, 4000) n) AS x';
    const sql = `SELECT (${expression})::${type} AS v ${from}`;
    // A time zone with odd offsets in its history, which the text of a timestamptz shows.
    const own = open('Europe/Amsterdam');
    const asText = await own.query(sql);
    const asBinary = await own.query(sql);
    assert.equal(asText.length, 4000);
    assert.deepStrictEqual([...asBinary], [...asText]);
    const text = type.endsWith('[]') ? 'text[]' : 'text';
    const shown = await open('UTC').query(
      `SELECT to_json((${expression})::${type}::${text}) AS v ${from}`,
    );
    const read = READ[type.replace('[]', '')] ?? String;
    const expected = shown.map(({ v }) => ({ v: readEach(v, read) }));
    assert.deepStrictEqual([...asBinary], expected);
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

/**
 * Many rows, so that documents are built from templates (`js/transfer/json-templates.cjs`) if they
 * can be.
 */
const JSON_COLUMNS = {
  'one form': `jsonb_build_object('n', n, 'name', 'name ' || n, 'list', jsonb_build_array(n / 4.0, n % 2 = 0, NULL))`,
  nulls: `CASE WHEN n % 3 > 0 THEN jsonb_build_object('n', -n) END`,
  'several forms': `CASE n % 2 WHEN 0 THEN jsonb_build_array(n) ELSE to_jsonb(n::text) END`,
  escapes: `jsonb_build_object('text', E'\\n"' || n)`,
  'names that are none': `jsonb_build_object('__proto__', n, '1', n, 'é', n)`,
  'text as it was written': `('{"a":' || n || ' , "a":[ ' || n || '] }')::json`,
  'plain values': `to_jsonb(n * 1000000000::numeric)`,
};

for (const [name, column] of Object.entries(JSON_COLUMNS)) {
  test(`a long column of JSON: ${name}`, async () => {
    const sql = `SELECT n, doc, doc::text AS text FROM (
                   SELECT n, ${column} AS doc FROM generate_series(1, $1::int) n) AS all_of_them`;
    for (const count of [3000, 40, 3000]) {
      const rows = await pool.query(sql, [count]);
      assert.equal(rows.length, count);
      const [documents, expected] = [
        rows.map((row) => row.doc),
        rows.map((row) => JSON.parse(row.text)),
      ];
      assert.deepStrictEqual(documents, expected);
      assert.equal(JSON.stringify(documents), JSON.stringify(expected), 'names in the same order');
    }
  });
}
