'use strict';

// One connection that a caller has to itself: a transaction's, or one for session work.

const { classes, explainRefusal } = require('../api/errors.cjs');
const { RELEASE } = require('../transfer/contract.cjs').queryFlags;

/**
 * Leases whose user let go of them without giving them back. Holds the lease, never what the user
 * holds.
 */
const forgotten = new FinalizationRegistry((lease) => lease.reclaim());

class Lease {
  #bridge;
  #whenIdle = null;
  #what;
  /** Has a `stack` that says where it was taken. */
  #callSite;
  /**
   * The addon has the request that ends the transaction, and gives the lease back, whatever comes
   * of that.
   */
  #isGivenBack = false;

  /** The addon's word for it; 0 until it is granted, and once it is given back. */
  number = 0;
  /** Requests whose answer has not come. */
  running = 0;
  /** How many queries were asked of it. */
  asked = 0;
  /** The SQL text that was sent last. */
  lastQuery = undefined;
  /** Where its connection is, once an error of the server or `locate` has said so. */
  host = undefined;
  /**
   * What the transaction on it has failed with, as the server sees it, and what it had failed with
   * before that was undone: `{ error }`, which is filled in when the error arrives.
   */
  #failure = null;
  #healed = null;
  /** What the user gets in place of any error, once a deadline has passed: `(error) => Error`. */
  replaceError = null;
  /** Whether the transaction that is open on it was declared read-only. */
  isReadOnly = false;
  /** The Deadline of the transaction that is open on it, or was last. */
  deadline = null;

  /** `what` is said in warnings: 'transaction' or 'connection'. */
  constructor(bridge, what, callSite) {
    this.#bridge = bridge;
    this.#what = what;
    this.#callSite = callSite;
  }

  /** `signal` and `timeoutMs` bound the wait, where they are given. */
  async acquire(flags, signal, timeoutMs) {
    await this.#bridge.acquire(this, flags, signal, timeoutMs);
  }

  /** Called when the addon has answered. */
  granted(number) {
    this.number = number;
    this.#bridge.rememberLease(this);
  }

  /**
   * `holder` is the user's object: once it is collected as garbage, the user can't give the lease
   * back.
   */
  heldBy(holder) {
    forgotten.register(holder, this, this);
  }

  query(sql, params, options, flags) {
    // The pool would run it on any of its connections.
    if (this.number === 0) throw closed(sql);
    this.asked += 1;
    this.lastQuery = sql;
    const answer = this.#bridge.query(sql, params, options, this, flags);
    if ((flags & RELEASE) !== 0) this.#isGivenBack = true;
    return answer;
  }

  /** For an error of our own: says where the connection is, or was when that was last known. */
  locate() {
    if (this.number !== 0) this.host = this.#bridge.leaseHost(this) ?? this.host;
    return this.host;
  }

  /**
   * Gives up the calls that run on it and wait for it. A COMMIT is not cancelled: its connection is
   * closed.
   */
  cancel() {
    if (this.number !== 0) this.#bridge.cancelLease(this);
  }

  /** `destroy` closes the connection, and fails what runs on it. */
  release(destroy) {
    if (this.number === 0) return;
    this.#bridge.release(this, destroy);
    this.#leave();
  }

  /**
   * Its user is done with it. Where the request that gives it back could not be made, it is given
   * back here.
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

  /** A transaction begins on it, which nothing that came before concerns. */
  begins() {
    this.#failure = null;
    this.#healed = null;
    this.replaceError = null;
  }

  /** A query of it has failed, and its transaction with it, if that had not failed before. */
  failed() {
    return (this.#failure ??= { error: null });
  }

  /** A query of it has succeeded: the transaction on it has not failed, or no longer. */
  succeeded() {
    if (this.#failure === null) return;
    this.#healed = this.#failure;
    this.#failure = null;
  }

  /**
   * The first error that the transaction has failed with, or had failed with before the last of its
   * queries succeeded.
   */
  get failure() {
    return (this.#failure ?? this.#healed)?.error ?? null;
  }

  /** Whether it has a connection, or a claim to another one. */
  get isAlive() {
    return this.number !== 0 && this.#bridge.leaseIsAlive(this);
  }

  /** Whether its user has begun a transaction by a statement. */
  get isInOwnTransaction() {
    return this.number !== 0 && this.#bridge.leaseIsInOwnTransaction(this);
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
   * What the user is told of an error; called in the stack of the caller that waits for it.
   * `failure` is what `failed` gave for the error, or null where the transaction goes on.
   */
  explain(error, failure) {
    this.host ??= error.host;
    if (this.replaceError !== null) return this.replaceError(error);
    explainRefusal(error, this.isReadOnly);
    if (failure === null) return error;
    if (error.code === ABORTED && error.cause === undefined && failure.error !== null) {
      defineHidden(error, 'cause', failure.error);
    }
    failure.error ??= error;
    return error;
  }

  /** Its user can't use it any more. */
  async reclaim() {
    await this.idle();
    // A caller that waits for the end of a transaction does not need its view.
    if (this.number === 0 || this.#isGivenBack) return;
    this.release(true);
    this.warn(`was never ${this.#what === 'transaction' ? 'finished' : 'released'}`);
  }

  /** Says where it was taken, because no caller waits for an error. */
  warn(why) {
    const isTransaction = this.#what === 'transaction';
    process.emitWarning(`a ${this.#what} ${why}: its connection was taken back`, {
      type: 'HyperionWarning',
      code: isTransaction ? 'HYPERION_TRANSACTION_ABANDONED' : 'HYPERION_CONNECTION_ABANDONED',
      detail: `It began here:\n${this.#callSite.stack.split('\n').slice(1).join('\n')}`,
    });
  }
}

function closed(query) {
  const message =
    'the connection was closed: its user discarded it, or a transaction on it did not end in time';
  return new classes.ConnectionError(message, {
    code: 'HYPERION_CONNECTION_LOST',
    outcome: 'not-sent',
    query,
  });
}

/** `in_failed_sql_transaction`: says nothing of what had failed. */
const ABORTED = '25P02';

/** As JavaScript's own `cause`: there, but not enumerable. */
function defineHidden(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, configurable: true });
}

module.exports = { Lease, defineHidden };
