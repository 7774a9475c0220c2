// The JavaScript values of PostgreSQL's types, chosen for a pool and for a query.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL, {
  types: {
    int8: 'number',
    timestamp: 'date',
    point: {
      parse: (text) => text.slice(1, -1).split(',').map(Number),
      serialize: ([x, y]) => `(${x},${y})`,
    },
  },
});

const SQL = `SELECT 9007199254740991::int8 AS n, '2024-01-02 03:04:05Z'::timestamptz AS at,
                    $1::point AS place, $2::jsonb AS document, $3::bytea AS bytes, $4::int[] AS list`;
const values = [[1, 2.5], { tags: ['a', 'b'] }, Buffer.from('hi'), [1, 2, null]];
const [row] = await pool.query(SQL, values);
console.log(row);

// A query's choices override those of its pool.
const [exact] = await pool.query("SELECT 1::int8 AS n, '[1]'::json AS document", [], {
  types: { int8: 'bigint', json: 'text' },
});
console.log(exact);

await pool.end();
