'use strict';

// The options of calls: reads them, and refuses wrong ones in the same words for all calls.

const { LONGEST_TIMEOUT } = require('../transfer/contract.cjs').limits;
const { isSignal } = require('../transfer/signals.cjs');
const { configurationError, wrongOption } = require('./errors.cjs');

/** In the options of every call, null and undefined both mean that the option is not given. */
const isGiven = (value) => value !== undefined && value !== null;

/** The options of one kind of call. Its methods throw a ConfigurationError for a wrong option. */
class CallOptions {
  #whole;
  #subjectOf;
  #allowed;

  /**
   * `whole` names the options in messages, `subjectOf(name)` names one option, and `allowed` lists
   * the names of all options.
   */
  constructor(whole, subjectOf, allowed) {
    this.#whole = whole;
    this.#subjectOf = subjectOf;
    this.#allowed = allowed;
  }

  /**
   * The options as an object without a prototype. Each option is read once, since a getter may
   * return another value the second time. Only own properties count: a property of Object.prototype
   * is not an option.
   */
  read(options) {
    const own = { __proto__: null };
    if (!isGiven(options)) return own;
    if (typeof options !== 'object') throw wrongOption(this.#whole, 'an object', options);
    for (const name of Object.keys(options)) {
      this.checkName(name);
      own[name] = options[name] ?? undefined;
    }
    return own;
  }

  checkName(name) {
    if (this.#allowed.includes(name)) return;
    const allowed = this.#allowed.join(', ');
    throw configurationError(`unknown ${this.#subjectOf(name)}: allowed: ${allowed}`);
  }

  /** `meaning` is a remark about the least number, such as ' (no limit)'. */
  checkTimeout(value, least, meaning = '') {
    this.checkInteger('timeoutMs', value, least, LONGEST_TIMEOUT, meaning);
  }

  checkInteger(name, value, least, most, meaning = '') {
    if (!isGiven(value)) return;
    if (Number.isInteger(value) && value >= least && value <= most) return;
    throw this.wrong(name, `an integer from ${least}${meaning} to ${most}`, value);
  }

  checkFlag(name, value) {
    if (isGiven(value) && typeof value !== 'boolean') {
      throw this.wrong(name, 'true or false', value);
    }
  }

  checkSignal(value) {
    if (isGiven(value) && !isSignal(value)) throw this.wrong('signal', 'an AbortSignal', value);
  }

  wrong(name, allowed, given) {
    return wrongOption(this.#subjectOf(name), allowed, given);
  }
}

module.exports = { CallOptions, isGiven };
