'use strict';

// The memory into which the bridge writes a request. The addon reads the request
// (`src/node/request_buffer.rs`) in the call that follows at once, before any of the user's code
// can run. This costs less than passing arguments.

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

  /** `memory` is the ArrayBuffer that the addon has made. */
  constructor(memory) {
    this.#words = new Int32Array(memory, 0, BUFFER_WORDS);
    this.#kinds = new Uint8Array(memory, KINDS_AT, VALUES);
    this.#numbers = new Float64Array(memory, NUMBERS_AT, VALUES);
  }

  /**
   * Returns whether the values are in the buffer too. If they are not, they have to be arguments of
   * the call. No other code has the array `values`. `timeoutMs` may be NO_LIMIT. If the statement
   * `isTransient`, the addon forgets it when the request is queued.
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
