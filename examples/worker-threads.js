// Pools in worker threads: each has its own, since a pool belongs to the event loop that made it.

import { once } from 'node:events';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { createPool } from 'hyperiondb-client';

const THREADS = 3;

async function sumOfPart({ from, to }) {
  // All threads together have THREADS times this many connections.
  const pool = createPool(process.env.DATABASE_URL, { poolSize: 2 });
  const sql = 'SELECT sum(n)::int AS sum FROM generate_series($1::int, $2::int) AS n';
  const [{ sum }] = await pool.query(sql, [from, to]);
  await pool.end();
  return sum;
}

if (isMainThread) {
  const work = Array.from({ length: THREADS }, async (_, n) => {
    const part = { from: n * 100 + 1, to: (n + 1) * 100 };
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: part });
    const [sum] = await once(worker, 'message');
    return sum;
  });
  const sums = await Promise.all(work);
  console.log(
    sums.join(' + '),
    '=',
    sums.reduce((a, b) => a + b),
  );
} else {
  parentPort.postMessage(await sumOfPart(workerData));
}
