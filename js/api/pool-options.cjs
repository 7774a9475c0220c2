'use strict';

// The options of `createPool` as JSON for the addon, which checks them (`src/config`). Some values
// have no form in JSON. They are named, as in `{ "$given": "NaN" }`, so that the addon's error can
// show them.

const { configurationError, wrongOption } = require('./errors.cjs');
const { isGiven } = require('./options.cjs');
const { askSsl, translateSsl } = require('./tls-options.cjs');

/** How deep options are nested: `hosts`, `parameters` and `ssl` contain values. */
const DEEPEST = 2;

/**
 * `createPool(options)`, `createPool(connectionString)`, `createPool(connectionString, options)`. A
 * connection string may be a URL.
 */
function translate(first, second) {
  const given = isConnectionString(first) ? withString(textOf(first), second) : first;
  if (given === undefined || given === null || typeof given !== 'object' || Array.isArray(given)) {
    return { json: JSON.stringify(sayable(given, 0)), lookup: undefined, types: undefined };
  }
  const { lookup, types, longStackTraces, ...all } = { __proto__: null, ...given };
  const { logger, logParameters, slowQueryMs, name, env, ...others } = all;
  // The addon has names of this form for what is read beside the options.
  const hidden = Object.keys(others).find((key) => key.startsWith('$'));
  if (hidden !== undefined) throw configurationError(`unknown option '${hidden}'`);
  if (isGiven(lookup) && typeof lookup !== 'function') {
    throw wrongOption(`option 'lookup'`, 'a function like dns.lookup', lookup);
  }
  if (isGiven(longStackTraces) && typeof longStackTraces !== 'boolean') {
    throw wrongOption(`option 'longStackTraces'`, 'true or false', longStackTraces);
  }
  if (isGiven(env) && typeof env !== 'boolean') {
    throw wrongOption(`option 'env'`, 'true or false', env);
  }
  const watching = readWatching({ logger, logParameters, slowQueryMs, name });
  others.connectionString = textOf(others.connectionString);
  const { ssl, password } = others;
  if (typeof password === 'function') others.password = { $asked: true };
  if (isGiven(ssl)) others.ssl = translateSsl(ssl);
  // A class instance may have options as its properties; a Map has no properties of its own.
  const isEmptyInstance = !isPlain(given) && Object.keys(given).length === 0;
  const said = sayable(isEmptyInstance ? given : others, 0);
  return {
    json: JSON.stringify(said),
    env: env ?? true,
    ssl: typeof ssl === 'function' ? askAnew(ssl, said) : undefined,
    password: typeof password === 'function' ? password : undefined,
    lookup: lookup ?? undefined,
    types,
    longStackTraces: longStackTraces ?? undefined,
    watching,
  };
}

/** What asks `ssl`, and returns the options with its answer. */
function askAnew(ssl, { password: _, ...kept }) {
  return async () => JSON.stringify({ ...kept, ssl: sayable(await askSsl(ssl), 1) });
}

/** Whether the value is a URL of any realm. */
const isUrl = (given) => Object.prototype.toString.call(given) === '[object URL]';

const isConnectionString = (given) => typeof given === 'string' || isUrl(given);

const textOf = (given) => (isUrl(given) ? given.href : given);

/** The options for an Observer. */
function readWatching(given) {
  const { logger, logParameters, slowQueryMs, name } = given;
  if (isGiven(logger) && typeof logger !== 'function') {
    throw wrongOption(`option 'logger'`, 'a function', logger);
  }
  if (isGiven(logParameters) && typeof logParameters !== 'boolean') {
    throw wrongOption(`option 'logParameters'`, 'true or false', logParameters);
  }
  if (isGiven(slowQueryMs) && !(Number.isFinite(slowQueryMs) && slowQueryMs >= 0)) {
    throw wrongOption(`option 'slowQueryMs'`, 'a number of milliseconds from 0 up', slowQueryMs);
  }
  if (isGiven(name) && typeof name !== 'string') {
    throw wrongOption(`option 'name'`, 'a string', name);
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => isGiven(value)));
}

/** One value as JSON, in the form that `translate` uses. */
function translateValue(value) {
  return JSON.stringify(sayable(value, 0));
}

function withString(connectionString, options) {
  if (!isGiven(options)) return { connectionString };
  if (typeof options !== 'object' || Array.isArray(options)) return options;
  const own = { ...options };
  if (Object.hasOwn(own, 'connectionString') && isGiven(own.connectionString)) {
    throw configurationError(`option 'connectionString' was given twice`);
  }
  return { ...own, connectionString };
}

function sayable(value, depth) {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? value : unsayable('a string with a lone surrogate');
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : unsayable(String(value));
    case 'object':
      return value === null ? null : sayableObject(value, depth);
    default:
      return unsayable(typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`);
  }
}

function sayableObject(value, depth) {
  const isArray = Array.isArray(value);
  if (!isArray && !isPlain(value)) {
    return unsayable(`a ${value.constructor?.name || 'class instance'}`);
  }
  if (depth === DEEPEST) return unsayable(isArray ? 'an array' : 'an object');
  if (isArray) return Array.from(value, (item) => sayable(item, depth + 1));
  // Without a prototype, so that an option named `__proto__` is an unknown option.
  const copy = { __proto__: null };
  for (const [name, item] of Object.entries(value)) {
    const isSaid = depth === 0 ? isGiven(item) : item !== undefined;
    if (isSaid) copy[name.toWellFormed()] = sayable(item, depth + 1);
  }
  return copy;
}

/** `{}` of any realm, or an object without a prototype. */
function isPlain(object) {
  const prototype = Object.getPrototypeOf(object);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function unsayable(what) {
  return { $given: what };
}

module.exports = { translate, translateValue };
