// The errors of this package: one class for each kind of fault, with a stable `code`, what is known of the
// outcome, and the server's own fields where the server refused.

'use strict';

/** The server's fields, in the order in which PostgreSQL's manual has them (55.8). */
const SERVER_FIELDS = [
  'severity',
  'detail',
  'hint',
  'position',
  'internalPosition',
  'internalQuery',
  'where',
  'schema',
  'table',
  'column',
  'dataType',
  'constraint',
  'file',
  'line',
  'routine',
];

class HyperionError extends Error {
  /**
   * @param {object} report what the addon tells of an error
   * @param {string} [query] the SQL text; never its parameters
   */
  constructor(report, query) {
    super(report.message);
    this.code = report.code;
    for (const field of ['outcome', 'host', 'hosts']) {
      if (report[field] !== undefined) this[field] = report[field];
    }
    if (query !== undefined) this.query = query;
  }
}

/** The server refused. `code` is the SQLSTATE. */
class DatabaseError extends HyperionError {
  constructor(report, query) {
    super(report, query);
    for (const field of SERVER_FIELDS) {
      if (report[field] !== undefined) this[field] = report[field];
    }
  }
}

class ConnectionError extends HyperionError {}
class PoolTimeoutError extends HyperionError {}
class QueryTimeoutError extends HyperionError {}
class AbortError extends HyperionError {}
class ConfigurationError extends HyperionError {}
class ProtocolError extends HyperionError {}
class TransactionError extends HyperionError {}
class InternalError extends HyperionError {}

const classes = {
  HyperionError,
  DatabaseError,
  ConnectionError,
  PoolTimeoutError,
  QueryTimeoutError,
  AbortError,
  ConfigurationError,
  ProtocolError,
  TransactionError,
  InternalError,
};

for (const [name, errorClass] of Object.entries(classes)) {
  // On the prototype, as the built-in errors have it: not an own property of each error.
  Object.defineProperty(errorClass.prototype, 'name', {
    value: name,
    writable: true,
    configurable: true,
  });
}

/** The error that a report of the addon describes. Its stack begins where this is called. */
function errorFrom(report, query) {
  return new (classes[report.class] ?? InternalError)(report, query);
}

/** An error that an entry point of the addon threw; anything else (a getter's own) is passed on. */
function errorFromThrown(thrown, query) {
  const text = thrown instanceof Error ? thrown.message : '';
  if (!text.startsWith('{"')) return thrown;
  try {
    const report = JSON.parse(text);
    return report.class in classes ? errorFrom(report, query) : thrown;
  } catch {
    return thrown;
  }
}

module.exports = { classes, errorFrom, errorFromThrown };
