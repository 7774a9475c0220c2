// A dedicated connection, for work that belongs to a session. Here it is an advisory lock, so that
// a job runs in only one process at a time.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL);
const JOB = 4711;

async function runAlone(work) {
  const connection = await pool.connect();
  try {
    const [{ locked }] = await connection.query('SELECT pg_try_advisory_lock($1) AS locked', [JOB]);
    if (!locked) return 'another one is at it';
    await connection.query("SET application_name = 'nightly'");
    return await connection.transaction(work);
  } finally {
    // The session is reset before another caller gets it: the lock and the setting are gone.
    await connection.release();
  }
}

const first = runAlone(async (tx) => {
  console.log(await runAlone(() => 'both at once'));
  const [{ name }] = await tx.query("SELECT current_setting('application_name') AS name");
  return `done as ${name}`;
});
console.log(await first);
console.log(await runAlone(() => 'and again'));
await pool.end();
