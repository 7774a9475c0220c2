// Queries, parameters, and results.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL);

await pool.query('CREATE TABLE IF NOT EXISTS orders (id bigserial, customer int, total numeric)');

// Values are parameters, never parts of the text.
const inserted = await pool.query(
  'INSERT INTO orders (customer, total) VALUES ($1, $2), ($1, $3) RETURNING id, total',
  [42, '12.50', '7.25'],
);
console.log(`${inserted.command} of ${inserted.rowCount} rows`);
// An int8 is a BigInt and a numeric is a string: nothing is rounded.
for (const { id, total } of inserted) console.log(`order ${typeof id}, total ${total}`);

// A single parameter for a list of any length.
const customers = [41, 42, 43];
const [{ count }] = await pool.query(
  'SELECT count(*)::int AS count FROM orders WHERE customer = ANY ($1)',
  [customers],
);
console.log(`${count} orders of ${customers.length} customers`);

// Rows as arrays, for columns with the same name.
const pairs = await pool.query('SELECT 1 AS n, 2 AS n', [], { rowMode: 'array' });
console.log(pairs[0]);

// Several statements in one text, without parameters.
const [, second] = await pool.query("SELECT 1 AS one; SELECT 'two' AS name");
console.log(second[0].name);

await pool.query('DROP TABLE orders');
await pool.end();
