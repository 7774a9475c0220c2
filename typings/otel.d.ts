// `hyperiondb-client/otel`: spans and metrics for OpenTelemetry. It needs `@opentelemetry/api`.

import type { MeterProvider, TracerProvider } from '@opentelemetry/api';

export interface HyperionInstrumentationConfig {
  /** Whether it begins at once. Default: true. */
  enabled?: boolean | undefined;
  /**
   * Whether spans have `db.query.text`, the SQL text with `?` in place of its constants. Parameters
   * are never there. Default: true.
   */
  queryText?: boolean | undefined;
}

/**
 * Spans and metrics of all pools of the process that are made from then on, by OpenTelemetry's
 * stable semantic conventions for databases. `registerInstrumentations` of
 * `@opentelemetry/instrumentation` takes it; alone it uses the global providers.
 *
 * A span for each query: its name is `db.query.summary`, its kind `CLIENT`, its parent the span
 * that is active where the query is called. The metrics are `db.client.operation.duration`,
 * `db.client.connection.wait_time`, `.create_time`, `.use_time`, `.timeouts`, `.count`, `.max` and
 * `.pending_requests`; the pool's name there is its option `name`, or its database.
 */
export declare class HyperionInstrumentation {
  readonly instrumentationName: string;
  readonly instrumentationVersion: string;
  constructor(config?: HyperionInstrumentationConfig);
  setConfig(config?: HyperionInstrumentationConfig): void;
  getConfig(): HyperionInstrumentationConfig;
  setTracerProvider(provider: TracerProvider): void;
  setMeterProvider(provider: MeterProvider): void;
  enable(): void;
  disable(): void;
}
