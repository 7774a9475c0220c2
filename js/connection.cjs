'use strict';

// `pool.connect`: a connection that its user has for session work (SET, advisory locks, temporary tables).

const { classes, configurationError, disposable } = require('./errors.cjs');
const { Lease } = require('./lease.cjs');
const { OpenTransaction } = require('./open_transaction.cjs');
const { Transaction, beginOn, transactionOn } = require('./transaction.cjs');

class Connection {
  #lease;
  /** The transaction that is open on it, or was last. */
  #open = null;
  #released = null;

  constructor(lease) {
    this.#lease = lease;
  }

  query(sql, params, options) {
    if (this.#released !== null) return Promise.reject(released(sql));
    // One session: what is asked while a transaction is open is part of it.
    if (this.#open?.isOpen) return this.#open.query(sql, params, options);
    return this.#lease.query(sql, params, options, 0);
  }

  async begin(options) {
    this.#check();
    this.#open = beginOn(this.#lease, options);
    return new Transaction(this.#open);
  }

  async transaction(callback, options) {
    return transactionOn(callback, options, (flags, deadline) => {
      this.#check();
      this.#open = new OpenTransaction(this.#lease, flags, 0, deadline);
      return { lease: null, open: this.#open };
    });
  }

  /** Resolves when the connection is back in the pool. A second call gives the same promise. */
  release() {
    this.#released ??= this.#giveBack();
    return this.#released;
  }

  async #giveBack() {
    if (this.#open?.isOpen) await this.#open.rollback().catch(() => {});
    await this.#lease.idle();
    this.#lease.release(false);
  }

  #check() {
    if (this.#released !== null) throw released();
    if (this.#open?.isOpen) {
      const message = 'a transaction is open on this connection: finish it, or use its savepoint()';
      throw new classes.TransactionError(message, {
        code: 'HYPERION_TRANSACTION_OPEN',
        outcome: 'not-sent',
      });
    }
  }
}

disposable(Connection, 'release');

/** `place` is where the user asked for it. */
async function connect(channel, options, place) {
  if (options !== undefined) throw configurationError('pool.connect() takes no options');
  const lease = new Lease(channel, 'connection', place);
  await lease.acquire(0);
  const connection = new Connection(lease);
  lease.heldBy(connection);
  return connection;
}

function released(query) {
  const message = 'the connection was released: use the pool, or take another one';
  return new classes.ConfigurationError(message, {
    code: 'HYPERION_CONNECTION_RELEASED',
    outcome: 'not-sent',
    query,
  });
}

module.exports = { Connection, connect };
