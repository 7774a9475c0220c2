'use strict';

// `timeoutMs` of a transaction: from the call to the answer of COMMIT, waiting for a connection and all attempts
// included.

const { classes } = require('./errors.cjs');

/** What `#passed` resolves to. */
const PASSED = Symbol('passed');

class Deadline {
  #timeoutMs;
  #timer;
  #passed;
  #query = undefined;
  isOver = false;
  /** Called when the time is over; returns the SQL text that is being run then. */
  onPassed = null;

  constructor(timeoutMs) {
    this.#timeoutMs = timeoutMs;
    this.#passed = new Promise((resolve) => {
      const pass = () => {
        this.isOver = true;
        this.#query = this.onPassed?.();
        resolve(PASSED);
      };
      this.#timer = setTimeout(pass, timeoutMs);
    });
  }

  clear() {
    clearTimeout(this.#timer);
  }

  /** `promise`, or an error when the time is over before. */
  async bound(promise, outcome) {
    const first = await Promise.race([promise, this.#passed]);
    if (first === PASSED) throw this.error(outcome);
    return first;
  }

  error(outcome, details) {
    const isCommit = outcome === 'unknown';
    const what = isCommit
      ? 'while COMMIT was under way: nobody knows whether it was applied'
      : 'and was rolled back';
    const message = `the transaction did not finish within timeoutMs, ${this.#timeoutMs} ms, ${what}`;
    return new classes.QueryTimeoutError(message, {
      // statement_completion_unknown
      code: isCommit ? '40003' : 'HYPERION_TRANSACTION_TIMEOUT',
      outcome,
      query: this.#query,
      ...details,
    });
  }
}

module.exports = { Deadline };
