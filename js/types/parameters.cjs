'use strict';

// Reads the parameters of a query: each value once, in order, before the query is queued.
//
// Reading may run the user's code (getters, `toJSON`, Proxies), which may query the same pool. So
// the addon gets arrays to which no other code has access: primitives, bytes and Dates as they are,
// and all other values captured. The form of a captured value depends on the type of its parameter
// (`{1,2}` or `[1,2]`), which may not be known yet.
//
// Arrays are captured as a list of codes, with lists for their numbers and texts. One Node-API call
// for each element would cost many times as much.

const { types } = require('node:util');
const contract = require('../transfer/contract.cjs');
const { classes } = require('../api/errors.cjs');
const { ParameterSnapshot, checkMemory } = require('./parameter-snapshot.cjs');

const { MOST_PARAMETERS } = contract.limits;
const { CLOSE, OPEN, NULL, FALSE, TRUE, NUMBER, DATE, TEXT, BIGINT } = contract.codes;
const { JSON: JSON_TEXT, BYTES, WHOLE_JSON } = contract.codes;

/** The server's own limit for the elements of an array (`MaxArraySize`). */
const MOST_ELEMENTS = 134_217_727;

/** Stands for a captured parameter. */
const CAPTURED = Object.freeze({});

/** Arrays that are nested deeper than the server allows are checked for containing themselves. */
const DEEP = 6;

/** Buffers of up to this size are reused. */
const SPARE_CODES = 1 << 16;

const { getTime } = Date.prototype;

/** Stands for any bytes of length 0. */
const NO_BYTES = new Uint8Array(0);

const BROKEN_PAIR =
  'a text holds half of a surrogate pair, which has no form in UTF-8 (String.prototype.isWellFormed() tells)';

/** The captured values of one query. */
class Capture {
  codes = new Uint8Array(1024);
  #codeCount = 0;
  #numbers = new Float64Array(1024);
  #numberCount = 0;
  #text = '';
  /** Bytes, and the JSON of parameters. */
  #extras = [];

  /** The arguments for the addon. */
  get parts() {
    return [this.codes, this.#numbers, this.#text, ...this.#extras];
  }

  check() {
    checkBytes(this.#extras);
  }

  reset() {
    this.#codeCount = 0;
    this.#numberCount = 0;
    this.#text = '';
    this.#extras = [];
  }

  /** Captures an object that is a parameter. */
  json(json) {
    if (this.#codeCount === this.codes.length) this.codes = doubled(this.codes);
    this.codes[this.#codeCount] = WHOLE_JSON;
    this.#codeCount += 1;
    this.#extras.push(json);
  }

  /**
   * Captures an array without recursion, since an array may be as deep as memory allows. It is a
   * single function with local variables, which is five times as fast for large arrays.
   */
  array(root, parameter) {
    let [codes, codeCount] = [this.codes, this.#codeCount];
    let [numbers, numberCount] = [this.#numbers, this.#numberCount];
    let text = '';
    const outer = [];
    let around = null;
    let [array, at, length] = [root, 0, lengthOf(root)];
    let code = OPEN;
    for (;;) {
      if (codeCount === codes.length) codes = doubled(codes);
      codes[codeCount] = code;
      codeCount += 1;
      if (code === CLOSE) {
        if (outer.length === 0) break;
        around?.delete(array);
        ({ array, at, length } = outer.pop());
      }
      if (at === length) {
        code = CLOSE;
        continue;
      }

      const value = array[at];
      at += 1;
      let number = 0;
      switch (typeof value) {
        case 'number':
          code = NUMBER;
          number = value;
          break;
        case 'string':
          code = TEXT;
          number = value.length;
          text = joined(text, value);
          break;
        case 'boolean':
          code = value ? TRUE : FALSE;
          break;
        case 'undefined':
          code = NULL;
          break;
        case 'bigint': {
          const digits = String(value);
          code = BIGINT;
          number = digits.length;
          text = joined(text, digits);
          break;
        }
        case 'object':
          if (value === null) {
            code = NULL;
          } else if (Array.isArray(value)) {
            code = OPEN;
            outer.push({ array, at, length });
            if (outer.length > DEEP) {
              around ??= new Set(outer.map((open) => open.array));
              if (around.has(value))
                throw parameterError(parameter, 'an array is a part of itself');
              around.add(value);
            }
            [array, at, length] = [value, 0, lengthOf(value)];
          } else if (types.isDate(value)) {
            code = DATE;
            number = getTime.call(value);
          } else {
            const bytes = bytesOf(value, parameter);
            const json = bytes === null ? stringify(value, parameter) : undefined;
            if (bytes !== null) {
              code = BYTES;
              this.#extras.push(bytes);
            } else if (json === undefined) {
              code = NULL;
            } else {
              code = JSON_TEXT;
              number = json.length;
              text = joined(text, json);
            }
          }
          break;
        default:
          throw notSupported(value, parameter);
      }
      if (code >= NUMBER && code <= JSON_TEXT) {
        if (numberCount === numbers.length) numbers = doubled(numbers);
        numbers[numberCount] = number;
        numberCount += 1;
      }
    }
    // Unpaired surrogates of different strings could form a pair in the joined text. The addon
    // looks for unpaired surrogates in it.
    if (!text.isWellFormed()) throw parameterError(parameter, BROKEN_PAIR);
    [this.codes, this.#codeCount] = [codes, codeCount];
    [this.#numbers, this.#numberCount] = [numbers, numberCount];
    this.#text = joined(this.#text, text);
  }
}

/**
 * A Capture that no query uses. While a Capture is being filled, a getter may send a query that
 * needs another one.
 */
let spare = null;

/** The parameters of one query, in the form that the addon takes. */
class Parameters {
  values;
  #capture = null;

  /**
   * `serializers` may be null. For each parameter it has null, or a function that makes the text
   * for the server: `(value, parameter) => value`. Throws the exceptions of the user's code, and a
   * ConfigurationError for a value that can't be sent.
   */
  constructor(given, serializers = null) {
    const count = lengthOf(given);
    if (count > MOST_PARAMETERS) throw tooMany(count);
    const values = owned(count);
    for (let n = 0; n < count; n += 1) {
      let value = given[n];
      const serialize = serializers?.[n] ?? null;
      if (serialize !== null) value = serialize(value, n + 1);
      const kind = typeof value;
      if (kind === 'object' && value !== null) values[n] = this.#read(value, n + 1);
      else if (kind === 'function' || kind === 'symbol') throw notSupported(value, n + 1);
      else values[n] = value;
    }
    this.values = values;
    // The user's code may have run after the bytes were read.
    if (this.#capture !== null || serializers !== null) {
      checkBytes(values);
      this.#capture?.check();
    }
  }

  /** The captured values, as arguments for the addon. */
  get captured() {
    return this.#capture === null ? undefined : this.#capture.parts;
  }

  /** Called when the addon has read the parameters. */
  release() {
    const capture = this.#capture;
    if (capture === null || capture.codes.length > SPARE_CODES) return;
    capture.reset();
    spare = capture;
  }

  #read(value, parameter) {
    if (types.isDate(value)) return value;
    const bytes = bytesOf(value, parameter);
    if (bytes !== null) return bytes;
    if (this.#capture === null) {
      this.#capture = spare ?? new Capture();
      spare = null;
    }
    if (Array.isArray(value)) {
      this.#capture.array(value, parameter);
      return CAPTURED;
    }
    const json = stringify(value, parameter);
    if (json === undefined) return null;
    this.#capture.json(json);
    return CAPTURED;
  }
}

/** Copies the values, for `serializeSnapshot`. */
function takeSnapshot(given) {
  const count = lengthOf(given);
  if (count > MOST_PARAMETERS) throw tooMany(count);
  return new ParameterSnapshot(given, { stringify, lengthOf });
}

/** The JsonTexts of a snapshot while its parameters are made. */
let texts = null;

/** `serializers` is as in the constructor of `Parameters`. */
function serializeSnapshot(snapshot, serializers) {
  const values = snapshot.values.map((value, n) => serializers?.[n]?.(value, n + 1) ?? value);
  // From here on, none of the user's code runs.
  ({ texts } = snapshot);
  try {
    return new Parameters(values);
  } finally {
    texts = null;
  }
}

/**
 * The bytes of a Buffer, of another typed array or view, or of an ArrayBuffer; null for other
 * values.
 */
function bytesOf(value, parameter) {
  if (types.isUint8Array(value) && value.length > 0) return value;
  try {
    let bytes = null;
    if (ArrayBuffer.isView(value)) {
      checkMemory(value);
      bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    } else if (types.isAnyArrayBuffer(value)) {
      bytes = new Uint8Array(value);
    }
    return bytes?.length === 0 ? NO_BYTES : bytes;
  } catch (cause) {
    throw parameterError(
      parameter,
      'the memory of its bytes is gone: it was transferred or made smaller',
      cause,
    );
  }
}

/** Called after all of the user's code. Bytes whose memory is gone would be sent as empty bytes. */
function checkBytes(values) {
  for (const value of values) {
    if (value !== NO_BYTES && types.isUint8Array(value) && value.length === 0) {
      const why = 'the memory of bytes among them was resized or transferred while they were read';
      throw failure('HYPERION_PARAMETER', `the parameters can't be sent: ${why}`);
    }
  }
}

/** The JSON of an object, or undefined if the object's toJSON returns undefined. */
function stringify(value, parameter) {
  const text = texts?.get(value);
  if (text !== undefined) return text.read();
  const known = MISTAKES.find(([is]) => is(value));
  if (known !== undefined && typeof value.toJSON !== 'function') {
    throw parameterError(parameter, known[1]);
  }
  try {
    return JSON.stringify(value);
  } catch (cause) {
    // V8's own message, or that of a toJSON, may show a part of the value.
    throw parameterError(parameter, 'the object has no form in JSON: the cause says why', cause);
  }
}

/** Objects for which JSON.stringify would silently return `{}`. */
const MISTAKES = [
  [types.isPromise, 'it is a Promise: await it'],
  [types.isMap, 'a Map has no form in JSON: use Object.fromEntries(map), or [...map]'],
  [types.isSet, 'a Set has no form in JSON, and is no array: use [...set]'],
];

/** The `length` of a Proxy can be any value. It is converted as JavaScript's own methods do. */
function lengthOf(array) {
  const { length } = array;
  if (length > MOST_ELEMENTS) throw tooLong();
  return Number.isInteger(length) && length >= 0 ? length : Math.max(0, Math.trunc(length) || 0);
}

/** Has its own elements, so that no accessor of Array.prototype runs. */
let places = [null, null, null, null, null, null, null, null];

function owned(count) {
  if (count === 1) return [null];
  while (places.length < count) places = places.concat(places);
  return places.slice(0, count);
}

function doubled(buffer) {
  try {
    const next = new buffer.constructor(buffer.length * 2);
    next.set(buffer);
    return next;
  } catch (cause) {
    throw tooLong(cause);
  }
}

function joined(text, more) {
  try {
    return text + more;
  } catch (cause) {
    throw tooLong(cause);
  }
}

function notSupported(value, parameter) {
  const what = typeof value === 'symbol' ? 'a symbol' : 'a function';
  return parameterError(parameter, `${what} has no form in PostgreSQL`);
}

function parameterError(parameter, why, cause) {
  return failure('HYPERION_PARAMETER', `parameter $${parameter}: ${why}`, cause);
}

function tooMany(count) {
  const message = `a query has at most ${MOST_PARAMETERS} parameters, ${count} were given`;
  return failure('HYPERION_TOO_MANY_PARAMETERS', message);
}

function tooLong(cause) {
  const message = 'the arrays among the parameters are longer than a message can be';
  return failure('HYPERION_PARAMETER_LIMIT', message, cause);
}

function failure(code, message, cause) {
  return new classes.ConfigurationError(message, { code, outcome: 'not-sent', cause });
}

module.exports = { Parameters, lengthOf, parameterError, takeSnapshot, serializeSnapshot };
