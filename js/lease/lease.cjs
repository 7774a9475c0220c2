'use strict';

// A connection that one caller has to itself, for a transaction or for session work.

const { performance } = require('node:perf_hooks');
const { classes, explainRefusal } = require('../api/errors.cjs');
const { RELEASE } = require('../transfer/contract.cjs').queryFlags;

/** Read when this file is loaded, since a test's fake timers replace it. */
const now = performance.now.bind(performance);

/**
 * Takes back a lease whose user has dropped it. It references the lease and not the user's object,
 * since otherwise that object could not be garbage-collected.
 */
const forgotten = new FinalizationRegistry((lease) => lease.reclaim());

class Lease {
  #bridge;
  #whenIdle = null;
  /** 'transaction' or 'connection', for warnings and events. */
  what;
  /** An object whose `stack` shows where the user took the lease. */
  #callSite;
  /**
   * Whether the addon has the request that ends the transaction. The addon takes the lease back
   * with that request, whether it succeeds or not.
   */
  #isGivenBack = false;

  /**
   * The addon's number of the lease. 0 before the addon grants the lease, and after its release.
   */
  number = 0;
  /** How many requests have no answer yet. */
  running = 0;
  /** How many queries were sent on the lease. */
  asked = 0;
  /** The SQL text of the last query that was sent. */
  lastQuery = undefined;
  /** The host of the connection, once a server's error or `locate` has named it. */
  host = undefined;
  /**
   * `#failure` says with which error the transaction has failed. `#healed` says with which error it
   * had failed before a savepoint undid that failure. Both are null or `{ error }`, and the error is
   * filled in when it is made.
   */
  #failure = null;
  #healed = null;
  /** After a deadline has passed, makes the error that the user gets: `(error) => Error`. */
  replaceError = null;
  /** How long the user waited for the lease, in milliseconds, if queries are watched. */
  waitedMs = 0;
  /** When it was granted, where somebody listens to that; else 0. */
  grantedAt = 0;
  /** The number of the open transaction for those who watch it. 0 before its first query. */
  transaction = 0;
  /** The BEGIN that was not reported with a query yet: `{ sql, waitedMs }`, or null. */
  begin = null;
  /** Whether the open transaction was declared read-only. */
  isReadOnly = false;
  /** The Deadline of the open transaction, or of the last transaction. */
  deadline = null;

  constructor(bridge, what, callSite) {
    this.#bridge = bridge;
    this.what = what;
    this.#callSite = callSite;
  }

  /** The observer of the pool. */
  get observer() {
    return this.#bridge.observer;
  }

  /** `signal` and `timeoutMs` limit the wait. Both may be undefined. */
  async acquire(flags, signal, timeoutMs) {
    const { leaseEvents } = this.#bridge;
    const isHeard = leaseEvents.isAnyHeard;
    const isLogged = this.what === 'transaction' && this.observer.watchesQueries;
    const startedAt = isHeard || isLogged ? now() : 0;
    await this.#bridge.acquire(this, flags, signal, timeoutMs);
    if (startedAt > 0) this.waitedMs = now() - startedAt;
    if (isHeard) leaseEvents.acquired(this);
  }

  /** Called when the addon has granted the lease. */
  granted(number) {
    this.number = number;
    this.#bridge.rememberLease(this);
  }

  /**
   * `holder` is the user's object. After it is garbage-collected, the user can't release the lease
   * any more.
   */
  heldBy(holder) {
    forgotten.register(holder, this, this);
  }

  /**
   * `place` is the part of the lease to which the query belongs: a Scope, or the session work of a
   * connection. It is null for a statement of this package. `place.check(sql)` throws if the place
   * takes no more queries. Each answer is reported to `place`, which may change the error that the
   * user gets (`explain`).
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
   * Called before a query is written, too. Code of the caller's that runs while the query is read
   * (a getter, `toJSON`, a signal) may end the query's place or the lease.
   */
  check(place, sql) {
    if (place !== null) place.check(sql);
    // Without a lease's number, the addon would run the query on any connection of the pool.
    if (this.number === 0) throw closedError(sql);
  }

  /** The host of the connection, or the last known host, for errors that this package makes. */
  locate() {
    if (this.number !== 0) this.host = this.#bridge.leaseHost(this) ?? this.host;
    return this.host;
  }

  /**
   * Cancels the calls of the transaction that run on the lease or wait for it. The pool never
   * cancels a COMMIT, but closes its connection.
   */
  cancel() {
    if (this.number !== 0) this.#bridge.cancelLease(this);
  }

  /** `destroy` closes the connection. Calls that run on it fail. */
  release(destroy) {
    if (this.number === 0) return;
    this.#bridge.leaseEvents.released(this, destroy ? 'destroyed' : 'released');
    this.#bridge.release(this, destroy);
    this.#leave();
  }

  /**
   * Called when the user has ended the transaction. Releases the lease if the request that would
   * have released it could not be made.
   */
  ended() {
    if (!this.#isGivenBack) this.release(true);
    if (this.number !== 0) {
      this.#bridge.leaseEvents.released(this, 'finished');
      this.#bridge.forgetLease(this);
    }
    this.#leave();
  }

  #leave() {
    forgotten.unregister(this);
    this.deadline?.clear();
  }

  /** A transaction begins, so errors of earlier transactions no longer count. */
  begins() {
    this.#failure = null;
    this.#healed = null;
    this.replaceError = null;
    this.transaction = 0;
    this.begin = null;
  }

  /**
   * Called when a query has failed. The transaction has failed too, unless it had failed before.
   */
  failed() {
    return (this.#failure ??= { error: null });
  }

  /**
   * Called when a query has succeeded: either the transaction has not failed, or a savepoint has
   * undone the failure.
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

  /** Whether a statement of the user's has begun a transaction. */
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
   * The error that the user gets for `error`. Called in the stack of the caller that awaits the
   * error. `failure` is the result of `failed` for the error, or null if the transaction continues.
   * `place` is the part of the lease to which the query belongs.
   */
  explain(error, failure, place) {
    this.host ??= error.host;
    // The user of a connection has made this call before or after the transaction.
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

  /** Called when the user has dropped the lease without releasing it. */
  async reclaim() {
    await this.idle();
    // A caller that awaits the end of a transaction may drop its view.
    if (this.number === 0 || this.#isGivenBack) return;
    this.release(true);
    this.warn(`was never ${this.what === 'transaction' ? 'finished' : 'released'}`);
  }

  /**
   * The warning shows where the user took the lease, because there is no caller that awaits an
   * error.
   */
  warn(why) {
    const isTransaction = this.what === 'transaction';
    process.emitWarning(`a ${this.what} ${why}: its connection was taken back`, {
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

/** Defines a property that is not enumerable, like JavaScript's own `cause`. */
function defineHidden(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, configurable: true });
}

module.exports = { Lease, defineHidden };
