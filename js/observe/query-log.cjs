'use strict';

// The pool's options `logger`, `logParameters`, `slowQueryMs` and `name`: one event for each query
// that has ended.

const { setImmediate } = require('node:timers');

class QueryLog {
  #logger;
  #slowQueryMs;
  #name;
  #ended = [];
  #isDue = false;
  #hasWarned = false;

  constructor({ logger, slowQueryMs = 0, name }) {
    this.#logger = logger;
    this.#slowQueryMs = slowQueryMs;
    this.#name = name;
  }

  /**
   * The logger is called once all answers of this turn of the loop have reached their callers, so
   * that a slow one holds up none of them.
   */
  ended(query) {
    this.#ended.push(query);
    if (this.#isDue) return;
    // This may throw at the end of the stack. Then the next query tries it.
    setImmediate(this.#flush);
    this.#isDue = true;
  }

  #flush = () => {
    const ended = this.#ended;
    this.#ended = [];
    this.#isDue = false;
    for (const query of ended) {
      try {
        if (query.begin !== null) this.#log(query, this.#beginEvent(query));
        this.#log(query, this.#event(query));
      } catch {
        // The stack is at its end: there is no event.
      }
    }
  };

  #log(query, event) {
    if (event.durationMs < this.#slowQueryMs && event.error === undefined) return;
    try {
      const result = query.resource.runInAsyncScope(this.#logger, undefined, event);
      if (typeof result?.then === 'function') {
        result.then(undefined, (error) => this.#warn(error));
      }
    } catch (error) {
      this.#warn(error);
    }
  }

  /** What the logger throws harms no query, and is said once. */
  #warn(error) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    try {
      process.emitWarning(`the pool's logger has thrown: ${error?.message}`, {
        type: 'HyperionWarning',
        code: 'HYPERION_LOGGER_FAILED',
        detail: String(error?.stack ?? ''),
      });
    } catch {
      // Its error throws as well.
    }
  }

  #event(query) {
    const { sql, durationMs, rowCount, command, parameters } = query;
    const event = { sql, durationMs, ...this.#way(query) };
    if (rowCount !== undefined) event.rowCount = rowCount;
    if (command !== undefined) event.command = command;
    if (query.makeError !== null) event.error = query.error ?? query.makeError();
    if (parameters !== undefined) event.parameters = parameters;
    return event;
  }

  /** BEGIN was sent with the first query of its transaction, and has no answer of its own. */
  #beginEvent(query) {
    const { sql, waitedMs } = query.begin;
    return { sql, durationMs: waitedMs, ...this.#way(query), waitMs: waitedMs };
  }

  #way({ host, waitMs, attempts, transaction }) {
    const way = { host, waitMs, attempts };
    if (transaction !== undefined) way.transaction = transaction;
    if (this.#name !== undefined) way.name = this.#name;
    return way;
  }
}

module.exports = { QueryLog };
