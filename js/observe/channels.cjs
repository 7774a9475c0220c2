'use strict';

// The channels of `node:diagnostics_channel` on which pools publish what they do. They cost nothing
// as long as nobody subscribes.

const { channel, tracingChannel } = require('node:diagnostics_channel');

const RESOLVED = Promise.resolve();

const channels = {
  query: tracingChannel('hyperiondb-client:query'),
  transaction: tracingChannel('hyperiondb-client:transaction'),
  acquire: tracingChannel('hyperiondb-client:acquire'),
  /** Each new pool, as `{ pool, name, database }`. */
  pool: channel('hyperiondb-client:pool'),
  /** Each session that was logged in: the event `connect`, with `pool`, `name` and `database`. */
  connect: channel('hyperiondb-client:connect'),
  /** Each host that takes over from another one: the event `primary`, with the same. */
  failover: channel('hyperiondb-client:failover'),
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
 * its end, if somebody subscribes. What is refused at once has an asynchronous end too, so that a
 * subscriber needs no other.
 */
function traced(on, makeContext, run) {
  if (!isTraced(on)) return run(null);
  const context = makeContext();
  try {
    return on.tracePromise(() => run(context), context);
  } catch (thrown) {
    on.asyncStart.publish(context);
    on.asyncEnd.publish(context);
    throw thrown;
  }
}

/**
 * The same for what must not be held up by the code of subscribers: `promise` was made before, and
 * all is published after the present function.
 */
function tracedLater(on, makeContext, promise) {
  if (!isTraced(on)) return;
  const context = makeContext();
  // The caller has the promise itself, and its rejection.
  RESOLVED.then(() => on.tracePromise(() => promise, context)).catch(() => {});
}

module.exports = { channels, isTraced, traced, tracedLater };
