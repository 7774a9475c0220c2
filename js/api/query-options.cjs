'use strict';

// The options of a query. Each option is read once, since a getter may return another value the
// second time. Only own properties count: a property of Object.prototype is not an option.

const { configurationError } = require('./errors.cjs');
const { CallOptions } = require('./options.cjs');

const OPTIONS = new CallOptions('the options of a query', (name) => `query option '${name}'`, [
  'readOnly',
  'rowMode',
  'types',
  'timeoutMs',
  'signal',
  'prepare',
]);

/** The options of one query; `undefined` stands for an option that was not given. */
class QueryOptions {
  readOnly = false;
  prepare = true;
  asArrays = false;
  timeoutMs = undefined;
  signal = undefined;
  types = undefined;

  /** Throws a ConfigurationError for a wrong option, and what a getter throws. */
  constructor(given) {
    if (typeof given !== 'object') {
      throw configurationError(`the options of a query must be an object, not ${typeof given}`);
    }
    for (const name of Object.keys(given)) {
      OPTIONS.checkName(name);
      const value = given[name];
      if (value !== undefined && value !== null) this.#set(name, value);
    }
  }

  #set(name, value) {
    switch (name) {
      case 'readOnly':
      case 'prepare':
        OPTIONS.checkFlag(name, value);
        this[name] = value;
        break;
      case 'timeoutMs':
        OPTIONS.checkTimeout(value, 0, ' (no limit)');
        this.timeoutMs = value;
        break;
      case 'signal':
        OPTIONS.checkSignal(value);
        this.signal = value;
        break;
      case 'rowMode':
        if (value !== 'object' && value !== 'array') {
          throw OPTIONS.wrong(name, `'object' or 'array'`, value);
        }
        this.asArrays = value === 'array';
        break;
      default:
        this.types = value;
    }
  }
}

module.exports = { QueryOptions };
