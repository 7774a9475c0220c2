'use strict';

// Transactions as users see them: `begin`, and `transaction` with its callback and its retries.

const { setTimeout: sleep } = require('node:timers/promises');
const contract = require('../transfer/contract.cjs');
const {
  configurationError,
  disposable,
  isError,
  isRetryable,
  isStale,
  refused,
  seenFrom,
  wrongOption,
} = require('./errors.cjs');
const { Lease, hidden } = require('../lease/lease.cjs');
const { Limit } = require('../lease/deadline.cjs');
const { OpenTransaction } = require('../lease/open-transaction.cjs');
const { isGiven, readOwn } = require('./options.cjs');
const { isSignal } = require('../transfer/signals.cjs');
const { needStack } = require('./stack-space.cjs');

const { RELEASE, TRANSACTION, BEGIN_READ_ONLY, BEGIN_DEFERRABLE } = contract.queryFlags;
const { REPEATED, ISOLATION_SHIFT } = contract.queryFlags;
const { READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE } =
  contract.isolationLevels;
const { LONGEST_TIMEOUT } = contract.limits;

const ISOLATION = new Map([
  ['read uncommitted', READ_UNCOMMITTED],
  ['read committed', READ_COMMITTED],
  ['repeatable read', REPEATABLE_READ],
  ['serializable', SERIALIZABLE],
]);

const MOST_RETRIES = 1000;

/** The wait before an attempt grows from the first to the second of these, in milliseconds. */
const FIRST_BACKOFF = 10;
const LONGEST_BACKOFF = 1000;

class Transaction {
  #open;
  /**
   * The Connection that it is on, where a user has that: once nobody can reach it, it is taken
   * back.
   */
  // eslint-disable-next-line no-unused-private-class-members -- only held
  #holder;

  constructor(open, holder) {
    this.#open = open;
    this.#holder = holder;
  }

  query(sql, params, options) {
    try {
      const open = this.#open;
      return open.query(open.root, sql, params, options);
    } catch (thrown) {
      return refused(this, Transaction, 'query', thrown);
    }
  }

  savepoint(callback, options) {
    try {
      return savepoint(this.#open, this.#open.root, callback, options, this);
    } catch (thrown) {
      return refused(this, Transaction, 'savepoint', thrown);
    }
  }

  transaction(callback, options) {
    try {
      return savepoint(this.#open, this.#open.root, callback, options, this);
    } catch (thrown) {
      return refused(this, Transaction, 'transaction', thrown);
    }
  }

  commit() {
    try {
      needStack();
      return this.#open.commit();
    } catch (thrown) {
      return refused(this, Transaction, 'commit', thrown);
    }
  }

  rollback() {
    try {
      needStack();
      return this.#open.rollback();
    } catch (thrown) {
      return refused(this, Transaction, 'rollback', thrown);
    }
  }

  /** Leaving the block without `commit` rolls back. */
  dispose() {
    return this.#open.leave();
  }
}

disposable(Transaction, 'dispose');

/** The transaction as the callback of `savepoint` has it, for as long as that runs. */
class Savepoint {
  #open;
  /** The Transaction or Savepoint that it is in, which must not be taken for forgotten. */
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
      return refused(this, Savepoint, 'query', thrown);
    }
  }

  savepoint(callback, options) {
    try {
      return savepoint(this.#open, this.#scope, callback, options, this);
    } catch (thrown) {
      return refused(this, Savepoint, 'savepoint', thrown);
    }
  }

  transaction(callback, options) {
    try {
      return savepoint(this.#open, this.#scope, callback, options, this);
    } catch (thrown) {
      return refused(this, Savepoint, 'transaction', thrown);
    }
  }
}

// These throw what is refused before anything is asked: whose call that was, the methods know that
// users call.

function savepoint(open, scope, callback, options, holder) {
  needFunction('a savepoint', callback);
  if (options !== undefined && options !== null) {
    throw configurationError(
      'a savepoint takes no options: isolation, limits and retries are those of its transaction',
    );
  }
  needStack();
  open.check(scope, 'SAVEPOINT');
  return open.savepoint(scope, callback, (inner) => new Savepoint(open, inner, holder));
}

/** A transaction on a connection of the pool. `place` is where the user asked for it. */
function begin(channel, options, place) {
  const { flags, limit } = readOptions(options, BEGIN_OPTIONS);
  limit?.check();
  return begun(channel, flags, limit, place);
}

async function begun(channel, flags, limit, place) {
  try {
    const { lease, open } = await beginOnPool(channel, flags, limit, place);
    try {
      const view = new Transaction(open);
      lease.heldBy(view);
      return view;
    } catch (thrown) {
      lease.release(true);
      throw thrown;
    }
  } catch (error) {
    limit?.clear();
    throw seenFrom(begun, error);
  }
}

function transaction(channel, callback, options, place) {
  return transactionOn(callback, options, {
    begin: (flags, limit) => beginOnPool(channel, flags, limit, place),
  });
}

async function beginOnPool(channel, flags, limit, place) {
  const lease = new Lease(channel, 'transaction', place);
  limit?.check();
  try {
    await lease.acquire(TRANSACTION, limit?.signal);
  } catch (error) {
    throw limit?.isOver ? limit.error('not-sent') : error;
  }
  // It was granted in the very moment.
  if (limit?.isOver) {
    lease.release(false);
    throw limit.error('not-sent');
  }
  return { lease, open: new OpenTransaction(lease, flags, RELEASE, limit) };
}

/** How a transaction on a connection that its user keeps is to begin. */
function termsOf(options) {
  const terms = readOptions(options, BEGIN_OPTIONS);
  terms.limit?.check();
  return terms;
}

/**
 * `begin` gives each attempt its transaction. On a connection that its user keeps, `canRepeat` says
 * whether another attempt has anything to run on. `done` is called behind the last attempt.
 */
function transactionOn(callback, options, on) {
  needFunction('a transaction', callback);
  const terms = readOptions(options, TRANSACTION_OPTIONS);
  terms.limit?.check();
  return attempts(callback, terms, on);
}

/**
 * Runs the callback in a transaction, again and again where that can help and `retries` allow it.
 */
async function attempts(
  callback,
  { flags, limit, retries },
  { begin: beginAnew, canRepeat, done },
) {
  /**
   * Why the attempt before failed: where nothing comes of the next one, it says why that was made.
   */
  let cause;
  let begins = flags;
  try {
    for (let attempt = 0; ; attempt += 1) {
      let open;
      try {
        const granted = await beginAnew(begins, limit);
        open = granted.open;
        return await attemptOnce(callback, granted, open);
      } catch (error) {
        const isLast = attempt >= (retries ?? 0) || open?.mayStand;
        if (isLast || !isRetryable(error) || canRepeat?.() === false) {
          throw open === undefined ? seenFrom(attempts, because(error, cause)) : error;
        }
        cause = error;
        if (isStale(error)) begins |= REPEATED;
        if (limit !== null) limit.cause = error;
        // That is why no attempt follows, whenever it came.
        if (limit?.isOver) throw seenFrom(attempts, limit.error('not-committed'));
      }
      limit?.resume();
      await backoff(attempt, limit);
    }
  } finally {
    limit?.clear();
    done?.();
  }
}

/** What was thrown first led to it. */
function because(error, cause) {
  if (cause !== undefined && isError(error) && error.cause === undefined) {
    hidden(error, 'cause', cause);
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
 * A use behind the last `await`. V8 drops variables that are not used any more from the frame of an
 * optimized function. Without this use, it would take the view for garbage while its transaction is
 * at work.
 */
function keep() {}

/** Half of the wait is random, so that those who met once do not meet again. */
async function backoff(attempt, limit) {
  const most = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** attempt);
  try {
    await sleep(most * (0.5 + Math.random() / 2), undefined, { signal: limit?.signal });
  } catch {
    throw seenFrom(attempts, limit.error('not-committed'));
  }
}

const BEGIN_OPTIONS = ['isolation', 'readOnly', 'deferrable', 'timeoutMs', 'signal'];
const TRANSACTION_OPTIONS = [...BEGIN_OPTIONS, 'retries'];

function readOptions(options, allowed) {
  if (options === undefined || options === null) return { flags: TRANSACTION, limit: null };
  if (typeof options !== 'object') {
    throw wrongOption('the options of a transaction', 'an object', options);
  }
  const own = readOwn(options, allowed, (name) => {
    const list = allowed.join(', ');
    return configurationError(`unknown transaction option '${name}': allowed: ${list}`);
  });
  const { isolation, readOnly, deferrable, timeoutMs, signal, retries } = own;
  let flags = TRANSACTION;
  if (readFlag('readOnly', readOnly)) flags |= BEGIN_READ_ONLY;
  if (readFlag('deferrable', deferrable)) flags |= BEGIN_DEFERRABLE;
  if (isGiven(isolation)) {
    const level = ISOLATION.get(isolation);
    if (level === undefined) {
      const list = Array.from(ISOLATION.keys(), (name) => `'${name}'`).join(', ');
      throw wrongOption(`transaction option 'isolation'`, `one of ${list}`, isolation);
    }
    flags |= level << ISOLATION_SHIFT;
  }
  readInteger('timeoutMs', timeoutMs, 1, LONGEST_TIMEOUT);
  readInteger('retries', retries, 0, MOST_RETRIES);
  if (isGiven(signal) && !isSignal(signal)) {
    throw wrongOption(`transaction option 'signal'`, 'an AbortSignal', signal);
  }
  return { flags, limit: Limit.of(timeoutMs, signal), retries };
}

function readFlag(name, value) {
  if (isGiven(value) && typeof value !== 'boolean') {
    throw wrongOption(`transaction option '${name}'`, 'true or false', value);
  }
  return value === true;
}

function readInteger(name, value, least, most) {
  if (!isGiven(value)) return;
  if (!Number.isInteger(value) || value < least || value > most) {
    throw wrongOption(`transaction option '${name}'`, `an integer from ${least} to ${most}`, value);
  }
}

function needFunction(what, value) {
  if (typeof value !== 'function') {
    throw configurationError(`${what} needs a function, not ${typeof value}`);
  }
}

module.exports = { Transaction, begin, termsOf, transaction, transactionOn };
