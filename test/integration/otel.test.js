// `hyperiondb-client/otel` with OpenTelemetry's own SDK.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { SpanKind, SpanStatusCode, context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { HyperionInstrumentation } from 'hyperiondb-client/otel';

import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  await cluster.query(cluster.primary, 'CREATE TABLE traced (n int)');
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});
after(async () => {
  context.disable();
  await cluster?.close();
});

/** An instrumentation that ends with the test, with its spans and metrics. */
function instrument(t, config) {
  const spans = new InMemorySpanExporter();
  const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 30 });
  const meters = new MeterProvider({ readers: [reader] });
  const instrumentation = new HyperionInstrumentation({ ...config, enabled: false });
  // In the order of `registerInstrumentations`.
  instrumentation.setTracerProvider(tracers);
  instrumentation.setMeterProvider(meters);
  instrumentation.enable();
  t.after(async () => {
    instrumentation.disable();
    await meters.shutdown();
  });
  /** Data points by the names of their metrics. */
  const measured = async () => {
    await reader.forceFlush();
    const [{ scopeMetrics }] = exporter.getMetrics().slice(-1);
    const all = scopeMetrics.flatMap(({ metrics }) => metrics);
    return Object.fromEntries(
      all.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints]),
    );
  };
  return { spans: () => spans.getFinishedSpans(), tracers, measured, instrumentation };
}

const server = () => {
  const { host, port } = cluster.primary;
  return { 'server.address': host, 'server.port': port };
};

test('a query is a span by the conventions for databases', async (t) => {
  const { spans } = instrument(t);
  const pool = openPool(t, cluster.options());
  await pool.query("SELECT n FROM traced WHERE n = $1 AND 'secret' <> '' -- secret", [7]);
  const [span, ...others] = spans();
  assert.deepEqual(others, []);
  assert.equal(span.name, 'SELECT traced');
  assert.equal(span.kind, SpanKind.CLIENT);
  assert.equal(span.status.code, SpanStatusCode.UNSET);
  assert.deepEqual(span.attributes, {
    'db.system.name': 'postgresql',
    'db.namespace': cluster.database,
    'db.query.summary': 'SELECT traced',
    'db.operation.name': 'SELECT',
    'db.query.text': 'SELECT n FROM traced WHERE n = $1 AND ? <> ?',
    'db.response.returned_rows': 0,
    ...server(),
  });
  assert.equal(JSON.stringify(span.attributes).includes('secret'), false);
});

test('a refused query is a failed span', async (t) => {
  const { spans } = instrument(t);
  const pool = openPool(t, cluster.options());
  await assert.rejects(pool.query('SELECT 1 / 0'));
  await assert.rejects(pool.query('SELECT 1', 'no array'));
  const [refused, wrong, ...others] = spans();
  assert.deepEqual(others, []);
  assert.equal(refused.status.code, SpanStatusCode.ERROR);
  const { 'error.type': type, 'db.response.status_code': code } = refused.attributes;
  assert.deepEqual([type, code], ['22012', '22012']);
  assert.equal(wrong.status.code, SpanStatusCode.ERROR);
  assert.equal(wrong.attributes['error.type'], 'HYPERION_CONFIGURATION');
  assert.equal('db.response.status_code' in wrong.attributes, false);
  assert.equal('server.address' in wrong.attributes, false);
});

test('spans are children of the span where the query is called', async (t) => {
  const { spans, tracers } = instrument(t);
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const tracer = tracers.getTracer('app');
  const ask = async (name) => {
    const parent = tracer.startSpan(name);
    await context.with(trace.setSpan(context.active(), parent), async () => {
      await pool.query(`SELECT 1 AS ${name}`);
      await pool.transaction((tx) => tx.query('INSERT INTO traced VALUES (1)'));
      assert.equal(trace.getActiveSpan(), parent, 'the context is the same behind it');
    });
    parent.end();
    return parent.spanContext();
  };
  const parents = await Promise.all(['a', 'b', 'c'].map(ask));
  for (const { spanId, traceId } of parents) {
    const children = spans().filter(
      ({ parentSpanContext }) => parentSpanContext?.spanId === spanId,
    );
    assert.deepEqual(children.map(({ name }) => name).sort(), [
      'COMMIT',
      'INSERT traced',
      'SELECT',
    ]);
    assert.ok(children.every((child) => child.spanContext().traceId === traceId));
  }
});

test('queryText: false leaves the text out', async (t) => {
  const { spans } = instrument(t, { queryText: false });
  const pool = openPool(t, cluster.options());
  await pool.query('SELECT 1');
  assert.equal('db.query.text' in spans()[0].attributes, false);
});

test('durations and connections are measured', async (t) => {
  const { measured } = instrument(t);
  const pool = openPool(t, cluster.options({ poolSize: 2, name: 'orders' }));
  await pool.query('SELECT 1');
  await pool.query('SELECT 1 / 0').catch(() => {});
  const connection = await pool.connect();
  const metrics = await measured();
  await connection.release();
  const { 'db.client.connection.use_time': uses } = await measured();

  const durations = metrics['db.client.operation.duration'];
  assert.deepEqual(
    durations.map(({ value: { count }, attributes }) => [count, attributes['error.type']]),
    [
      [1, undefined],
      [1, '22012'],
    ],
  );
  const common = { 'db.system.name': 'postgresql', 'db.client.connection.pool.name': 'orders' };
  const values = (name) => metrics[name].map(({ value, attributes }) => [value, attributes]);
  assert.deepEqual(values('db.client.connection.max'), [[2, common]]);
  assert.deepEqual(values('db.client.connection.pending_requests'), [[0, common]]);
  const used = values('db.client.connection.count').find(
    ([, attributes]) => attributes['db.client.connection.state'] === 'used',
  );
  assert.equal(used[0], 1);
  assert.equal(metrics['db.client.connection.wait_time'][0].value.count, 1);
  assert.deepEqual(values('db.client.connection.timeouts'), [[0, common]]);
  const [[created, of]] = values('db.client.connection.create_time');
  assert.deepEqual([created.count, of], [pool.status().created, common]);
  assert.deepEqual([uses[0].value.count, uses[0].attributes], [1, common]);
});

test('once it is disabled nothing is recorded, and it can be enabled again', async (t) => {
  const { spans, instrumentation } = instrument(t);
  const pool = openPool(t, cluster.options());
  instrumentation.disable();
  await pool.query('SELECT 1');
  assert.deepEqual(spans(), []);
  instrumentation.enable();
  instrumentation.enable();
  await pool.query('SELECT 1');
  assert.equal(spans().length, 1);
});
