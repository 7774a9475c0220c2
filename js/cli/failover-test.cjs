'use strict';

// `hyperiondb-client failover-test`: writes through a failover that the operator makes, and says
// what has come of each write.

const process = require('node:process');
const { setTimeout: sleep } = require('node:timers/promises');
const { createPool } = require('../index.cjs');
const { APPLICATION } = require('./look.cjs');

const TABLE = 'hyperiondb_failover_test';
const WRITERS = 4;
/** Between two writes of one writer, in milliseconds. */
const PAUSE = 5;

async function failoverTest(url, { json, seconds }, terminal) {
  const pool = createPool(url, { mode: 'read-write', applicationName: APPLICATION });
  const say = json ? () => {} : (text) => terminal.print(text);
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  const moves = [];
  pool.on('primary', ({ host, previous, outageMs }) => {
    if (previous === null || previous === undefined) return;
    moves.push({ host, previous, outageMs });
    say(`${previous} -> ${host}, after ${Math.round(outageMs)} ms`);
  });
  pool.on('fence', ({ host }) => say(`${host} takes no writes any more`));
  try {
    await pool.query(`CREATE TABLE ${TABLE} (key int NOT NULL)`);
    say(
      `writing into ${TABLE}: cause a failover now${seconds ? '' : ', and press Ctrl-C when it is over'}`,
    );
    const timer = seconds && setTimeout(interrupt, seconds * 1000);
    const writes = [];
    const startedAt = performance.now();
    const shown = setInterval(() => {
      const took = performance.now() - startedAt;
      if (seconds) terminal.progress('writing', took / (seconds * 1000));
      else terminal.live(`${acknowledgedOf(writes).length} writes are acknowledged`);
    }, 200);
    await writeUntil(pool, stop.signal, writes).finally(() => clearInterval(shown));
    clearTimeout(timer);
    const rows = await pool.query(`SELECT key, count(*)::int AS times FROM ${TABLE} GROUP BY key`);
    const result = { ...judge(writes, rows), moves };
    if (json) terminal.print(JSON.stringify(result));
    else say(draw(result, terminal));
    return result.lost + result.doubled + result.wrong === 0 ? 0 : 1;
  } finally {
    process.off('SIGINT', interrupt);
    await pool.query(`DROP TABLE IF EXISTS ${TABLE}`).catch(() => {});
    await pool.end({ timeoutMs: 5000 });
  }
}

const acknowledgedOf = (writes) => writes.filter(({ outcome }) => outcome === 'committed');

/** Adds each write by its key: its outcome as its caller heard it, and when. */
async function writeUntil(pool, signal, writes) {
  const writer = async () => {
    while (!signal.aborted) {
      const write = { key: writes.length, outcome: 'unknown', at: 0 };
      writes.push(write);
      try {
        await pool.query(`INSERT INTO ${TABLE} VALUES ($1)`, [write.key]);
        write.outcome = 'committed';
      } catch (error) {
        write.outcome = error.outcome ?? 'unknown';
      }
      write.at = performance.now();
      await sleep(PAUSE);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

/** Compares the outcomes that the callers heard with what the table has. */
function judge(writes, rows) {
  const times = new Map(rows.map(({ key, times: count }) => [key, count]));
  const count = (is) => writes.filter(is).length;
  const found = ({ key }) => times.get(key) ?? 0;
  const isRefused = ({ outcome }) => outcome === 'not-sent' || outcome === 'not-committed';
  const acknowledged = acknowledgedOf(writes);
  let pauseMs = 0;
  const moments = acknowledged.map(({ at }) => at).sort((a, b) => a - b);
  moments.forEach((at, n) => (pauseMs = n === 0 ? 0 : Math.max(pauseMs, at - moments[n - 1])));
  return {
    written: writes.length,
    acknowledged: acknowledged.length,
    refused: count(isRefused),
    unknown: count(({ outcome }) => outcome === 'unknown'),
    lost: acknowledged.filter((write) => found(write) === 0).length,
    doubled: count((write) => found(write) > 1),
    /** Reported as not committed, and there all the same. */
    wrong: count((write) => isRefused(write) && found(write) > 0),
    longestPauseMs: pauseMs,
  };
}

function draw(result, terminal) {
  const { written, acknowledged, refused, unknown, lost, doubled, wrong, longestPauseMs } = result;
  const bad = (number) => (number === 0 ? '0' : terminal.paint('red', String(number)));
  return [
    `${written} writes: ${acknowledged} acknowledged, ${refused} refused for sure, ${unknown} unknown`,
    `lost ${bad(lost)}, doubled ${bad(doubled)}, reported as refused and there ${bad(wrong)}`,
    `longest time without an acknowledged write: ${Math.round(longestPauseMs)} ms`,
  ].join('\n');
}

module.exports = { failoverTest, judge };
