'use strict';

// What a request is written on: memory that the addon reads when it is called, which costs less
// than arguments. Nothing of a user's runs between the two. `src/node/request_buffer.rs` reads it.

const contract = require('./contract.cjs');

const {
  BUFFER_REQUEST,
  BUFFER_LEASE,
  BUFFER_STATEMENT,
  BUFFER_FLAGS,
  BUFFER_COUNT,
  BUFFER_LIMIT,
  BUFFER_IS_TRANSIENT,
  BUFFER_WORDS,
} = contract.bufferWords;
const { VALUES, KINDS_AT, NUMBERS_AT } = contract.requestBuffer;
const { ELSEWHERE } = contract.absences;
const { NULL, FALSE, TRUE, NUMBER } = contract.codes;

class RequestBuffer {
  #words;
  #kinds;
  #numbers;

  /** `memory` as the addon gives it. */
  constructor(memory) {
    this.#words = new Int32Array(memory, 0, BUFFER_WORDS);
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
    words[BUFFER_REQUEST] = slot;
    words[BUFFER_LEASE] = lease;
    words[BUFFER_STATEMENT] = statement;
    words[BUFFER_FLAGS] = flags;
    words[BUFFER_LIMIT] = timeoutMs;
    words[BUFFER_IS_TRANSIENT] = isTransient ? 1 : 0;
    const count = values === undefined ? 0 : this.#writeValues(values);
    words[BUFFER_COUNT] = count;
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
