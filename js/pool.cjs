'use strict';

// The pool as users see it.

const { EventEmitter } = require('node:events');
const { inspect } = require('node:util');
const { Channel } = require('./channel.cjs');
const { connect } = require('./connection.cjs');
const { disposable } = require('./errors.cjs');
const { placeOf } = require('./lease.cjs');
const { begin, transaction } = require('./transaction.cjs');

class Pool extends EventEmitter {
  #channel;
  /** What `end` gave. */
  #ended = null;
  #isClosed = false;
  #status;

  /** Not for users: `createPool` checks and translates what they give. */
  constructor(addon, optionsJson, lookup, types) {
    super();
    const onEvent = ({ type, ...event }) => this.emit(type, event);
    this.#channel = new Channel(addon, optionsJson, { onEvent, lookup, types });
  }

  query(sql, params, options) {
    return this.#channel.query(sql, params, options, null, 0);
  }

  begin(options) {
    return begin(this.#channel, options, placeOf(this.begin));
  }

  transaction(callback, options) {
    return transaction(this.#channel, callback, options, placeOf(this.transaction));
  }

  connect(options) {
    return connect(this.#channel, options, placeOf(this.connect));
  }

  status() {
    if (!this.#isClosed) this.#status = this.#channel.status();
    return { ...this.#status };
  }

  /** A second call gives the same promise. */
  end() {
    this.#ended ??= this.#close();
    return this.#ended;
  }

  async #close() {
    const { maxSize } = this.status();
    await this.#channel.end();
    // The addon knows the pool no more.
    this.#status = { maxSize, size: 0, available: 0, inUse: 0, waiting: 0 };
    this.#isClosed = true;
  }

  [inspect.custom](depth, options) {
    return `Pool ${inspect(this.status(), options)}`;
  }
}

disposable(Pool, 'end');

module.exports = { Pool };
