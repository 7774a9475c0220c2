// What all benchmarks of clients have in common: rounds in processes of their own, and tables.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MEASURE = fileURLToPath(new URL('measure.js', import.meta.url));

/** Runs `measure.js`, or another program that prints one line of JSON. */
export function runMeasure(program, args, file = MEASURE) {
  return JSON.parse(execFileSync(program, [file, ...args], { encoding: 'utf8' }));
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** The median of each figure over the rounds. */
export function summary(rounds) {
  const keys = Object.keys(rounds[0]);
  return Object.fromEntries(keys.map((key) => [key, median(rounds.map((round) => round[key]))]));
}

export const figure = (value, digits) =>
  value === undefined
    ? '-'
    : value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function printTable(title, rows) {
  console.log(`\n### ${title}\n`);
  console.log('| client | p50 µs | p99 µs | average µs | queries/s | CPU µs/query |');
  console.log('|---|---:|---:|---:|---:|---:|');
  for (const [name, row] of Object.entries(rows)) {
    const cells = [
      figure(row.p50, 1),
      figure(row.p99, 1),
      figure(row.average, 1),
      figure(row.queriesPerSecond, 0),
      figure(row.cpuPerQuery, 1),
    ];
    console.log(`| ${name} | ${cells.join(' | ')} |`);
  }
}
