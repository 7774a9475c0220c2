// pool.transaction: BEGIN, the callback on one connection, COMMIT; ROLLBACK when it throws.

'use strict';

const { classes } = require('./errors.cjs');

/** How a query is to be treated: the bits of `QueryFlags` in src/pool/doors.rs. */
const FLAG = { readOnly: 1, acquire: 2, release: 4, commit: 8 };

function transactionError(code, message, outcome) {
  return new classes.TransactionError({ code, message, outcome });
}

/** One transaction. Made by `pool.transaction`, and of use until its callback is done. */
class Transaction {
  #run;
  #running = new Set();
  #finished = false;

  /** @param {(sql: string, params: unknown[] | undefined) => Promise<unknown>} run on its connection */
  constructor(run) {
    this.#run = run;
  }

  query(sql, params) {
    if (this.#finished) {
      const message = 'this transaction is finished: its callback has returned';
      return Promise.reject(transactionError('HYPERION_TRANSACTION_FINISHED', message, 'not-sent'));
    }
    const query = this.#run(sql, params);
    this.#running.add(query);
    const done = () => this.#running.delete(query);
    query.then(done, done);
    return query;
  }

  /** Takes no more queries, and waits for those that the callback did not await. */
  async finish() {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    this.#finished = true;
  }
}

/**
 * @param {(sql: string, params: undefined, lease: number, flags: number) => Promise<any>} run
 * @param {(lease: number) => void} discard closes the connection
 * @param {(tx: Transaction) => Promise<unknown>} callback
 */
async function runTransaction(run, discard, callback) {
  const { lease } = await run('BEGIN', undefined, 0, FLAG.acquire);
  const tx = new Transaction((sql, params) => run(sql, params, lease, 0));
  let result;
  try {
    result = await callback(tx);
    await tx.finish();
  } catch (reason) {
    await tx.finish();
    try {
      await run('ROLLBACK', undefined, lease, FLAG.release);
    } catch {
      // The connection is gone, and the transaction with it; what the callback threw says more.
      discard(lease);
    }
    throw reason;
  }
  const { command } = await run('COMMIT', undefined, lease, FLAG.release | FLAG.commit);
  if (command === 'ROLLBACK') {
    const message =
      'the transaction was rolled back: one of its statements had failed, and the callback returned ' +
      'without throwing';
    throw transactionError('HYPERION_TRANSACTION_ROLLED_BACK', message, 'not-committed');
  }
  return result;
}

module.exports = { FLAG, Transaction, runTransaction };
