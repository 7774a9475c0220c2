// The user's options as JSON for the addon, which checks them. What JSON can't say is named, so that an error
// can tell what was given.

'use strict';

const { classes } = require('./errors.cjs');

/** Options that are functions and stay on this side. */
const FUNCTIONS = ['lookup'];

function wrong(message) {
  return new classes.ConfigurationError({ code: 'HYPERION_CONFIGURATION', message });
}

function speakable(_key, value) {
  switch (typeof value) {
    case 'function':
      return { $given: 'a function' };
    case 'symbol':
      return { $given: 'a symbol' };
    case 'bigint':
      return { $given: `${value}n` };
    case 'number':
      return Number.isFinite(value) ? value : { $given: String(value) };
    default:
      return value;
  }
}

/**
 * @param {unknown} first options, or a connection string
 * @param {unknown} [second] options beside a connection string
 * @returns {{ json: string, functions: { lookup?: Function } }}
 */
function readOptions(first, second) {
  const string = typeof first === 'string' ? first : undefined;
  const given = string === undefined ? first : (second ?? {});
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    throw wrong('createPool takes an object of options, a connection string, or both');
  }
  const plain = { ...given };
  if (string !== undefined) plain.connectionString = string;
  const functions = {};
  for (const name of FUNCTIONS) {
    const value = plain[name];
    delete plain[name];
    if (value === undefined) continue;
    if (typeof value !== 'function') throw wrong(`option '${name}' must be a function`);
    functions[name] = value;
  }
  return { json: JSON.stringify(plain, speakable), functions };
}

module.exports = { readOptions };
