'use strict';

// The line between one pool in JavaScript and its half in the addon: requests go down, records come up.
// Holds no option and no secret.

const dns = require('node:dns');
const { Records, Requests } = require('./records.cjs');
const { Signals, isSignal } = require('./signals.cjs');
const { Statements } = require('./statements.cjs');
const { classes, aborted, configurationError, fromThrown, wrongOption } = require('./errors.cjs');
const { isGiven } = require('./options.cjs');
const { Parameters, take } = require('./parameters.cjs');
const { Slip } = require('./slip.cjs');
const { ChoicesOfPool } = require('./types.cjs');

/** Flags of a request. */
const READ_ONLY = 1;
const RELEASE = 4;
const COMMIT = 8;
const TRANSACTION = 1 << 16;
const END = 1 << 17;
const CANCELLABLE = 1 << 8;
const BEGIN_READ_ONLY = 1 << 18;
const UNPREPARED = 1 << 9;
const VALUES_TO_COME = 1 << 10;

const QUERY_OPTIONS = ['readOnly', 'rowMode', 'types', 'timeoutMs', 'signal', 'prepare'];
/** What the addon's timer can hold. */
const LONGEST_TIMEOUT = 2_147_483_647;
/** In place of a time. */
const NO_LIMIT = 0xffff_ffff;

const NO_PARAMETERS = { values: undefined, captured: undefined };

const RESOLVED = Promise.resolve();

/** `new Promise(takeResolve)` leaves its `resolve` here; it is taken at once. */
let takenResolve = null;
const takeResolve = (resolve) => {
  takenResolve = resolve;
};

class Channel {
  #addon;
  #handle;
  #slip;
  #signals = new Signals((request) => this.#cancel(request));
  #requests = new Requests(this.#signals);
  #records;
  #choices;
  /** Those of queries with the pool's own choices. */
  #statements;
  /** Those of queries that bring their own: the same text is another statement there. */
  #chosenStatements = new Map();
  #onEvent;
  #lookup;
  /** Those that users have, by number. */
  #leases = new Map();
  #flushIsDue = false;
  /** The defect after which nothing the addon says can be trusted. */
  #defect = null;

  #flush = () => {
    this.#flushIsDue = false;
    try {
      this.#addon.flush(this.#handle);
    } catch (error) {
      this.#fail(error);
    }
  };

  /** `lookup` has the shape of `dns.lookup`. Throws what the addon says of wrong options. */
  constructor(addon, optionsJson, { onEvent, lookup = dns.lookup, types }) {
    this.#choices = new ChoicesOfPool(types, (choices) => this.#forget(choices));
    this.#addon = addon;
    this.#onEvent = onEvent;
    this.#lookup = lookup;
    const { handle, slip, ...buffers } = addon.createPool(optionsJson, (text) =>
      this.#deliver(text),
    );
    this.#handle = handle;
    this.#slip = new Slip(slip);
    this.#records = new Records(buffers, this.#requests, {
      onEvent: (event) => queueMicrotask(() => this.#heard(event)),
      onLookup: (token, host) => queueMicrotask(() => this.#resolveName(token, host)),
      onTypes: (slot, request, oids) => this.#supply(slot, request, oids),
    });
    this.#statements = this.#newStatements(this.#choices.own);
  }

  #newStatements(choices) {
    const [addon, handle, oids] = [this.#addon, this.#handle, choices?.verbatim ?? ''];
    return new Statements(
      (sql) => addon.statement(handle, sql, oids),
      (id) => addon.forget(handle, id),
    );
  }

  #statementsOf(choices) {
    if (choices === this.#choices.own) return this.#statements;
    let statements = this.#chosenStatements.get(choices);
    if (statements === undefined) {
      statements = this.#newStatements(choices);
      this.#chosenStatements.set(choices, statements);
    }
    return statements;
  }

  #forget(choices) {
    this.#chosenStatements.get(choices)?.forgetAll();
    this.#chosenStatements.delete(choices);
  }

  /**
   * Sends one query, on a connection of the pool or on the one that `lease` holds. Throws what it is refused with
   * before it is queued: whose call that was, the methods know that users call.
   */
  query(sql, params, options, lease, flags) {
    const wrong = wrongArguments(sql, params, options);
    if (wrong !== null) throw unsent(wrong);
    if (this.#defect !== null) throw this.#defectError(sql);
    let asArrays = false;
    let choices = this.#choices.own;
    let statements = this.#statements;
    let signal;
    let timeoutMs;
    if (options !== undefined && options !== null) {
      signal = options.signal ?? undefined;
      timeoutMs = options.timeoutMs ?? undefined;
      asArrays = options.rowMode === 'array';
      if (options.readOnly === true) flags |= READ_ONLY;
      if (options.prepare === false) flags |= UNPREPARED;
      if (signal !== undefined || timeoutMs !== undefined) flags |= CANCELLABLE;
      if (signal?.aborted) throw aborted(signal, 'the query', sql);
      if (options.types !== undefined && options.types !== null) {
        try {
          choices = this.#choices.forQuery(options.types);
          statements = this.#statementsOf(choices);
        } catch (error) {
          throw unsent(error);
        }
      }
    }

    let parameters = null;
    /** Values that are written when the types of their parameters are known. */
    let later = null;
    if (params !== undefined && params !== null) {
      let oids = null;
      const isWritten = choices !== null && choices.serializers !== null;
      if (isWritten) {
        try {
          oids = this.#parameterTypes(sql, statements);
        } catch (thrown) {
          throw fromThrown(thrown, sql);
        }
      }
      try {
        if (!isWritten) parameters = new Parameters(params);
        else if (oids !== null) parameters = new Parameters(params, choices.writers(oids));
        else later = take(params);
      } catch (thrown) {
        throw withQuery(thrown, sql);
      }
      // Without values there is nothing to write.
      if (later?.length === 0) later = null;
      if (later !== null) flags |= VALUES_TO_COME | CANCELLABLE;
    }

    const promise = new Promise(takeResolve);
    const resolve = takenResolve;
    takenResolve = null;
    const slot = this.#requests.open(resolve, sql, asArrays, lease, choices);
    let mustFlush;
    try {
      const id = statements.id(sql);
      const leaseNumber = lease === null ? 0 : lease.number;
      const { values, captured } = parameters ?? NO_PARAMETERS;
      const isWhole = this.#slip.write(slot, leaseNumber, id, flags, values);
      mustFlush = isWhole
        ? this.#addon.query(this.#handle)
        : this.#addon.query(this.#handle, values, captured);
      parameters?.release();
      if (statements.isTransient(sql)) this.#addon.forget(this.#handle, id);
      if (later !== null) this.#requests.waitsForTypes(later, slot);
      if (timeoutMs !== undefined) this.#addon.limit(this.#handle, slot, timeoutMs);
      if (signal !== undefined) {
        this.#requests.giveUpBy(signal, slot);
        // By code of the caller's that the parameters have run.
        if (signal.aborted) this.#cancel(slot);
      }
    } catch (thrown) {
      // Nothing was queued.
      this.#requests.close(slot);
      throw unsent(fromThrown(thrown, sql));
    }
    // What is asked for while news is heard goes out when all of it has been.
    if (mustFlush) this.#flushSoon();
    return promise;
  }

  /** The oids of the types, or null as long as no server has told them. */
  #parameterTypes(sql, statements) {
    if (statements.isTransient(sql)) return null;
    const oids = this.#addon.parameterTypes(this.#handle, statements.id(sql));
    return oids === undefined ? null : listed(oids);
  }

  /**
   * The types of a request's parameters are known: its values are written. They may be told again, where a connection
   * was lost meanwhile.
   */
  #supply(slot, request, oids) {
    const { values: given, choices } = request;
    if (given === null) return;
    request.values = null;
    let parameters;
    try {
      parameters = new Parameters(given, choices.writers(listed(oids)));
    } catch (thrown) {
      this.#refuse(slot, request, thrown);
      return;
    }
    try {
      this.#addon.supply(this.#handle, slot, parameters.values, parameters.captured);
      parameters.release();
      this.#flushSoon();
    } catch (thrown) {
      this.#refuse(slot, request, fromThrown(thrown));
    }
  }

  /** A value can't be written: its query is given up, of which nothing has run. */
  #refuse(slot, request, thrown) {
    request.failure = thrown;
    this.#cancel(slot);
    this.#flushSoon();
  }

  /** Resolves when `lease` has its number. */
  acquire(lease, flags, { signal, timeoutMs } = {}) {
    if (this.#defect !== null) return Promise.reject(this.#defectError());
    if (signal !== undefined || timeoutMs !== undefined) flags |= CANCELLABLE;
    const send = (slot) => {
      this.#addon.acquire(this.#handle, slot, flags);
      if (timeoutMs !== undefined) this.#addon.limit(this.#handle, slot, timeoutMs);
      if (signal !== undefined) this.#requests.giveUpBy(signal, slot);
    };
    return this.#ask(send, lease).then(() => {
      this.#leases.set(lease.number, lease);
    });
  }

  /** Its number is not its user's any more. */
  forgetLease(lease) {
    this.#leases.delete(lease.number);
  }

  #cancel(slot) {
    try {
      this.#addon.cancel(this.#handle, slot);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Where the connection of a lease is, if it has one. */
  leaseHost(lease) {
    try {
      return this.#addon.leaseHost(this.#handle, lease.number);
    } catch {
      // A pool that is gone has no connection.
      return undefined;
    }
  }

  /** Whether a lease has a connection, or a claim to another one. */
  leaseIsAlive(lease) {
    try {
      return this.#addon.leaseIsAlive(this.#handle, lease.number);
    } catch {
      return false;
    }
  }

  /** Gives up all that runs on a lease, and all that waits there. */
  cancelLease(lease) {
    try {
      this.#addon.cancelLease(this.#handle, lease.number);
    } catch (error) {
      this.#fail(error);
    }
  }

  release(lease, destroy) {
    try {
      this.#addon.release(this.#handle, lease.number, destroy);
      this.#flushSoon();
    } catch {
      // A pool that is gone holds no connection.
    }
  }

  status() {
    return JSON.parse(this.#addon.status(this.#handle));
  }

  /** Each host, in the order of the list. */
  cluster() {
    return JSON.parse(this.#addon.cluster(this.#handle));
  }

  setHosts(hostsJson) {
    try {
      this.#addon.setHosts(this.#handle, hostsJson);
    } catch (thrown) {
      throw fromThrown(thrown);
    }
  }

  /** Resolves when the pool is warm. */
  ready() {
    if (this.#defect !== null) return Promise.reject(this.#defectError());
    return this.#ask((slot) => this.#addon.ready(this.#handle, slot));
  }

  /** Resolves when every connection is closed. */
  end(timeoutMs, refuseWaiting) {
    const limit = timeoutMs ?? NO_LIMIT;
    return this.#ask((slot) => this.#addon.end(this.#handle, slot, limit, refuseWaiting));
  }

  /** A request without SQL. */
  #ask(send, lease = null) {
    return new Promise((resolve) => {
      const slot = this.#requests.open(resolve, undefined, false, lease);
      try {
        send(slot);
      } catch (thrown) {
        this.#requests.close(slot);
        throw fromThrown(thrown);
      }
      this.#flushSoon();
    });
  }

  #heard(event) {
    if (event.type !== 'reclaimed') {
      this.#onEvent(event);
      return;
    }
    this.#leases.get(event.lease)?.warn('was idle for idleInTransactionTimeoutMs');
  }

  /** All that is asked in one turn of the loop goes out together. */
  #flushSoon() {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    // Half the price of queueMicrotask: no asynchronous resource is made for it.
    RESOLVED.then(this.#flush);
  }

  /**
   * Called by the addon, once for each wake of the loop. No code of the user runs here, but for promises and for what
   * the option `types` has.
   */
  #deliver(text) {
    try {
      while (this.#records.read(text)) text = this.#addon.drain(this.#handle);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A record that can't be read leaves the others behind it unread: nobody may wait for them. */
  #fail(cause) {
    this.#defect = cause;
    this.#requests.failAll((sql) => this.#defectError(sql));
  }

  #defectError(query) {
    const why = fromThrown(this.#defect).message;
    return new classes.InternalError(`the pool can't be used any more: ${why}`, {
      code: 'HYPERION_INTERNAL',
      outcome: 'unknown',
      cause: this.#defect,
      query,
    });
  }

  #resolveName(token, host) {
    const answer = (error, addresses) => {
      const list = Array.isArray(addresses) ? addresses : [addresses];
      const ips = error ? [] : list.map((entry) => entry?.address ?? entry);
      // An empty text is no error.
      const why = error ? String(error.message || 'the look-up failed') : '';
      // A pool that was closed meanwhile lets it go by: nobody waits for the address.
      this.#addon.resolved(this.#handle, token, ips.join(','), why);
      this.#flushSoon();
    };
    try {
      this.#lookup(host, { all: true }, answer);
    } catch (error) {
      answer(error);
    }
  }
}

const listed = (oids) => (oids === '' ? [] : oids.split(',').map(Number));

/** Of a parameter's error; what the caller's own code threw stays as it is. */
function withQuery(thrown, sql) {
  if (thrown instanceof classes.ConfigurationError && thrown.query === undefined) {
    Object.defineProperty(thrown, 'query', { value: sql, writable: true, configurable: true });
  }
  return thrown;
}

/** What the arguments of a query are refused with. */
function unsent(error) {
  // After a defect nobody knows.
  if (error instanceof classes.ConfigurationError) error.outcome ??= 'not-sent';
  return error;
}

function wrongArguments(sql, params, options) {
  if (typeof sql !== 'string') {
    return configurationError(`the query must be a string, not ${kindOf(sql)}`);
  }
  if (params !== undefined && params !== null && !Array.isArray(params)) {
    return configurationError(`the parameters must be an array, not ${kindOf(params)}`);
  }
  return options === undefined || options === null ? null : wrongOptions(options);
}

function wrongOptions(options) {
  if (typeof options !== 'object') {
    return configurationError(`the options of a query must be an object, not ${kindOf(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!QUERY_OPTIONS.includes(name)) {
      const allowed = QUERY_OPTIONS.join(', ');
      return configurationError(`unknown query option '${name}': allowed: ${allowed}`);
    }
  }
  const { readOnly, rowMode, prepare, timeoutMs, signal } = options;
  if (isGiven(readOnly) && typeof readOnly !== 'boolean') {
    return wrongOption(`query option 'readOnly'`, 'true or false', readOnly);
  }
  if (isGiven(prepare) && typeof prepare !== 'boolean') {
    return wrongOption(`query option 'prepare'`, 'true or false', prepare);
  }
  const isTimeout = Number.isInteger(timeoutMs) && timeoutMs >= 0 && timeoutMs <= LONGEST_TIMEOUT;
  if (isGiven(timeoutMs) && !isTimeout) {
    const range = `an integer from 0 (no limit) to ${LONGEST_TIMEOUT}`;
    return wrongOption(`query option 'timeoutMs'`, range, timeoutMs);
  }
  if (isGiven(signal) && !isSignal(signal)) {
    return wrongOption(`query option 'signal'`, 'an AbortSignal', signal);
  }
  if (isGiven(rowMode) && rowMode !== 'object' && rowMode !== 'array') {
    return wrongOption(`query option 'rowMode'`, `'object' or 'array'`, rowMode);
  }
  return null;
}

function kindOf(value) {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : typeof value;
}

module.exports = { Channel, RELEASE, COMMIT, TRANSACTION, END, BEGIN_READ_ONLY };
