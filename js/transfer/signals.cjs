'use strict';

// The AbortSignals of users, and the requests or transactions that each signal aborts. A signal has
// one listener, however many requests share it, and none once the last request is done.
//
// A signal may be any object of the user's: its methods may throw, call this client, or call the
// listener at once.

class Signals {
  #onAbort;
  /** By signal: `{ signal, subjects, listener }`. */
  #watched = new Map();

  /** `onAbort` is called for each subject of a signal that is aborted. */
  constructor(onAbort) {
    this.#onAbort = onAbort;
  }

  /**
   * Returns the object that `delete` takes. If the signal throws, the error is passed on and
   * nothing is listened to.
   */
  add(signal, subject) {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const subjects = new Set();
      watched = { signal, subjects, listener: () => this.#abort(subjects) };
      signal.addEventListener('abort', watched.listener);
      this.#watched.set(signal, watched);
    }
    watched.subjects.add(subject);
    return watched;
  }

  delete(watched, subject) {
    const { signal, subjects, listener } = watched;
    subjects.delete(subject);
    if (subjects.size > 0) return;
    if (this.#watched.get(signal) === watched) this.#watched.delete(signal);
    try {
      signal.removeEventListener('abort', listener);
    } catch {
      // The listener stays, and has no subjects.
    }
  }

  #abort(subjects) {
    for (const subject of [...subjects]) this.#onAbort(subject);
  }
}

/** Also true for a signal of another realm, and for a polyfill's. */
function isSignal(value) {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof value.aborted === 'boolean' &&
    typeof value.addEventListener === 'function' &&
    typeof value.removeEventListener === 'function'
  );
}

/** For callers that can't pass on an exception of the signal's. */
function isAborted(signal) {
  try {
    return signal.aborted === true;
  } catch {
    return false;
  }
}

module.exports = { Signals, isAborted, isSignal };
