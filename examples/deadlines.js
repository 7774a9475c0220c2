// Queries that are given up after some time, or by a signal. A running query is cancelled on the
// server.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL, { queryTimeoutMs: 30_000 });
await pool.ready();

try {
  await pool.query('SELECT pg_sleep(60)', [], { timeoutMs: 50 });
} catch (error) {
  console.log(`${error.name} ${error.code}, outcome ${error.outcome}`);
}

// A server does the same when its client hangs up.
const controller = new AbortController();
setTimeout(() => controller.abort(new Error('the client hung up')), 50);
try {
  await pool.query('SELECT pg_sleep(60)', [], { signal: controller.signal });
} catch (error) {
  console.log(`${error.name}: ${error.cause.message}`);
}

// One time limit for a whole transaction, including the wait for its connection.
try {
  await pool.transaction((tx) => tx.query('SELECT pg_sleep(60)'), { timeoutMs: 50 });
} catch (error) {
  console.log(error.code);
}

// The connections can still be used.
console.log(await pool.query('SELECT 1 AS one'));
await pool.end();
