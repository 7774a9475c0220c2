'use strict';

// Reads the records that the addon writes, one segment at a time, and resolves or rejects their
// requests.
//
// A segment is a list of records (32-bit words), the cells of rows, and one text. Each record and
// each cell takes its piece of the text, in order. `src/node/segment_writer.rs` writes segments.

const contract = require('./contract.cjs');
const { Shape } = require('./rows.cjs');
const { classes, explain, fromJson, rejectWithin } = require('../api/errors.cjs');

const { SEGMENT_USED, SEGMENT_MORE, SEGMENT_WORDS } = contract.records;
const {
  RESULT,
  RESULT_REQUEST,
  RESULT_SLOT,
  RESULT_ROWS,
  RESULT_COMMAND,
  RESULT_COUNT_LOW,
  RESULT_COUNT_HIGH,
  RESULT_FLAGS,
  RESULT_LEASE,
  RESULT_COMMAND_UNITS,
  RESULT_JOINED_UNITS,
  RESULT_WORDS,
} = contract.records;
const { ERROR, ERROR_REQUEST, ERROR_UNITS, ERROR_WORDS } = contract.records;
const { SHAPE, SHAPE_SLOT, SHAPE_UNITS, SHAPE_WORDS } = contract.records;
const { EVENT, EVENT_UNITS, EVENT_WORDS } = contract.records;
const { LOOKUP, LOOKUP_TOKEN, LOOKUP_UNITS, LOOKUP_WORDS } = contract.records;
const { SSL, SSL_QUESTION, SSL_WORDS } = contract.records;
const { PASSWORD, PASSWORD_QUESTION, PASSWORD_UNITS, PASSWORD_WORDS } = contract.records;
const { TYPES, TYPES_REQUEST, TYPES_UNITS, TYPES_WORDS } = contract.records;
const { PIECE, PIECE_REQUEST, PIECE_UNITS, PIECE_SIZE, PIECE_FLAGS, PIECE_WORDS } =
  contract.records;
const { TRACE, TRACE_REQUEST, TRACE_WAITED, TRACE_ATTEMPTS, TRACE_UNITS, TRACE_WORDS } =
  contract.records;
const { RESULT_COMPLETE, REQUEST_COMPLETE, LONG_ROW } = contract.resultFlags;
const { LAST_PIECE, BYTES } = contract.pieceFlags;
const { COMMANDS } = contract.commands;

/**
 * A part of the JSON of an error that has made its transaction fail. It can't occur inside a string
 * of that JSON, where quotes are escaped.
 */
const TRANSACTION_FAILED = '"transactionFailed":true';
/** The same for an error whose statement may have had an effect. */
const UNKNOWN = '"outcome":"unknown"';
/** The same for an error whose statement has run in a transaction that is still open. */
const TRANSACTION_OPEN = '"transactionOpen":true';

const NO_FIELDS = Object.freeze([]);

/** The values of one long row that come in pieces before the row itself. */
class Pieces {
  /** The complete values, in the order of their columns. */
  values = [];
  #text = '';
  #buffer = null;
  #at = 0;

  /**
   * V8 makes a rope of the pieces of a text. The first reader pays for making it one string, and a
   * user who only passes the text on never does. A Buffer has memory of its own, whose pages are
   * touched as the bytes come.
   */
  add(text, size, flags) {
    if ((flags & BYTES) === 0) {
      this.#text += text;
      if ((flags & LAST_PIECE) !== 0) {
        this.values.push(this.#text);
        this.#text = '';
      }
      return;
    }
    if (this.#at === 0) this.#buffer = Buffer.allocUnsafeSlow(size);
    this.#at += this.#buffer.write(text, this.#at, 'latin1');
    if ((flags & LAST_PIECE) !== 0) {
      this.values.push(this.#buffer);
      this.#buffer = null;
      this.#at = 0;
    }
  }
}

/**
 * The memory that the addon fills, with the cursors that the records and the builders of rows move.
 */
class Segment {
  text = '';
  /** The position in the text, in UTF-16 units. */
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
  #onSsl;
  #onPassword;
  #onTypes;

  constructor(buffers, requests, { onEvent, onLookup, onSsl, onPassword, onTypes }) {
    this.#segment = new Segment(buffers);
    this.#requests = requests;
    this.#onEvent = onEvent;
    this.#onLookup = onLookup;
    this.#onSsl = onSsl;
    this.#onPassword = onPassword;
    this.#onTypes = onTypes;
  }

  /** Reads the segment that is in the buffers. Returns whether the addon has another one. */
  read(text) {
    const segment = this.#segment;
    const { words } = segment;
    segment.text = text;
    segment.at = 0;
    segment.cell = 0;
    const end = words[SEGMENT_USED];
    const more = words[SEGMENT_MORE] === 1;
    for (let w = SEGMENT_WORDS; w < end;) {
      switch (words[w]) {
        case RESULT:
          this.#result(w);
          w += RESULT_WORDS;
          break;
        case ERROR:
          this.#error(words[w + ERROR_REQUEST], segment.take(words[w + ERROR_UNITS]));
          w += ERROR_WORDS;
          break;
        case SHAPE:
          this.#shape(words[w + SHAPE_SLOT], segment.take(words[w + SHAPE_UNITS]));
          w += SHAPE_WORDS;
          break;
        case EVENT:
          this.#onEvent(JSON.parse(segment.take(words[w + EVENT_UNITS])));
          w += EVENT_WORDS;
          break;
        case LOOKUP:
          this.#onLookup(words[w + LOOKUP_TOKEN], segment.take(words[w + LOOKUP_UNITS]));
          w += LOOKUP_WORDS;
          break;
        case SSL:
          this.#onSsl(words[w + SSL_QUESTION]);
          w += SSL_WORDS;
          break;
        case PASSWORD:
          this.#onPassword(words[w + PASSWORD_QUESTION], segment.take(words[w + PASSWORD_UNITS]));
          w += PASSWORD_WORDS;
          break;
        case TYPES: {
          const slot = words[w + TYPES_REQUEST];
          const oids = segment.take(words[w + TYPES_UNITS]);
          this.#onTypes(slot, this.#requests.at(slot), oids);
          w += TYPES_WORDS;
          break;
        }
        case PIECE:
          this.#piece(this.#requests.at(words[w + PIECE_REQUEST]), w);
          w += PIECE_WORDS;
          break;
        case TRACE: {
          const { observed } = this.#requests.at(words[w + TRACE_REQUEST]);
          const host = segment.take(words[w + TRACE_UNITS]);
          observed?.traced(words[w + TRACE_WAITED], words[w + TRACE_ATTEMPTS], host);
          w += TRACE_WORDS;
          break;
        }
        default:
          throw new RangeError(`the addon wrote a record of unknown kind ${words[w]}`);
      }
    }
    // Substrings keep the whole text alive. The segment must not do so too.
    segment.text = '';
    return more;
  }

  forgetAll() {
    this.#shapes = [];
  }

  #shape(slot, json) {
    // Slot 0 is assigned again: the addon has dropped all shapes, which were too many or too large.
    if (slot === 0) this.#shapes.length = 0;
    this.#shapes[slot] = new Shape(JSON.parse(json));
  }

  #result(w) {
    const segment = this.#segment;
    const { words } = segment;
    const slot = words[w + RESULT_REQUEST];
    const shapeSlot = words[w + RESULT_SLOT];
    const count = words[w + RESULT_ROWS];
    const commandIndex = words[w + RESULT_COMMAND];
    const flags = words[w + RESULT_FLAGS];
    const lease = words[w + RESULT_LEASE];
    const joinedUnits = words[w + RESULT_JOINED_UNITS];
    const request = this.#requests.at(slot);
    const command =
      commandIndex < 0 ? segment.take(words[w + RESULT_COMMAND_UNITS]) : COMMANDS[commandIndex];
    const shape = shapeSlot < 0 ? null : this.#shapes[shapeSlot];
    if (lease !== 0 && request.lease !== null) request.lease.granted(lease);

    request.rows ??= [];
    if ((flags & LONG_ROW) !== 0) this.#buildLong(request, shape, joinedUnits);
    else if (count > 0) this.#build(request, shape, count, joinedUnits, null);
    if ((flags & RESULT_COMPLETE) !== 0) {
      const { rows } = request;
      request.rows = null;
      const rowCount = countOf(words[w + RESULT_COUNT_LOW], words[w + RESULT_COUNT_HIGH]);
      describe(rows, rowCount, command, shape);
      if (request.place !== null) request.place.completed(command, request.results);
      if ((flags & REQUEST_COMPLETE) !== 0 && request.results === null) {
        this.#complete(request, rows);
        return;
      }
      (request.results ??= []).push(rows);
    }
    if ((flags & REQUEST_COMPLETE) !== 0) {
      const results = request.results ?? [];
      this.#complete(request, results.length === 1 ? results[0] : results);
    }
  }

  #piece(request, w) {
    const { words } = this.#segment;
    const text = this.#segment.take(words[w + PIECE_UNITS]);
    if (request.failure !== null) return;
    try {
      (request.pieces ??= new Pieces()).add(text, words[w + PIECE_SIZE], words[w + PIECE_FLAGS]);
    } catch (error) {
      // There is not enough memory for the value.
      request.failure = error;
    }
  }

  /** Builds one row, of which some values have come in pieces. */
  #buildLong(request, shape, joinedUnits) {
    const { pieces } = request;
    request.pieces = null;
    this.#build(request, shape, 1, joinedUnits, pieces?.values ?? []);
  }

  /** `cut` has the values that have come in pieces. It is null if the rows have none. */
  #build(request, shape, count, joinedUnits, cut) {
    const { rows, asArrays, typeConfig, context } = request;
    const form = { asArrays, typeConfig, joinedUnits, cut };
    try {
      if (context === null) shape.build(rows, count, this.#segment, form);
      else context.runInAsyncScope(() => shape.build(rows, count, this.#segment, form));
    } catch (error) {
      request.failure ??= error;
    }
  }

  #complete(request, value) {
    const { resolve, sql, failure, lease, callSite, observed } = request;
    lease?.succeeded();
    this.#requests.close(request);
    if (failure === null) {
      if (observed !== null) observed.succeeded(value);
      resolve(value);
    } else {
      const make = () => unreadable(failure, sql);
      rejectWithin(resolve, observed === null ? make : observed.failed(make), callSite);
    }
  }

  #error(slot, json) {
    const request = this.#requests.at(slot);
    const { resolve, sql, lease, place, failure, callSite, observed } = request;
    const signal = request.watch?.watched.signal;
    // Noted here, in the order of the answers. The error object is made later.
    const failed = lease !== null && json.includes(TRANSACTION_FAILED) ? lease.failed() : null;
    const mayHaveCommitted = json.includes(UNKNOWN) && !json.includes(TRANSACTION_OPEN);
    if (place !== null && mayHaveCommitted) place.failedUnknown();
    this.#requests.close(request);
    const make = () => {
      if (failure !== null) return unwritten(failure, sql);
      const error = fromJson(json, sql);
      if (signal !== undefined) explain(error, signal);
      if (lease === null) return error;
      const explained = lease.explain(error, failed, place);
      return place === null ? explained : place.explain(explained);
    };
    rejectWithin(resolve, observed === null ? make : observed.failed(make), callSite);
  }
}

/**
 * A conversion has made the error already. It is made again here, so that its stack shows the
 * caller.
 */
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

/**
 * The error of a query that was canceled because a value could not be serialized. An exception of
 * the user's own code stays as it is.
 */
function unwritten(cause, query) {
  if (!(cause instanceof classes.ConfigurationError)) return cause;
  const { message, code, outcome, cause: deeper } = cause;
  return new classes.ConfigurationError(message, { code, outcome, cause: deeper, query });
}

/** A count of rows. Null if the command has none, or if a number can't hold it exactly. */
function countOf(low, high) {
  if (high === 0) return low >>> 0;
  const count = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
  return Number.isSafeInteger(count) ? count : null;
}

const rowCountProperty = { value: null };
const commandProperty = { value: '' };
const fieldsProperty = { value: NO_FIELDS };
/** For users who come from `pg`, and for libraries that were written for it. */
const rowsProperty = {
  get() {
    return this;
  },
};

/**
 * The rows stay a plain array, equal to any other array with the same rows. The other properties of
 * the result are not enumerable. These definitions cost some 100 ns each. Object.defineProperties
 * would cost half as much again, and new descriptors a quarter more. A subclass of Array would cost
 * 80 ns, but would not be deepStrictEqual to an array.
 */
function describe(rows, rowCount, command, shape) {
  rowCountProperty.value = rowCount;
  commandProperty.value = command;
  fieldsProperty.value = shape === null ? NO_FIELDS : shape.fields;
  try {
    Object.defineProperty(rows, 'rowCount', rowCountProperty);
    Object.defineProperty(rows, 'command', commandProperty);
    Object.defineProperty(rows, 'fields', fieldsProperty);
    Object.defineProperty(rows, 'rows', rowsProperty);
  } catch {
    // If other code has given Object.prototype a `get`, a `set` or a `value`, these objects are no
    // longer valid descriptors.
    const described = { rowCount, command, fields: fieldsProperty.value };
    for (const [name, value] of Object.entries(described)) {
      Object.defineProperty(rows, name, { __proto__: null, value });
    }
    Object.defineProperty(rows, 'rows', { __proto__: null, ...rowsProperty });
  }
}

module.exports = { Records };
