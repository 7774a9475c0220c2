// A payment that happens once, however often it is tried: a key of the caller's is written in the
// same transaction. So even a COMMIT whose answer never came can be tried again.

import { setTimeout as pause } from 'node:timers/promises';
import process from 'node:process';

import { createPool, isRetryable } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL);

await pool.query(`
  DROP TABLE IF EXISTS payments, wallets;
  CREATE TABLE wallets (name text PRIMARY KEY, balance int NOT NULL);
  CREATE TABLE payments (key uuid PRIMARY KEY, wallet text NOT NULL, amount int NOT NULL);
  INSERT INTO wallets VALUES ('alice', 100)`);

/** Returns whether this call was the one that paid. */
const payOnce = (key, wallet, amount) =>
  pool.transaction(
    async (tx) => {
      const [inserted] = await tx.query(
        `INSERT INTO payments VALUES ($1, $2, $3)
           ON CONFLICT (key) DO NOTHING RETURNING key`,
        [key, wallet, amount],
      );
      if (inserted === undefined) return false;
      await tx.query('UPDATE wallets SET balance = balance - $1 WHERE name = $2', [amount, wallet]);
      return true;
    },
    { isolation: 'serializable', retries: 10 },
  );

/** An unknown outcome is no problem here: the key finds out. */
async function pay(key, wallet, amount) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await payOnce(key, wallet, amount);
    } catch (error) {
      if (attempt === 5 || !(isRetryable(error) || error.outcome === 'unknown')) throw error;
      await pause(100 * attempt);
    }
  }
}

const KEY = '5f0c0a52-5d0e-4ff1-9c2b-0b8a8cf8b0a1';
console.log('first:', await pay(KEY, 'alice', 30));
console.log('again:', await pay(KEY, 'alice', 30));

// The connection is lost in the middle of a payment.
const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
const other = '0d9b7b6e-3b1e-4a43-8a15-5b0f1c1d2e3f';
const paid = pay(other, 'alice', 20);
await pool.query('SELECT pg_terminate_backend($1)', [pid]).catch(() => {});
await paid;
console.log(await pool.query('SELECT balance FROM wallets'));

await pool.query('DROP TABLE payments, wallets');
await pool.end();
