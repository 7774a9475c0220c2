'use strict';

// `pool.connect`: a connection that its user keeps for session work (SET, advisory locks, temporary
// tables).

const { clearTimeout, setTimeout } = require('node:timers');
const { inspect } = require('node:util');
const { classes, aborted, disposable, rejection, withStackFrom } = require('./errors.cjs');
const { Lease } = require('../lease/lease.cjs');
const { OpenTransaction } = require('../lease/open-transaction.cjs');
const { CallOptions } = require('./options.cjs');
const { needStackSpace } = require('./stack-space.cjs');
const { Transaction, termsOf, transactionOn } = require('./transaction.cjs');

/**
 * How long the release of a connection waits for a callback of `transaction` that sends no query,
 * in milliseconds. Such a callback probably awaits the release, while the release waits for the
 * callback.
 */
const LONGEST_SILENCE = 5000;

class Connection {
  #lease;
  /** The transaction that is open on the connection, or the last transaction. */
  #open = null;
  /**
   * How many calls of `transaction` are running. Each call includes all of its attempts.
   * `#whenDone` is called when the last call is done.
   */
  #running = 0;
  #whenDone = null;
  #released = null;
  /** The session work outside transactions, as a place for queries. */
  #sessionWork = new SessionWork((sql) => this.#checkSessionWork(sql));

  constructor(lease) {
    this.#lease = lease;
  }

  query(sql, params, options) {
    try {
      if (this.#released !== null) throw releasedError(sql);
      // All queries run in one session. While a transaction is open, each query is a part of it.
      const open = this.#open;
      if (open?.isOpen) return open.query(open.root, sql, params, options);
      return this.#lease.query(sql, params, options, 0, this.#sessionWork);
    } catch (thrown) {
      return rejection(this, Connection, 'query', thrown);
    }
  }

  async begin(options) {
    try {
      needStackSpace();
      this.#check();
      const { flags, deadline } = termsOf(options);
      if (this.#isEnding) await this.#untilClosed(deadline);
      try {
        this.#check();
      } catch (thrown) {
        deadline?.clear();
        throw thrown;
      }
      const open = new OpenTransaction(this.#lease, flags, 0, deadline);
      const view = new Transaction(open, this);
      this.#open = open;
      return view;
    } catch (thrown) {
      return rejection(this, Connection, 'begin', thrown);
    }
  }

  transaction(callback, options) {
    try {
      needStackSpace();
      // Checked here too, where the caller is on the stack.
      this.#check();
      const begin = async (flags, deadline) => {
        if (this.#isEnding) await this.#untilClosed(deadline);
        this.#check();
        this.#open = new OpenTransaction(this.#lease, flags, 0, deadline);
        return { open: this.#open, holder: this };
      };
      const canRepeat = () => this.#lease.isAlive;
      const done = () => {
        this.#running -= 1;
        if (this.#running === 0) this.#whenDone?.();
      };
      const { observer } = this.#lease;
      const running = transactionOn(callback, options, { observer, begin, canRepeat, done });
      this.#running += 1;
      return running;
    } catch (thrown) {
      return rejection(this, Connection, 'transaction', thrown);
    }
  }

  /**
   * Resolves when the connection is back in the pool, or closed if `destroy` is given. A second
   * call returns the promise of the first call. As in `pg`, `destroy` may also be an error.
   */
  release(destroy) {
    try {
      if (this.#released === null) {
        needStackSpace();
        this.#released = destroy ? this.#destroy() : this.#giveBack();
      }
      return this.#released;
    } catch (thrown) {
      return rejection(this, Connection, 'release', thrown);
    }
  }

  async #giveBack() {
    if (this.#running > 0) await this.#untilDone();
    await this.#open?.abandon();
    await this.#lease.idle();
    this.#lease.release(false);
  }

  async #destroy() {
    this.#lease.release(true);
  }

  [inspect.custom](depth, options) {
    const state = this.#released === null ? 'taken' : 'released';
    return `Connection ${inspect({ host: this.#lease.locate(), state }, options)}`;
  }

  /**
   * Resolves when all calls of `transaction` are done, or when their callbacks seem to await the
   * release.
   */
  async #untilDone() {
    const lease = this.#lease;
    let { asked } = lease;
    let timer;
    await new Promise((resolve) => {
      this.#whenDone = resolve;
      const poll = () => {
        const isAtWork = lease.running > 0 || lease.asked !== asked;
        ({ asked } = lease);
        if (!isAtWork) resolve();
        else timer = setTimeout(poll, LONGEST_SILENCE);
      };
      timer = setTimeout(poll, LONGEST_SILENCE);
    });
    clearTimeout(timer);
  }

  /**
   * Called after all of the caller's code that runs while a query is read. If that code has begun a
   * transaction, the query, which was called before it, would run inside the transaction.
   */
  #checkSessionWork(sql) {
    if (this.#released !== null) throw releasedError(sql);
    if (this.#open?.isOpen) {
      throw openAlreadyError(
        "a transaction was begun on this connection while the query's values and options were read: ask the query " +
          'before, or as a part of it',
        sql,
      );
    }
  }

  get #isEnding() {
    return this.#open !== null && !this.#open.isOpen && !this.#open.isClosed;
  }

  /** Resolves when the server has answered the COMMIT or ROLLBACK of the previous transaction. */
  async #untilClosed(deadline) {
    while (this.#isEnding) {
      const closed = this.#open.whenClosed();
      await (deadline === null ? closed : deadline.bound(closed, 'not-sent', this.#untilClosed));
    }
  }

  #check() {
    if (this.#released !== null) throw releasedError();
    if (this.#open?.isOpen) {
      throw openAlreadyError(
        'a transaction is open on this connection: finish it, or use its savepoint()',
      );
    }
    // A running statement may begin or end such a transaction. In that case, the addon refuses
    // those statements of this package that would run inside the transaction.
    if (this.#lease.isInOwnTransaction) {
      throw openAlreadyError(
        'a transaction that was begun by a statement is open on this connection: end it before, or use BEGIN, ' +
          'COMMIT and ROLLBACK as statements alone',
      );
    }
  }
}

disposable(Connection, 'release');

/**
 * The place of a connection's queries outside transactions, in the form that `Lease.query` takes.
 */
class SessionWork {
  isInTransaction = false;
  check;

  constructor(check) {
    this.check = check;
  }

  completed() {}

  failedUnknown() {}

  explain(error) {
    return error;
  }
}

/** `callSite` is where the user called `pool.connect`. Throws before anything is sent. */
function connect(bridge, options, callSite) {
  const bounds = readOptions(options);
  if (bounds.signal?.aborted) throw aborted(bounds.signal, 'pool.connect()');
  return acquired(new Lease(bridge, 'connection', callSite), bounds);
}

async function acquired(lease, bounds) {
  try {
    await lease.acquire(0, bounds.signal, bounds.timeoutMs);
  } catch (error) {
    throw withStackFrom(acquired, error);
  }
  try {
    const connection = new Connection(lease);
    lease.heldBy(connection);
    return connection;
  } catch (thrown) {
    lease.release(true);
    throw thrown;
  }
}

const CONNECT_OPTIONS = new CallOptions(
  'the options of pool.connect()',
  (name) => `option '${name}' of pool.connect()`,
  ['timeoutMs', 'signal'],
);

function readOptions(options) {
  const { timeoutMs, signal } = CONNECT_OPTIONS.read(options);
  CONNECT_OPTIONS.checkTimeout(timeoutMs, 1);
  CONNECT_OPTIONS.checkSignal(signal);
  return { timeoutMs, signal };
}

function openAlreadyError(message, query) {
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_OPEN',
    outcome: 'not-sent',
    query,
  });
}

function releasedError(query) {
  const message = 'the connection was released: use the pool, or take another one';
  return new classes.ConfigurationError(message, {
    code: 'HYPERION_CONNECTION_RELEASED',
    outcome: 'not-sent',
    query,
  });
}

module.exports = { Connection, connect };
