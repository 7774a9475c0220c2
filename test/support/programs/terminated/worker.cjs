'use strict';

// Works until it ends while the addon calls it (storm.js).

const { parentPort, workerData } = require('node:worker_threads');

const { addon, options, way, isBroken, turns } = workerData;
const { createPool } = require('./load.cjs')(addon);

/** Runs at the moment when this worker is to end. It never returns. */
function beEnded() {
  parentPort.postMessage('now');
  for (;;);
}

const ENDS = {
  'terminated in a parser': beEnded,
  'terminated in a reaction': () => queueMicrotask(beEnded),
  'terminated anywhere': () => parentPort.postMessage('soon'),
  'exits in a parser': () => process.exit(7),
  'throws in a tick': () =>
    process.nextTick(() => {
      throw new Error('asked for');
    }),
};

function throwInDeliver() {
  // The package's own `deliver` throws nothing, so this pool uses the addon without the package.
  const { native } = require('../../../../js/native/loader.cjs');
  const { handle } = native().createPool(JSON.stringify(options), () => {
    throw new Error('asked for');
  });
  native().ready(handle, 1);
  native().flush(handle);
}

let parsed = 0;
/** Called in the middle of `deliver`. */
function parse(text) {
  if (parsed++ === turns) ENDS[way]();
  return Number(text);
}

async function work() {
  const pool = createPool({ ...options, types: { int4: { parse } } });
  // The mutation of an addon that was built with `defects`, for all pools of this thread.
  if (isBroken) await pool.query('leave exceptions').catch(() => {});
  if (way.endsWith('listener of what deliver throws')) process.on('uncaughtException', beEnded);
  if (way in ENDS) {
    const lane = async () => {
      for (;;) await pool.query('SELECT 1');
    };
    await Promise.all([lane(), lane(), lane()]);
  }
  throwInDeliver();
}

work();
