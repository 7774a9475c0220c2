'use strict';

// The options of calls: how they are read, and what all calls refuse in the same words.

const { LONGEST_TIMEOUT } = require('../transfer/contract.cjs').limits;
const { isSignal } = require('../transfer/signals.cjs');
const { configurationError, wrongOption } = require('./errors.cjs');

/** In the options of every call null says the same as undefined: nothing. */
const isGiven = (value) => value !== undefined && value !== null;

/** What one kind of call allows. All of its methods throw a ConfigurationError. */
class CallOptions {
  #whole;
  #subjectOf;
  #allowed;

  /**
   * `whole` names the options in messages, and `subjectOf(name)` names one of them. `allowed` has
   * the names of all options that there are.
   */
  constructor(whole, subjectOf, allowed) {
    this.#whole = whole;
    this.#subjectOf = subjectOf;
    this.#allowed = allowed;
  }

  /**
   * The options as an object without a prototype. Each one is read once, since a getter may give
   * another value the second time. Only the object's own options count: a property of
   * Object.prototype chooses nothing.
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

  /** `meaning` is said of the least number, in brackets. */
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
