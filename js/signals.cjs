'use strict';

// What an AbortSignal gives up: requests, transactions. A signal has one listener however many share it, and none
// once the last of them is done.

class Signals {
  #onAbort;
  #watched = new Map();

  /** `onAbort` gets each of those whose signal is aborted. */
  constructor(onAbort) {
    this.#onAbort = onAbort;
  }

  add(signal, subject) {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const subjects = new Set();
      watched = { subjects, listener: () => [...subjects].forEach((one) => this.#onAbort(one)) };
      this.#watched.set(signal, watched);
      signal.addEventListener('abort', watched.listener);
    }
    watched.subjects.add(subject);
  }

  delete(signal, subject) {
    const { subjects, listener } = this.#watched.get(signal);
    subjects.delete(subject);
    if (subjects.size > 0) return;
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
