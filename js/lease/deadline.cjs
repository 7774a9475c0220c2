'use strict';

// The deadline of a transaction, which has two reasons to pass: `timeoutMs` and `signal`.
// `timeoutMs` runs from the call to the answer of COMMIT, including the wait for a connection and
// all attempts. `signal` may end the transaction at any time.

const { performance } = require('node:perf_hooks');
const { clearTimeout, setTimeout } = require('node:timers');
const { classes, withStackFrom } = require('../api/errors.cjs');
const { Signals, isAborted } = require('../transfer/signals.cjs');

// Read when this file is loaded: with a test's fake clock, the deadline might never pass.
const now = performance.now.bind(performance);

/** `#passed` resolves to this. */
const PASSED = Symbol('passed');

/** How the transaction ended, by its outcome. */
const ENDINGS = {
  'not-sent': 'before it began',
  'not-committed': 'and was rolled back',
  unknown:
    'while COMMIT was under way, or statements that may hold one: nobody knows whether it was applied',
};

/** One listener for each signal, however many transactions share it. */
const signals = new Signals((deadline) => deadline.pass());

class Deadline {
  #timeoutMs;
  #signal;
  /** The time on the clock of `performance.now`. */
  #endsAt = Infinity;
  #timer;
  /** The object of `Signals` while the user's signal is listened to, or null. */
  #watched = null;
  /** The user's signal, if it has ended the transaction. */
  #abortedBy = null;
  #controller = new AbortController();
  #passed;
  #resolve;
  #query = undefined;
  hasPassed = false;
  /** The error of the previous attempt, if the transaction is being repeated. */
  cause = undefined;
  /** Called when the deadline passes; returns the SQL text of the running query. */
  onPassed = null;

  /** The deadline that the options of a transaction set, or null if they set none. */
  static of(timeoutMs, signal) {
    return timeoutMs === undefined && signal === undefined ? null : new Deadline(timeoutMs, signal);
  }

  constructor(timeoutMs, signal) {
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    this.#passed = new Promise((resolve) => (this.#resolve = resolve));
    if (signal?.aborted) {
      this.#abortedBy = signal;
      this.hasPassed = true;
      return;
    }
    if (timeoutMs !== undefined) this.#endsAt = now() + timeoutMs;
    this.#watch();
  }

  #watch() {
    // The signal may be an object of the user's that throws.
    if (this.#signal !== undefined) this.#watched = signals.add(this.#signal, this);
    if (this.#timeoutMs !== undefined) {
      const left = Math.max(1, this.#endsAt - now());
      this.#timer = setTimeout(() => this.pass(), left);
    }
  }

  /** Called before another attempt: the end of a transaction clears the deadline. */
  resume() {
    if (this.hasPassed) return;
    this.clear();
    this.onPassed = null;
    this.#watch();
    if (this.#signal !== undefined && isAborted(this.#signal)) this.pass();
  }

  /** An AbortSignal that is aborted when the deadline passes, for either reason. */
  get signal() {
    return this.#controller.signal;
  }

  pass() {
    if (this.#watched !== null && isAborted(this.#signal)) this.#abortedBy = this.#signal;
    this.hasPassed = true;
    this.clear();
    this.#query = this.onPassed?.();
    this.#controller.abort();
    this.#resolve(PASSED);
  }

  clear() {
    clearTimeout(this.#timer);
    const watched = this.#watched;
    this.#watched = null;
    if (watched !== null) signals.delete(watched, this);
  }

  /** The code of the error, unless the outcome is unknown. */
  get code() {
    return this.#abortedBy === null ? 'HYPERION_TRANSACTION_TIMEOUT' : 'HYPERION_ABORTED';
  }

  /** Throws if the deadline has passed, so that nothing begins any more. */
  check() {
    if (this.hasPassed) throw this.error('not-sent');
  }

  /**
   * The value of `promise`, or an error if the deadline passes first. The stack of the error begins
   * at the function that awaits `method`.
   */
  async bound(promise, outcome, method) {
    const first = await Promise.race([promise, this.#passed]);
    // The deadline may have passed right after the promise was settled.
    if (first === PASSED || this.hasPassed) throw withStackFrom(method, this.error(outcome));
    return first;
  }

  error(outcome, details) {
    const ending = ENDINGS[outcome];
    // statement_completion_unknown
    const unknown = outcome === 'unknown' ? { code: '40003' } : {};
    if (this.#abortedBy !== null) {
      return new classes.AbortError(`the transaction was aborted by its signal ${ending}`, {
        ...{ code: this.code, outcome, query: this.#query, ...details, ...unknown },
        cause: this.#abortedBy.reason,
      });
    }
    const message = `the transaction did not finish within timeoutMs, ${this.#timeoutMs} ms`;
    return new classes.QueryTimeoutError(`${message}, ${ending}`, {
      ...{ code: this.code, outcome, query: this.#query, ...details, ...unknown },
      cause: this.cause,
    });
  }
}

module.exports = { Deadline };
