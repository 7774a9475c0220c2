// From the addon's records to settled promises. A scripted addon takes the place of the native one:
// it sends what no server can be made to send.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { CUT, LANE, ScriptedAddon } from '../support/scripted/addon.js';

const require = createRequire(import.meta.url);
const { Pool } = require('../../js/api/pool.cjs');
const contract = require('../../js/transfer/contract.cjs');
const { MOST_STATEMENTS, LONGEST_TEXT } = require('../../js/transfer/statements.cjs');

const { RESULT_COMPLETE, REQUEST_COMPLETE, LONG_ROW } = contract.resultFlags;
const refused = { class: 'DatabaseError', code: '42P01', message: 'no such table' };

function open(options) {
  const addon = new ScriptedAddon();
  const pool = new Pool(addon, '{}', options);
  /** The number of the last request. */
  const last = () => addon.sent.at(-1).request;
  return { addon, pool, last };
}

test('a result settles its promise, as an array like any other', async () => {
  const { addon, pool, last } = open();
  const query = pool.query('SELECT', [1, 'x']);
  assert.deepEqual(addon.sent[0], {
    request: 0,
    lease: 0,
    sql: 'SELECT',
    params: [1, 'x'],
    flags: 0,
  });
  addon.deliver((s) =>
    s.shape(3, { id: LANE.INT32, name: LANE.TEXT }).result(last(), {
      ...{ slot: 3, lanes: [LANE.INT32, LANE.TEXT], command: 'SELECT' },
      rows: [
        [1, 'é😀'],
        [2, null],
      ],
    }),
  );
  const rows = await query;
  assert.deepStrictEqual(rows, [
    { id: 1, name: 'é😀' },
    { id: 2, name: null },
  ]);
  assert.deepEqual([rows.rowCount, rows.command, rows.fields.length], [2, 'SELECT', 2]);
  assert.deepEqual(Object.keys(rows), ['0', '1']);
});

test('a big result comes in several segments, with other records between its parts', async () => {
  const { addon, pool } = open();
  const [first, second] = [pool.query('a'), pool.query('b')];
  const part = { slot: 0, lanes: [LANE.TEXT], command: 'SELECT' };
  addon.deliver(
    (s) => s.shape(0, { t: LANE.TEXT }).result(0, { ...part, rows: [['one'], ['two']], flags: 0 }),
    (s) => s.result(0, { ...part, rows: [['three']], flags: 0 }),
    (s) =>
      s
        .result(0, { ...part, command: 'SPECIAL', rows: [], count: 3 })
        .result(1, { ...part, rows: [['x']] }),
  );
  const rows = await first;
  assert.deepEqual(rows, [{ t: 'one' }, { t: 'two' }, { t: 'three' }]);
  assert.deepEqual([rows.rowCount, rows.command], [3, 'SPECIAL']);
  assert.deepEqual(await second, [{ t: 'x' }]);
});

test('values of a long row come in pieces of which each request keeps its own', async () => {
  const { addon, pool } = open();
  const [first, second] = [pool.query('a'), pool.query('b')];
  const lanes = [LANE.TEXT, LANE.INT32, LANE.BYTES, LANE.JOINED, LANE.TEXT];
  const long = { slot: 0, lanes, command: 'SELECT', flags: LONG_ROW };
  const short = { ...long, flags: RESULT_COMPLETE | REQUEST_COMPLETE };
  addon.deliver(
    (s) => s.shape(0, { t: lanes[0], n: lanes[1], b: lanes[2], j: lanes[3], s: lanes[4] }),
    (s) => s.piece(0, 'on').piece(1, 'pie', { isLast: true }),
    (s) => s.piece(0, 'e', { isLast: true }).piece(1, '\x00\xff', { size: 3, isBytes: true }),
    (s) => s.piece(1, '\xe9', { size: 3, isBytes: true, isLast: true }).piece(1, '[1', {}),
    (s) => s.result(0, { ...long, rows: [[CUT, 1, null, '{"a":2}', 'é']] }),
    (s) =>
      s.result(0, { ...short, rows: [['x', 2, null, null, 'y']] }).piece(1, ']', { isLast: true }),
    (s) => s.result(1, { ...long, rows: [[CUT, null, CUT, CUT, 'z']] }),
    (s) => s.result(1, { ...short, rows: [] }),
  );
  assert.deepEqual(await first, [
    { t: 'one', n: 1, b: null, j: { a: 2 }, s: 'é' },
    { t: 'x', n: 2, b: null, j: null, s: 'y' },
  ]);
  const bytes = Buffer.from([0, 255, 0xe9]);
  assert.deepEqual(await second, [{ t: 'pie', n: null, b: bytes, j: [1], s: 'z' }]);
});

test('a request that ends in the middle of pieces leaves none to the next one of its number', async () => {
  const { addon, pool, last } = open();
  const lost = pool.query('a');
  addon.deliver((s) => s.piece(last(), 'lost').piece(last(), 'half', { isLast: true }));
  addon.deliver((s) => s.piece(last(), 'of one').error(last(), refused));
  await assert.rejects(lost, { code: '42P01' });
  const next = pool.query('b');
  assert.equal(last(), 0);
  const flags = LONG_ROW | RESULT_COMPLETE | REQUEST_COMPLETE;
  const long = { slot: 0, lanes: [LANE.TEXT], command: 'SELECT', flags };
  addon.deliver((s) =>
    s
      .shape(0, { t: LANE.TEXT })
      .piece(0, 'whole', { isLast: true })
      .result(0, { ...long, rows: [[CUT]] }),
  );
  assert.deepEqual(await next, [{ t: 'whole' }]);
});

test('bytes that there is no memory for fail their own query', async () => {
  const { addon, pool } = open();
  const [lost, good] = [pool.query('a'), pool.query('b')];
  const lanes = [LANE.BYTES, LANE.TEXT];
  const flags = LONG_ROW | RESULT_COMPLETE | REQUEST_COMPLETE;
  const { allocUnsafeSlow } = Buffer;
  Buffer.allocUnsafeSlow = () => {
    throw new RangeError('Array buffer allocation failed');
  };
  try {
    addon.deliver(
      (s) => s.shape(0, { b: LANE.BYTES, t: LANE.TEXT }),
      (s) => s.piece(0, 'x', { size: 2, isBytes: true }),
      (s) => s.piece(0, 'y', { size: 2, isBytes: true, isLast: true }),
      (s) => s.result(0, { slot: 0, lanes, flags, rows: [[CUT, 'z']] }),
      (s) => s.result(1, { slot: 0, lanes, rows: [[null, 'fine']] }),
    );
  } finally {
    Buffer.allocUnsafeSlow = allocUnsafeSlow;
  }
  await assert.rejects(lost, { code: 'HYPERION_UNREADABLE_VALUE', outcome: 'unknown' });
  assert.deepEqual(await good, [{ b: null, t: 'fine' }]);
});

test('a shape that replaces another one is the one that counts', async () => {
  const { addon, pool } = open();
  const queries = [pool.query('a'), pool.query('b')];
  addon.deliver((s) =>
    s
      .shape(0, { a: LANE.INT32 })
      .result(0, { slot: 0, lanes: [LANE.INT32], rows: [[1]] })
      .shape(0, { b: LANE.BOOL })
      .result(1, { slot: 0, lanes: [LANE.BOOL], rows: [[true]] }),
  );
  assert.deepEqual(await Promise.all(queries), [[{ a: 1 }], [{ b: true }]]);
});

test('several statements give an array of results', async () => {
  const { addon, pool } = open();
  const query = pool.query('a; b; c');
  addon.deliver((s) =>
    s
      .shape(0, { a: LANE.INT32 })
      .result(0, {
        slot: 0,
        lanes: [LANE.INT32],
        rows: [[1]],
        command: 'SELECT',
        flags: RESULT_COMPLETE,
      })
      .result(0, { command: 'INSERT', count: 5, flags: RESULT_COMPLETE })
      .result(0, { command: 'CREATE TABLE', count: null }),
  );
  const results = await query;
  assert.deepEqual(results, [[{ a: 1 }], [], []]);
  assert.deepEqual(
    results.map(({ command, rowCount }) => [command, rowCount]),
    [
      ['SELECT', 1],
      ['INSERT', 5],
      ['CREATE TABLE', null],
    ],
  );
});

test('a count is exact or null', async () => {
  const { addon, pool, last } = open();
  const counts = [
    [0n, 0],
    [0xffff_ffffn, 0xffff_ffff],
    [0x1_0000_0000n, 0x1_0000_0000],
    [BigInt(Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER],
    [BigInt(Number.MAX_SAFE_INTEGER) + 1n, null],
    [null, null],
  ];
  for (const [count, expect] of counts) {
    const query = pool.query('COPY');
    addon.deliver((s) => s.result(last(), { command: 'COPY', count }));
    assert.equal((await query).rowCount, expect);
  }
});

test('rowMode and readOnly are options of a query, others are refused', async () => {
  const { addon, pool, last } = open();
  const query = pool.query('SELECT', null, { rowMode: 'array', readOnly: true });
  assert.equal(addon.sent[0].flags, contract.queryFlags.READ_ONLY);
  assert.deepEqual(addon.sent[0].params, []);
  addon.deliver((s) =>
    s
      .shape(0, [
        ['a', LANE.INT32],
        ['a', LANE.INT32],
      ])
      .result(last(), { slot: 0, lanes: [LANE.INT32, LANE.INT32], rows: [[1, 2]] }),
  );
  assert.deepEqual(await query, [[1, 2]]);
  for (const wrong of [{ timeout: 5 }, { rowMode: 'tuple' }, { readOnly: 1 }, 'x']) {
    await assert.rejects(pool.query('SELECT', [], wrong), { name: 'ConfigurationError' });
  }
  assert.equal(addon.sent.length, 1);
});

test('wrong arguments reject, and nothing is thrown or sent', async () => {
  const { addon, pool } = open();
  for (const args of [[], [5], [null], [{ text: 'SELECT' }], ['SELECT', 5], ['SELECT', 'x']]) {
    await assert.rejects(pool.query(...args), { name: 'ConfigurationError' });
  }
  assert.equal(addon.sent.length, 0);
});

async function ask(pool) {
  return await pool.query('SELECT secret', ['quite-a-value']);
}

test('an error is of its class, has its fields, and shows who asked', async () => {
  const { addon, pool, last } = open();
  const asked = ask(pool);
  addon.deliver((s) =>
    s.error(last(), { ...refused, detail: 'd', host: 'h1:5432', outcome: 'not-committed' }),
  );
  const error = await asked.catch((reason) => reason);
  assert.equal(error.name, 'DatabaseError');
  assert.deepEqual(
    { ...error },
    { code: '42P01', detail: 'd', host: 'h1:5432', outcome: 'not-committed' },
  );
  assert.equal(error.query, 'SELECT secret');
  assert.match(
    error.stack,
    /^DatabaseError: no such table\n {4}at async ask \(.*delivery\.test\.js/,
  );
  assert.doesNotMatch(inspect(error), /secret|quite-a-value/);
});

test('an error of a class that nobody knows is an InternalError', async () => {
  const { addon, pool, last } = open();
  for (const name of ['constructor', '__proto__', 'Error']) {
    const query = pool.query('SELECT');
    addon.deliver((s) => s.error(last(), { ...refused, class: name }));
    await assert.rejects(query, { name: 'InternalError', code: '42P01' });
  }
});

test('what the addon refuses at once is a rejection, and frees the number', async () => {
  const { addon, pool, last } = open();
  addon.onQuery = () => ({
    class: 'ConfigurationError',
    code: 'HYPERION_PARAMETER',
    message: '$1',
  });
  await assert.rejects(pool.query('SELECT $1', [{}]), {
    ...{ name: 'ConfigurationError', code: 'HYPERION_PARAMETER', query: 'SELECT $1' },
  });
  addon.onQuery = () => {
    throw new RangeError('from a getter');
  };
  await assert.rejects(pool.query('SELECT $1', [{}]), {
    name: 'RangeError',
    message: 'from a getter',
  });
  addon.onQuery = null;
  const query = pool.query('SELECT');
  assert.equal(last(), 0);
  addon.deliver((s) => s.result(0));
  assert.deepEqual(await query, []);
});

test('numbers of requests are used again, and only after the end', async () => {
  const { addon, pool } = open();
  const queries = [pool.query('a'), pool.query('b'), pool.query('c')];
  addon.deliver((s) => s.result(1));
  const next = pool.query('d');
  assert.deepEqual(
    addon.sent.map(({ request }) => request),
    [0, 1, 2, 1],
  );
  addon.deliver((s) => s.result(2).result(1).result(0));
  await Promise.all([...queries, next]);
});

test('a turn of the loop is flushed once', async () => {
  const { addon, pool, last } = open();
  for (let n = 0; n < 10; n++) void pool.query('SELECT');
  assert.equal(addon.flushes, 0);
  await null;
  assert.equal(addon.flushes, 1);
  void pool.query('SELECT');
  await null;
  assert.deepEqual([addon.flushes, last()], [2, 10]);
});

test('what the addon flushes by itself is not flushed again', async () => {
  const { addon, pool } = open();
  addon.flushesItself = true;
  void pool.query('SELECT');
  await null;
  assert.equal(addon.flushes, 0);
});

test('a text crosses once, and what is not used is forgotten', async () => {
  const { addon, pool } = open();
  const ask1 = (sql) => {
    void pool.query(sql);
    addon.deliver((s) => s.result(0));
  };
  for (let n = 0; n < 3 * MOST_STATEMENTS; n++) {
    ask1(`SELECT ${n}`);
    ask1('always');
  }
  assert.equal(addon.texts.filter((text) => text === 'always').length, 1);
  const remembered = addon.texts.length - addon.forgotten.length;
  assert.ok(remembered <= MOST_STATEMENTS && remembered >= MOST_STATEMENTS / 2);
  assert.ok(!addon.forgotten.includes('always'));
  const long = '-'.repeat(LONGEST_TEXT + 1);
  ask1(long);
  assert.equal(addon.forgotten.at(-1), long);
});

test('a value that cannot be read fails its own query alone', async () => {
  const { addon, pool } = open();
  const queries = [pool.query('a'), pool.query('b')];
  const shape = { slot: 0, lanes: [LANE.TEXT] };
  addon.deliver((s) => s.shape(0, { t: LANE.TEXT }).result(0, { ...shape, rows: [['ok']] }));
  assert.deepEqual(await queries[0], [{ t: 'ok' }]);
  const { substring } = String.prototype;
  const broken = pool.query('c');
  String.prototype.substring = function (begin, end) {
    const text = substring.call(this, begin, end);
    if (text === 'bad') throw new RangeError('no such value');
    return text;
  };
  try {
    addon.deliver((s) =>
      s
        .result(0, { ...shape, rows: [['x'], ['bad'], ['y']] })
        .result(1, { ...shape, rows: [['fine']] }),
    );
  } finally {
    String.prototype.substring = substring;
  }
  await assert.rejects(broken, {
    name: 'ProtocolError',
    code: 'HYPERION_UNREADABLE_VALUE',
    outcome: 'unknown',
  });
  assert.deepEqual(await queries[1], [{ t: 'fine' }]);
});

test('a record of no sense ends every request', async () => {
  const { addon, pool } = open();
  const lost = pool.query('a');
  addon.deliver((s) => s.push(99));
  await assert.rejects(lost, { name: 'InternalError', outcome: 'unknown', query: 'a' });
  await assert.rejects(pool.query('b'), { name: 'InternalError' });
});

test('a number that the addon may still answer is nobody else’s, whatever has ended its request', async () => {
  const { addon, pool } = open();
  const flying = [pool.query('a'), pool.query('b')].map((query) => query.catch((error) => error));
  addon.deliver((s) => s.push(99));
  for (const query of flying) assert.equal((await query).code, 'HYPERION_INTERNAL');
  const ended = pool.end();
  assert.equal(addon.ending, 2);
  let isOver = false;
  void ended.then(() => (isOver = true));
  addon.deliver((s) => s.result(1).result(0));
  await null;
  assert.equal(isOver, false);
  addon.deliver((s) => s.result(2));
  await ended;
});

test('events reach listeners after the segment; one that throws harms no query', async () => {
  const { addon, pool, last } = open();
  const query = pool.query('SELECT');
  const thrown = once(process, 'uncaughtException').catch(() => {});
  const listeners = process.listeners('uncaughtException').slice(0, -1);
  listeners.forEach((listener) => process.off('uncaughtException', listener));
  const heard = [];
  pool.once('notice', (event) => {
    heard.push(event);
    throw new Error('from a listener');
  });
  pool.on('primary', (event) => heard.push(event));
  addon.deliver((s) =>
    s.event({ type: 'notice', message: 'é' }).event({ type: 'primary', host: 'h' }).result(last()),
  );
  assert.deepEqual(heard, []);
  assert.deepEqual(await query, []);
  const [error] = await thrown;
  listeners.forEach((listener) => process.on('uncaughtException', listener));
  assert.equal(error.message, 'from a listener');
  assert.deepEqual(heard, [{ message: 'é' }, { host: 'h' }]);
});

test('names are resolved by the given function, whatever it does', async () => {
  const answers = {
    good: (callback) => callback(null, [{ address: '10.0.0.1' }, { address: '::1' }]),
    single: (callback) => callback(null, '10.0.0.2', 4),
    failing: (callback) => callback(new Error('ENOTFOUND')),
    throwing: () => {
      throw new Error('broken lookup');
    },
  };
  const lookup = (host, options, callback) => {
    assert.deepEqual(options, { all: true });
    answers[host](callback);
  };
  const { addon } = open({ lookup });
  addon.deliver((s) => Object.keys(answers).forEach((host, token) => s.lookup(token, host)));
  assert.deepEqual(addon.answers, []);
  await null;
  assert.deepEqual(addon.answers, [
    { token: 0, addresses: '10.0.0.1,::1', error: '' },
    { token: 1, addresses: '10.0.0.2', error: '' },
    {
      token: 2,
      addresses: '',
      error: JSON.stringify({ message: 'ENOTFOUND', hostname: 'failing' }),
    },
    {
      ...{ token: 3, addresses: '' },
      error: JSON.stringify({ message: 'broken lookup', hostname: 'throwing' }),
    },
  ]);
});

test('end gives one promise, and the pool shows no more than its status', async () => {
  const { addon, pool } = open();
  const ended = pool.end();
  assert.equal(pool.end(), ended);
  addon.deliver((s) => s.result(addon.ending, { flags: REQUEST_COMPLETE }));
  assert.equal(await ended, undefined);
  const { maxSize, size, available, inUse, waiting } = pool.status();
  const counts = { maxSize, size, available, inUse, waiting };
  assert.deepEqual(counts, { maxSize: 10, size: 0, available: 0, inUse: 0, waiting: 0 });
  assert.equal(inspect(pool), `Pool ${inspect(counts)}`);
});
