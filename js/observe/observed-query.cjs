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
  /** The BEGIN that went in the flight of the query, or null. */
  begin = null;
  startedAt = now();
  endedAt = 0;
  /** Microseconds until it was first sent; NONE where it never was. */
  #waited = NONE;
  attempts = 0;
  host = null;
  rowCount = undefined;
  command = undefined;
  /** Makes the error that the caller gets. */
  makeError = null;
  /** That error, once it was made. */
  error = undefined;
  /** What the channel for queries publishes, or null if nobody subscribes. */
  context = null;
  /** The caller's asynchronous context, in which a logger runs. */
  resource;
  /** Where the query was called, with the pool's option `longStackTraces`. */
  callSite;
  #log;
  #lease;

  /** `log` is a QueryLog, or null. */
  constructor(log, sql, { lease, callSite }) {
    this.#log = log;
    this.#lease = lease;
    this.sql = sql;
    this.callSite = callSite;
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
    const { rowCount, command } = value ?? {};
    if (typeof rowCount === 'number') this.rowCount = rowCount;
    if (typeof command === 'string') this.command = command;
    this.#end();
  }

  /** Returns `make`, which keeps the error. */
  failed(make) {
    this.makeError = make;
    this.#end();
    return () => {
      const error = make();
      this.error = error;
      try {
        if (this.context !== null) {
          this.context.code = error?.code;
          this.context.outcome = error?.outcome;
        }
      } catch {
        // The context is the subscribers', who may have frozen it; the error may be the caller's.
      }
      return error;
    };
  }

  /** Throws nothing: the answer is on its way to the caller. */
  #end() {
    try {
      this.endedAt = now();
      this.#takeBegin();
      if (this.#log !== null) this.#log.ended(this);
      if (this.context !== null) this.#fill(this.context);
    } catch {
      // The stack is at its end, or a subscriber has frozen the context.
    }
  }

  /** The first query of a transaction that was sent has taken its BEGIN along. */
  #takeBegin() {
    const lease = this.#lease;
    if (this.transaction === undefined || this.attempts === 0 || lease.begin === null) return;
    this.begin = lease.begin;
    lease.begin = null;
  }

  #fill(context) {
    context.host = this.host;
    context.durationMs = this.durationMs;
    context.waitMs = this.waitMs;
    context.attempts = this.attempts;
    context.rowCount = this.rowCount;
    context.command = this.command;
  }
}

module.exports = { ObservedQuery };
