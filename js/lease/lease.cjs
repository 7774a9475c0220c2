'use strict';

// One connection that one caller has to itself: for a transaction, or for session work.

const { performance } = require('node:perf_hooks');
const { classes, explainRefusal } = require('../api/errors.cjs');
const { RELEASE } = require('../transfer/contract.cjs').queryFlags;

/** Taken when this file is loaded: fake timers of a test replace it. */
const now = performance.now.bind(performance);

/**
 * Takes back a lease whose user has dropped it. It holds the lease and not the user's object, which
 * could not be garbage-collected otherwise.
 */
const forgotten = new FinalizationRegistry((lease) => lease.reclaim());

class Lease {
  #bridge;
  #whenIdle = null;
  #what;
  /** An object whose `stack` shows where the user took the lease. */
  #callSite;
  /**
   * The addon has the request that ends the transaction. The addon takes the lease back then,
   * whether the request succeeds or not.
   */
  #isGivenBack = false;

  /** The addon's number of the lease; 0 before it is granted, and after it is given back. */
  number = 0;
  /** How many requests have no answer yet. */
  running = 0;
  /** How many queries were sent on it. */
  asked = 0;
  /** The SQL text of the query that was sent last. */
  lastQuery = undefined;
  /** The host of its connection, once an error of the server or `locate` has named it. */
  host = undefined;
  /**
   * `#failure` says with which error the transaction has failed, and `#healed` with which one it
   * had failed before a savepoint undid that. Both are null or `{ error }`; the error is filled in
   * when it is made.
   */
  #failure = null;
  #healed = null;
  /** After a deadline has passed, makes the error that the user gets: `(error) => Error`. */
  replaceError = null;
  /** How long the lease was waited for, in milliseconds, where queries are watched. */
  waitedMs = 0;
  /** The number of the open transaction for those who watch; 0 before its first query. */
  transaction = 0;
  /** Its BEGIN, until a query has taken it along: `{ sql, waitedMs }`, or null. */
  begin = null;
  /** Whether the open transaction was declared read-only. */
  isReadOnly = false;
  /** The Deadline of the open transaction, or of the last one. */
  deadline = null;

  /** `what` names the lease in warnings: 'transaction' or 'connection'. */
  constructor(bridge, what, callSite) {
    this.#bridge = bridge;
    this.#what = what;
    this.#callSite = callSite;
  }

  /** Who watches the pool. */
  get observer() {
    return this.#bridge.observer;
  }

  /** `signal` and `timeoutMs` may be undefined; they bound the wait. */
  async acquire(flags, signal, timeoutMs) {
    const isTimed = this.#what === 'transaction' && this.observer.watchesQueries;
    const startedAt = isTimed ? now() : 0;
    await this.#bridge.acquire(this, flags, signal, timeoutMs);
    if (startedAt > 0) this.waitedMs = now() - startedAt;
  }

  /** Called when the addon has granted the lease. */
  granted(number) {
    this.number = number;
    this.#bridge.rememberLease(this);
  }

  /**
   * `holder` is the user's object. When it is garbage-collected, the user can't give the lease back
   * any more.
   */
  heldBy(holder) {
    forgotten.register(holder, this, this);
  }

  /**
   * `place` is what the query is a part of, a Scope or the session work of a connection; null for a
   * statement of this package. `place.check(sql)` throws if it takes no more queries. Each answer
   * is reported to it, and it may change the error that the user gets (`explain`).
   */
  query(sql, params, options, flags, place = null) {
    this.check(null, sql);
    const answer = this.#bridge.query(sql, params, options, this, flags, place);
    this.asked += 1;
    this.lastQuery = sql;
    if ((flags & RELEASE) !== 0) this.#isGivenBack = true;
    return answer;
  }

  /**
   * Called right before a query is written, too: code of the caller's that ran while the query was
   * read (a getter, `toJSON`, a signal) may have ended its place or the lease.
   */
  check(place, sql) {
    if (place !== null) place.check(sql);
    // The addon would run a query without a number on any connection of the pool.
    if (this.number === 0) throw closedError(sql);
  }

  /** The host of the connection, or the last known one: for errors that this package makes. */
  locate() {
    if (this.number !== 0) this.host = this.#bridge.leaseHost(this) ?? this.host;
    return this.host;
  }

  /**
   * Cancels the calls of the transaction that run on the lease, and drops those that wait for it.
   * The pool never cancels a COMMIT, and closes its connection instead.
   */
  cancel() {
    if (this.number !== 0) this.#bridge.cancelLease(this);
  }

  /** `destroy` closes the connection; the calls that run on it fail. */
  release(destroy) {
    if (this.number === 0) return;
    this.#bridge.release(this, destroy);
    this.#leave();
  }

  /**
   * The user has ended the transaction. Takes the lease back if the request that gives it back
   * could not be made.
   */
  ended() {
    if (!this.#isGivenBack) this.release(true);
    if (this.number !== 0) this.#bridge.forgetLease(this);
    this.#leave();
  }

  #leave() {
    forgotten.unregister(this);
    this.deadline?.clear();
  }

  /** A transaction begins: errors of earlier ones do not count. */
  begins() {
    this.#failure = null;
    this.#healed = null;
    this.replaceError = null;
    this.transaction = 0;
    this.begin = null;
  }

  /** A query has failed, and so the transaction has, unless it had failed before. */
  failed() {
    return (this.#failure ??= { error: null });
  }

  /**
   * A query has succeeded: the transaction has not failed, or a savepoint has undone the failure.
   */
  succeeded() {
    if (this.#failure === null) return;
    this.#healed = this.#failure;
    this.#failure = null;
  }

  /**
   * The first error with which the transaction has failed, or had failed before its last query
   * succeeded.
   */
  get failure() {
    return (this.#failure ?? this.#healed)?.error ?? null;
  }

  /** Whether the lease has a connection, or may get another one. */
  get isAlive() {
    return this.number !== 0 && this.#bridge.leaseIsAlive(this);
  }

  /** Whether the user has begun a transaction by a statement. */
  get isInOwnTransaction() {
    return this.number !== 0 && this.#bridge.leaseIsInOwnTransaction(this);
  }

  /** Called by `Requests` for each answered request. */
  requestAnswered() {
    this.running -= 1;
    if (this.running === 0 && this.#whenIdle !== null) {
      const resolve = this.#whenIdle;
      this.#whenIdle = null;
      resolve();
    }
  }

  /** Resolves when no query is running on the lease. */
  async idle() {
    while (this.running > 0) {
      await new Promise((resolve) => {
        const earlier = this.#whenIdle;
        this.#whenIdle = () => {
          earlier?.();
          resolve();
        };
      });
    }
  }

  /**
   * The error that the user gets for `error`; called in the stack of the caller that awaits it.
   * `failure` is the result of `failed` for the error, or null if the transaction goes on. `place` is
   * what the query was a part of.
   */
  explain(error, failure, place) {
    this.host ??= error.host;
    // The user of a connection has asked it in front of the transaction, or behind it.
    if (place !== null && !place.isInTransaction) return error;
    if (this.replaceError !== null) return this.replaceError(error);
    explainRefusal(error, this.isReadOnly);
    if (failure === null) return error;
    if (error.code === ABORTED && error.cause === undefined && failure.error !== null) {
      defineHidden(error, 'cause', failure.error);
    }
    failure.error ??= error;
    return error;
  }

  /** The user has dropped the lease without giving it back. */
  async reclaim() {
    await this.idle();
    // A caller that awaits the end of a transaction may drop its view.
    if (this.number === 0 || this.#isGivenBack) return;
    this.release(true);
    this.warn(`was never ${this.#what === 'transaction' ? 'finished' : 'released'}`);
  }

  /** The warning shows where the user took the lease, because no caller awaits an error. */
  warn(why) {
    const isTransaction = this.#what === 'transaction';
    process.emitWarning(`a ${this.#what} ${why}: its connection was taken back`, {
      type: 'HyperionWarning',
      code: isTransaction ? 'HYPERION_TRANSACTION_ABANDONED' : 'HYPERION_CONNECTION_ABANDONED',
      detail: `It began here:\n${this.#callSite.stack.split('\n').slice(1).join('\n')}`,
    });
  }
}

function closedError(query) {
  const message =
    'the connection was closed: its user discarded it, or a transaction on it did not end in time';
  return new classes.ConnectionError(message, {
    code: 'HYPERION_CONNECTION_LOST',
    outcome: 'not-sent',
    query,
  });
}

/**
 * `in_failed_sql_transaction`: its message does not say with which error the transaction failed.
 */
const ABORTED = '25P02';

/** A property that is not enumerable, as JavaScript's own `cause`. */
function defineHidden(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, configurable: true });
}

module.exports = { Lease, defineHidden };
