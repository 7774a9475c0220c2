'use strict';

// One query of a pool that logs or is traced, from its call to its end.

const { AsyncResource } = require('node:async_hooks');
const { performance } = require('node:perf_hooks');
const contract = require('../transfer/contract.cjs');

const { NONE } = contract.absences;

/** Taken when this file is loaded: fake timers of a test replace it. */
const now = performance.now.bind(performance);

class ObservedQuery {
  sql;
  /** As they were given, or undefined if they are not logged. */
  parameters;
  /** The number of its transaction, or undefined. */
  transaction;
  /** The BEGIN that goes in the flight of the query, which is the first of its transaction. */
  begin = null;
  startedAt = now();
  endedAt = 0;
  /** Microseconds until it was first sent; NONE where it never was. */
  #waited = NONE;
  attempts = 0;
  host = null;
  rowCount = undefined;
  /** Makes the error that the caller gets. */
  makeError = null;
  /** That error, once it was made. */
  error = undefined;
  /** What the channel for queries publishes, or null if nobody subscribes. */
  context = null;
  /** The caller's asynchronous context, in which a logger runs. */
  resource;
  #log;

  /** `log` is a QueryLog, or null. */
  constructor(log, sql, parameters) {
    this.#log = log;
    this.sql = sql;
    this.parameters = parameters;
    this.resource = log === null ? null : new AsyncResource('HYPERIONLOG');
  }

  get durationMs() {
    return this.endedAt - this.startedAt;
  }

  get waitMs() {
    return this.#waited === NONE ? this.durationMs : this.#waited / 1000;
  }

  /** The addon's account of it, which comes in front of its answer. */
  traced(waited, attempts, host) {
    this.#waited = waited;
    this.attempts = attempts;
    this.host = host === '' ? null : host;
  }

  /** `value` is what the caller gets: rows, or several arrays of rows. */
  succeeded(value) {
    const rowCount = value?.rowCount;
    if (typeof rowCount === 'number') this.rowCount = rowCount;
    this.#end();
  }

  /** Returns `make`, which keeps the error. */
  failed(make) {
    this.makeError = make;
    this.#end();
    return () => {
      this.error = make();
      if (this.context !== null) {
        this.context.code = this.error?.code;
        this.context.outcome = this.error?.outcome;
      }
      return this.error;
    };
  }

  #end() {
    this.endedAt = now();
    const { context } = this;
    if (context !== null) {
      context.host = this.host;
      context.waitMs = this.waitMs;
      context.attempts = this.attempts;
      context.rowCount = this.rowCount;
    }
    if (this.#log !== null) this.#log.ended(this);
  }
}

module.exports = { ObservedQuery };
