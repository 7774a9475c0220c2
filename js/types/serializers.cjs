'use strict';

// The functions that write the values of parameters whose type has a `serialize` in the option
// `types`.

const { lengthOf, parameterError } = require('./parameters.cjs');
const NAMES = require('./type-names.cjs');

/** The most dimensions of an array in PostgreSQL. */
const MOST_DIMENSIONS = 6;

/** By the oid of an array's type, the oid of its elements' type. */
const ELEMENTS = new Map();
{
  const oids = new Map(Object.entries(NAMES).map(([oid, name]) => [name, Number(oid)]));
  for (const [name, oid] of oids) {
    if (name.startsWith('_')) ELEMENTS.set(oid, oids.get(name.slice(1)));
  }
}

/**
 * For each parameter, null or a function that makes the text for the server: `(value, parameter) =>
 * value`. Null if no parameter has a function. `serializers` has the user's functions by oid.
 */
function parameterSerializers(oids, serializers) {
  const found = oids.map((oid) => parameterSerializer(oid, serializers));
  return found.some((serialize) => serialize !== null) ? found : null;
}

/**
 * If the array's element type has a function, the function gets each element, at any depth. So it
 * never gets an array.
 */
function parameterSerializer(oid, serializers) {
  const own = serializers.get(oid);
  if (own !== undefined) return checked(own, NAMES[oid] ?? oid);
  const element = ELEMENTS.get(oid);
  const serialize = serializers.get(element);
  if (serialize === undefined) return null;
  const type = `${NAMES[element]}[]`;
  const serializeOne = checked(serialize, type);
  // A string is the whole array, in the server's own text form.
  return (value, parameter) =>
    Array.isArray(value) ? serializeEach(value, serializeOne, parameter, type, 1) : value;
}

function checked(serialize, type) {
  return (value, parameter) => {
    if (value === null || value === undefined) return null;
    let text;
    try {
      text = serialize(value);
    } catch (cause) {
      // The message of the exception may show a part of the value.
      throw unwritten(parameter, type, 'its serialize function threw: the cause says what', cause);
    }
    if (typeof text === 'string') return text;
    const kind = text === null ? 'null' : typeof text;
    throw unwritten(parameter, type, `its serialize function must return a string, not ${kind}`);
  };
}

function serializeEach(array, serializeOne, parameter, type, depth) {
  if (depth > MOST_DIMENSIONS) {
    throw unwritten(parameter, type, `an array has at most ${MOST_DIMENSIONS} dimensions`);
  }
  const length = lengthOf(array);
  const texts = [];
  for (let n = 0; n < length; n += 1) {
    const element = array[n];
    texts.push(
      Array.isArray(element)
        ? serializeEach(element, serializeOne, parameter, type, depth + 1)
        : serializeOne(element, parameter),
    );
  }
  return texts;
}

const unwritten = (parameter, type, why, cause) =>
  parameterError(`${parameter} of type ${type}`, why, cause);

module.exports = { parameterSerializers };
