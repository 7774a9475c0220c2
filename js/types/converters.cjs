'use strict';

// Makes the values of a column from its lane's values, as the type config says, or by default.

const { lanes } = require('../transfer/contract.cjs');
const { classes, configurationError, isError } = require('../api/errors.cjs');
const NAMES = require('./type-names.cjs');

/** The lanes whose values need more than a typed array or a substring. */
const { FLOAT64, BIGINT64, BIGUINT64, JSON: JSON_TEXT, BYTES, ARRAY, JOINED } = lanes;

/** Decodes base64 without padding. The Buffer has memory of its own, not a part of Node's pool. */
function toBuffer(text) {
  const buffer = Buffer.allocUnsafeSlow((text.length * 3) >>> 2);
  buffer.write(text, 'base64');
  return buffer;
}

function toJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    // V8's own message would show a part of the text.
    throw new classes.ProtocolError(`${text.length} characters are no JSON that can be read`);
  }
}

/** `value` is a BigInt, or the digits of an array's element. */
function toSafeInteger(value) {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw configurationError(
    `an integer beyond 2^53 has no exact number: choose int8 as 'bigint' or 'string'`,
  );
}

/**
 * Reads ISO 8601 as `src/types/datetime.rs` writes it. A timestamp without a zone counts as UTC.
 */
function toDate(text) {
  if (text === 'infinity') return Infinity;
  if (text === '-infinity') return -Infinity;
  const isLocal = text.includes('T') && !text.endsWith('Z');
  const date = new Date(isLocal ? `${text}Z` : text);
  if (Number.isNaN(date.getTime())) {
    throw configurationError(`it is beyond what a Date can hold: choose timestamp as 'string'`);
  }
  return date;
}

/** By lane, the converter for types without one in the type config. */
const BY_LANE = { __proto__: null, [JSON_TEXT]: toJson, [JOINED]: toJson, [BYTES]: toBuffer };
/** The same for the elements of arrays. In the array's JSON, these elements are strings. */
const BY_ELEMENT_LANE = {
  __proto__: null,
  ...BY_LANE,
  [BIGINT64]: BigInt,
  [BIGUINT64]: BigInt,
  [FLOAT64]: Number,
};

/** The name of a type that every server has. */
const typeName = (oid) => NAMES[oid];

/**
 * The function that makes a column's value from its lane's value. Null if no function is needed.
 * The error for a value names the column.
 */
function converterOf({ name, typeOid, lane, elementOid, elementLane }, typeConfig) {
  const chosen = typeConfig?.converter(typeOid) ?? null;
  if (chosen !== null) return naming(chosen, name, typeOid);
  if (lane !== ARRAY) {
    const usual = BY_LANE[lane] ?? null;
    return usual === toJson ? naming(toJson, name, typeOid) : usual;
  }
  const element = typeConfig?.converter(elementOid) ?? BY_ELEMENT_LANE[elementLane] ?? null;
  if (element === null) return naming(toJson, name, typeOid);
  return naming((text) => revive(toJson(text), element), name, typeOid);
}

/** Converts the strings of an array in place. The array is at most six levels deep. */
function revive(array, make) {
  for (let n = 0; n < array.length; n += 1) {
    const element = array[n];
    if (typeof element === 'string') array[n] = make(element);
    else if (Array.isArray(element)) revive(element, make);
  }
  return array;
}

function naming(convert, name, typeOid) {
  return (value) => {
    try {
      return convert(value);
    } catch (error) {
      throw unreadable(error, name, typeOid);
    }
  };
}

/** The outcome is set because the statement has run, and its caller does not see the result. */
function unreadable(cause, name, typeOid) {
  const why = messageOf(cause);
  const isOurs = cause instanceof classes.HyperionError;
  const constructor =
    cause instanceof classes.ProtocolError ? classes.ProtocolError : classes.ConfigurationError;
  const type = NAMES[typeOid] ?? typeOid;
  return new constructor(`column "${name}" of type ${type} can't be read: ${why}`, {
    code: 'HYPERION_UNREADABLE_VALUE',
    outcome: 'unknown',
    cause: isOurs ? undefined : cause,
  });
}

/** Anything can be thrown, even an object that has no text. */
function messageOf(thrown) {
  try {
    return String(isError(thrown) ? thrown.message : thrown);
  } catch {
    return 'the cause says why';
  }
}

module.exports = { converterOf, toDate, toSafeInteger, typeName };
