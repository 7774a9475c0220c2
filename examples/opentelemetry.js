// Spans of OpenTelemetry. A service gives `registerInstrumentations` its instrumentations, and
// exports to a collector; this program prints the spans.

import process from 'node:process';

import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { createPool } from 'hyperiondb-client';
import { HyperionInstrumentation } from 'hyperiondb-client/otel';

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
trace.setGlobalTracerProvider(provider);
// Before the pools are made.
const instrumentation = new HyperionInstrumentation();

const pool = createPool(process.env.DATABASE_URL);
await trace.getTracer('shop').startActiveSpan('checkout', async (span) => {
  await pool.query("SELECT relname FROM pg_class WHERE relname = 'pg_class' AND $1::int > 1", [7]);
  await pool.transaction((tx) => tx.query('SELECT 1 / 0')).catch(() => {});
  span.end();
});
await pool.end();

const spans = exporter.getFinishedSpans();
const checkout = spans.find(({ name }) => name === 'checkout').spanContext().spanId;
for (const { name, attributes, parentSpanContext } of spans) {
  const isInside = parentSpanContext?.spanId === checkout;
  const details = [attributes['db.query.text'], attributes['error.type']].filter(Boolean);
  console.log([isInside ? `in checkout: ${name}` : name, ...details].join(' | '));
}
instrumentation.disable();
