// The channels of `node:diagnostics_channel` on which pools publish queries, transactions and the
// taking of connections.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel';
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
  const times = { durationMs: 0, waitMs: 0 };
  const before = { host: null, attempts: 0, rowCount: undefined, command: undefined };
  assert.deepEqual(atStart, { ...asked, ...before, ...times });
  const { durationMs, waitMs, result, ...rest } = settled;
  assert.ok(waitMs > 0 && waitMs <= durationMs);
  assert.equal(result, rows);
  assert.deepEqual(rest, {
    ...asked,
    host: address(),
    attempts: 1,
    rowCount: 1,
    command: 'SELECT',
  });
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
  assert.deepEqual(phases(messages), ['start', 'error', 'end', 'asyncStart', 'asyncEnd']);
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

test('a transaction without a callback is published from its beginning to its end', async (t) => {
  const pool = await open(t);
  const messages = hear(t, 'transaction');
  const tx = await pool.begin();
  await tx.query('SELECT 1');
  assert.deepEqual(phases(messages), ['start', 'end']);
  await tx.commit();
  await new Promise(setImmediate);
  assert.deepEqual(phases(messages), ['start', 'end', 'asyncStart', 'asyncEnd']);
  assert.deepEqual([messages[3][1].attempts, messages[3][1].database], [1, cluster.database]);
  const failing = await pool.begin();
  await assert.rejects(failing.query('SELECT 1 / 0'), { code: '22012' });
  const failure = await failing.commit().catch((error) => error);
  await new Promise(setImmediate);
  assert.equal(messages.at(-1)[1].error, failure);
  const undone = await pool.begin();
  await undone.query('SELECT 1');
  await undone.rollback();
  await new Promise(setImmediate);
  assert.equal(phases(messages).filter((phase) => phase === 'asyncEnd').length, 3);
  await pool.end();
  const refused = await pool.begin().catch((error) => error);
  await new Promise(setImmediate);
  assert.equal(messages.at(-1)[1].error, refused);
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

test('a session that is logged in is published, in the context in which its pool was made', async (t) => {
  const messages = [];
  const storage = new AsyncLocalStorage();
  const listener = (message) => messages.push([message, storage.getStore()]);
  subscribe('hyperiondb-client:connect', listener);
  t.after(() => unsubscribe('hyperiondb-client:connect', listener));
  const pool = storage.run('made', () => openPool(t, cluster.options({ name: 'main' })));
  await storage.run('asked', () => pool.query('SELECT 1'));
  assert.equal(messages.length, pool.status().created);
  const [[message, store]] = messages;
  const { name, database, host, role, tls } = message;
  const expected = ['main', cluster.database, address(), 'read-write', pool.cluster()[0].tls];
  assert.deepEqual([name, database, host, role, tls], expected);
  assert.equal(message.pool, pool);
  assert.equal(store, 'made');
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

test('a text that no server takes has no summary', async (t) => {
  const pool = await open(t);
  const messages = hear(t, 'query');
  await assert.rejects(pool.query('SELECT \ud800'), { code: 'HYPERION_QUERY_TEXT' });
  await assert.rejects(pool.query(7), { code: 'HYPERION_CONFIGURATION' });
  const contexts = messages
    .filter(([phase]) => phase === 'asyncEnd')
    .map(([, , context]) => context);
  assert.deepEqual(
    contexts.map(({ summary, sanitizedSql }) => [summary, sanitizedSql]),
    [
      ['', ''],
      ['', ''],
    ],
  );
});

test('a subscriber that freezes the context harms nobody', async (t) => {
  const pool = await open(t);
  const freeze = { start: Object.freeze, end() {}, asyncStart() {}, asyncEnd() {}, error() {} };
  const channel = tracingChannel('hyperiondb-client:query');
  channel.subscribe(freeze);
  // Node.js itself adds the result to the context, which fails.
  const frozen = pool.query('SELECT 1 AS n').catch((error) => error);
  const refused = pool.query('SELECT 1 / 0').catch((error) => error);
  channel.unsubscribe(freeze);
  await Promise.all([frozen, refused]);
  assert.deepEqual(await pool.query('SELECT 2 AS n'), [{ n: 2 }]);
});

/** Runs `act` in the first subscriber of the first query whose text begins so. */
function onceAt(t, text, act) {
  let isOver = false;
  const start = ({ sql }) => {
    if (isOver || !sql.startsWith(text)) return;
    isOver = true;
    act();
  };
  const channel = tracingChannel('hyperiondb-client:query');
  channel.subscribe({ start });
  t.after(() => channel.unsubscribe({ start }));
}

for (const holder of ['a pool', 'a connection']) {
  for (const text of ['COMMIT', 'SAVEPOINT', 'RELEASE', 'ROLLBACK TO']) {
    for (const what of ['aborts its signal', 'rolls it back', 'commits it']) {
      test(`a subscriber that ${what} at a ${text} of ${holder} changes no answer into a wrong one`, async (t) => {
        await cluster.query(
          cluster.primary,
          'DROP TABLE IF EXISTS acted; CREATE TABLE acted (n int)',
        );
        const pool = await open(t, { poolSize: 1 });
        const on = holder === 'a pool' ? pool : await pool.connect();
        const controller = new AbortController();
        let inner;
        onceAt(t, text, () => {
          if (what === 'aborts its signal') controller.abort();
          else if (what === 'rolls it back') void inner.rollback().catch(() => {});
          else void inner.commit().catch(() => {});
        });
        const said = await on
          .transaction(
            async (tx) => {
              inner = tx;
              await tx.query('INSERT INTO acted VALUES (1)');
              const part = async (savepoint) => {
                await savepoint.query('INSERT INTO acted VALUES (2)');
                if (text === 'ROLLBACK TO') throw new Error('undone');
              };
              await tx.savepoint(part).catch((error) => {
                if (error.message !== 'undone') throw error;
              });
            },
            { signal: controller.signal },
          )
          .then(
            () => 'committed',
            (error) => error.outcome ?? error,
          );
        // Nothing of the transaction is left open: what comes behind it stands.
        await on.query('INSERT INTO acted VALUES (3)');
        if (on !== pool) await on.release();
        const rows = await cluster.query(cluster.primary, 'SELECT n FROM acted ORDER BY n');
        const found = rows.map(([n]) => Number(n));
        assert.ok(found.includes(3), `${said}: ${found}`);
        // Whoever rolls it back knows that.
        if (said === 'committed' && what !== 'rolls it back') {
          assert.ok(found.includes(1), `committed: ${found}`);
        }
        if (said === 'not-sent' || said === 'not-committed') {
          assert.ok(!found.includes(1), `${said}: ${found}`);
        }
      });
    }
  }
}

test('longStackTraces show the lines of the caller, whoever is bound to the channel', async (t) => {
  const pool = await open(t, { longStackTraces: true });
  hear(t, 'query');
  const channel = tracingChannel('hyperiondb-client:query');
  const stores = Array.from({ length: 3 }, () => new AsyncLocalStorage());
  for (const store of stores) channel.start.bindStore(store, (context) => context);
  t.after(() => stores.forEach((store) => channel.start.unbindStore(store)));
  function theCaller() {
    return pool.query('SELECT 1 / 0');
  }
  const error = await theCaller().then(assert.fail, (thrown) => thrown);
  assert.match(error.stack, /theCaller/);
  assert.equal(error.stack.includes('diagnostics_channel'), false, error.stack);
});
