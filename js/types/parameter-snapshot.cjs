'use strict';

// The parameters of a query as they were when the query was called. They are kept until the types
// of the parameters are known, since only then is it clear which values a `serialize` of the user's
// writes.
//
// A `serialize` gets a copy of the value: bytes, Dates, arrays, Maps, Sets and plain objects are
// copied, at any depth. Objects of other classes can't be copied, so `serialize` gets the object
// itself. If no `serialize` writes an object, the JSON that it had at the time of the call is sent.
// That JSON is made from the object itself, because its copy lacks what only JSON.stringify can
// see, such as JSON.rawJSON.

const { types } = require('node:util');

const { getTime } = Date.prototype;

/**
 * The JSON of an object, or the exception that was thrown while making it. If a `serialize` writes
 * the object, the exception does not matter.
 */
class JsonText {
  #json = undefined;
  #failure = null;

  constructor(write) {
    try {
      this.#json = write();
    } catch (error) {
      this.#failure = error;
    }
  }

  read() {
    if (this.#failure !== null) throw this.#failure;
    return this.#json;
  }
}

class ParameterSnapshot {
  /** Copies, and values that can't change. */
  values = [];
  /** The JsonText of each object among the values and in their arrays. */
  texts = new Map();

  /**
   * `stringify(value, parameter)` makes the JSON of an object, and `lengthOf` reads the length of
   * an array.
   */
  constructor(given, { stringify, lengthOf }) {
    const count = lengthOf(given);
    for (let n = 0; n < count; n += 1) {
      const originals = new Map();
      const copy = copyOf(given[n], lengthOf, originals);
      this.values.push(copy);
      const write = (value) => stringify(originals.get(value), n + 1);
      if (isObject(copy)) this.#write(copy, write);
    }
  }

  #write(root, stringify) {
    const seen = new Set([root]);
    // The loop includes the values that are added to the Set meanwhile.
    for (const value of seen) {
      if (Array.isArray(value)) {
        value.forEach((element) => isObject(element) && seen.add(element));
      } else if (!isBytes(value) && !types.isDate(value)) {
        this.texts.set(value, new JsonText(() => stringify(value)));
      }
    }
  }
}

const isObject = (value) => typeof value === 'object' && value !== null;
const isBytes = (value) => ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value);

/**
 * Copies without recursion: an array may be as deep as memory allows, or contain itself.
 * `originals` gets the original of each copy.
 */
function copyOf(root, lengthOf, originals) {
  const copies = new Map();
  const open = [];
  const copied = (value) => {
    if (!isObject(value)) return value;
    if (copies.has(value)) return copies.get(value);
    const copy = beginCopy(value);
    copies.set(value, copy);
    originals.set(copy, value);
    if (copy !== value) open.push([value, copy]);
    return copy;
  };
  const copy = copied(root);
  while (open.length > 0) fill(...open.pop(), copied, lengthOf);
  return copy;
}

/** An empty copy, if its parts are copied later. The value itself, if it can't be copied. */
function beginCopy(value) {
  if (Array.isArray(value)) return [];
  if (isBytes(value)) return copyOfBytes(value);
  const prototype = Object.getPrototypeOf(value);
  if (types.isDate(value)) {
    const date = new Date(getTime.call(value));
    return prototype === Date.prototype ? date : Object.setPrototypeOf(date, prototype);
  }
  if (types.isMap(value) && prototype === Map.prototype) return new Map();
  if (types.isSet(value) && prototype === Set.prototype) return new Set();
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return isPlain ? Object.create(prototype) : value;
}

function fill(from, to, copied, lengthOf) {
  if (Array.isArray(from)) {
    const length = lengthOf(from);
    for (let n = 0; n < length; n += 1) to.push(copied(from[n]));
  } else if (types.isMap(to)) {
    for (const [key, value] of from) to.set(copied(key), copied(value));
  } else if (types.isSet(to)) {
    for (const value of from) to.add(copied(value));
  } else if (!isBytes(to) && !types.isDate(to)) {
    for (const name of Object.keys(from)) {
      const value = copied(from[name]);
      const attributes = { writable: true, enumerable: true, configurable: true };
      Object.defineProperty(to, name, { __proto__: null, value, ...attributes });
    }
  }
}

const { keys: keysOfTyped } = Reflect.getPrototypeOf(Uint8Array.prototype);

/**
 * Throws for a typed array whose memory was transferred or has become too small for the array. Such
 * an array claims to be empty.
 */
function checkMemory(value) {
  if (types.isTypedArray(value) && value.length === 0) keysOfTyped.call(value);
}

/** Bytes whose memory is gone are not copied. `Parameters` refuses them later. */
function copyOfBytes(value) {
  try {
    checkMemory(value);
    if (types.isAnyArrayBuffer(value)) return value.slice(0);
    if (Buffer.isBuffer(value)) return Buffer.from(value);
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    if (types.isDataView(value)) return new DataView(bytes.buffer);
    const Kind = globalThis[value[Symbol.toStringTag]];
    return new Kind(bytes.buffer);
  } catch {
    return value;
  }
}

module.exports = { ParameterSnapshot, checkMemory };
