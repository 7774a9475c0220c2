'use strict';

// The errors of transactions and savepoints that this package makes itself.

const { classes } = require('../api/errors.cjs');

function rolledBackError(failure) {
  const message = 'the transaction was rolled back: a statement in it had failed before COMMIT';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_ROLLED_BACK',
    outcome: 'not-committed',
    host: failure?.host,
    query: 'COMMIT',
    cause: failure ?? undefined,
  });
}

function notAwaitedError(count, query) {
  const queries = count === 1 ? 'a query was' : `${count} queries were`;
  const message =
    `the transaction was rolled back: ${queries} still running when its callback was done; ` +
    'await all of them, so that none can fail unheard';
  return new classes.TransactionError(message, {
    code: 'HYPERION_QUERY_NOT_AWAITED',
    outcome: 'not-committed',
    query,
  });
}

function openSavepointError() {
  const message =
    'the transaction was rolled back: a savepoint was still open when it was to be committed; await its end before';
  return new classes.TransactionError(message, {
    code: 'HYPERION_QUERY_NOT_AWAITED',
    outcome: 'not-committed',
  });
}

/**
 * For a query outside the innermost savepoint, or a savepoint that ended before an inner savepoint.
 */
function overlapError(query, outcome = 'not-sent') {
  const message =
    outcome === 'not-sent'
      ? 'a savepoint is open: what is asked outside of it meanwhile would be undone with it; await its end before, ' +
        'run savepoints one after the other, and use the query() of the innermost one'
      : 'the savepoint was undone: one that was opened inside of it was open still when its callback was done; ' +
        'await its end before';
  return new classes.TransactionError(message, {
    code: 'HYPERION_SAVEPOINTS_OVERLAP',
    outcome,
    query,
  });
}

function finishedScopeError(query) {
  const message = 'the savepoint is finished: use the transaction';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_FINISHED',
    outcome: 'not-sent',
    query,
  });
}

/** For a savepoint that was undone with the scope around it. */
function endedAroundError() {
  const message =
    'the savepoint was undone with the one around it, which ended before: await its end there';
  return new classes.TransactionError(message, {
    code: 'HYPERION_SAVEPOINTS_OVERLAP',
    outcome: 'not-committed',
  });
}

/** For a transaction that was rolled back, but not by its callback. */
function releasedError() {
  const message =
    'the transaction was rolled back before its callback was done, because its connection was released: await the ' +
    'transaction before, and do not await release() inside of its callback';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_FINISHED',
    outcome: 'not-committed',
  });
}

module.exports = {
  endedAroundError,
  finishedScopeError,
  notAwaitedError,
  openSavepointError,
  overlapError,
  releasedError,
  rolledBackError,
};
