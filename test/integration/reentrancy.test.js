// Code of the caller that runs inside of a call (signals, getters, toJSON, codecs), and that
// throws, calls the pool or changes things at the worst moment. No caller gets the answer of
// another call, and calls that were not sent report it.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { mock, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 2 });
await pool.query('DROP TABLE IF EXISTS told; CREATE TABLE told (key text)');

const boom = () => {
  throw new Error('boom');
};

/** A signal as a polyfill makes it, with `changes`. */
function signalWith(changes) {
  const signal = { aborted: false, addEventListener() {}, removeEventListener() {} };
  return Object.defineProperties(signal, Object.getOwnPropertyDescriptors(changes));
}

/** A signal whose `aborted` throws from the nth read on. */
function throwingFrom(nth) {
  let read = 0;
  return signalWith({
    get aborted() {
      read += 1;
      return read >= nth ? boom() : false;
    },
  });
}

/** What signals have asked the pool for. */
const asked = [];
const ask = () => void asked.push(pool.query("SELECT 'inner' AS v").catch(() => {}));

const SIGNALS = {
  'addEventListener throws': () => signalWith({ addEventListener: boom }),
  'removeEventListener throws': () => signalWith({ removeEventListener: boom }),
  'addEventListener asks the pool': () => signalWith({ addEventListener: ask }),
  'removeEventListener asks the pool': () => signalWith({ removeEventListener: ask }),
  'addEventListener calls its listener': () =>
    signalWith({ addEventListener: (type, listener) => listener() }),
  'reason throws': () => {
    const signal = signalWith({ addEventListener: (type, listener) => listener() });
    return Object.defineProperty(signal, 'reason', { get: boom });
  },
  ...Object.fromEntries(
    [1, 2, 3, 4, 5].map((n) => [`aborted throws at ${n}`, () => throwingFrom(n)]),
  ),
};

const isKnown = (error) => error.message === 'boom' || error.name === 'AbortError';

for (const [name, make] of Object.entries(SIGNALS)) {
  test(`a signal whose ${name} harms its own call at most`, async () => {
    const key = `query: ${name}`;
    const insert = 'INSERT INTO told VALUES ($1) RETURNING key';
    const first = pool.query(insert, [key], { signal: make() }).catch((error) => error);
    const second = pool.query("SELECT 'mine' AS v");
    const connecting = pool.connect({ signal: make() }).catch((error) => error);
    const third = pool.query("SELECT 'also mine' AS v");
    const transaction = pool.transaction((tx) => tx.query(insert, [`tx: ${name}`]), {
      signal: make(),
    });
    const committed = transaction.catch((error) => error);
    assert.deepEqual(await second, [{ v: 'mine' }]);
    assert.deepEqual(await third, [{ v: 'also mine' }]);

    const told = await first;
    const there = await pool.query('SELECT key FROM told WHERE key = $1', [key]);
    if (told instanceof Error) {
      assert.ok(isKnown(told), told);
      // It was refused before it was sent.
      assert.equal(there.length, 0);
    } else {
      assert.deepEqual(told, [{ key }]);
      assert.equal(there.length, 1);
    }
    const connection = await connecting;
    if (connection instanceof Error) assert.ok(isKnown(connection), connection);
    else await connection.release();
    const ended = await committed;
    if (ended instanceof Error) assert.ok(isKnown(ended), ended);
    const after = await pool.query('SELECT key FROM told WHERE key = $1', [`tx: ${name}`]);
    assert.equal(after.length, ended instanceof Error ? 0 : 1);
    await Promise.all(asked.splice(0));
    assert.equal(pool.status().inUse, 0);
  });
}

test('each option is read once, and only where it is the object’s own', async () => {
  const reads = {};
  const values = { timeoutMs: 60_000, rowMode: 'array', readOnly: true, prepare: true };
  values.signal = new AbortController().signal;
  values.types = { int8: 'string' };
  const options = {};
  for (const [name, value] of Object.entries(values)) {
    reads[name] = 0;
    const get = () => {
      reads[name] += 1;
      return reads[name] === 1 ? value : Symbol('another one');
    };
    Object.defineProperty(options, name, { get, enumerable: true });
  }
  assert.deepEqual(await pool.query('SELECT 1::int8', [], options), [['1']]);
  assert.deepEqual([...new Set(Object.values(reads))], [1]);

  const inherited = Object.create({ rowMode: 'array', readOnly: 'x', types: 5, timeoutMs: 'x' });
  assert.deepEqual(await pool.query('SELECT 1 AS one', [], inherited), [{ one: 1 }]);
  const connection = await pool.connect(Object.create({ timeoutMs: 'x', signal: 5 }));
  await connection.release();
  const begun = Object.create({ isolation: 'x', readOnly: 'x', retries: 'x' });
  await pool.transaction((tx) => tx.query('SELECT 1'), begun);
});

test('code that runs while a call is read may call the pool', async () => {
  const inner = [];
  const asking = (value) => ({
    toJSON() {
      inner.push(pool.query('SELECT $1::jsonb AS v', [{ value }]));
      return { value };
    },
  });
  const outer = [1, 2, 3].map((n) => pool.query('SELECT $1::jsonb AS v', [asking(n)]));
  const values = (rows) => rows.map(([{ v }]) => v.value);
  assert.deepEqual(values(await Promise.all(outer)), [1, 2, 3]);
  assert.deepEqual(values(await Promise.all(inner)), [1, 2, 3]);
});

const point = {
  parse: (text) => text.slice(1, -1).split(',').map(Number),
  serialize: ([x, y]) => `(${x},${y})`,
};

test('a value is what it was when the query was called, on the first use of a text and later', async () => {
  const own = createPool(cluster.options({ poolSize: 1, types: { point } }));
  const sql = `SELECT convert_from($1, 'UTF8') AS bytes, $2::jsonb AS json, $3::int[] AS list, $4::point AS point,
    $5::jsonb[] AS documents, $6::timestamptz AS time, $7::bytea[] AS parts`;
  for (let use = 1; use <= 3; use += 1) {
    const bytes = Buffer.from('aaaa');
    const json = { k: 'old', deep: { list: [1, { a: 1 }] } };
    const list = [1, 2];
    const at = [1, 2];
    const documents = [{ a: 1 }, { b: [2] }];
    const time = new Date(86_400_000);
    const parts = [Buffer.from([1]), new Uint8Array([2])];
    const given = [bytes, json, list, at, documents, time, parts];
    const answer = own.query(sql, given);
    bytes.fill(0x62);
    json.k = 'new';
    json.deep.list[1].a = 2;
    list.push(3);
    at[0] = 7;
    documents[0].a = 2;
    documents[1].b.push(3);
    time.setTime(0);
    parts[0].fill(9);
    parts.push(bytes);
    given.fill(null);
    const [row] = await answer;
    assert.deepEqual(
      { ...row, parts: row.parts.map((part) => [...part]) },
      {
        ...{ bytes: 'aaaa', json: { k: 'old', deep: { list: [1, { a: 1 }] } }, list: [1, 2] },
        ...{ point: [1, 2], documents: [{ a: 1 }, { b: [2] }], time: '1970-01-02T00:00:00Z' },
        ...{ parts: [[1], [2]] },
      },
    );
  }
  await own.end();
});

test('what a serialize writes is captured too, and objects that nobody can copy are its own', async () => {
  class Place {
    at = [1, 2];
  }
  const given = [];
  const serialize = (value) => {
    given.push(value);
    const [x, y] = Array.isArray(value) ? value : (value.get?.('at') ?? value.at);
    return `(${x},${y})`;
  };
  const own = createPool(cluster.options({ poolSize: 1, types: { point: { serialize } } }));
  const place = new Place();
  const values = [{ at: [1, 2] }, new Map([['at', [1, 2]]]), [1, 2], place];
  const sql =
    'SELECT $1::point::text AS a, $2::point::text AS b, $3::point::text AS c, $4::point::text AS d';
  const answer = own.query(sql, values);
  values[0].at = [7, 7];
  values[1].set('at', [7, 7]);
  values[2].fill(7);
  assert.deepEqual(await answer, [{ a: '(1,2)', b: '(1,2)', c: '(1,2)', d: '(1,2)' }]);
  assert.equal(given[3], place);
  // A value that has no JSON is refused only if no `serialize` writes it.
  const round = {};
  round.self = round;
  const refused = { code: 'HYPERION_PARAMETER', outcome: 'not-sent' };
  await assert.rejects(own.query('SELECT $1::jsonb, $2::point', [round, [1, 2]]), refused);
  round.at = [1, 2];
  assert.deepEqual(await own.query('SELECT $1::point::text AS a', [round]), [{ a: '(1,2)' }]);
  await own.end();
});

test('bytes that a later parameter takes away are an error, and never sent as none', async () => {
  const bytes = Buffer.alloc(16, 1);
  const buffer = new ArrayBuffer(16);
  const taking = (taken) => ({ toJSON: () => void structuredClone(taken, { transfer: [taken] }) });
  for (const given of [
    [new Uint8Array(buffer), taking(buffer)],
    [[new Uint8Array(bytes.buffer.slice(0, 16))], null],
  ]) {
    if (given[1] === null) given[1] = taking(given[0][0].buffer);
    const refused = { code: 'HYPERION_PARAMETER', outcome: 'not-sent' };
    await assert.rejects(pool.query('SELECT $1, $2::jsonb', given), refused);
  }
  assert.deepEqual(await pool.query("SELECT $1::bytea = '' AS none", [new Uint8Array(0)]), [
    { none: true },
  ]);
});

test('a Proxy whose length is no length holds nobody up', async () => {
  const of = (length) =>
    new Proxy([1, 2, 3], { get: (target, name) => (name === 'length' ? length : target[name]) });
  for (const [length, expect] of [
    [NaN, []],
    [2.5, [1, 2]],
    [-1, []],
  ]) {
    assert.deepEqual(await pool.query('SELECT $1::int[] AS list', [of(length)]), [
      { list: expect },
    ]);
    assert.deepEqual(await pool.query('SELECT 1 AS one', of(length).slice(0, 0)), [{ one: 1 }]);
  }
});

test('codecs run in the asynchronous context of the query’s caller', async () => {
  const store = new AsyncLocalStorage();
  const seen = [];
  const types = {
    point: {
      parse: (text) => (seen.push(['parse', store.getStore()]), text),
      serialize: (text) => (seen.push(['serialize', store.getStore()]), text),
    },
  };
  const own = createPool(cluster.options({ poolSize: 1, types }));
  for (const tenant of ['a', 'b', 'c']) {
    const [row] = await store.run(tenant, () => own.query('SELECT $1::point AS p', ['(1,2)']));
    assert.deepEqual(row, { p: '(1,2)' });
    assert.deepEqual(seen.splice(0), [
      ['serialize', tenant],
      ['parse', tenant],
    ]);
  }
  await own.end();
});

test('fake timers do not hold up the look-up of a host', async () => {
  const real = globalThis.queueMicrotask;
  globalThis.queueMicrotask = () => {};
  mock.timers.enable();
  try {
    const lookup = (name, options, answer) => answer(null, [{ address: '127.0.0.1', family: 4 }]);
    const hosts = cluster.options().hosts.map((host) => host.replace('127.0.0.1', 'db.test'));
    const own = createPool(cluster.options({ hosts, lookup, poolSize: 1 }));
    assert.deepEqual(await own.query('SELECT 1 AS one'), [{ one: 1 }]);
    await own.end();
  } finally {
    mock.timers.reset();
    globalThis.queueMicrotask = real;
  }
});

test('fake timers, and functions in their place that throw, hold back no event and lose no connection', async (t) => {
  const own = openPool(t, cluster.options({ poolSize: 1 }));
  await own.query('SELECT 1');
  const { queueMicrotask } = globalThis;
  const heard = [];
  for (const name of ['acquire', 'release']) own.on(name, ({ what }) => heard.push([name, what]));
  for (const replacement of [() => {}, boom]) {
    globalThis.queueMicrotask = replacement;
    try {
      const connection = await own.connect();
      assert.deepEqual(await connection.query('SELECT 1 AS one'), [{ one: 1 }]);
      await connection.release();
      await own.transaction((tx) => tx.query('SELECT 1'));
      assert.equal(own.status().inUse, 0);
    } finally {
      globalThis.queueMicrotask = queueMicrotask;
    }
    await own.query('SELECT 1');
    assert.deepEqual(
      heard.splice(0),
      ['connection', 'transaction'].flatMap((what) => [
        ['acquire', what],
        ['release', what],
      ]),
    );
  }
});

test('fake timers do not keep a transaction from being given up', async () => {
  const own = createPool(cluster.options({ poolSize: 1 }));
  await own.query('SELECT 1');
  mock.timers.enable();
  try {
    const slow = own.transaction((tx) => tx.query('SELECT pg_sleep(60)'), { timeoutMs: 50 });
    await assert.rejects(slow, { code: 'HYPERION_TRANSACTION_TIMEOUT', outcome: 'not-committed' });
  } finally {
    mock.timers.reset();
    await own.end();
  }
});

const INSERT = 'INSERT INTO told SELECT $1 WHERE $2::jsonb IS NOT NULL';

let serializing;
/**
 * Always the same object, since the pool keeps what it knows of statements for each such object.
 */
const SERIALIZED = { jsonb: { serialize: (value) => (serializing(), JSON.stringify(value)) } };

/**
 * The ways in which the caller's code runs while the package reads one query: `[values, options]`.
 */
const WHILE_READ = {
  'the getter of a value': (key, act) => {
    const values = [key, null];
    const get = () => (act(), { a: 1 });
    return [Object.defineProperty(values, 1, { get }), {}];
  },
  toJSON: (key, act) => [[key, { toJSON: () => (act(), { a: 1 }) }], {}],
  'the getter of an option': (key, act) => {
    const get = () => (act(), false);
    return [[key, {}], Object.defineProperty({}, 'readOnly', { get, enumerable: true })];
  },
  'a signal': (key, act) => [[key, {}], { signal: signalWith({ addEventListener: act }) }],
  'a serialize': (key, act) => {
    serializing = act;
    return [[key, {}], { types: SERIALIZED }];
  },
};

const codeOf = (promise) =>
  promise.then(
    () => 'done',
    ({ code, outcome }) => `${code} ${outcome}`,
  );

for (const [name, make] of Object.entries(WHILE_READ)) {
  test(`a query whose place ends while it is read is not sent: ${name}`, async () => {
    const one = createPool(cluster.options({ poolSize: 1, types: { point } }));
    const ask = (on, act, key) => codeOf(on.query(INSERT, ...make(`${name}, ${key}`, act)));
    const is = (key, told, ...expected) => assert.ok(expected.includes(told), `${key}: ${told}`);
    // A `serialize` runs at once only if the types are known.
    await ask(one, () => {}, 'known');
    const finished = 'HYPERION_TRANSACTION_FINISHED not-sent';
    const gone = ['HYPERION_CONNECTION_RELEASED not-sent', 'HYPERION_CONNECTION_LOST not-sent'];

    // The end of a transaction, on a connection of the pool and on a dedicated one.
    for (const how of ['commit', 'rollback']) {
      for (const where of ['pool', 'connection']) {
        const key = `${how} on a ${where}`;
        const connection = where === 'pool' ? null : await one.connect();
        const tx = await (connection ?? one).begin();
        await tx.query('SELECT 1');
        let ended;
        is(key, await ask(tx, () => (ended ??= tx[how]()), key), finished);
        await ended;
        // A query after the end belongs to no transaction, so its row stays.
        await connection?.query('INSERT INTO told VALUES ($1)', [`${name}, behind ${key}`]);
        await connection?.release();
        const behind = await one.query('SELECT FROM told WHERE key = $1', [
          `${name}, behind ${key}`,
        ]);
        assert.equal(behind.length, connection === null ? 0 : 1, key);
      }
    }

    // The abort of its signal.
    const controller = new AbortController();
    const aborting = await one.begin({ signal: controller.signal });
    await aborting.query('SELECT 1');
    const aborted = await ask(aborting, () => controller.abort(), 'aborted');
    is('aborted', aborted, 'HYPERION_ABORTED not-committed');

    // A savepoint that would undo the query, or in which it would run after the savepoint's end.
    await one.transaction(async (tx) => {
      let undone;
      const undo = () => Promise.reject(new Error('undo'));
      const open = () => (undone ??= tx.savepoint(undo).catch(() => {}));
      is('savepoint', await ask(tx, open, 'savepoint'), 'HYPERION_SAVEPOINTS_OVERLAP not-sent');
      await undone;
    });

    // The connection is closed or released.
    for (const destroy of [true, false]) {
      const connection = await one.connect();
      let released;
      const release = () => (released ??= connection.release(destroy));
      is('released', await ask(connection, release, `released ${destroy}`), gone[0]);
      await released;
    }
    const closed = await one.connect();
    const open = await closed.begin();
    await open.query('INSERT INTO told VALUES ($1)', [`${name}, before`]);
    is('closed', await ask(open, () => void closed.release(true), 'closed'), ...gone, finished);
    await assert.rejects(open.commit());

    // A transaction begins after the query was asked.
    const beginning = await one.connect();
    let begun;
    const begin = () => {
      if (begun !== undefined) return;
      begun = beginning.begin();
      void beginning.query('SELECT 1');
    };
    is('begun', await ask(beginning, begin, 'begun'), 'HYPERION_TRANSACTION_OPEN not-sent');
    await (await begun).rollback();
    await beginning.release();

    const there = await one.query('SELECT key FROM told WHERE key LIKE $1 ORDER BY key', [
      `${name}, %`,
    ]);
    const kept = ['behind commit on a connection', 'behind rollback on a connection', 'known'];
    assert.deepEqual(
      there.map((row) => row.key),
      kept.map((key) => `${name}, ${key}`),
    );
    assert.equal(one.status().inUse, 0);
    await one.end();
  });
}

test('what a serialize does at the first use of a text comes behind its query', async () => {
  for (const how of ['commit', 'rollback', 'savepoint', 'destroy']) {
    const own = createPool(cluster.options({ poolSize: 1 }));
    const key = `first use, ${how}`;
    const connection = await own.connect();
    const tx = await connection.begin();
    let acted;
    const act = () => {
      if (how === 'savepoint') return tx.savepoint(() => Promise.reject(new Error('undo')));
      return how === 'destroy' ? connection.release(true) : tx[how]();
    };
    const serialize = () => {
      acted = act().catch(() => {});
      return '{}';
    };
    const told = await codeOf(tx.query(INSERT, [key, {}], { types: { jsonb: { serialize } } }));
    await acted;
    if (how === 'savepoint') await tx.commit();
    await connection.release();
    const there = await own.query('SELECT FROM told WHERE key = $1', [key]);
    const isKept = how === 'commit' || how === 'savepoint';
    assert.equal(there.length, isKept ? 1 : 0, `${how}: ${told}`);
    assert.equal(told === 'done', how !== 'destroy', `${how}: ${told}`);
    await own.end();
  }
});
