'use strict';

// `hyperiondb-client bench`: how long queries take from here, and how many there can be.

const { createPool } = require('../index.cjs');
const { APPLICATION } = require('./look.cjs');
const { table } = require('./terminal.cjs');

const SQL = 'SELECT $1::int AS n';
/** Queries under way at a time for each connection, in the second measurement. */
const DEPTH = 20;

async function bench(url, { json, seconds = 3, connections = 10 }, terminal) {
  const works = [
    { title: '1 connection, 1 at a time', size: 1, depth: 1 },
    {
      title: `${connections} connections, ${connections * DEPTH} at a time`,
      size: connections,
      depth: connections * DEPTH,
    },
  ];
  const results = [];
  for (const { title, size, depth } of works) {
    const options = { poolSize: size, minIdle: size, applicationName: APPLICATION };
    const pool = createPool(url, options);
    try {
      await pool.ready();
      await measure(pool, depth, 300, () => {});
      const progress = (share) => terminal.progress(title, share);
      results.push({ title, ...(await measure(pool, depth, seconds * 1000, progress)) });
    } finally {
      await pool.end({ timeoutMs: 0 });
    }
  }
  if (json) terminal.print(JSON.stringify({ sql: SQL, results }));
  else terminal.print(draw(results, terminal.columns));
  return 0;
}

async function measure(pool, depth, forMs, progress) {
  const times = [];
  const startedAt = performance.now();
  const timer = setInterval(() => progress((performance.now() - startedAt) / forMs), 100);
  const user = async () => {
    for (let at = performance.now(); at - startedAt < forMs;) {
      await pool.query(SQL, [times.length]);
      const now = performance.now();
      times.push(now - at);
      at = now;
    }
  };
  try {
    await Promise.all(Array.from({ length: depth }, user));
  } finally {
    clearInterval(timer);
    progress(1);
  }
  const took = performance.now() - startedAt;
  times.sort((a, b) => a - b);
  const share = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];
  const perSecond = (times.length / took) * 1000;
  return { queriesPerSecond: perSecond, p50Ms: share(0.5), p99Ms: share(0.99), maxMs: share(1) };
}

function draw(results, room) {
  const ms = (value) => `${value.toFixed(2)} ms`;
  const rows = results.map(({ title, queriesPerSecond, p50Ms, p99Ms, maxMs }) => [
    ...[title, Math.round(queriesPerSecond).toLocaleString('en'), ms(p50Ms), ms(p99Ms), ms(maxMs)],
  ]);
  return `${SQL}\n${table([['', 'QUERIES/S', 'P50', 'P99', 'MAX'], ...rows], undefined, room)}`;
}

module.exports = { bench };
