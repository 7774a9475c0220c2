// A write whose answer never came: `outcome` says what is certain. If nothing is, a key of the
// caller's own makes it safe to repeat the write.

import { randomUUID } from 'node:crypto';
import process from 'node:process';

import { createPool, isRetryable } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL);

await pool.query(`
  DROP TABLE IF EXISTS payments;
  CREATE TABLE payments (key uuid PRIMARY KEY, amount int NOT NULL)`);

/** Pays once, however often it has to try. */
async function pay(key, amount, sql = 'INSERT INTO payments VALUES ($1, $2)') {
  for (let attempt = 1; attempt <= 5; attempt++) {
    try {
      await pool.query(sql, [key, amount]);
      return 'paid';
    } catch (error) {
      console.log(`attempt ${attempt}: ${error.code}, outcome ${error.outcome}`);
      // The write had no effect, and another attempt can succeed.
      if (isRetryable(error)) continue;
      // The outcome is unknown. The table shows it, once a server answers again.
      if (error.outcome !== 'unknown') throw error;
      const found = await pool.query('SELECT FROM payments WHERE key = $1', [key]);
      if (found.rowCount === 1) return 'paid, as the table says';
    }
  }
  throw new Error(`payment ${key} is not done`);
}

console.log(await pay(randomUUID(), 100));

// A demonstration: the server process ends before it can answer, so its work is undone.
const ending = `
  WITH paid AS (INSERT INTO payments VALUES ($1, $2) RETURNING key)
  SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5) FROM paid`;
try {
  await pool.query(ending, [randomUUID(), 200]);
} catch (error) {
  console.log(`lost: outcome ${error.outcome}`);
}
const [{ sum }] = await pool.query('SELECT sum(amount)::int AS sum FROM payments');
console.log(`${sum} in all`);

await pool.query('DROP TABLE payments');
await pool.end();
