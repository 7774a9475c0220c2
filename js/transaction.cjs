'use strict';

// `pool.transaction`: BEGIN, what the callback does, and COMMIT or ROLLBACK.
//
//   begun --> open --> committing --> finished
//               \--------------------> finished   (rolled back)

const { ACQUIRE, COMMIT, RELEASE } = require('./channel.cjs');
const { classes, configurationError } = require('./errors.cjs');
const { Lease } = require('./lease.cjs');

/** What the callback gets. */
class Transaction {
  #lease;

  constructor(lease) {
    this.#lease = lease;
  }

  query(sql, params, options) {
    if (!this.#lease.isOpen) return Promise.reject(finished(sql));
    return this.#lease.query(sql, params, options, 0);
  }
}

async function transaction(channel, callback) {
  if (typeof callback !== 'function') {
    throw configurationError(`a transaction needs a function, not ${typeof callback}`);
  }
  const lease = new Lease(channel);
  await lease.query('BEGIN', undefined, undefined, ACQUIRE);
  let value;
  try {
    value = await callback(new Transaction(lease));
  } catch (thrown) {
    lease.isOpen = false;
    await rollBack(lease, thrown);
    throw thrown;
  }
  lease.isOpen = false;
  await commit(lease);
  return value;
}

async function commit(lease) {
  // A query that the callback did not wait for is part of the transaction all the same.
  await lease.idle();
  const result = await lease.query('COMMIT', undefined, undefined, RELEASE | COMMIT);
  // So the server answers the COMMIT of a transaction in which a statement has failed.
  if (result.command === 'ROLLBACK') throw rolledBack(lease.failure);
}

/** The connection goes back clean, or not at all. What was thrown stays what the caller gets. */
async function rollBack(lease, thrown) {
  try {
    await lease.query('ROLLBACK', undefined, undefined, RELEASE);
  } catch (error) {
    lease.release(true);
    attach(thrown, error);
  }
}

function attach(thrown, suppressed) {
  if (thrown instanceof Error && Object.isExtensible(thrown)) {
    Object.defineProperty(thrown, 'suppressed', {
      value: suppressed,
      writable: true,
      configurable: true,
    });
  }
}

function rolledBack(failure) {
  const message = 'the transaction was rolled back: a statement in it had failed before COMMIT';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_ROLLED_BACK',
    outcome: 'not-committed',
    cause: failure ?? undefined,
  });
}

function finished(query) {
  return new classes.TransactionError('the transaction is finished: use the pool, or a new one', {
    code: 'HYPERION_TRANSACTION_FINISHED',
    outcome: 'not-sent',
    query,
  });
}

module.exports = { Transaction, transaction };
