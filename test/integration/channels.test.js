// The channels of `node:diagnostics_channel` on which pools publish queries, transactions and the
// taking of connections.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { after, before, test } from 'node:test';

import { clusterFor } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

const PHASES = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'];

/** Each message of a channel until the test ends: its phase, and its context as it is then. */
function hear(t, name) {
  const messages = [];
  const listener = (phase) => (context) => messages.push([phase, { ...context }, context]);
  const subscribers = Object.fromEntries(PHASES.map((phase) => [phase, listener(phase)]));
  const channel = tracingChannel(`hyperiondb-client:${name}`);
  channel.subscribe(subscribers);
  t.after(() => channel.unsubscribe(subscribers));
  return messages;
}

async function open(t, options) {
  const pool = openPool(t, cluster.options({ poolSize: 2, ...options }));
  await pool.ready();
  return pool;
}

const phases = (messages) => messages.map(([phase]) => phase);
const address = () => cluster.primary.address;

test('a query is published with its text, its tables, its database, and what became of it', async (t) => {
  const pool = await open(t, { name: 'main' });
  const messages = hear(t, 'query');
  const sql = "SELECT relname FROM pg_class WHERE relname = 'pg_class' AND $1::int = 1";
  const rows = await pool.query(sql, [1]);
  assert.deepEqual(phases(messages), ['start', 'end', 'asyncStart', 'asyncEnd']);
  const [[, atStart], , [, settled]] = messages;
  const { database } = cluster;
  const none = { transaction: undefined, code: undefined, outcome: undefined };
  const asked = { sql, summary: 'SELECT pg_class', database, name: 'main', ...none };
  const before = { host: null, waitMs: 0, attempts: 0, rowCount: undefined };
  assert.deepEqual(atStart, { ...asked, ...before });
  const { waitMs, result, ...rest } = settled;
  assert.ok(waitMs > 0);
  assert.equal(result, rows);
  assert.deepEqual(rest, { ...asked, host: address(), attempts: 1, rowCount: 1 });
  assert.equal(new Set(messages.map(([, , context]) => context)).size, 1, 'one context');
});

test('what fails is published with its error, its code and its outcome', async (t) => {
  const pool = await open(t);
  const messages = hear(t, 'query');
  const error = await pool.query('SELECT 1 / 0').catch((thrown) => thrown);
  assert.deepEqual(phases(messages), ['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
  const [, context] = messages[2];
  assert.equal(context.error, error);
  assert.deepEqual([context.code, context.outcome], ['22012', 'not-committed']);
  assert.deepEqual([context.host, context.attempts], [address(), 1]);
});

test('what is refused at once is published too', async (t) => {
  const pool = await open(t);
  const messages = hear(t, 'query');
  await assert.rejects(pool.query('SELECT 1', 'no array'), { code: 'HYPERION_CONFIGURATION' });
  assert.deepEqual(phases(messages), ['start', 'error', 'end']);
  const [, context] = messages[1];
  assert.deepEqual(
    [context.code, context.outcome, context.host],
    ['HYPERION_CONFIGURATION', 'not-sent', null],
  );
});

test('a transaction is published with its attempts, and each of its statements', async (t) => {
  const pool = await open(t);
  const [queries, transactions, acquired] = ['query', 'transaction', 'acquire'].map((name) =>
    hear(t, name),
  );
  let attempt = 0;
  await pool.transaction(
    async (tx) => {
      await tx.query('SELECT 1');
      attempt += 1;
      if (attempt === 1) await tx.query("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$");
    },
    { retries: 2 },
  );
  assert.deepEqual(phases(transactions), ['start', 'end', 'asyncStart', 'asyncEnd']);
  assert.equal(transactions[2][1].attempts, 2);
  const settled = queries.filter(([phase]) => phase === 'asyncEnd').map(([, context]) => context);
  assert.deepEqual(
    settled.map(({ summary }) => summary),
    ['SELECT', 'DO', 'ROLLBACK', 'SELECT', 'COMMIT'],
  );
  const numbers = settled.map(({ transaction }) => transaction);
  assert.equal(new Set(numbers.slice(0, 3)).size, 1);
  assert.equal(new Set(numbers.slice(3)).size, 1);
  assert.notEqual(numbers[0], numbers[3]);
  const taken = acquired.filter(([phase]) => phase === 'asyncEnd').map(([, { what }]) => what);
  assert.deepEqual(taken, ['transaction', 'transaction']);
});

test('a connection that is taken is published', async (t) => {
  const pool = await open(t);
  const [messages, transactions] = [hear(t, 'acquire'), hear(t, 'transaction')];
  const connection = await pool.connect();
  assert.deepEqual(phases(messages), ['start', 'end', 'asyncStart', 'asyncEnd']);
  assert.equal(messages[0][1].what, 'connection');
  await connection.transaction((tx) => tx.query('SELECT 1'));
  await connection.release();
  assert.deepEqual(phases(transactions), ['start', 'end', 'asyncStart', 'asyncEnd']);
  assert.equal(messages.length, 4, 'its transactions take none');
});

test('stores that are bound to a channel reach the callers behind it', async (t) => {
  const pool = await open(t);
  const span = new AsyncLocalStorage();
  const channel = tracingChannel('hyperiondb-client:transaction');
  const messages = hear(t, 'transaction');
  channel.start.bindStore(span, (context) => ({ parent: span.getStore(), context }));
  t.after(() => channel.start.unbindStore(span));
  const inside = await span.run('caller', () =>
    pool.transaction(async (tx) => {
      await tx.query('SELECT 1');
      return span.getStore();
    }),
  );
  assert.equal(inside.parent, 'caller');
  assert.equal(inside.context, messages[0][2]);
});

test('a subscriber that throws harms no query', async (t) => {
  const pool = await open(t);
  const uncaught = [];
  const channel = tracingChannel('hyperiondb-client:query');
  const subscribers = {
    start() {
      throw new Error('boom');
    },
  };
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => uncaught.push(error.message));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    listeners.forEach((listener) => process.on('uncaughtException', listener));
  });
  channel.subscribe(subscribers);
  t.after(() => channel.unsubscribe(subscribers));
  assert.deepEqual(await pool.query('SELECT 1 AS n'), [{ n: 1 }]);
  await new Promise(setImmediate);
  assert.deepEqual(uncaught, ['boom']);
});
