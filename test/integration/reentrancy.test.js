// Code of the caller's that runs inside of a call (signals, getters, toJSON, codecs), and throws,
// calls the pool or changes things at the worst moment: nobody gets the answer of another call, and
// what was not sent says so.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { after, before, mock, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
let pool;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  pool = createPool(cluster.options({ poolSize: 2 }));
  await pool.query('DROP TABLE IF EXISTS told; CREATE TABLE told (key text)');
});
after(async () => {
  await pool?.end();
  await cluster?.close();
});

const boom = () => {
  throw new Error('boom');
};

/** As a polyfill has it; `changes` are its own. */
function signalWith(changes) {
  const signal = { aborted: false, addEventListener() {}, removeEventListener() {} };
  return Object.defineProperties(signal, Object.getOwnPropertyDescriptors(changes));
}

/** `aborted` that throws from the nth time on that it is read. */
function throwingFrom(nth) {
  let read = 0;
  return signalWith({
    get aborted() {
      read += 1;
      return read >= nth ? boom() : false;
    },
  });
}

const SIGNALS = {
  'addEventListener throws': () => signalWith({ addEventListener: boom }),
  'removeEventListener throws': () => signalWith({ removeEventListener: boom }),
  'addEventListener asks the pool': () =>
    signalWith({ addEventListener: () => void pool.query("SELECT 'inner' AS v").catch(() => {}) }),
  'removeEventListener asks the pool': () =>
    signalWith({ removeEventListener: () => void pool.query('SELECT 1').catch(() => {}) }),
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
  // What has no JSON is refused only where no serialize writes it.
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
