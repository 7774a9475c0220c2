// Results, from PostgreSQL to JavaScript: each value is the same by the text and by the binary format, that is on
// the first use of a statement, on the later ones, and by the simple protocol; and strings are what psql shows.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { clusterFor } from './cluster/index.js';
import { AS_SHOWN, VALUES } from './values.js';

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

/** In front of a FROM, so that an expression may have one. */
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
    ['int8', '_text', undefined],
  );
});
