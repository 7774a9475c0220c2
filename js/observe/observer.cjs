'use strict';

// Who watches a pool: its `logger`, and the subscribers of its channels.

const contract = require('../transfer/contract.cjs');
const { channels, isTraced, traced } = require('./channels.cjs');
const { ObservedQuery } = require('./observed-query.cjs');
const { QueryLog } = require('./query-log.cjs');

const { TRANSACTION, BEGIN_READ_ONLY, BEGIN_DEFERRABLE, ISOLATION_SHIFT } = contract.queryFlags;
const { READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE } =
  contract.isolationLevels;

const LEVELS = [];
LEVELS[READ_UNCOMMITTED] = 'READ UNCOMMITTED';
LEVELS[READ_COMMITTED] = 'READ COMMITTED';
LEVELS[REPEATABLE_READ] = 'REPEATABLE READ';
LEVELS[SERIALIZABLE] = 'SERIALIZABLE';

/** The most summaries that are kept, and the longest text whose summary is. */
const MOST_SUMMARIES = 1000;
const LONGEST_TEXT = 10_000;

/**
 * What the channel for queries publishes. All properties are there from the start: V8 fills an
 * object of one shape faster.
 */
class QueryContext {
  sql = '';
  summary = '';
  database = undefined;
  name = undefined;
  transaction = undefined;
  host = null;
  waitMs = 0;
  attempts = 0;
  rowCount = undefined;
  code = undefined;
  outcome = undefined;
  #addon;

  constructor(addon) {
    this.#addon = addon;
  }

  /** The text with `?` in place of its constants, and without comments. */
  get sanitizedSql() {
    return typeof this.sql === 'string' ? this.#addon.sanitize(this.sql) : '';
  }
}

class Observer {
  /** The QueryLog, or null if nobody logs. */
  #log;
  #logsParameters;
  #name;
  #addon;
  #summaries = new Map();
  #transactions = 0;
  /** The pool's database, once the addon has told it. */
  database = undefined;

  /** The addon divides texts: into operations and tables, and into what is no constant. */
  constructor({ logger, logParameters = false, slowQueryMs, name } = {}, addon) {
    this.#log = logger === undefined ? null : new QueryLog({ logger, slowQueryMs, name });
    this.#logsParameters = logParameters && this.#log !== null;
    this.#name = name;
    this.#addon = addon;
  }

  /** Whether anybody watches queries. */
  get watchesQueries() {
    return this.#log !== null || isTraced(channels.query);
  }

  /** Runs a query by `run(observed)`, which returns its promise or throws. */
  query(sql, params, lease, flags, run) {
    const observed = this.#begin(sql, params, lease, flags);
    const makeContext = () => this.#contextOf(observed);
    return traced(channels.query, makeContext, (context) => {
      observed.context = context;
      try {
        return run(observed);
      } catch (thrown) {
        observed.failed(() => thrown)();
        throw thrown;
      }
    });
  }

  /** `what` takes a connection: 'transaction' or 'connection'. */
  acquire(what, run) {
    return traced(channels.acquire, () => this.#context({ what }), run);
  }

  /** Runs all attempts of a transaction by `run(context)`; `context` is null if nobody watches. */
  transaction(run) {
    return traced(channels.transaction, () => this.#context({ attempts: 0 }), run);
  }

  #begin(sql, params, lease, flags) {
    const parameters = this.#logsParameters ? copyOf(params) : undefined;
    const observed = new ObservedQuery(this.#log, sql, parameters);
    if (lease !== null && (flags & TRANSACTION) !== 0) {
      if (lease.transaction === 0) {
        this.#transactions += 1;
        lease.transaction = this.#transactions;
        observed.begin = { sql: beginOf(flags), waitedMs: lease.waitedMs };
        // A connection that its user keeps was waited for once.
        lease.waitedMs = 0;
      }
      observed.transaction = lease.transaction;
    }
    return observed;
  }

  #contextOf({ sql, transaction }) {
    const context = new QueryContext(this.#addon);
    context.sql = sql;
    context.summary = this.#summaryOf(sql);
    context.database = this.database;
    context.name = this.#name;
    context.transaction = transaction;
    return context;
  }

  #context(more) {
    const context = { ...more, database: this.database };
    if (this.#name !== undefined) context.name = this.#name;
    return context;
  }

  #summaryOf(sql) {
    if (typeof sql !== 'string') return '';
    let summary = this.#summaries.get(sql);
    if (summary === undefined) {
      summary = this.#addon.summarize(sql);
      if (this.#summaries.size === MOST_SUMMARIES) this.#summaries.clear();
      if (sql.length <= LONGEST_TEXT) this.#summaries.set(sql, summary);
    }
    return summary;
  }
}

/** The statement with which a transaction of these flags begins. */
function beginOf(flags) {
  let sql = 'BEGIN';
  const level = LEVELS[(flags >> ISOLATION_SHIFT) & 7];
  if (level !== undefined) sql += ` ISOLATION LEVEL ${level}`;
  if ((flags & BEGIN_READ_ONLY) !== 0) sql += ' READ ONLY';
  if ((flags & BEGIN_DEFERRABLE) !== 0) sql += ' DEFERRABLE';
  return sql;
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

module.exports = { Observer };
