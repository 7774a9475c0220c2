'use strict';

// The pool as users see it.

const { EventEmitter } = require('node:events');
const { inspect } = require('node:util');
const { Channel } = require('./channel.cjs');
const { connect } = require('./connection.cjs');
const { disposable } = require('./errors.cjs');
const { placeOf } = require('./lease.cjs');
const { translateValue } = require('./options.cjs');
const { begin, transaction } = require('./transaction.cjs');

class Pool extends EventEmitter {
  #channel;
  /** What `end` gave. */
  #ended = null;
  #isClosed = false;
  #status;
  #cluster;

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

  cluster() {
    if (!this.#isClosed) this.#cluster = describe(this.#channel.cluster());
    return this.#cluster;
  }

  setHosts(hosts) {
    this.#channel.setHosts(translateValue(hosts));
  }

  /** A second call gives the same promise. */
  end() {
    this.#ended ??= this.#close();
    return this.#ended;
  }

  async #close() {
    const { maxSize } = this.status();
    const hosts = this.cluster();
    await this.#channel.end();
    // The addon knows the pool no more.
    this.#status = { maxSize, size: 0, available: 0, inUse: 0, waiting: 0 };
    this.#cluster = hosts.map((host) => ({ ...host, connections: { open: 0, busy: 0 } }));
    this.#isClosed = true;
  }

  [inspect.custom](depth, options) {
    return `Pool ${inspect(this.status(), options)}`;
  }
}

/** The addon counts from a clock of its own; users have dates. */
function describe(hosts) {
  const now = Date.now();
  return hosts.map(({ ageMs, ...host }) => ({ ...host, since: new Date(now - ageMs) }));
}

disposable(Pool, 'end');

module.exports = { Pool };
