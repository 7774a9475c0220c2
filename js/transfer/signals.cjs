'use strict';

// What an AbortSignal gives up: requests, transactions. A signal has one listener however many
// share it, and none once the last of them is done.
//
// A signal may be anybody's object: its methods may throw, call this client, or call the listener
// at once.

class Signals {
  #onAbort;
  /** The Watched of each signal. */
  #watched = new Map();

  /** `onAbort` gets each of those whose signal is aborted. */
  constructor(onAbort) {
    this.#onAbort = onAbort;
  }

  /** What `delete` takes. Throws what the signal throws, and then nothing is listened to. */
  add(signal, subject) {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const subjects = new Set();
      watched = { signal, subjects, listener: () => this.#tell(subjects) };
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
      // Then it stays, and has nobody to tell.
    }
  }

  #tell(subjects) {
    for (const subject of [...subjects]) this.#onAbort(subject);
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

/** Where there is nobody left whom an exception of its own would tell anything. */
function isAborted(signal) {
  try {
    return signal.aborted === true;
  } catch {
    return false;
  }
}

module.exports = { Signals, isAborted, isSignal };
