// The cluster module of Node.js: each process has a pool of its own, and ends it by itself.

import cluster from 'node:cluster';
import { once } from 'node:events';
import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const PROCESSES = 2;

if (cluster.isPrimary) {
  const workers = Array.from({ length: PROCESSES }, () => cluster.fork());
  const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
  console.log(new Set(answers.map(([{ session }]) => session)).size, 'sessions');
  for (const worker of workers) worker.send('end');
  const exits = await Promise.all(workers.map((worker) => once(worker, 'exit')));
  console.log('ended with', exits.map(([code]) => code).join(' and '));
} else {
  // All processes together have PROCESSES times this many connections.
  const pool = createPool(process.env.DATABASE_URL, { poolSize: 2, applicationName: 'worker' });
  const [{ session }] = await pool.query('SELECT pg_backend_pid() AS session');
  process.send({ session });
  await once(process, 'message');
  await pool.end();
  process.disconnect();
}
