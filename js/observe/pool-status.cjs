'use strict';

// What `pool.status()` returns, from what the addon says of a pool.

/** Kept in milliseconds, as everywhere in the API; the addon counts seconds. */
function milliseconds({ count, p50, p90, p99, max }) {
  return { count, p50: p50 * 1000, p90: p90 * 1000, p99: p99 * 1000, max: max * 1000 };
}

function statusOf(said) {
  const { maxSize, size, available, inUse, waiting } = said;
  const { created, closed, timeouts, failed, resent, cancelled } = said;
  const { failovers, fences, rivals, rewinds } = said;
  return {
    ...{ maxSize, size, available, inUse, waiting },
    acquired: said.wait.count,
    ...{ created, closed, timeouts, failed, resent, cancelled },
    ...{ failovers, fences, rivals, rewinds },
    waitMs: milliseconds(said.wait),
    queryMs: milliseconds(said.query),
    hosts: said.hosts.map((on) => ({
      host: on.host,
      acquired: on.wait.count,
      created: on.created,
      closed: on.closed,
      waitMs: milliseconds(on.wait),
      queryMs: milliseconds(on.query),
    })),
  };
}

module.exports = { statusOf };
