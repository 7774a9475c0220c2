'use strict';

// Transactions, as users see them: `begin`, and `transaction` with its callback and its retries.

const { setTimeout: sleep } = require('node:timers/promises');
const contract = require('../transfer/contract.cjs');
const {
  configurationError,
  disposable,
  isError,
  isRetryable,
  isStale,
  rejection,
  withStackFrom,
} = require('./errors.cjs');
const { Lease, defineHidden } = require('../lease/lease.cjs');
const { Deadline } = require('../lease/deadline.cjs');
const { OpenTransaction, withUnknownOutcome } = require('../lease/open-transaction.cjs');
const { CallOptions, isGiven } = require('./options.cjs');
const { needStackSpace } = require('./stack-space.cjs');

const { RELEASE, TRANSACTION, BEGIN_READ_ONLY, BEGIN_DEFERRABLE } = contract.queryFlags;
const { REPEATED, ISOLATION_SHIFT } = contract.queryFlags;
const { READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE } =
  contract.isolationLevels;

const ISOLATION = new Map([
  ['read uncommitted', READ_UNCOMMITTED],
  ['read committed', READ_COMMITTED],
  ['repeatable read', REPEATABLE_READ],
  ['serializable', SERIALIZABLE],
]);

const MOST_RETRIES = 1000;

/** The wait before another attempt grows from the first number to the second, in milliseconds. */
const FIRST_BACKOFF = 10;
const LONGEST_BACKOFF = 1000;

class Transaction {
  #open;
  /**
   * The Connection on which a transaction began, or undefined. While the user has the transaction,
   * the Connection must not be garbage-collected, since its lease would then be taken back.
   */
  // eslint-disable-next-line no-unused-private-class-members -- only held
  #holder;
  /** Tells those who watch how the transaction ends, or null. */
  #published;

  constructor(open, holder, published = null) {
    this.#open = open;
    this.#holder = holder;
    this.#published = published;
  }

  query(sql, params, options) {
    try {
      const open = this.#open;
      return open.query(open.root, sql, params, options);
    } catch (thrown) {
      return rejection(this, Transaction, 'query', thrown);
    }
  }

  savepoint(callback, options) {
    try {
      return savepoint(this.#open, this.#open.root, callback, options, this);
    } catch (thrown) {
      return rejection(this, Transaction, 'savepoint', thrown);
    }
  }

  transaction(callback, options) {
    try {
      return savepoint(this.#open, this.#open.root, callback, options, this);
    } catch (thrown) {
      return rejection(this, Transaction, 'transaction', thrown);
    }
  }

  commit() {
    try {
      needStackSpace();
      return this.#ends(this.#open.commit());
    } catch (thrown) {
      return rejection(this, Transaction, 'commit', thrown);
    }
  }

  rollback() {
    try {
      needStackSpace();
      return this.#ends(this.#open.rollback());
    } catch (thrown) {
      return rejection(this, Transaction, 'rollback', thrown);
    }
  }

  /** At the end of an `await using` block, rolls back unless the block has committed. */
  dispose() {
    return this.#ends(this.#open.leave());
  }

  #ends(promise) {
    return this.#published === null ? promise : this.#published.ends(promise);
  }
}

disposable(Transaction, 'dispose');

/**
 * The view of the transaction that the callback of `savepoint` gets, valid as long as the callback
 * runs.
 */
class Savepoint {
  #open;
  /**
   * The Transaction or Savepoint around this one. It must not be garbage-collected before this one.
   */
  // eslint-disable-next-line no-unused-private-class-members -- only held
  #holder;
  #scope;

  constructor(open, scope, holder) {
    this.#open = open;
    this.#scope = scope;
    this.#holder = holder;
  }

  query(sql, params, options) {
    try {
      return this.#open.query(this.#scope, sql, params, options);
    } catch (thrown) {
      return rejection(this, Savepoint, 'query', thrown);
    }
  }

  savepoint(callback, options) {
    try {
      return savepoint(this.#open, this.#scope, callback, options, this);
    } catch (thrown) {
      return rejection(this, Savepoint, 'savepoint', thrown);
    }
  }

  transaction(callback, options) {
    try {
      return savepoint(this.#open, this.#scope, callback, options, this);
    } catch (thrown) {
      return rejection(this, Savepoint, 'transaction', thrown);
    }
  }
}

// These functions throw before anything is sent. The methods that users call turn the exception
// into a rejection.

function savepoint(open, scope, callback, options, holder) {
  needFunction('a savepoint', callback);
  if (options !== undefined && options !== null) {
    throw configurationError(
      'a savepoint takes no options: isolation, limits and retries are those of its transaction',
    );
  }
  needStackSpace();
  open.check(scope, 'SAVEPOINT');
  return open.savepoint(scope, callback, (inner) => new Savepoint(open, inner, holder));
}

/** A transaction on a connection of the pool. `callSite` is where the user called `begin`. */
function begin(bridge, options, callSite) {
  const { flags, deadline } = readOptions(options, BEGIN_OPTIONS);
  deadline?.check();
  return bridge.observer.begin((published) => begun(bridge, flags, deadline, callSite, published));
}

async function begun(bridge, flags, deadline, callSite, published) {
  try {
    const { lease, open } = await beginOnPool(bridge, flags, deadline, callSite);
    try {
      const view = new Transaction(open, undefined, published);
      lease.heldBy(view);
      return view;
    } catch (thrown) {
      lease.release(true);
      throw thrown;
    }
  } catch (error) {
    deadline?.clear();
    throw withStackFrom(begun, error);
  }
}

function transaction(bridge, callback, options, callSite) {
  return transactionOn(callback, options, {
    observer: bridge.observer,
    begin: (flags, deadline) => beginOnPool(bridge, flags, deadline, callSite),
  });
}

async function beginOnPool(bridge, flags, deadline, callSite) {
  const lease = new Lease(bridge, 'transaction', callSite);
  deadline?.check();
  try {
    await lease.acquire(TRANSACTION, deadline?.signal);
  } catch (error) {
    throw deadline?.hasPassed ? deadline.error('not-sent') : error;
  }
  // The deadline passed while the lease was being granted.
  if (deadline?.hasPassed) {
    lease.release(false);
    throw deadline.error('not-sent');
  }
  return { lease, open: new OpenTransaction(lease, flags, RELEASE, deadline) };
}

/** The flags and the deadline of a transaction on a connection that its user keeps. */
function termsOf(options) {
  const terms = readOptions(options, BEGIN_OPTIONS);
  terms.deadline?.check();
  return terms;
}

/**
 * `begin` gives each attempt its transaction. For a connection that its user keeps, `canRepeat`
 * says whether the connection can serve another attempt. `done` is called after the last attempt.
 */
function transactionOn(callback, options, on) {
  needFunction('a transaction', callback);
  const terms = readOptions(options, TRANSACTION_OPTIONS);
  terms.deadline?.check();
  return on.observer.transaction((context) => attempts(callback, terms, on, context));
}

/**
 * Runs the callback in a transaction, and repeats it as long as that can help and `retries` allows
 * it. `context` is what the channel for transactions publishes, or null if nobody subscribes.
 */
async function attempts(
  callback,
  { flags, deadline, retries },
  { begin: beginAnew, canRepeat, done },
  context,
) {
  /**
   * The error of the previous attempt. It becomes the cause of the next attempt's error, unless
   * that error already has a cause.
   */
  let cause;
  let begins = flags;
  try {
    for (let attempt = 0; ; attempt += 1) {
      if (context !== null) context.attempts = attempt + 1;
      let open;
      try {
        const granted = await beginAnew(begins, deadline);
        open = granted.open;
        return await attemptOnce(callback, granted, open);
      } catch (error) {
        const isLast = attempt >= (retries ?? 0) || open?.mayStand;
        if (isLast || !isRetryable(error) || canRepeat?.() === false) {
          if (open === undefined) throw withStackFrom(attempts, because(error, cause));
          throw open.mayStand ? withUnknownOutcome(error) : error;
        }
        cause = error;
        if (isStale(error)) begins |= REPEATED;
        if (deadline !== null) deadline.cause = error;
        // The deadline is why no further attempt follows, whenever it passed.
        if (deadline?.hasPassed) throw withStackFrom(attempts, deadline.error('not-committed'));
      }
      deadline?.resume();
      await backoff(attempt, deadline);
    }
  } finally {
    deadline?.clear();
    done?.();
  }
}

/** Makes the error of the previous attempt the cause of this error. */
function because(error, cause) {
  if (cause !== undefined && isError(error) && error.cause === undefined) {
    defineHidden(error, 'cause', cause);
  }
  return error;
}

async function attemptOnce(callback, { lease, holder }, open) {
  const view = new Transaction(open, holder);
  lease?.heldBy(view);
  try {
    let value;
    try {
      value = await open.hear(callback(view), attempts);
    } catch (thrown) {
      await open.rollBackBecause(thrown);
      throw thrown;
    }
    await open.finish(attempts);
    return value;
  } finally {
    keep(view);
  }
}

/**
 * Uses the view after the last `await`. V8 drops variables without a later use from the frame of an
 * optimized function. Without this use, the view could be garbage-collected while its transaction
 * runs.
 */
function keep() {}

/** Half of the wait is random, so that transactions that collided once do not collide again. */
async function backoff(attempt, deadline) {
  const most = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** attempt);
  try {
    await sleep(most * (0.5 + Math.random() / 2), undefined, { signal: deadline?.signal });
  } catch {
    throw withStackFrom(attempts, deadline.error('not-committed'));
  }
}

const NAMES = ['isolation', 'readOnly', 'deferrable', 'timeoutMs', 'signal'];
const optionsOf = (allowed) =>
  new CallOptions(
    'the options of a transaction',
    (name) => `transaction option '${name}'`,
    allowed,
  );
const BEGIN_OPTIONS = optionsOf(NAMES);
const TRANSACTION_OPTIONS = optionsOf([...NAMES, 'retries']);

/** `allowed` is BEGIN_OPTIONS or TRANSACTION_OPTIONS. */
function readOptions(options, allowed) {
  if (!isGiven(options)) return { flags: TRANSACTION, deadline: null };
  const { isolation, readOnly, deferrable, timeoutMs, signal, retries } = allowed.read(options);
  let flags = TRANSACTION;
  allowed.checkFlag('readOnly', readOnly);
  if (readOnly === true) flags |= BEGIN_READ_ONLY;
  allowed.checkFlag('deferrable', deferrable);
  if (deferrable === true) flags |= BEGIN_DEFERRABLE;
  if (isGiven(isolation)) {
    const level = ISOLATION.get(isolation);
    if (level === undefined) {
      const list = Array.from(ISOLATION.keys(), (name) => `'${name}'`).join(', ');
      throw allowed.wrong('isolation', `one of ${list}`, isolation);
    }
    flags |= level << ISOLATION_SHIFT;
  }
  allowed.checkTimeout(timeoutMs, 1);
  allowed.checkInteger('retries', retries, 0, MOST_RETRIES);
  allowed.checkSignal(signal);
  return { flags, deadline: Deadline.of(timeoutMs, signal), retries };
}

function needFunction(what, value) {
  if (typeof value !== 'function') {
    throw configurationError(`${what} needs a function, not ${typeof value}`);
  }
}

module.exports = { Transaction, begin, termsOf, transaction, transactionOn };
