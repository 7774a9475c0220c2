'use strict';

// Who watches a pool: its `logger`, and the subscribers of its channels.

const contract = require('../transfer/contract.cjs');
const { channels, isTraced, traced, tracedLater } = require('./channels.cjs');
const { ObservedQuery } = require('./observed-query.cjs');
const { QueryLog } = require('./query-log.cjs');

const { TRANSACTION, BEGIN_READ_ONLY, BEGIN_DEFERRABLE, ISOLATION_SHIFT } = contract.queryFlags;
/** More are refused, and are not worth a copy. */
const { MOST_PARAMETERS } = contract.limits;
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
/** Transactions of all pools have different numbers. */
let transactions = 0;

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
  durationMs = 0;
  waitMs = 0;
  attempts = 0;
  rowCount = undefined;
  command = undefined;
  code = undefined;
  outcome = undefined;
  #addon;

  constructor(addon) {
    this.#addon = addon;
  }

  /** The text with `?` in place of its constants, and without comments. */
  get sanitizedSql() {
    return divided(this.#addon.sanitize, this.sql);
  }
}

/** The end of a transaction that was begun without a callback, for the channel. */
class PublishedTransaction {
  #succeeded;
  failed;
  promise;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#succeeded = resolve;
      this.failed = reject;
    });
  }

  /** Its caller ends it; the caller gets the returned promise. */
  ends(promise) {
    return promise.then(
      () => this.#succeeded(),
      (error) => {
        this.failed(error);
        throw error;
      },
    );
  }
}

class Observer {
  /** The QueryLog, or null if nobody logs. */
  #log;
  #logsParameters;
  #name;
  #addon;
  #summaries = new Map();
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

  /**
   * Runs a query by `run(observed, params)`, which returns its promise or throws. `about.isOwn`: it
   * is a statement of this package (a COMMIT, a SAVEPOINT). The state of its transaction was looked
   * at for it, and no code of subscribers may change that before it is sent.
   */
  query(sql, params, about, run) {
    const observed = new ObservedQuery(this.#log, sql, about);
    let values = params;
    if (this.#logsParameters && Array.isArray(params) && params.length <= MOST_PARAMETERS) {
      // What is sent is what is logged: a getter may give another value the second time.
      values = copyOf(params) ?? params;
      observed.parameters = values;
    }
    if ((about.flags & TRANSACTION) !== 0) observe(observed, about);
    const send = (context) => {
      observed.context = context;
      try {
        return run(observed, values);
      } catch (thrown) {
        observed.failed(() => thrown)();
        throw thrown;
      }
    };
    const makeContext = () => (observed.context = this.#contextOf(observed));
    if (!about.isOwn) return traced(channels.query, makeContext, send);
    const context = isTraced(channels.query) ? makeContext() : null;
    const publish = (promise) => {
      if (context !== null) tracedLater(channels.query, () => context, promise);
    };
    try {
      const promise = send(context);
      publish(promise);
      return promise;
    } catch (thrown) {
      publish(Promise.reject(thrown));
      throw thrown;
    }
  }

  /** `what` takes a connection: 'transaction' or 'connection'. */
  acquire(what, run) {
    return traced(channels.acquire, () => this.#context({ what }), run);
  }

  /** Runs all attempts of a transaction by `run(context)`; `context` is null if nobody watches. */
  transaction(run) {
    return traced(channels.transaction, () => this.#context({ attempts: 0 }), run);
  }

  /**
   * A transaction without a callback: begins it by `run(published)`, which returns the promise of
   * its beginning. `published` is null if nobody watches.
   */
  begin(run) {
    if (!isTraced(channels.transaction)) return run(null);
    const published = new PublishedTransaction();
    let beginning;
    const over = this.transaction((context) => {
      context.attempts = 1;
      beginning = run(published).catch((error) => {
        published.failed(error);
        throw error;
      });
      return published.promise;
    });
    // The caller has the promises of the beginning and of the end, and with them the rejections.
    over.catch(() => {});
    return beginning;
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
    let summary = this.#summaries.get(sql);
    if (summary === undefined) {
      summary = divided(this.#addon.summarize, sql);
      if (this.#summaries.size === MOST_SUMMARIES) this.#summaries.clear();
      if (sql?.length <= LONGEST_TEXT) this.#summaries.set(sql, summary);
    }
    return summary;
  }
}

/** What `divide` of the addon makes of a text; nothing of a text that no server takes. */
function divided(divide, sql) {
  try {
    return typeof sql === 'string' ? divide(sql) : '';
  } catch {
    return '';
  }
}

/** A query of a transaction. Its BEGIN goes with the first of them that is sent. */
function observe(observed, { lease, flags }) {
  if (lease.transaction === 0) {
    transactions += 1;
    lease.transaction = transactions;
    lease.begin = { sql: beginOf(flags), waitedMs: lease.waitedMs };
    // Later transactions on the same connection wait for none.
    lease.waitedMs = 0;
  }
  observed.transaction = lease.transaction;
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
  try {
    return Array.from({ length: params.length }, (_, n) => params[n]);
  } catch {
    // Reading them throws, as it will for the query itself.
    return undefined;
  }
}

module.exports = { Observer };
