'use strict';

// `hyperiondb-client/otel`: spans and metrics for OpenTelemetry, by its semantic conventions for
// databases (https://opentelemetry.io/docs/specs/semconv/database/postgresql/). It listens to the
// channels of `channels.cjs`, so that nothing of the client is patched.

const {
  SpanKind,
  SpanStatusCode,
  ValueType,
  context,
  metrics,
  trace,
} = require('@opentelemetry/api');
const { version } = require('../../package.json');
const { channels } = require('./channels.cjs');

const NAME = 'hyperiondb-client';
const SYSTEM = { 'db.system.name': 'postgresql' };
/** The buckets that the conventions want, in seconds. */
const SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

/** As `registerInstrumentations` of `@opentelemetry/instrumentation` takes it. */
class HyperionInstrumentation {
  instrumentationName = NAME;
  instrumentationVersion = version;
  #config;
  #tracer;
  #duration;
  #waited;
  #created;
  #used;
  #pools = new Set();
  #stopObserving = () => {};
  #isEnabled = false;
  /** By the context of its query. */
  #started = new WeakMap();
  #queries = {
    start: (query) => this.#start(query),
    asyncEnd: (query) => this.#finish(query),
  };
  #acquires = {
    start: (acquire) => this.#started.set(acquire, { at: performance.now() }),
    asyncEnd: (acquire) => this.#granted(acquire),
  };
  #onConnect = ({ name, database, durationMs }) => {
    this.#created.record(durationMs / 1000, poolNamed(name ?? database));
  };
  #onPool = ({ pool, name, database }) => {
    this.#forgetCollected();
    const of = poolNamed(name ?? database);
    const onRelease = ({ heldMs }) => this.#used.record(heldMs / 1000, of);
    pool.on('release', onRelease);
    this.#pools.add({ reference: new WeakRef(pool), of, onRelease });
  };

  constructor(config = {}) {
    this.setConfig(config);
    this.setTracerProvider(trace);
    this.setMeterProvider(metrics);
    if (this.#config.enabled) this.enable();
  }

  /** `queryText: false` leaves out `db.query.text`, whose constants are never there. */
  setConfig({ enabled = true, queryText = true } = {}) {
    this.#config = { enabled, queryText };
  }

  getConfig() {
    return { ...this.#config };
  }

  setTracerProvider(provider) {
    this.#tracer = provider.getTracer(NAME, version);
  }

  setMeterProvider(provider) {
    this.#stopObserving();
    const meter = provider.getMeter(NAME, version);
    const histogram = (name, description) =>
      meter.createHistogram(name, {
        description,
        unit: 's',
        valueType: ValueType.DOUBLE,
        advice: { explicitBucketBoundaries: SECONDS },
      });
    this.#duration = histogram('db.client.operation.duration', 'Duration of database queries.');
    this.#waited = histogram('db.client.connection.wait_time', 'The time to take a connection.');
    this.#created = histogram('db.client.connection.create_time', 'The time to log a session in.');
    this.#used = histogram(
      'db.client.connection.use_time',
      'How long a caller has a connection to itself.',
    );
    const count = (name, unit, description) =>
      meter.createObservableUpDownCounter(name, { unit, description, valueType: ValueType.INT });
    const connections = count(
      'db.client.connection.count',
      '{connection}',
      'Connections of the pool, by their state.',
    );
    const most = count('db.client.connection.max', '{connection}', 'The most connections.');
    const pending = count(
      'db.client.connection.pending_requests',
      '{request}',
      'Queries that wait for a connection.',
    );
    const timeouts = meter.createObservableCounter('db.client.connection.timeouts', {
      unit: '{timeout}',
      description: 'Calls that got no connection in time.',
      valueType: ValueType.INT,
    });
    const observed = [connections, most, pending, timeouts];
    const observe = (result) => {
      this.#forgetCollected();
      for (const { reference, of } of this.#pools) {
        const status = reference.deref()?.status();
        if (status === undefined) continue;
        const { maxSize, available, inUse, waiting } = status;
        const state = (word) => ({ ...of, 'db.client.connection.state': word });
        result.observe(connections, available, state('idle'));
        result.observe(connections, inUse, state('used'));
        result.observe(most, maxSize, of);
        result.observe(pending, waiting, of);
        result.observe(timeouts, status.timeouts.acquire, of);
      }
    };
    meter.addBatchObservableCallback(observe, observed);
    this.#stopObserving = () => meter.removeBatchObservableCallback(observe, observed);
  }

  enable() {
    if (this.#isEnabled) return;
    this.#isEnabled = true;
    channels.query.subscribe(this.#queries);
    channels.acquire.subscribe(this.#acquires);
    channels.pool.subscribe(this.#onPool);
    channels.connect.subscribe(this.#onConnect);
  }

  disable() {
    if (!this.#isEnabled) return;
    this.#isEnabled = false;
    channels.query.unsubscribe(this.#queries);
    channels.acquire.unsubscribe(this.#acquires);
    channels.pool.unsubscribe(this.#onPool);
    channels.connect.unsubscribe(this.#onConnect);
    for (const { reference, onRelease } of this.#pools) {
      reference.deref()?.off('release', onRelease);
    }
    this.#pools.clear();
  }

  #start(query) {
    const attributes = { ...SYSTEM, 'db.namespace': query.database };
    if (query.summary !== '') {
      attributes['db.query.summary'] = query.summary;
      attributes['db.operation.name'] = query.summary.split(' ', 1)[0];
    }
    if (this.#config.queryText) attributes['db.query.text'] = query.sanitizedSql;
    const name = query.summary === '' ? 'postgresql' : query.summary;
    const parent = context.active();
    const span = this.#tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, parent);
    this.#started.set(query, { at: performance.now(), span, parent });
  }

  #finish(query) {
    const started = this.#started.get(query);
    if (started === undefined) return;
    this.#started.delete(query);
    const { at, span, parent } = started;
    const outcome = { ...serverOf(query.host), ...failureOf(query) };
    span.setAttributes(outcome);
    if (query.rowCount !== undefined)
      span.setAttribute('db.response.returned_rows', query.rowCount);
    if ('error' in query) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: query.error?.message });
    }
    span.end();
    const attributes = { ...SYSTEM, 'db.namespace': query.database, ...outcome };
    if (query.summary !== '') attributes['db.query.summary'] = query.summary;
    this.#duration.record((performance.now() - at) / 1000, attributes, parent);
  }

  #granted(acquire) {
    const started = this.#started.get(acquire);
    if (started === undefined || 'error' in acquire) return;
    const of = poolNamed(acquire.name ?? acquire.database);
    this.#waited.record((performance.now() - started.at) / 1000, of);
  }

  #forgetCollected() {
    for (const pool of this.#pools) {
      if (pool.reference.deref() === undefined) this.#pools.delete(pool);
    }
  }
}

const poolNamed = (name) => ({ ...SYSTEM, 'db.client.connection.pool.name': name });

/** `'h1:5432'`, `'[::1]:5432'`; null for a query that was never sent. */
function serverOf(host) {
  if (host === null) return {};
  const at = host.lastIndexOf(':');
  const port = Number(host.slice(at + 1));
  const address = host.slice(0, at).replace(/^\[|\]$/g, '');
  return { 'server.address': address, 'server.port': port };
}

/** An SQLSTATE has five characters; the codes of this package have more. */
function failureOf(query) {
  if (!('error' in query)) return {};
  const { code, error } = query;
  const kind = typeof code === 'string' ? code : (error?.constructor?.name ?? '_OTHER');
  const isState = /^[0-9A-Z]{5}$/.test(kind);
  return { 'error.type': kind, ...(isState && { 'db.response.status_code': kind }) };
}

module.exports = { HyperionInstrumentation };
