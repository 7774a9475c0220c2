// A log of slow and failed queries, each with the number of the HTTP request that it belongs to.

import { AsyncLocalStorage } from 'node:async_hooks';
import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const requests = new AsyncLocalStorage();

const pool = createPool(process.env.DATABASE_URL, {
  slowQueryMs: 100,
  logger: ({ sql, durationMs, error, transaction }) => {
    const what = error === undefined ? (durationMs >= 100 ? 'slow' : 'quick') : error.code;
    const where = transaction === undefined ? '' : ' in a transaction';
    console.log(`request ${requests.getStore()}: ${what}${where}: ${sql}`);
  },
});

const handle = async (number) => {
  await pool.query('SELECT 1');
  if (number === 1) await pool.query('SELECT pg_sleep(0.2)::text');
  if (number === 2) {
    await pool
      .transaction((tx) => tx.query('SELECT balance FROM no_such_table'))
      .catch(() => 'an error page');
  }
};

for (const number of [1, 2, 3]) await requests.run(number, () => handle(number));
// The logger is called once the answers of a turn of the loop have reached their callers.
await new Promise(setImmediate);
await pool.end();
