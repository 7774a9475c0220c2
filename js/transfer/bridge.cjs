'use strict';

// The bridge between one pool in JavaScript and its half in the addon: requests go down, records
// come up. It keeps no option and no secret.

const { AsyncResource } = require('node:async_hooks');
const dns = require('node:dns');
const contract = require('./contract.cjs');
const { QueryOptions } = require('../api/query-options.cjs');
const { lookUp } = require('./lookup.cjs');
const { oneWarningEach, Questions } = require('./questions.cjs');
const { Records } = require('./records.cjs');
const { unsent, withQuery, wrongArguments } = require('./refusals.cjs');
const { Requests, Watch } = require('./requests.cjs');
const { Signals } = require('./signals.cjs');
const { Statements, LONGEST_TEXT } = require('./statements.cjs');
const { classes, aborted, longCallSite, fromThrown } = require('../api/errors.cjs');
const { Parameters, takeSnapshot, serializeSnapshot } = require('../types/parameters.cjs');
const { RequestBuffer } = require('./request-buffer.cjs');
const { TypeConfigs } = require('../types/type-config.cjs');

const { READ_ONLY, CANCELLABLE, UNPREPARED, VALUES_TO_COME, VALUES_WRITTEN, TRANSACTION, TRACED } =
  contract.queryFlags;
const { NO_LIMIT } = contract.absences;

const NO_PARAMETERS = { values: undefined, captured: undefined };

const RESOLVED = Promise.resolve();
/** Read when this file is loaded, since a test's fake timers would never run the callbacks. */
const { queueMicrotask } = globalThis;

/** `new Promise(takeResolve)` leaves its `resolve` here, and the next line takes it. */
let takenResolve = null;
const takeResolve = (resolve) => {
  takenResolve = resolve;
};

class Bridge {
  #addon;
  #handle;
  #requestBuffer;
  #signals = new Signals((watch) => this.#abort(watch));
  #requests = new Requests(this.#signals);
  #records;
  #typeConfigs;
  /** The statements of queries with the pool's own type config. */
  #statements;
  /**
   * By type config, the statements of queries with `types` of their own. With another type config,
   * the same SQL text is another statement.
   */
  #configuredStatements = new Map();
  #onEvent;
  #lookup;
  #longStackTraces;
  /** The Observer. */
  observer;
  #warnOfLogin = oneWarningEach();
  /** The leases that users hold, by number. */
  #leases = new Map();
  #flushIsDue = false;
  /** Watches that could not yet be removed from their signals. */
  #unwatchLater = [];
  /** The defect, of the addon or of this file, that has made the pool unusable. */
  #defect = null;

  #flush = () => {
    this.#flushIsDue = false;
    try {
      this.#addon.flush(this.#handle);
    } catch (error) {
      this.#fail(error);
    }
  };

  /** `lookup` has the shape of `dns.lookup`. Throws the addon's error for wrong options. */
  constructor(
    addon,
    optionsJson,
    {
      onEvent,
      lookup = dns.lookup,
      ssl,
      password,
      types,
      longStackTraces = false,
      observer,
      leaseEvents,
    },
  ) {
    this.#typeConfigs = new TypeConfigs(types, (typeConfig) => this.#forget(typeConfig));
    this.#addon = addon;
    this.#onEvent = onEvent;
    this.#lookup = lookup;
    const questions = new Questions(ssl, password, (name, ...answer) => {
      this.#addon[name](this.#handle, ...answer);
      this.#flushSoon();
    });
    this.#longStackTraces = longStackTraces;
    this.observer = observer;
    this.leaseEvents = leaseEvents;
    const { handle, database, requestBuffer, ...buffers } = addon.createPool(optionsJson, (text) =>
      this.#deliver(text),
    );
    this.#handle = handle;
    observer.database = database;
    this.#requestBuffer = new RequestBuffer(requestBuffer);
    this.#records = new Records(buffers, this.#requests, {
      onEvent: (event) => queueMicrotask(() => this.#handleEvent(event)),
      onLookup: (token, host) => RESOLVED.then(() => this.#resolveName(token, host)),
      onSsl: (question) => RESOLVED.then(() => questions.askSsl(question)),
      onPassword: (question, host) => RESOLVED.then(() => questions.askPassword(question, host)),
      onTypes: (slot, request, oids) => this.#supply(slot, request, oids),
    });
    this.#statements = this.#newStatements(this.#typeConfigs.own);
  }

  #newStatements(typeConfig) {
    const [addon, handle, oids] = [this.#addon, this.#handle, typeConfig?.verbatim ?? ''];
    return new Statements(
      (sql) => addon.statement(handle, sql, oids),
      (id) => addon.forget(handle, id),
    );
  }

  #statementsOf(typeConfig) {
    if (typeConfig === this.#typeConfigs.own) return this.#statements;
    let statements = this.#configuredStatements.get(typeConfig);
    if (statements === undefined) {
      statements = this.#newStatements(typeConfig);
      this.#configuredStatements.set(typeConfig, statements);
    }
    return statements;
  }

  #forget(typeConfig) {
    this.#configuredStatements.get(typeConfig)?.forgetAll();
    this.#configuredStatements.delete(typeConfig);
  }

  /**
   * Sends one query, on a connection of the pool or on that of `lease`. Throws if the query is
   * refused before it is queued. The methods that users call turn the exception into a rejection.
   *
   * All code of the caller's (options, parameters, the signal) runs first, because it may throw and
   * may send queries. It may also end the transaction or release the connection. So afterwards the
   * lease is asked again whether it accepts a query of `place`. Once the addon has taken the
   * request, nothing throws.
   */
  query(sql, params, options, lease, flags, place = null) {
    const { observer } = this;
    if (!observer.watchesQueries) {
      return this.#query(sql, params, options, lease, flags, place, null);
    }
    const callSite = this.#longStackTraces ? longCallSite() : null;
    const about = { lease, flags, isOwn: lease !== null && place === null, callSite };
    return observer.query(sql, params, about, (observed, values) =>
      this.#query(sql, values, options, lease, flags | TRACED, place, observed),
    );
  }

  /** `observed` is an ObservedQuery, or null. */
  #query(sql, params, options, lease, flags, place, observed) {
    const wrong = wrongArguments(sql, params);
    if (wrong !== null) throw unsent(wrong);
    if (this.#defect !== null) throw this.#defectError(sql);
    let asArrays = false;
    let typeConfig = this.#typeConfigs.own;
    let statements = this.#statements;
    let signal;
    let timeoutMs = NO_LIMIT;
    if (options !== undefined && options !== null) {
      let types;
      try {
        const given = new QueryOptions(options);
        ({ asArrays, signal, types } = given);
        if (given.readOnly) flags |= READ_ONLY;
        if (!given.prepare) flags |= UNPREPARED;
        timeoutMs = given.timeoutMs ?? NO_LIMIT;
      } catch (error) {
        throw unsent(error);
      }
      if (signal !== undefined || timeoutMs !== NO_LIMIT) flags |= CANCELLABLE;
      if (signal?.aborted) throw aborted(signal, 'the query', sql);
      if (types !== undefined) {
        try {
          typeConfig = this.#typeConfigs.forQuery(types);
          statements = this.#statementsOf(typeConfig);
        } catch (error) {
          throw unsent(error);
        }
      }
    }

    let parameters = null;
    /**
     * Values that are serialized by the types of their parameters, and again if these types change.
     */
    let snapshot = null;
    if (params !== undefined && params !== null) {
      try {
        if (typeConfig === null || typeConfig.serializers === null) {
          parameters = new Parameters(params);
        } else {
          snapshot = takeSnapshot(params);
          // Without values there is nothing to serialize.
          if (snapshot.values.length === 0) snapshot = null;
        }
        if (snapshot !== null) parameters = this.#serialize(sql, snapshot, typeConfig, statements);
      } catch (thrown) {
        throw withQuery(thrown, sql);
      }
      if (snapshot !== null) {
        flags |= parameters === null ? VALUES_TO_COME | CANCELLABLE : VALUES_WRITTEN;
      }
    }

    const runsCode = typeConfig !== null && (snapshot !== null || typeConfig.parsers.size > 0);
    const context = runsCode ? new AsyncResource('HYPERIONQUERY') : null;
    const callSite = this.#longStackTraces ? (observed?.callSite ?? longCallSite()) : null;
    const promise = new Promise(takeResolve);
    const resolve = takenResolve;
    const watch = signal === undefined ? null : this.#watch(signal, 'the query', sql);
    const isTransient = sql.length > LONGEST_TEXT;
    let request;
    let id;
    let mustFlush;
    try {
      id = statements.id(sql);
      if (lease !== null) lease.check(place, sql);
      const leaseNumber = lease === null ? 0 : lease.number;
      const { values, captured } = parameters ?? NO_PARAMETERS;
      request = this.#requests.next();
      request.sql = sql;
      request.asArrays = asArrays;
      request.typeConfig = typeConfig;
      request.context = context;
      request.callSite = callSite;
      request.lease = lease;
      request.place = place;
      request.watch = watch;
      request.snapshot = snapshot;
      request.observed = observed;
      const { slot } = request;
      const bounds = { timeoutMs, isTransient };
      const isComplete = this.#requestBuffer.write(slot, leaseNumber, id, flags, bounds, values);
      mustFlush = isComplete
        ? this.#addon.query(this.#handle)
        : this.#addon.query(this.#handle, values, captured);
    } catch (thrown) {
      // The request was not queued.
      if (isTransient && id !== undefined) this.#addon.forget(this.#handle, id);
      if (watch !== null) this.#unwatch(watch);
      throw unsent(fromThrown(thrown, sql), flags);
    }
    // The request was queued. From here on there are only assignments, which can't throw.
    this.#requests.free = request.nextFree;
    request.resolve = resolve;
    if (watch !== null) watch.request = request;
    if (lease !== null) lease.running += 1;
    try {
      // Queries that the user makes while records are being read are sent when all records have
      // been read.
      if (mustFlush) this.#flushSoon();
      parameters?.release();
    } catch {
      this.#addon.flush(this.#handle);
    }
    return promise;
  }

  /**
   * Listens to a signal for the next request. Throws if the caller's own code has aborted the
   * signal meanwhile.
   */
  #watch(signal, what, sql) {
    const watch = new Watch();
    try {
      watch.watched = this.#signals.add(signal, watch);
      if (signal.aborted || watch.isAborted) throw aborted(signal, what, sql);
    } catch (thrown) {
      this.#unwatch(watch);
      throw thrown;
    }
    return watch;
  }

  /** Near the end of the stack, this is left to `#deliver`. */
  #unwatch(watch) {
    try {
      this.#requests.unwatch(watch);
    } catch {
      this.#unwatchLater.push(watch);
    }
  }

  #abort(watch) {
    if (watch.request === null) watch.isAborted = true;
    else this.#cancel(watch.request.slot);
  }

  /**
   * The Parameters, written for the types that the addon knows. Null if it does not know them yet.
   */
  #serialize(sql, snapshot, typeConfig, statements) {
    const oids = this.#parameterTypes(sql, statements);
    if (oids === null) return null;
    const parameters = serializeSnapshot(snapshot, typeConfig.serializersFor(oids));
    // While the user's code ran, the addon may have learned other types.
    const known = this.#parameterTypes(sql, statements);
    return known !== null && known.join() === oids.join() ? parameters : null;
  }

  /** The oids of the parameters' types, or null if no server has described the statement yet. */
  #parameterTypes(sql, statements) {
    if (statements.isTransient(sql)) return null;
    let oids;
    try {
      oids = this.#addon.parameterTypes(this.#handle, statements.id(sql));
    } catch (thrown) {
      throw fromThrown(thrown, sql);
    }
    return oids === undefined ? null : listed(oids);
  }

  /**
   * Called when the types of a request's parameters are known: sends the values. The addon calls it
   * again after another description, or if a connection was lost in between.
   */
  #supply(slot, request, oids) {
    const { snapshot, typeConfig, context, failure } = request;
    if (snapshot === null) {
      // The request was answered by `#fail`.
      if (this.#defect !== null) this.#cancel(slot);
      return;
    }
    if (failure !== null) return;
    let parameters;
    try {
      const serializers = typeConfig.serializersFor(listed(oids));
      parameters = context.runInAsyncScope(() => serializeSnapshot(snapshot, serializers));
    } catch (thrown) {
      this.#refuse(slot, request, thrown);
      return;
    }
    try {
      this.#addon.supply(this.#handle, slot, parameters.values, parameters.captured);
    } catch (thrown) {
      this.#refuse(slot, request, fromThrown(thrown));
      return;
    }
    parameters.release();
    this.#flushSoon();
  }

  /** Cancels the query of a value that can't be sent. No part of the query has run. */
  #refuse(slot, request, thrown) {
    request.failure = thrown;
    this.#cancel(slot);
    this.#flushSoon();
  }

  /** Resolves when the addon has granted `lease`. */
  acquire(lease, flags, signal, timeoutMs) {
    const what = (flags & TRANSACTION) === 0 ? 'connection' : 'transaction';
    return this.observer.acquire(what, () => this.#acquire(lease, flags, signal, timeoutMs));
  }

  #acquire(lease, flags, signal, timeoutMs) {
    if (this.#defect !== null) return Promise.reject(this.#defectError());
    if (signal !== undefined || timeoutMs !== undefined) flags |= CANCELLABLE;
    const watch = signal === undefined ? null : this.#watch(signal, 'pool.connect()');
    try {
      const timeout = timeoutMs ?? NO_LIMIT;
      return this.#ask(
        (slot) => this.#addon.acquire(this.#handle, slot, flags, timeout),
        lease,
        watch,
      );
    } catch (thrown) {
      if (watch !== null) this.#unwatch(watch);
      throw thrown;
    }
  }

  /** Called when the addon has granted the lease. */
  rememberLease(lease) {
    this.#leases.set(lease.number, lease);
  }

  /** Called when the addon has taken the lease back at the end of a request. */
  forgetLease(lease) {
    this.#leases.delete(lease.number);
    lease.number = 0;
  }

  #cancel(slot) {
    this.#addon.cancel(this.#handle, slot);
  }

  /** The host of a lease's connection, or undefined if it has none. */
  leaseHost(lease) {
    try {
      return this.#addon.leaseHost(this.#handle, lease.number);
    } catch {
      // The pool has ended and has no connection.
      return undefined;
    }
  }

  /** Whether a lease has a connection, or may get another one. */
  leaseIsAlive(lease) {
    try {
      return this.#addon.leaseIsAlive(this.#handle, lease.number);
    } catch {
      return false;
    }
  }

  /** Whether a statement of the lease's user has begun a transaction. */
  leaseIsInOwnTransaction(lease) {
    try {
      return this.#addon.leaseIsInOwnTransaction(this.#handle, lease.number);
    } catch {
      return false;
    }
  }

  /** Cancels all calls that run on a lease or wait for it. */
  cancelLease(lease) {
    this.#addon.cancelLease(this.#handle, lease.number);
  }

  /** Releases a lease, which then has no number. */
  release(lease, destroy) {
    const { number } = lease;
    try {
      this.#addon.release(this.#handle, number, destroy);
    } catch {
      // The pool has ended and has no connection.
    }
    lease.number = 0;
    try {
      this.#leases.delete(number);
      this.#flushSoon();
    } catch {
      this.#addon.flush(this.#handle);
    }
  }

  status() {
    return this.#describe((handle) => this.#addon.status(handle));
  }

  /** One entry for each host, in the order of the list. */
  cluster() {
    return this.#describe((handle) => this.#addon.cluster(handle));
  }

  #describe(ask) {
    try {
      return JSON.parse(ask(this.#handle));
    } catch (thrown) {
      throw fromThrown(thrown);
    }
  }

  setHosts(hostsJson) {
    try {
      this.#addon.setHosts(this.#handle, hostsJson);
    } catch (thrown) {
      throw fromThrown(thrown);
    }
  }

  /** Resolves when a host serves and `minIdle` connections are open, but at least one. */
  ready() {
    if (this.#defect !== null) return Promise.reject(this.#defectError());
    return this.#ask((slot) => this.#addon.ready(this.#handle, slot));
  }

  /** Resolves when every connection is closed. */
  end(timeoutMs, refuseWaiting) {
    const timeout = timeoutMs ?? NO_LIMIT;
    return this.#ask((slot) => this.#addon.end(this.#handle, slot, timeout, refuseWaiting));
  }

  /** Called when the pool has ended, so that a user who keeps the pool keeps no caches. */
  forgetAll() {
    this.#records.forgetAll();
    this.#statements = this.#newStatements(this.#typeConfigs.own);
    this.#configuredStatements.clear();
    this.#typeConfigs.forgetAll();
  }

  /** Sends a request without SQL. Throws if it is refused before it is queued, as `query` does. */
  #ask(send, lease = null, watch = null) {
    const promise = new Promise(takeResolve);
    const resolve = takenResolve;
    let request;
    try {
      request = this.#requests.next();
      request.sql = undefined;
      request.asArrays = false;
      request.typeConfig = null;
      request.context = null;
      request.callSite = null;
      request.lease = lease;
      request.place = null;
      request.watch = watch;
      request.snapshot = null;
      request.observed = null;
      send(request.slot);
    } catch (thrown) {
      throw fromThrown(thrown);
    }
    this.#requests.free = request.nextFree;
    request.resolve = resolve;
    if (watch !== null) watch.request = request;
    if (lease !== null) lease.running += 1;
    try {
      this.#flushSoon();
    } catch {
      this.#addon.flush(this.#handle);
    }
    return promise;
  }

  #handleEvent(event) {
    if (event.type === 'reclaimed') this.#warnOfLease(event);
    else if (event.type === 'weakness') this.#warnOfLogin(event);
    else this.#onEvent(event);
  }

  #warnOfLease(event) {
    const setting = event.byServer
      ? "the server's idle_in_transaction_session_timeout"
      : 'idleInTransactionTimeoutMs';
    this.#leases.get(event.lease)?.warn(`was idle for ${setting}`);
  }

  /** Sends all requests of one turn of the loop together. */
  #flushSoon() {
    if (this.#flushIsDue) return;
    // Costs half as much as queueMicrotask, which creates an asynchronous resource.
    RESOLVED.then(this.#flush);
    this.#flushIsDue = true;
  }

  /**
   * Called by the addon, once for each wake of the loop. User code runs here only in the functions
   * of the option `types`, and in getters of `then` when a promise is resolved.
   */
  #deliver(text) {
    try {
      while (this.#unwatchLater.length > 0) this.#requests.unwatch(this.#unwatchLater.pop());
      while (this.#records.read(text)) text = this.#addon.drain(this.#handle);
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Fails all calls. After a record that can't be read, the records that follow it can't be read
   * either.
   */
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
    lookUp(this.#lookup, host, (ips, why) => {
      // If the pool has ended, the addon ignores the answer, since no connection waits for the
      // address.
      this.#addon.resolved(this.#handle, token, ips, why);
      this.#flushSoon();
    });
  }
}

const listed = (oids) => (oids === '' ? [] : oids.split(',').map(Number));

module.exports = { Bridge };
