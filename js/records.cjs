'use strict';

// Reads what the addon reports, a segment at a time, and settles the requests that it is about.
//
// A segment is a list of records (32-bit words), the cells of rows, and one text that all of them take
// their pieces from, in order. The numbers here are a contract with `src/node/sheet.rs`.

const { Shape } = require('./rows.cjs');
const { classes, explain, fromJson, rejectWithin } = require('./errors.cjs');

const RESULT = 1;
const ERROR = 2;
const SHAPE = 3;
const EVENT = 4;
const LOOKUP = 5;
const TYPES = 6;

/** Flags of a RESULT record. */
const RESULT_COMPLETE = 1;
const REQUEST_COMPLETE = 2;

/** By the index in a RESULT record. Other commands travel as text. */
const COMMANDS = [
  ...['', 'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'BEGIN', 'COMMIT', 'ROLLBACK'],
  ...['SAVEPOINT', 'RELEASE', 'SET', 'SHOW', 'CREATE TABLE', 'DROP TABLE', 'COPY', 'FETCH', 'MOVE'],
  ...['DO', 'CALL', 'LISTEN', 'NOTIFY', 'UNLISTEN', 'PREPARE', 'DEALLOCATE', 'DISCARD ALL'],
  ...['TRUNCATE TABLE', 'EXPLAIN', 'VACUUM', 'ANALYZE'],
];

/** In place of a request: an ERROR that ends all of them. */
const EVERY_REQUEST = -1;

/** Stands in the JSON of an error with which its transaction has failed, and in no string of it, where quotes are escaped. */
const TRANSACTION_FAILED = '"transactionFailed":true';

const NO_FIELDS = Object.freeze([]);

/** One query on its way. The slots of the table keep these objects, and use them again and again. */
class Request {
  resolve = null;
  sql = '';
  asArrays = false;
  /** What was chosen about types, or null. */
  choices = null;
  /** The Lease that it runs on, or null for a request of the pool. */
  lease = null;
  /** The AbortSignal that gives it up. */
  signal = null;
  /** Rows of the result that is not complete yet. */
  rows = null;
  /** Results before the last, for several statements in one query. */
  results = null;
  /** The values of parameters that the user's code writes once their types are known. */
  values = null;
  /** Why a row could not be built, or a value not be written: the request fails with it when it is over. */
  failure = null;
  nextFree = -1;
}

/** Requests by number. A number is used again only after the addon reported the request's end. */
class Requests {
  #slots = [];
  #free = -1;
  #signals;

  constructor(signals) {
    this.#signals = signals;
  }

  open(resolve, sql, asArrays, lease, choices = null) {
    let slot = this.#free;
    if (slot === -1) {
      slot = this.#slots.push(new Request()) - 1;
    } else {
      this.#free = this.#slots[slot].nextFree;
    }
    const request = this.#slots[slot];
    request.resolve = resolve;
    request.sql = sql;
    request.asArrays = asArrays;
    request.choices = choices;
    request.lease = lease;
    if (lease !== null) lease.running += 1;
    return slot;
  }

  giveUpBy(signal, slot) {
    this.#slots[slot].signal = signal;
    this.#signals.add(signal, slot);
  }

  /** Its values come once the addon has told their types. */
  waitsForTypes(values, slot) {
    this.#slots[slot].values = values;
  }

  at(slot) {
    const request = this.#slots[slot];
    if (request === undefined || request.resolve === null) {
      throw new RangeError(`the addon answered request ${slot}, which nobody made`);
    }
    return request;
  }

  /** Gives the slot back, before anyone hears of it. */
  close(slot) {
    const request = this.#slots[slot];
    const { lease, signal } = request;
    if (signal !== null) {
      request.signal = null;
      this.#signals.delete(signal, slot);
    }
    request.resolve = null;
    request.sql = '';
    request.lease = null;
    request.choices = null;
    request.rows = null;
    request.results = null;
    request.values = null;
    request.failure = null;
    request.nextFree = this.#free;
    this.#free = slot;
    if (lease !== null) lease.settled();
  }

  /** Fails whatever is open. */
  failAll(make) {
    for (const [slot, request] of this.#slots.entries()) {
      const { resolve, sql } = request;
      if (resolve === null) continue;
      this.close(slot);
      rejectWithin(resolve, () => make(sql));
    }
  }
}

/** What the cursors run over; the row builders move them too. */
class Segment {
  text = '';
  /** In UTF-16 units. */
  at = 0;
  cell = 0;

  constructor({ records, cells, nulls }) {
    this.words = new Int32Array(records);
    this.int32 = new Int32Array(cells);
    this.float64 = new Float64Array(cells);
    this.bigint64 = new BigInt64Array(cells);
    this.nulls = new Uint8Array(nulls);
  }

  /** The next `units` of the text. */
  take(units) {
    const start = this.at;
    this.at += units;
    return this.text.substring(start, this.at);
  }
}

class Records {
  #segment;
  #requests;
  #shapes = [];
  #onEvent;
  #onLookup;
  #onTypes;

  constructor(buffers, requests, { onEvent, onLookup, onTypes }) {
    this.#segment = new Segment(buffers);
    this.#requests = requests;
    this.#onEvent = onEvent;
    this.#onLookup = onLookup;
    this.#onTypes = onTypes;
  }

  /** Handles the segment that is in the buffers, and says whether the addon has more. */
  read(text) {
    const segment = this.#segment;
    const { words } = segment;
    segment.text = text;
    segment.at = 0;
    segment.cell = 0;
    const end = words[0];
    const more = words[1] === 1;
    for (let w = 2; w < end;) {
      switch (words[w]) {
        case RESULT:
          this.#result(w);
          w += 11;
          break;
        case ERROR:
          this.#error(words[w + 1], segment.take(words[w + 2]));
          w += 3;
          break;
        case SHAPE:
          this.#shapes[words[w + 1]] = new Shape(JSON.parse(segment.take(words[w + 2])));
          w += 3;
          break;
        case EVENT:
          this.#onEvent(JSON.parse(segment.take(words[w + 1])));
          w += 2;
          break;
        case LOOKUP:
          this.#onLookup(words[w + 1], segment.take(words[w + 2]));
          w += 3;
          break;
        case TYPES: {
          const slot = words[w + 1];
          this.#onTypes(slot, this.#requests.at(slot), segment.take(words[w + 2]));
          w += 3;
          break;
        }
        default:
          throw new RangeError(`the addon wrote a record of unknown kind ${words[w]}`);
      }
    }
    // What was cut out of it keeps the text alive as long as needed; the segment must not.
    segment.text = '';
    return more;
  }

  #result(w) {
    const segment = this.#segment;
    const { words } = segment;
    const slot = words[w + 1];
    const shapeSlot = words[w + 2];
    const count = words[w + 3];
    const commandIndex = words[w + 4];
    const flags = words[w + 7];
    const lease = words[w + 8];
    const request = this.#requests.at(slot);
    const command = commandIndex < 0 ? segment.take(words[w + 9]) : COMMANDS[commandIndex];
    const shape = shapeSlot < 0 ? null : this.#shapes[shapeSlot];
    if (lease !== 0 && request.lease !== null) request.lease.number = lease;

    request.rows ??= [];
    if (count > 0) this.#build(request, shape, count, words[w + 10]);
    if ((flags & RESULT_COMPLETE) !== 0) {
      const { rows } = request;
      request.rows = null;
      describe(rows, countOf(words[w + 5], words[w + 6]), command, shape);
      if ((flags & REQUEST_COMPLETE) !== 0 && request.results === null) {
        this.#complete(slot, request, rows);
        return;
      }
      (request.results ??= []).push(rows);
    }
    if ((flags & REQUEST_COMPLETE) !== 0) {
      const results = request.results ?? [];
      this.#complete(slot, request, results.length === 1 ? results[0] : results);
    }
  }

  #build(request, shape, count, joinedUnits) {
    const { rows, asArrays, choices } = request;
    try {
      shape.build(rows, count, this.#segment, { asArrays, choices, joinedUnits });
    } catch (error) {
      request.failure ??= error;
    }
  }

  #complete(slot, request, value) {
    const { resolve, sql, failure, lease } = request;
    lease?.succeeded();
    this.#requests.close(slot);
    if (failure === null) {
      resolve(value);
    } else {
      rejectWithin(resolve, () => unreadable(failure, sql));
    }
  }

  #error(slot, json) {
    if (slot === EVERY_REQUEST) {
      this.#requests.failAll((sql) => fromJson(json, sql));
      return;
    }
    const { resolve, sql, lease, signal, failure } = this.#requests.at(slot);
    // In the order of the answers: the error itself is made later.
    const failed = lease !== null && json.includes(TRANSACTION_FAILED) ? lease.failed() : null;
    this.#requests.close(slot);
    rejectWithin(resolve, () => {
      if (failure !== null) return unwritten(failure, sql);
      const error = fromJson(json, sql);
      if (signal !== null) explain(error, signal);
      return lease === null ? error : lease.explain(error, failed);
    });
  }
}

/** A value's own error says what there is to say; it is made anew, where its caller is on the stack. */
function unreadable(cause, query) {
  if (cause instanceof classes.HyperionError) {
    const { message, code, outcome, cause: deeper } = cause;
    return new cause.constructor(message, { code, outcome, cause: deeper, query });
  }
  return new classes.ProtocolError(`a value of the result can't be read: ${cause.message}`, {
    code: 'HYPERION_UNREADABLE_VALUE',
    outcome: 'unknown',
    cause,
    query,
  });
}

/** A value could not be written, so that the query was given up. What the user's own code threw stays as it is. */
function unwritten(cause, query) {
  if (!(cause instanceof classes.ConfigurationError)) return cause;
  const { message, code, outcome, cause: deeper } = cause;
  return new classes.ConfigurationError(message, { code, outcome, cause: deeper, query });
}

/** A count of rows; null where the command has none, or where a number could not hold it exactly. */
function countOf(low, high) {
  if (high === 0) return low >>> 0;
  const count = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
  return Number.isSafeInteger(count) ? count : null;
}

const rowCountProperty = { value: null };
const commandProperty = { value: '' };
const fieldsProperty = { value: NO_FIELDS };
/** For whoever comes from `pg`, and for libraries that are made for it. */
const rowsProperty = {
  __proto__: null,
  get() {
    return this;
  },
};

/**
 * The rows stay a plain array, equal to any other with the same rows, and say what else is known of the
 * result in properties that nobody sees who does not ask. These definitions cost some 100 ns each
 * (an Object.defineProperties half as much again, fresh descriptors a quarter); a subclass of Array would cost 80,
 * but is not deepStrictEqual to an array.
 */
function describe(rows, rowCount, command, shape) {
  rowCountProperty.value = rowCount;
  commandProperty.value = command;
  fieldsProperty.value = shape === null ? NO_FIELDS : shape.fields;
  Object.defineProperty(rows, 'rowCount', rowCountProperty);
  Object.defineProperty(rows, 'command', commandProperty);
  Object.defineProperty(rows, 'fields', fieldsProperty);
  Object.defineProperty(rows, 'rows', rowsProperty);
}

module.exports = { Records, Requests, COMMANDS };
