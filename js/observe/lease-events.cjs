'use strict';

// The events `acquire` and `release`: a caller got a connection to itself, and gave it back.

const { performance } = require('node:perf_hooks');

/** Taken when this file is loaded: fake timers of a test replace them. */
const now = performance.now.bind(performance);
const { queueMicrotask } = globalThis;

class LeaseEvents {
  #isHeard;
  #tell;

  /** `isHeard(type)` says whether anybody listens, and `tell` emits an event. */
  constructor(isHeard, tell) {
    this.#isHeard = isHeard;
    this.#tell = tell;
  }

  get isAnyHeard() {
    return this.#isHeard('acquire') || this.#isHeard('release');
  }

  /** Called when a lease has been granted that was asked for while `isAnyHeard`. */
  acquired(lease) {
    lease.grantedAt = now();
    const host = lease.locate() ?? null;
    this.#emit('acquire', { host, what: lease.what, waitMs: lease.waitedMs });
  }

  /** `reason`: 'finished' by COMMIT or ROLLBACK, 'released', or 'destroyed'. */
  released(lease, reason) {
    const { grantedAt } = lease;
    if (grantedAt === 0) return;
    lease.grantedAt = 0;
    const host = lease.locate() ?? null;
    this.#emit('release', { host, what: lease.what, heldMs: now() - grantedAt, reason });
  }

  /** No listener runs in the middle of the client's own work. */
  #emit(type, event) {
    if (this.#isHeard(type)) queueMicrotask(() => this.#tell({ type, ...event }));
  }
}

module.exports = { LeaseEvents };
