'use strict';

// `timeoutMs` of a transaction: from the call to the answer of COMMIT, waiting for a connection and all attempts
// included.

const { classes } = require('./errors.cjs');

class Deadline {
  #timeoutMs;
  #timer;
  #reject;
  /** Rejects when the time is over, and never else. */
  passed;
  /** Called when the time is over: `(makeError) => void`. */
  onPassed = null;
  isOver = false;

  constructor(timeoutMs) {
    this.#timeoutMs = timeoutMs;
    this.passed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    // Nobody may be waiting at that moment.
    this.passed.catch(() => {});
    this.#timer = setTimeout(() => {
      this.isOver = true;
      this.onPassed?.();
      this.#reject(this.error('not-committed'));
    }, timeoutMs);
  }

  clear() {
    clearTimeout(this.#timer);
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
      ...details,
    });
  }
}

module.exports = { Deadline };
