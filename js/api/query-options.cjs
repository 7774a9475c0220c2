'use strict';

// The options of a query. Each is read once, since a getter may give another value the second time,
// and only where it is the object's own: a property of Object.prototype chooses nothing.

const { LONGEST_TIMEOUT } = require('../transfer/contract.cjs').limits;
const { configurationError, wrongOption } = require('./errors.cjs');
const { isSignal } = require('../transfer/signals.cjs');

const QUERY_OPTIONS = ['readOnly', 'rowMode', 'types', 'timeoutMs', 'signal', 'prepare'];

/** The options of one query; `undefined` stands for what was not given. */
class QueryOptions {
  readOnly = false;
  prepare = true;
  asArrays = false;
  timeoutMs = undefined;
  signal = undefined;
  types = undefined;

  /** Throws a ConfigurationError for what is wrong, and what a getter throws. */
  constructor(given) {
    if (typeof given !== 'object') {
      throw configurationError(`the options of a query must be an object, not ${typeof given}`);
    }
    for (const name of Object.keys(given)) {
      if (!QUERY_OPTIONS.includes(name)) {
        const allowed = QUERY_OPTIONS.join(', ');
        throw configurationError(`unknown query option '${name}': allowed: ${allowed}`);
      }
      const value = given[name];
      if (value !== undefined && value !== null) this.#take(name, value);
    }
  }

  #take(name, value) {
    switch (name) {
      case 'readOnly':
      case 'prepare':
        if (typeof value !== 'boolean') throw wrong(name, 'true or false', value);
        this[name] = value;
        break;
      case 'timeoutMs':
        if (!Number.isInteger(value) || value < 0 || value > LONGEST_TIMEOUT) {
          throw wrong(name, `an integer from 0 (no limit) to ${LONGEST_TIMEOUT}`, value);
        }
        this.timeoutMs = value;
        break;
      case 'signal':
        if (!isSignal(value)) throw wrong(name, 'an AbortSignal', value);
        this.signal = value;
        break;
      case 'rowMode':
        if (value !== 'object' && value !== 'array') {
          throw wrong(name, `'object' or 'array'`, value);
        }
        this.asArrays = value === 'array';
        break;
      default:
        this.types = value;
    }
  }
}

const wrong = (name, allowed, given) => wrongOption(`query option '${name}'`, allowed, given);

module.exports = { QueryOptions };
