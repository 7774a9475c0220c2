'use strict';

// The pool as users see it.

const { EventEmitter } = require('node:events');
const { inspect } = require('node:util');
const { Bridge } = require('../transfer/bridge.cjs');
const { connect } = require('./connection.cjs');
const { callSiteOf, disposable, rejection, withStackFrom, wrongOption } = require('./errors.cjs');
const { CallOptions, isGiven } = require('./options.cjs');
const { translateValue } = require('./pool-options.cjs');
const { channels } = require('../observe/channels.cjs');
const { LeaseEvents } = require('../observe/lease-events.cjs');
const { Observer } = require('../observe/observer.cjs');
const { statusOf } = require('../observe/pool-status.cjs');
const { expose } = require('../observe/prometheus.cjs');
const { needStackSpace } = require('./stack-space.cjs');
const { begin, transaction } = require('./transaction.cjs');

class Pool extends EventEmitter {
  #bridge;
  /** The promise of the first call of `end`. */
  #ended = null;
  #isClosed = false;
  /** What the addon said last. */
  #said;
  #cluster;
  /** For those who watch: the option `name`, and the database. */
  #observed;

  /** Not for users: `createPool` first checks and translates the options. */
  constructor(addon, optionsJson, options = {}) {
    super();
    const onEvent = (event) => this.#tell(event);
    const { watching, ...others } = options;
    const isHeard = (type) => this.listenerCount(type) > 0;
    const observer = new Observer(watching, addon);
    const leaseEvents = new LeaseEvents(isHeard, onEvent);
    this.#bridge = new Bridge(addon, optionsJson, { onEvent, observer, leaseEvents, ...others });
    this.#observed = { name: watching?.name, database: observer.database };
    if (channels.pool.hasSubscribers) {
      channels.pool.publish(this.#message({}));
    }
  }

  query(sql, params, options) {
    try {
      return this.#bridge.query(sql, params, options, null, 0);
    } catch (thrown) {
      return rejection(this, Pool, 'query', thrown);
    }
  }

  begin(options) {
    try {
      needStackSpace();
      return begin(this.#bridge, options, callSiteOf(Pool.prototype.begin));
    } catch (thrown) {
      return rejection(this, Pool, 'begin', thrown);
    }
  }

  transaction(callback, options) {
    try {
      needStackSpace();
      const callSite = callSiteOf(Pool.prototype.transaction);
      return transaction(this.#bridge, callback, options, callSite);
    } catch (thrown) {
      return rejection(this, Pool, 'transaction', thrown);
    }
  }

  connect(options) {
    try {
      needStackSpace();
      return connect(this.#bridge, options, callSiteOf(Pool.prototype.connect));
    } catch (thrown) {
      return rejection(this, Pool, 'connect', thrown);
    }
  }

  status() {
    return statusOf(this.#say());
  }

  /** The text for further pools is in the same families. */
  prometheus(...others) {
    for (const other of others) {
      if (!(#bridge in (other ?? {}))) {
        throw wrongOption('an argument of pool.prometheus()', 'a pool', other);
      }
    }
    return expose([this, ...others].map((pool) => pool.#reading()));
  }

  #reading() {
    const { name, database } = this.#observed;
    return { name: name ?? database, said: this.#say(), hosts: this.cluster() };
  }

  #say() {
    if (!this.#isClosed) this.#said = this.#bridge.status();
    return this.#said;
  }

  /** The addon has something to tell. */
  #tell({ type, ...event }) {
    if (
      type === 'connect' &&
      (channels.connect.hasSubscribers || this.listenerCount('connect') > 0)
    ) {
      const of = this.cluster().find(({ host }) => host === event.host);
      event.tls = of?.tls ?? null;
      if (channels.connect.hasSubscribers) channels.connect.publish(this.#message(event));
    }
    if (type === 'primary' && event.previous !== null && channels.failover.hasSubscribers) {
      channels.failover.publish(this.#message(event));
    }
    this.emit(type, event);
  }

  #message(event) {
    const { name, database } = this.#observed;
    return { ...event, pool: this, name, database };
  }

  cluster() {
    if (!this.#isClosed) this.#cluster = describe(this.#bridge.cluster());
    return this.#cluster;
  }

  setHosts(hosts) {
    try {
      this.#bridge.setHosts(translateValue(hosts));
    } catch (thrown) {
      throw withStackFrom(Pool.prototype.setHosts, thrown);
    }
  }

  async ready() {
    try {
      await this.#bridge.ready();
    } catch (error) {
      return rejection(this, Pool, 'ready', error);
    }
  }

  /** A second call returns the promise of the first call. */
  end(options) {
    try {
      const { timeoutMs, waiting } = readEndOptions(options);
      return this.#ended ?? this.#close(timeoutMs, waiting === 'refuse');
    } catch (thrown) {
      return rejection(this, Pool, 'end', thrown);
    }
  }

  /** Throws only if the pool has not begun to end. */
  #close(timeoutMs, refuseWaiting) {
    let settle;
    const over = new Promise((resolve) => (settle = resolve));
    const ended = this.#rest(over, this.#lastHosts());
    try {
      settle(this.#bridge.end(timeoutMs, refuseWaiting));
    } catch (error) {
      // A defect has ended the pool. The calls that were in flight have said so.
      if (error.code !== 'HYPERION_INTERNAL') throw error;
      settle();
    }
    this.#ended = ended;
    return ended;
  }

  #lastHosts() {
    try {
      this.#say();
      return this.cluster();
    } catch {
      return this.#cluster ?? [];
    }
  }

  async #rest(over, hosts) {
    await over;
    try {
      this.#say();
    } catch {
      // The addon has forgotten the pool, and so it has in any case from now on.
    }
    this.#bridge.forgetAll();
    this.#said = { ...this.#said, size: 0, available: 0, inUse: 0, waiting: 0 };
    this.#cluster = hosts.map((host) => ({ ...host, connections: { open: 0, busy: 0 } }));
    this.#isClosed = true;
  }

  [inspect.custom](depth, options) {
    try {
      this.#say();
    } catch {
      return 'Pool { ended by a defect }';
    }
    const { maxSize, size, available, inUse, waiting } = this.#said;
    return `Pool ${inspect({ maxSize, size, available, inUse, waiting }, options)}`;
  }
}

/** The addon has a clock of its own, so it gives ages. Users get dates. */
function describe(hosts) {
  const now = Date.now();
  return hosts.map(({ ageMs, ...host }) => ({ ...host, since: new Date(now - ageMs) }));
}

disposable(Pool, 'end');

const END_OPTIONS = new CallOptions(
  'the options of pool.end()',
  (name) => `option '${name}' of pool.end()`,
  ['timeoutMs', 'waiting'],
);

function readEndOptions(options) {
  const own = END_OPTIONS.read(options);
  const { timeoutMs, waiting } = own;
  END_OPTIONS.checkTimeout(timeoutMs, 0);
  if (isGiven(waiting) && waiting !== 'serve' && waiting !== 'refuse') {
    throw END_OPTIONS.wrong('waiting', `'serve' or 'refuse'`, waiting);
  }
  return own;
}

module.exports = { Pool };
