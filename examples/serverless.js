// A serverless handler. The platform freezes the process between two calls, for seconds or hours,
// and the server may have closed the connections meanwhile.

import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';

import { createPool } from 'hyperiondb-client';

// Made once for each process, outside of the handler: the next call finds its connections open. A
// platform runs one call at a time in a process, so that one or two connections are enough.
const pool = createPool(process.env.DATABASE_URL, {
  applicationName: 'frozen-handler',
  poolSize: 2,
  idleTimeoutMs: 60_000,
});

export async function handler({ customer }) {
  const [order] = await pool.query(
    'SELECT $1::text AS customer, now() > $2::timestamptz AS later',
    [customer, '2024-01-01'],
  );
  return { status: 200, body: order };
}

/** What a platform does: it calls, freezes, thaws and calls again. */
console.log(await handler({ customer: 'a' }));
// While the process is frozen, the server closes its connections.
const other = createPool(process.env.DATABASE_URL, { poolSize: 1 });
await other.query(`
  SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
  WHERE application_name = 'frozen-handler'`);
await other.end();
await sleep(50);
console.log(await handler({ customer: 'b' }));
await pool.end();
