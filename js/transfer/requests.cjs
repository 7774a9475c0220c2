'use strict';

// The requests in flight, by number, and the signals that abort them.

const { rejectWithin } = require('../api/errors.cjs');

/** Replaces `resolve` after `failAll`, since the addon may still answer the request. */
const ignoreAnswer = () => {};

/** One request in flight. Slots keep these objects and reuse them. */
class Request {
  slot;
  /** Null if the slot is free. */
  resolve = null;
  sql = '';
  asArrays = false;
  /** The TypeConfig, or null if neither the pool nor the query has the option `types`. */
  typeConfig = null;
  /**
   * The asynchronous context of the caller, an AsyncResource. Null unless functions of the option
   * `types` run for the request.
   */
  context = null;
  /** The Lease of a request on a lease, or null. */
  lease = null;
  /**
   * The part of a lease to which the query belongs, in the form that `Lease.query` takes, or null.
   */
  place = null;
  /** The Watch of the request's AbortSignal, or null. */
  watch = null;
  /** The rows so far of a result that is not complete yet. */
  rows = null;
  /** The Pieces of the long row that is being received, or null. */
  pieces = null;
  /** The results before the last one, if the query has several statements. */
  results = null;
  /** Where the query was called, if the pool has the option `longStackTraces`. */
  callSite = null;
  /**
   * The ParameterSnapshot of values that are serialized by the types of their parameters, or null.
   */
  snapshot = null;
  /**
   * Why a row could not be built, or a value could not be serialized. The request fails with this
   * error once the addon has answered it.
   */
  failure = null;
  /** The ObservedQuery, or null if nobody watches. */
  observed = null;
  nextFree = null;

  constructor(slot) {
    this.slot = slot;
  }
}

/** Connects an AbortSignal with a request, once the request has a number. */
class Watch {
  /** The object of `Signals`. */
  watched = null;
  request = null;
  /** Whether the signal was aborted before there was a request. */
  isAborted = false;
}

/**
 * The requests by number. A number is taken once the addon has the request. It is free again only
 * after the addon has reported the end of the request, since otherwise another request with the
 * same number would get the wrong answer.
 *
 * Any call may throw near the end of the stack. So no call is made once the addon has taken a
 * request: `next` only shows the next request, and the bridge takes it by plain assignments.
 */
class Requests {
  #slots = [];
  #signals;
  /** The next request, or null if `next` has to make one. */
  free = null;

  constructor(signals) {
    this.#signals = signals;
  }

  /**
   * Shows the next request, which is not taken yet. The addon learns of it in the call that sends
   * it.
   */
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

  /** Called when the addon has answered. Frees the slot before any other code can run. */
  close(request) {
    const { lease, watch } = request;
    request.resolve = null;
    request.sql = '';
    request.lease = null;
    request.place = null;
    request.typeConfig = null;
    request.context = null;
    request.callSite = null;
    request.watch = null;
    request.rows = null;
    request.pieces = null;
    request.results = null;
    request.snapshot = null;
    request.failure = null;
    request.observed = null;
    request.nextFree = this.free;
    this.free = request;
    if (watch !== null) this.unwatch(watch);
    if (lease !== null) lease.requestAnswered();
  }

  unwatch(watch) {
    watch.request = null;
    if (watch.watched !== null) this.#signals.delete(watch.watched, watch);
    watch.watched = null;
  }

  /** Fails all open requests. Their numbers stay taken, since the addon may still answer them. */
  failAll(make) {
    for (const request of this.#slots) {
      const { resolve, sql, lease, watch, observed } = request;
      if (resolve === null || resolve === ignoreAnswer) continue;
      request.resolve = ignoreAnswer;
      request.lease = null;
      request.place = null;
      request.watch = null;
      request.snapshot = null;
      request.observed = null;
      const error = () => make(sql);
      rejectWithin(resolve, observed === null ? error : observed.failed(error));
      if (watch !== null) this.unwatch(watch);
      if (lease !== null) lease.requestAnswered();
    }
  }
}

module.exports = { Requests, Watch };
