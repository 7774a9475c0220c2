'use strict';

// The pool's options `logger`, `logParameters` and `slowQueryMs`: one event for each query that has
// ended. Nothing here is made or measured for a pool without them.

const { AsyncResource } = require('node:async_hooks');
const { performance } = require('node:perf_hooks');
const { setImmediate } = require('node:timers');
const contract = require('../transfer/contract.cjs');

/** Taken when this file is loaded: fake timers of a test replace it. */
const now = performance.now.bind(performance);

const { TRANSACTION, BEGIN_READ_ONLY, BEGIN_DEFERRABLE, ISOLATION_SHIFT } = contract.queryFlags;
const { READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE } =
  contract.isolationLevels;
const { NONE } = contract.absences;

const LEVELS = [];
LEVELS[READ_UNCOMMITTED] = 'READ UNCOMMITTED';
LEVELS[READ_COMMITTED] = 'READ COMMITTED';
LEVELS[REPEATABLE_READ] = 'REPEATABLE READ';
LEVELS[SERIALIZABLE] = 'SERIALIZABLE';

/** The statement with which a transaction of these flags begins. */
function beginOf(flags) {
  let sql = 'BEGIN';
  const level = LEVELS[(flags >> ISOLATION_SHIFT) & 7];
  if (level !== undefined) sql += ` ISOLATION LEVEL ${level}`;
  if ((flags & BEGIN_READ_ONLY) !== 0) sql += ' READ ONLY';
  if ((flags & BEGIN_DEFERRABLE) !== 0) sql += ' DEFERRABLE';
  return sql;
}

/** One query, from its call to its end. */
class LoggedQuery {
  sql;
  parameters;
  /** The number of its transaction, or undefined. */
  transaction;
  /** The BEGIN that goes in the flight of the query, which is the first of its transaction. */
  begin = null;
  startedAt = now();
  endedAt = 0;
  /** Microseconds until it was first sent; NONE where it never was. */
  waited = NONE;
  attempts = 0;
  host = null;
  rowCount = undefined;
  /** Makes the error that the caller gets. */
  makeError = null;
  /** That error, once it was made. */
  error = undefined;
  /** The caller's asynchronous context, in which the logger runs. */
  context = new AsyncResource('HYPERIONLOG');
  #log;

  constructor(log, sql, parameters) {
    this.#log = log;
    this.sql = sql;
    this.parameters = parameters;
  }

  /** The addon's account of it, which comes in front of its answer. */
  traced(waited, attempts, host) {
    this.waited = waited;
    this.attempts = attempts;
    this.host = host === '' ? null : host;
  }

  /** `value` is what the caller gets: rows, or several arrays of rows. */
  succeeded(value) {
    this.rowCount = value?.rowCount;
    this.#end();
  }

  /** Returns `make`, which keeps the error. */
  failed(make) {
    this.makeError = make;
    this.#end();
    return () => (this.error = make());
  }

  #end() {
    this.endedAt = now();
    this.#log.ended(this);
  }
}

/** The caller may change the array before the logger sees it. */
function copyOf(params) {
  if (!Array.isArray(params)) return undefined;
  try {
    return Array.from({ length: params.length }, (_, n) => params[n]);
  } catch {
    // Reading them throws, as it will for the query itself.
    return undefined;
  }
}

class QueryLog {
  #logger;
  #logsParameters;
  #slowQueryMs;
  #name;
  #ended = [];
  #transactions = 0;

  constructor({ logger, logParameters = false, slowQueryMs = 0, name }) {
    this.#logger = logger;
    this.#logsParameters = logParameters;
    this.#slowQueryMs = slowQueryMs;
    this.#name = name;
  }

  /** A query is called. `lease` has the number of its transaction, if it is part of one. */
  begin(sql, params, lease, flags) {
    const query = new LoggedQuery(this, sql, this.#logsParameters ? copyOf(params) : undefined);
    if (lease !== null && (flags & TRANSACTION) !== 0) {
      if (lease.transaction === 0) {
        this.#transactions += 1;
        lease.transaction = this.#transactions;
        query.begin = { sql: beginOf(flags), waitedMs: lease.waitedMs };
        // A connection that its user keeps was waited for once.
        lease.waitedMs = 0;
      }
      query.transaction = lease.transaction;
    }
    return query;
  }

  /**
   * The logger is called once all answers of this turn of the loop have reached their callers, so
   * that a slow one holds up none of them.
   */
  ended(query) {
    this.#ended.push(query);
    if (this.#ended.length === 1) setImmediate(this.#flush);
  }

  #flush = () => {
    const ended = this.#ended;
    this.#ended = [];
    for (const query of ended) {
      try {
        if (query.begin !== null) this.#log(query, this.#beginEvent(query));
        this.#log(query, this.#event(query));
      } catch {
        // What the logger throws is its own affair.
      }
    }
  };

  #log(query, event) {
    if (event.durationMs < this.#slowQueryMs && event.error === undefined) return;
    try {
      const result = query.context.runInAsyncScope(this.#logger, undefined, event);
      if (typeof result?.then === 'function') result.then(undefined, () => {});
    } catch {
      // The same.
    }
  }

  #event(query) {
    const { sql, startedAt, endedAt, rowCount, parameters } = query;
    const event = { sql, durationMs: endedAt - startedAt, ...this.#way(query) };
    if (typeof rowCount === 'number') event.rowCount = rowCount;
    if (query.makeError !== null) event.error = query.error ?? query.makeError();
    if (parameters !== undefined) event.parameters = parameters;
    return event;
  }

  /** It was sent together with the first query of its transaction, and has no answer to wait for. */
  #beginEvent(query) {
    const { sql, waitedMs } = query.begin;
    return { sql, durationMs: waitedMs, ...this.#way(query), waitMs: waitedMs };
  }

  #way({ waited, attempts, host, transaction, startedAt, endedAt }) {
    const waitMs = waited === NONE ? endedAt - startedAt : waited / 1000;
    const way = { host, waitMs, attempts };
    if (transaction !== undefined) way.transaction = transaction;
    if (this.#name !== undefined) way.name = this.#name;
    return way;
  }
}

module.exports = { QueryLog };
