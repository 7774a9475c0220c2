'use strict';

// What can be wrong with a query before it is sent, and the errors that say so.

const contract = require('./contract.cjs');
const { classes, configurationError } = require('../api/errors.cjs');

const { TRANSACTION } = contract.queryFlags;
const POOL_CLOSED = 'HYPERION_POOL_CLOSED';

/**
 * Adds the SQL text to the error of a parameter. An exception of the caller's own code stays as it
 * is.
 */
function withQuery(thrown, sql) {
  if (thrown instanceof classes.ConfigurationError && thrown.query === undefined) {
    Object.defineProperty(thrown, 'query', { value: sql, writable: true, configurable: true });
  }
  return thrown;
}

/** The error of a query that was refused before it was sent. */
function unsent(error, flags = 0) {
  // If the pool has a defect, the error already has the outcome 'unknown'.
  if (error instanceof classes.ConfigurationError) error.outcome ??= 'not-sent';
  // Ending the pool has rolled back the earlier statements of the transaction.
  if (error.code === POOL_CLOSED && (flags & TRANSACTION) !== 0) error.outcome = 'not-committed';
  return error;
}

function wrongArguments(sql, params) {
  if (typeof sql !== 'string') {
    const hint = typeof sql === 'object' ? ': write query(text, values, options)' : '';
    return configurationError(`the query must be a string, not ${kindOf(sql)}${hint}`);
  }
  if (params !== undefined && params !== null && !Array.isArray(params)) {
    return configurationError(`the parameters must be an array, not ${kindOf(params)}`);
  }
  return null;
}

function kindOf(value) {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : typeof value;
}

module.exports = { unsent, withQuery, wrongArguments };
