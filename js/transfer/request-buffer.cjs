'use strict';

// What a request is written on: memory that the addon reads when it is called, which costs less
// than arguments. Nothing of a user's runs between the two. `src/node/slip.rs` reads it.

const contract = require('./contract.cjs');

const {
  SLIP_REQUEST,
  SLIP_LEASE,
  SLIP_STATEMENT,
  SLIP_FLAGS,
  SLIP_COUNT,
  SLIP_LIMIT,
  SLIP_IS_TRANSIENT,
  SLIP_WORDS,
} = contract.slipWords;
const { VALUES, KINDS_AT, NUMBERS_AT } = contract.slip;
const { ELSEWHERE } = contract.absences;
const { NULL, FALSE, TRUE, NUMBER } = contract.codes;

class RequestBuffer {
  #words;
  #kinds;
  #numbers;

  /** `memory` as the addon gives it. */
  constructor(memory) {
    this.#words = new Int32Array(memory, 0, SLIP_WORDS);
    this.#kinds = new Uint8Array(memory, KINDS_AT, VALUES);
    this.#numbers = new Float64Array(memory, NUMBERS_AT, VALUES);
  }

  /**
   * Returns whether the values are on it too. They are in an array that no other code has.
   * `timeoutMs` may be a number that stands for no time. The addon forgets a statement that
   * `isTransient` when the request is queued.
   */
  write(slot, lease, statement, flags, { timeoutMs, isTransient }, values) {
    const words = this.#words;
    words[SLIP_REQUEST] = slot;
    words[SLIP_LEASE] = lease;
    words[SLIP_STATEMENT] = statement;
    words[SLIP_FLAGS] = flags;
    words[SLIP_LIMIT] = timeoutMs;
    words[SLIP_IS_TRANSIENT] = isTransient ? 1 : 0;
    const count = values === undefined ? 0 : this.#writeValues(values);
    words[SLIP_COUNT] = count;
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

module.exports = { RequestBuffer };
