// Transfers that run side by side in serializable transactions. Those that conflict are run again.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL);

await pool.query(`
  DROP TABLE IF EXISTS accounts;
  CREATE TABLE accounts (name text PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0));
  INSERT INTO accounts VALUES ('alice', 100), ('bob', 100)`);

let attempts = 0;
const transfer = (from, to, amount) =>
  pool.transaction(
    async (tx) => {
      attempts += 1;
      await tx.query('UPDATE accounts SET balance = balance - $1 WHERE name = $2', [amount, from]);
      await tx.query('UPDATE accounts SET balance = balance + $1 WHERE name = $2', [amount, to]);
    },
    // Everything else that the callback does is repeated too.
    { isolation: 'serializable', retries: 20 },
  );

await Promise.all([transfer('alice', 'bob', 30), transfer('bob', 'alice', 10)]);
console.log(await pool.query('SELECT name, balance FROM accounts ORDER BY name'));
console.log(attempts >= 2 ? 'both are done' : 'one is missing');

// An error rolls back the whole transfer.
try {
  await transfer('alice', 'bob', 1000);
} catch (error) {
  console.log(`${error.code}: ${error.constraint}`);
}

// A savepoint undoes a part, and the transaction continues.
await pool.transaction(async (tx) => {
  await tx.query("UPDATE accounts SET balance = 1 WHERE name = 'alice'");
  await tx
    .savepoint((part) => part.query("INSERT INTO accounts VALUES ('alice', 5)"))
    .catch((error) => console.log(`undone: ${error.code}`));
});
console.log(await pool.query("SELECT balance FROM accounts WHERE name = 'alice'"));

await pool.query('DROP TABLE accounts');
await pool.end();
