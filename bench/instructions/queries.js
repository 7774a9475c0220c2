// Runs the queries of a work, and nothing else. Usage: node queries.js <checkout> <work> <queries>
// <connection as JSON>

import { createRequire } from 'node:module';
import process from 'node:process';

import { WORKS } from '../works.js';

const [folder, name, queries, connection] = process.argv.slice(2);
const { createPool } = createRequire(import.meta.url)(folder);
const work = WORKS[name];
if (work.stackTraceLimit !== undefined) Error.stackTraceLimit = work.stackTraceLimit;
const pool = createPool({
  ...JSON.parse(connection),
  poolSize: work.connections,
  // Counting makes everything some fifty times slower.
  connectTimeoutMs: 60_000,
  ...work.options,
});
let left = Number(queries);

async function lane() {
  while (left > 0) {
    left -= 1;
    try {
      await pool.query(work.sql, [work.fixed ?? 1]);
    } catch (error) {
      if (error.code !== work.refusal) throw error;
    }
  }
}

await Promise.all(Array.from({ length: work.concurrency }, lane));
await pool.end();
