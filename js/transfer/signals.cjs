'use strict';

// Users' AbortSignals, and the requests or transactions that each signal aborts. However many
// requests share a signal, it has one listener. Once the last request is done, it has none.
//
// A signal may be any object of the user's. Its methods may throw, call this client, or call the
// listener at once.

class Signals {
  #onAbort;
  /** By signal: `{ signal, subjects, listener }`. */
  #watched = new Map();

  /** `onAbort` is called for each subject of an aborted signal. */
  constructor(onAbort) {
    this.#onAbort = onAbort;
  }

  /**
   * Returns the object that `delete` takes. If the signal throws, the exception is passed on, and
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
      // The listener remains, but has no subjects.
    }
  }

  #abort(subjects) {
    for (const subject of [...subjects]) this.#onAbort(subject);
  }
}

/** Also true for a signal of another realm or of a polyfill. */
function isSignal(value) {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof value.aborted === 'boolean' &&
    typeof value.addEventListener === 'function' &&
    typeof value.removeEventListener === 'function'
  );
}

/** For callers that can't pass on an exception of the signal. */
function isAborted(signal) {
  try {
    return signal.aborted === true;
  } catch {
    return false;
  }
}

module.exports = { Signals, isAborted, isSignal };
