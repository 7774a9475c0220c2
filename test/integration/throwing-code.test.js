// The caller's own code throws at each moment at which it runs inside of a call, while other calls
// are in flight. Each answer reaches its own caller, and no connection is lost: a pool of one
// connection serves on, with the counts that it had.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clusterAndPool, countsOf, openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const { cluster } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const boom = () => {
  throw new Error('boom');
};

/** Counts the moments at which the code of one call runs, and throws at the nth of them. */
class Moments {
  #throwsAt;
  count = 0;

  constructor(throwsAt) {
    this.#throwsAt = throwsAt;
  }

  pass(value) {
    this.count += 1;
    return this.count === this.#throwsAt ? boom() : value;
  }
}

/** A signal all of whose parts are moments. `aborts` calls its listener as soon as it is added. */
function signalOf(moments, aborts = false) {
  let isAborted = false;
  return {
    get aborted() {
      return moments.pass(isAborted);
    },
    get reason() {
      return moments.pass(new Error('boom'));
    },
    get addEventListener() {
      return moments.pass((type, listener) => {
        isAborted = aborts;
        if (aborts) listener();
        moments.pass();
      });
    },
    get removeEventListener() {
      return moments.pass(() => moments.pass());
    },
  };
}

/** Options each of which is a getter that is a moment, in an object whose keys are one too. */
function optionsOf(moments, values) {
  const options = {};
  for (const [name, value] of Object.entries(values)) {
    Object.defineProperty(options, name, { get: () => moments.pass(value), enumerable: true });
  }
  return new Proxy(options, {
    ownKeys: (target) => moments.pass(Reflect.ownKeys(target)),
    getOwnPropertyDescriptor: (target, name) =>
      moments.pass(Reflect.getOwnPropertyDescriptor(target, name)),
    get: (target, name) => moments.pass(target[name]),
  });
}

/** Values whose elements, properties and `toJSON` are moments. */
function valuesOf(moments, key) {
  const object = { toJSON: () => moments.pass({ key }) };
  const list = [key, key];
  Object.defineProperty(list, 1, { get: () => moments.pass(key), enumerable: true });
  const values = [key, null, null];
  const define = (at, value) =>
    Object.defineProperty(values, at, { get: () => moments.pass(value), enumerable: true });
  define(1, object);
  define(2, list);
  return values;
}

/** What an awaited callback returns: its `then` is a moment, and so is its call. */
function thenableOf(moments, promise) {
  return {
    get then() {
      return moments.pass((resolve, reject) => {
        moments.pass();
        promise.then(resolve, reject);
      });
    },
  };
}

const SQL = 'SELECT $1::int AS key, $2::jsonb AS object, $3::int[] AS list';
const rowsOf = (key) => [{ key, object: { key }, list: [key, key] }];
const limits = (moments, more) =>
  optionsOf(moments, { timeoutMs: 600_000, signal: signalOf(moments), ...more });
const terms = (moments) => limits(moments, { isolation: 'serializable', readOnly: true });
const ask = (on, moments, key) => on.query(SQL, valuesOf(moments, key));
const types = (moments) => ({
  jsonb: {
    parse: (text) => moments.pass(JSON.parse(text)),
    serialize: (value) => JSON.stringify(moments.pass(value)),
  },
});

/** Begins, and ends whatever was begun, and resolves to the answer of its query. */
async function within(begun, moments, key) {
  const tx = await begun;
  try {
    return await ask(tx, moments, key);
  } finally {
    await tx.rollback();
  }
}

async function taken(connecting, use) {
  const connection = await connecting;
  try {
    return await use(connection);
  } finally {
    await connection.release();
  }
}

/** Calls each of which resolves to `rowsOf(key)`, unless a moment of theirs throws. */
const CALLS = {
  'pool.query': (pool, moments, key) =>
    pool.query(SQL, valuesOf(moments, key), limits(moments, { readOnly: true, prepare: true })),
  'pool.query with types': (pool, moments, key) =>
    pool.query(SQL, [key, { key }, [key, key]], { types: types(moments) }),
  'pool.connect': (pool, moments, key) =>
    taken(pool.connect(limits(moments)), (connection) => ask(connection, moments, key)),
  'pool.begin': (pool, moments, key) => within(pool.begin(terms(moments)), moments, key),
  'pool.transaction': (pool, moments, key) =>
    pool.transaction((tx) => ask(tx, moments, key), terms(moments)),
  'pool.transaction with a thenable': (pool, moments, key) =>
    pool.transaction((tx) => thenableOf(moments, tx.query(SQL, [key, { key }, [key, key]]))),
  'tx.savepoint': (pool, moments, key) =>
    pool.transaction((tx) =>
      tx.savepoint((sp) => moments.pass(thenableOf(moments, ask(sp, moments, key)))),
    ),
  'connection.begin': (pool, moments, key) =>
    taken(pool.connect(), (connection) => within(connection.begin(terms(moments)), moments, key)),
  'connection.transaction': (pool, moments, key) =>
    taken(pool.connect(), (connection) =>
      connection.transaction((tx) => ask(tx, moments, key), terms(moments)),
    ),
  'a signal that aborts pool.query at once': (pool, moments, key) =>
    pool.query(SQL, [key, { key }, [key, key]], { signal: signalOf(moments, true) }),
  'a signal that aborts pool.connect at once': (pool, moments, key) =>
    taken(pool.connect({ signal: signalOf(moments, true) }), (on) => ask(on, moments, key)),
  'a signal that aborts pool.begin at once': (pool, moments, key) =>
    within(pool.begin({ signal: signalOf(moments, true) }), moments, key),
};

/** The error of a call, or null. The call may throw at once, which no method of the pool does. */
async function errorOf(call) {
  try {
    await call;
    return null;
  } catch (error) {
    return error;
  }
}

/** Whether an error is the one of the caller's code, or says that it caused it. */
const isBoom = (error) =>
  error.message === 'boom' || (error.cause !== undefined && isBoom(error.cause));

// With 1, each call waits for the one before it. With 3, answers may overtake one another.
for (const poolSize of [1, 3]) {
  for (const [name, call] of Object.entries(CALLS)) {
    test(`${name} in a pool of ${poolSize} harms no other call, whenever its code throws`, async (t) => {
      const pool = openPool(t, cluster.options({ poolSize, resetOnRelease: false }));
      const others = (from) =>
        [0, 1, 2].map((n) => pool.query('SELECT $1::int AS mine', [from + n]));
      const whole = new Moments(Infinity);
      const isAborting = name.startsWith('a signal');
      const first = await errorOf(call(pool, whole, 0));
      if (!isAborting) assert.equal(first, null);
      assert.ok(whole.count > 1, `${whole.count} moments`);
      await Promise.all(others(0));
      await waitUntil('all are free', () => pool.status().inUse === 0);
      const before = countsOf(pool);

      // Code may run at further moments once it has thrown, and on later uses of a statement.
      for (let at = 1; at <= whole.count + 5; at += 1) {
        const key = 1000 + at;
        const front = others(10 * key);
        const moments = new Moments(at);
        let harmed;
        assert.doesNotThrow(() => (harmed = call(pool, moments, key)), `moment ${at}`);
        const behind = others(10 * key + 3);
        const also = pool.transaction((tx) => tx.query('SELECT $1::int AS mine', [-key]));
        const error = await errorOf(harmed);
        if (error === null) assert.deepEqual(await harmed, rowsOf(key), `moment ${at}`);
        else if (!isAborting) assert.ok(isBoom(error), `moment ${at}: ${error.stack}`);
        const mine = (await Promise.all([...front, ...behind])).flat().map((row) => row.mine);
        assert.deepEqual(
          mine,
          mine.map((_, n) => 10 * key + n),
        );
        assert.deepEqual(await also, [{ mine: -key }]);
        await waitUntil(`all are free behind moment ${at}`, () => pool.status().inUse === 0);
        const { size, inUse, waiting } = countsOf(pool);
        assert.ok(size <= poolSize);
        assert.deepEqual([inUse, waiting], [before.inUse, before.waiting]);
      }
      // Every connection can be taken at the same time.
      const all = await Promise.all(Array.from({ length: poolSize }, () => pool.connect()));
      await Promise.all(all.map((connection) => connection.release()));
      assert.equal(countsOf(pool).size, poolSize);
      assert.equal(countsOf(pool).inUse, 0);
    });
  }
}
