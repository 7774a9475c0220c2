'use strict';

// The channels of `node:diagnostics_channel` on which pools publish what they do. They cost nothing
// as long as nobody subscribes.

const { channel, tracingChannel } = require('node:diagnostics_channel');

const channels = {
  query: tracingChannel('hyperiondb-client:query'),
  transaction: tracingChannel('hyperiondb-client:transaction'),
  acquire: tracingChannel('hyperiondb-client:acquire'),
  /** Each new pool, as `{ pool, name, database }`. */
  pool: channel('hyperiondb-client:pool'),
};

/** Node.js before 20.13 does not say it of the channel as a whole. */
function isTraced({ start, end, asyncStart, asyncEnd, error }) {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  );
}

/**
 * Calls `run`, which returns a promise or throws, and publishes `makeContext()` at its start and at
 * its end, if somebody subscribes.
 */
function traced(on, makeContext, run) {
  if (!isTraced(on)) return run(null);
  const context = makeContext();
  return on.tracePromise(() => run(context), context);
}

module.exports = { channels, isTraced, traced };
