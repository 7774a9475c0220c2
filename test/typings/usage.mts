// Real usage, type-checked: what must compile, and what must not.

import library, {
  createPool,
  ConnectionError,
  DatabaseError,
  HyperionError,
  isRetryable,
  PoolTimeoutError,
  QueryTimeoutError,
  TimeoutError,
  type Connection,
  type Param,
  type Pool,
  type PoolOptions,
  type PoolStatus,
  type QueryEvent,
  type QueryOptions,
  type QueryResult,
  type Row,
  type Transaction,
} from 'hyperiondb-client';
import { HyperionInstrumentation } from 'hyperiondb-client/otel';
import { trace } from '@opentelemetry/api';

const options: PoolOptions = {
  hosts: ['db1:5432', '[::1]:5433', '/run/postgresql'],
  user: 'app',
  password: process.env['PGPASSWORD'],
  mode: 'read-write',
  poolSize: 20,
  acquireTimeoutMs: 10_000,
  parameters: { work_mem: '8MB' },
  searchPath: ['app', 'public'],
  statementTimeoutMs: 5000,
  lockTimeoutMs: 1000,
  idleInTransactionTimeoutMs: 60_000,
  resetOnRelease: true,
  ssl: {
    ca: ['pem', Buffer.from('der')],
    key: 'pem',
    cert: Buffer.from('pem'),
    minVersion: 'TLSv1.3',
  },
  channelBinding: 'require',
  lookup: (_hostname, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]),
};
const pool: Pool = createPool(options);
createPool('postgres://u:p@h1,h2/db', { poolSize: 3, ssl: true });
createPool({ ssl: 'verify-full' });
createPool({ ssl: () => true });
createPool({ ssl: async () => ({ ca: 'pem' }) });
// @ts-expect-error there is no such mode
createPool({ ssl: 'on' });
library.createPool({ connectionString: 'postgres://u:p@h1,h2/db' });

// @ts-expect-error the mode is not there
createPool({ mode: 'standby-ish' });
// @ts-expect-error an option in the wrong unit
createPool({ connectTimeout: 2 });
// @ts-expect-error options or a string
createPool(5432);

interface Order {
  id: number;
  total: string;
}
const params: Param[] = [1, 'x', true, 10n, null, undefined, Buffer.from('x')];
params.push(new Date(), new Float64Array(2), new DataView(new ArrayBuffer(1)), new ArrayBuffer(1));
params.push([1, null, [2]], [new Date()], { a: [1] }, new URL('http://host'));
// @ts-expect-error a symbol has no form
params.push(Symbol('x'));
const orders: QueryResult<Order> = await pool.query<Order>('SELECT id, total FROM orders', params);
const total: string | undefined = orders[0]?.total;
const count: number | null = orders.rowCount;
const names: string[] = orders.fields.map((field) => field.name);
const untyped: Row[] = await pool.query('SELECT 1');
const readOnly: QueryOptions = { readOnly: true };
await pool.query('SELECT 1', [], readOnly);

const arrays = await pool.query('SELECT 1, 2', null, { rowMode: 'array' });
const cell: unknown = arrays[0]?.[1];
const pairs = await pool.query<[number, string]>('SELECT 1', [], { rowMode: 'array' });
const second: string | undefined = pairs[0]?.[1];
// @ts-expect-error a column without a type is unknown
untyped[0]?.['one'].toFixed();
// @ts-expect-error no such column
orders[0]?.email;
// @ts-expect-error there may be no count
orders.rowCount.toFixed();
// @ts-expect-error no such option of a query
await pool.query('SELECT 1', [], { readonly: true });
// @ts-expect-error the text is a string
await pool.query({ text: 'SELECT 1' });
// @ts-expect-error pools are made by createPool alone
new library.Pool();

// What is gathered elsewhere: the types of values are checked when they are sent.
const gathered: unknown[] = [1, 'x'];
await pool.query('SELECT $1, $2', gathered);
const frozen: readonly unknown[] = gathered;
await pool.query('SELECT $1, $2', frozen, { rowMode: 'array' });
// @ts-expect-error parameters are an array
await pool.query('SELECT $1', 'x');
// @ts-expect-error results are read-only
orders.command = 'x';

const answer: number = await pool.transaction(async (tx: Transaction) => {
  await tx.query('SELECT 1', [], { readOnly: true });
  const [row] = await tx.query<{ n: number }>('SELECT 1 AS n');
  return row?.n ?? 0;
});
// @ts-expect-error the callback is needed
await pool.transaction();
await pool.transaction(
  (tx) => tx.savepoint((sp) => sp.transaction((inner) => inner.query('SELECT 1'))),
  {
    isolation: 'serializable',
    readOnly: true,
    deferrable: true,
    timeoutMs: 1000,
    signal: AbortSignal.timeout(500),
    retries: 3,
  },
);
await pool.query('SELECT 1', null, { signal: null, timeoutMs: null, types: null, readOnly: null });
await pool.transaction((tx) => tx.query('SELECT 1', [], null), { signal: null, retries: null });
await Promise.all([pool.begin(null), pool.connect({ timeoutMs: null, signal: null })]);
createPool('postgres://u@h', { password: null, lookup: null });
await pool.connect({ timeoutMs: 1000, signal: AbortSignal.timeout(500) });
// @ts-expect-error no such option
await pool.connect({ isolation: 'serializable' });
// @ts-expect-error no such level
await pool.begin({ isolation: 'snapshot' });
// @ts-expect-error a callback alone can be run again
await pool.begin({ retries: 1 });
// @ts-expect-error a savepoint ends with its callback
await pool.transaction((tx) => tx.savepoint((sp) => sp.commit()));
{
  await using tx = await pool.begin({ readOnly: false });
  await tx.query('SELECT 1');
  await tx.commit();
  await using connection: Connection = await pool.connect();
  await connection.transaction((inner) => inner.rollback(), { retries: 1 });
  await connection.release();
}

pool.on('error', (error) => error.message.trim());
pool.on('primary', ({ host, previous, outageMs }) => {
  const texts: [string, string | null, number] = [host, previous, outageMs];
  return texts;
});
const status: PoolStatus = pool.status();
const waiting: number = status.waiting;
const counted: [number, number, number] = [
  status.closed.idle,
  status.hosts[0]?.queryMs.p99 ?? 0,
  status.timeouts.acquire,
];
void counted;
const text: string = pool.prometheus(pool);
void text;
pool.on('connect', ({ host, tls }) => `${host} ${tls?.protocol}`);
pool.on('remove', ({ reason, error }) => `${reason} ${error?.message}`);
pool.on('release', ({ what, heldMs }) => `${what} ${heldMs.toFixed(1)}`);

try {
  await pool.query('SELECT 1');
} catch (error) {
  if (error instanceof DatabaseError) {
    const details: [string, string | undefined, number | undefined] = [
      error.code,
      error.constraint,
      error.position,
    ];
    void details;
  } else if (error instanceof TimeoutError) {
    const same: QueryTimeoutError = error;
    void same;
  } else if (error instanceof PoolTimeoutError) {
    error.hosts?.forEach(({ host, why }) => `${host}: ${why}`);
  } else if (error instanceof ConnectionError || error instanceof HyperionError) {
    if (error.outcome === 'unknown' && !isRetryable(error)) void error.host;
    // @ts-expect-error no such outcome
    if (error.outcome === 'maybe') void error.host;
  }
}
await pool.query('SELECT 1', [], {
  timeoutMs: 500,
  signal: AbortSignal.timeout(500),
  prepare: false,
});
// @ts-expect-error the controller is no signal
await pool.query('SELECT 1', [], { signal: new AbortController() });
await pool.ready();
// @ts-expect-error served or refused
await pool.end({ waiting: 'drop' });
await pool.end({ timeoutMs: 5000, waiting: 'refuse' });
{
  await using scoped = createPool(options);
  void scoped;
}
void [total, count, names, untyped, answer, waiting, cell, second];

// OpenTelemetry.
const instrumentation = new HyperionInstrumentation({ queryText: false });
instrumentation.setTracerProvider(trace);
instrumentation.disable();

// A log of queries.
createPool({
  user: 'u',
  logger: ({ sql, durationMs, waitMs, host, rowCount, error, transaction }: QueryEvent) => {
    const line: string = `${sql} ${durationMs - waitMs} ${host ?? 'never sent'} ${error?.message}`;
    const [count, number]: (number | undefined)[] = [rowCount, transaction];
    void [line, count, number];
  },
  logParameters: true,
  slowQueryMs: 100,
  name: 'main',
});
// @ts-expect-error
createPool({ user: 'u', logger: 'console' });

// What is chosen about types: presets, and own code by name or oid.
const chosen = createPool({
  user: 'u',
  types: { int8: 'number', timestamp: 'date', numeric: 'string', json: 'text' },
});
await chosen.query('SELECT 1', [], {
  types: { point: { parse: (text) => text.length }, 600: { serialize: (p: number[]) => `(${p})` } },
});
const typeNameOf: string | undefined = (await chosen.query('SELECT 1')).fields[0]?.typeName;
void typeNameOf;
// @ts-expect-error
createPool({ user: 'u', types: { int8: 'float' } });
// @ts-expect-error
createPool({ user: 'u', types: { int4: { parse: 7 } } });
