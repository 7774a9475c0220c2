'use strict';

// The requests that are on their way, by number, and what gives each of them up.

const { rejectWithin } = require('../api/errors.cjs');

/** Of a request whose caller was answered by us: the addon's answer comes all the same. */
const unheard = () => {};

/**
 * One query on its way. The slots of the table keep these objects, and use them again and again.
 */
class Request {
  slot;
  /** Null where the slot is free. */
  resolve = null;
  sql = '';
  asArrays = false;
  /** What was chosen about types, or null. */
  typeConfig = null;
  /**
   * The asynchronous context of the caller, an AsyncResource, where code of the user's runs for the
   * request; or null.
   */
  context = null;
  /** The Lease that it runs on, or null for a request of the pool. */
  lease = null;
  /** The Watch of the AbortSignal that gives it up, or null. */
  watch = null;
  /** Rows of the result that is not complete yet. */
  rows = null;
  /** The Pieces of a long row that is under way, or null. */
  pieces = null;
  /** Results before the last, for several statements in one query. */
  results = null;
  /** Where it was asked for, with the pool's option `longStackTraces`. */
  callSite = null;
  /** The values of parameters that the user's code writes once their types are known. */
  snapshot = null;
  /**
   * Why a row could not be built, or a value not be written. The request fails with it when it is
   * over.
   */
  failure = null;
  nextFree = null;

  constructor(slot) {
    this.slot = slot;
  }
}

/** What an AbortSignal gives up: a request, once it has a number. */
class Watch {
  /** As `Signals` knows the signal. */
  watched = null;
  request = null;
  /** The signal was aborted before there was a request. */
  isAborted = false;
}

/**
 * Requests by number. A number is taken once the addon has the request, and used again only after
 * the addon has reported the request's end. A request that took the number in between would get the
 * answer for another one.
 *
 * Any call may throw, at the latest where the stack ends. So nothing is called once the addon has
 * taken a request: `next` only shows the request that comes next, and its caller takes it by plain
 * assignments.
 */
class Requests {
  #slots = [];
  #signals;
  /** The request that comes next, or null where one has to be made. */
  free = null;

  constructor(signals) {
    this.#signals = signals;
  }

  /** Not taken yet. Its number is the addon's from the call on that it is given in. */
  next() {
    if (this.free === null) {
      const request = new Request(this.#slots.length);
      this.#slots.push(request);
      this.free = request;
    }
    return this.free;
  }

  at(slot) {
    const request = this.#slots[slot];
    if (request === undefined || request.resolve === null) {
      throw new RangeError(`the addon answered request ${slot}, which nobody made`);
    }
    return request;
  }

  /** The addon has answered. Gives the slot back, before anyone hears of it. */
  close(request) {
    const { lease, watch } = request;
    request.resolve = null;
    request.sql = '';
    request.lease = null;
    request.typeConfig = null;
    request.context = null;
    request.callSite = null;
    request.watch = null;
    request.rows = null;
    request.pieces = null;
    request.results = null;
    request.snapshot = null;
    request.failure = null;
    request.nextFree = this.free;
    this.free = request;
    if (watch !== null) this.unwatch(watch);
    if (lease !== null) lease.settled();
  }

  unwatch(watch) {
    watch.request = null;
    if (watch.watched !== null) this.#signals.delete(watch.watched, watch);
    watch.watched = null;
  }

  /** Fails whatever is open. The addon may answer it yet, so that no number is free. */
  failAll(make) {
    for (const request of this.#slots) {
      const { resolve, sql, lease, watch } = request;
      if (resolve === null || resolve === unheard) continue;
      request.resolve = unheard;
      request.lease = null;
      request.watch = null;
      request.snapshot = null;
      rejectWithin(resolve, () => make(sql));
      if (watch !== null) this.unwatch(watch);
      if (lease !== null) lease.settled();
    }
  }
}

module.exports = { Requests, Watch };
