'use strict';

// Which requests an AbortSignal gives up. A signal has one listener however many requests share it, and none
// once the last of them is answered.

class Signals {
  #onAbort;
  #watched = new Map();

  /** `onAbort` gets the number of each request that its signal gives up. */
  constructor(onAbort) {
    this.#onAbort = onAbort;
  }

  add(signal, request) {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const requests = new Set();
      watched = { requests, listener: () => [...requests].forEach(this.#onAbort) };
      this.#watched.set(signal, watched);
      signal.addEventListener('abort', watched.listener);
    }
    watched.requests.add(request);
  }

  delete(signal, request) {
    const { requests, listener } = this.#watched.get(signal);
    requests.delete(request);
    if (requests.size > 0) return;
    this.#watched.delete(signal);
    signal.removeEventListener('abort', listener);
  }
}

/** Of this realm or another one, or a polyfill's. */
function isSignal(value) {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof value.aborted === 'boolean' &&
    typeof value.addEventListener === 'function' &&
    typeof value.removeEventListener === 'function'
  );
}

module.exports = { Signals, isSignal };
