// Measures one client on one work, in a process of its own, so that no client pays for another's
// heap or compiled code. Prints one line of JSON. Usage: node bench/measure.js <client> <work>
// <seconds> <connection as JSON>

import process from 'node:process';

import { CLIENTS } from './clients.js';
import { WORKS } from './works.js';

const [name, workName, seconds, connectionJson] = process.argv.slice(2);
const work = WORKS[workName];
const client = await CLIENTS[name](JSON.parse(connectionJson), work.connections, work.options);
if (work.stackTraceLimit !== undefined) Error.stackTraceLimit = work.stackTraceLimit;
let next = 0;

/** Runs a query, and returns the error with which the server refuses it. */
async function refused(parameter) {
  try {
    await client.query(work.sql, parameter);
  } catch (error) {
    const state = client.sqlState === undefined ? error.code : client.sqlState(error);
    if (state === work.refusal) return error;
    throw error;
  }
  throw new Error(`${name}: ${work.sql} was not refused`);
}

const ask = work.refusal === undefined ? (parameter) => client.query(work.sql, parameter) : refused;

function check(answer) {
  if (work.rows === undefined) return;
  const { length } = client.rows(answer);
  if (length !== work.rows) throw new Error(`${name}: ${length} rows`);
}

/**
 * How long each query took, in µs. An ordinary array that grows to a million numbers would cost a
 * tenth of this client's CPU.
 */
class Latencies {
  #values = new Float64Array(1 << 10);
  #count = 0;

  push(value) {
    if (this.#count === this.#values.length) {
      const longer = new Float64Array(2 * this.#count);
      longer.set(this.#values);
      this.#values = longer;
    }
    this.#values[this.#count++] = value;
  }

  sorted() {
    return this.#values.slice(0, this.#count).sort();
  }
}

/** Runs the work for some time. Returns how long each query took. */
async function run(milliseconds) {
  const latencies = new Latencies();
  const end = performance.now() + milliseconds;
  const lane = async () => {
    for (let now = performance.now(); now < end;) {
      const parameter = work.fixed ?? (next++ % work.parameters) + 1;
      // The answer gets no variable, which would keep it until the next answer has come.
      check(await ask(parameter));
      const then = performance.now();
      latencies.push((then - now) * 1000);
      now = then;
    }
  };
  await Promise.all(Array.from({ length: work.concurrency }, lane));
  return latencies;
}

const sample = await ask(work.fixed ?? 1);
if (work.refusal !== undefined) {
  const shows = sample.stack.includes('measure.js');
  if (name === 'hyperiondb' && shows !== (work.stackTraceLimit !== 0)) throw sample;
} else if (work.rows !== undefined) {
  const [row] = client.rows(sample);
  if (typeof row.id !== 'number' || typeof row.name !== 'string') {
    throw new Error(`${name} reads the row wrongly: ${JSON.stringify(row)}`);
  }
}
// Connections are opened and code is compiled before the measurement.
await run(1000);
const cpuBefore = process.cpuUsage();
const began = performance.now();
const measured = await run(Number(seconds) * 1000);
const elapsed = performance.now() - began;
const { user, system } = process.cpuUsage(cpuBefore);
const latencies = measured.sorted();
const queries = latencies.length;
await client.close();
console.log(
  JSON.stringify({
    queriesPerSecond: queries / (elapsed / 1000),
    p50: latencies[Math.floor(queries / 2)],
    p99: latencies[Math.floor(queries * 0.99)],
    cpuPerQuery: (user + system) / queries,
  }),
);
