'use strict';

// One connection that JavaScript holds for itself: a transaction's, between its BEGIN and its end.

class Lease {
  #channel;
  #whenIdle = null;

  /** The addon's word for it; 0 until the query that acquires it was answered. */
  number = 0;
  /** Whether the user may still send queries on it. */
  isOpen = true;
  /** Requests whose answer has not come. */
  running = 0;
  /** The first error that a query on it ended with. */
  failure = null;

  constructor(channel) {
    this.#channel = channel;
  }

  query(sql, params, options, flags) {
    return this.#channel.query(sql, params, options, this, flags);
  }

  /** Gives it back without a query; `destroy` closes the connection, whose state is in doubt. */
  release(destroy) {
    if (this.number !== 0) this.#channel.release(this, destroy);
  }

  /** Called by the table of requests for each that was answered. */
  settled() {
    this.running -= 1;
    if (this.running === 0 && this.#whenIdle !== null) {
      const resolve = this.#whenIdle;
      this.#whenIdle = null;
      resolve();
    }
  }

  /** Resolves when no query is running on it. */
  async idle() {
    if (this.running === 0) return;
    await new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }
}

module.exports = { Lease };
