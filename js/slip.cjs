'use strict';

// What a request is written on: memory that the addon reads when it is called, which costs less
// than arguments. Nothing of a user's runs between the two. The numbers here are a contract with
// `src/node/slip.rs`.

const { NULL, FALSE, TRUE, NUMBER } = require('./parameters.cjs');

/** Values that find room. */
const VALUES = 32;
const WORDS = 8;
const KINDS_AT = WORDS * 4;
const NUMBERS_AT = KINDS_AT + VALUES;

/** In place of a count: the values are arguments of the call. */
const ELSEWHERE = -1;

class Slip {
  #words;
  #kinds;
  #numbers;

  /** `memory` as the addon gives it. */
  constructor(memory) {
    this.#words = new Int32Array(memory, 0, WORDS);
    this.#kinds = new Uint8Array(memory, KINDS_AT, VALUES);
    this.#numbers = new Float64Array(memory, NUMBERS_AT, VALUES);
  }

  /**
   * Returns whether the values are on it too. They are in an array that nobody else has. `timeoutMs` may be a number that
   * stands for no time, and a statement that `isTransient` is forgotten by the addon when the request is queued.
   */
  write(slot, lease, statement, flags, { timeoutMs, isTransient }, values) {
    const words = this.#words;
    words[0] = slot;
    words[1] = lease;
    words[2] = statement;
    words[3] = flags;
    words[5] = timeoutMs;
    words[6] = isTransient ? 1 : 0;
    const count = values === undefined ? 0 : this.#writeValues(values);
    words[4] = count;
    return count !== ELSEWHERE;
  }

  #writeValues(values) {
    const count = values.length;
    if (count > VALUES) return ELSEWHERE;
    for (let n = 0; n < count; n += 1) {
      const value = values[n];
      if (typeof value === 'number') {
        this.#kinds[n] = NUMBER;
        this.#numbers[n] = value;
      } else if (value === null || value === undefined) {
        this.#kinds[n] = NULL;
      } else if (typeof value === 'boolean') {
        this.#kinds[n] = value ? TRUE : FALSE;
      } else {
        return ELSEWHERE;
      }
    }
    return count;
  }
}

module.exports = { Slip };
