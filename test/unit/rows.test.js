// Rows from cells: what `js/transfer/rows.cjs` builds, with and without code generation, whatever
// the names of the columns are (CVE-2017-16082).

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LANE, Segments, columns } from '../support/scripted/addon.js';

const { Shape, ROWS_BEFORE_COMPILING } = createRequire(import.meta.url)(
  '../../js/transfer/rows.cjs',
);

/** Writes `rows` into cells and builds them again. The `before` rows make the shape compile. */
function build(lanes, rows, { before = 0, asArrays = false } = {}) {
  const shape = new Shape(columns(lanes));
  const segments = new Segments((before + rows.length) * lanes.length + 8);
  const filler = lanes.map(() => null);
  const all = [...Array(before).fill(filler), ...rows];
  const put = (some) => {
    for (const row of some) row.forEach((value, k) => segments.put(value, lanes[k][1]));
    return segments.closeJoined();
  };
  const joinedUnits = [put(all.slice(0, before)), put(all.slice(before))];
  const { text, nulls, int32, float64, bigint64 } = segments;
  const segment = { text, nulls, int32, float64, bigint64, at: 0, cell: 0 };
  shape.build([], before, segment, { asArrays, joinedUnits: joinedUnits[0] });
  const built = [];
  shape.build(built, rows.length, segment, { asArrays, joinedUnits: joinedUnits[1] });
  assert.deepEqual([segment.cell, segment.at], [segments.cell, text.length], 'the cursors');
  return built;
}

const TIERS = { loop: 0, compiled: ROWS_BEFORE_COMPILING };

function eachTier(name, body) {
  for (const [tier, before] of Object.entries(TIERS)) test(`${name} (${tier})`, () => body(before));
}

const HOSTILE_NAMES = [
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', '__defineSetter__'],
  ...[
    '',
    ' ',
    '0',
    '-1',
    '1e3',
    'a b',
    'a-b',
    'a.b',
    '"',
    "'",
    '`',
    '\\',
    '"\'`\\',
    '${x}',
    ']',
    '}',
  ],
  ...['\n', '\r', '\t', '\u2028', '\u2029', '\u0001', '\u007f', '\ufeff', '\\u0061'],
  ...['?column?', 'count(*)', 'ünïcödé', '😀', '\ud800', 'a'.repeat(63), 'é'.repeat(31)],
  ...['return', 'class', 'await', 'yield', 'null', 'true', 'this', 'rows', 'cell', 'names', 'let'],
  ...['get', 'set', 'async', 'arguments', 'eval', 'length', 'then', 'toJSON', 'prototype'],
  ...[
    "']: globalThis.broken = 1, ['",
    'x: (globalThis.broken = 1), y',
    '*/ globalThis.broken = 1 /*',
  ],
];

eachTier('every lane gives its value, and null', (before) => {
  const lanes = [
    ...[
      ['i', LANE.INT32],
      ['u', LANE.UINT32],
      ['b', LANE.BOOL],
      ['f', LANE.FLOAT64],
    ],
    ...[
      ['g', LANE.BIGINT64],
      ['h', LANE.BIGUINT64],
      ['t', LANE.TEXT],
    ],
  ];
  const names = lanes.map(([name]) => name);
  const values = [
    [1, 4294967295, true, -0, 9223372036854775807n, 18446744073709551615n, 'text'],
    [-2147483648, 0, false, NaN, -9223372036854775808n, 0n, ''],
    [null, null, null, null, null, null, null],
    [0, 2147483648, true, -Infinity, 0n, 1n, 'é😀'],
  ];
  const expect = values.map((row) => Object.fromEntries(row.map((value, k) => [names[k], value])));
  assert.deepEqual(build(lanes, values, { before }), expect);
  assert.deepEqual(build(lanes, values, { before, asArrays: true }), values);
});

eachTier('text is cut by UTF-16 units, between nulls and other lanes', (before) => {
  const lanes = [
    ['a', LANE.TEXT],
    ['n', LANE.INT32],
    ['b', LANE.TEXT],
    ['c', LANE.TEXT],
  ];
  const rows = [
    ['😀', 1, null, 'né'],
    [null, null, '', '𝒳y'],
    ['', 2, 'x'.repeat(10_000), null],
    [null, 3, null, null],
    ['e\u0301', 4, 'b', 'c'],
  ];
  assert.deepEqual(build(lanes, rows, { before, asArrays: true }), rows);
});

eachTier('a hostile name is an own, enumerable property of a plain object', (before) => {
  for (const name of HOSTILE_NAMES) {
    const [row] = build(
      [
        [name, LANE.TEXT],
        ['plain', LANE.INT32],
      ],
      [['value', 7]],
      { before },
    );
    const property = { value: 'value', writable: true, enumerable: true, configurable: true };
    assert.deepEqual(Object.getOwnPropertyDescriptor(row, name), property, JSON.stringify(name));
    assert.equal(Object.getPrototypeOf(row), Object.prototype);
    assert.equal(row.plain, 7);
    assert.equal(Object.keys(row).length, 2);
  }
  assert.equal(globalThis.broken, undefined);
  assert.equal({}.value, undefined);
});

eachTier('all hostile names at once, and no setter of a prototype runs', (before) => {
  const lanes = HOSTILE_NAMES.map((name) => [name, LANE.TEXT]);
  const [row] = build(lanes, [HOSTILE_NAMES.map((name) => `<${name}>`)], { before });
  assert.equal(Object.keys(row).length, HOSTILE_NAMES.length);
  for (const name of HOSTILE_NAMES) {
    assert.equal(Object.getOwnPropertyDescriptor(row, name).value, `<${name}>`);
  }
});

eachTier(
  'of columns with the same name the last one wins, arrays and fields have all',
  (before) => {
    for (const name of ['a', '__proto__', 'a b']) {
      const lanes = [
        [name, LANE.TEXT],
        ['b', LANE.TEXT],
        [name, LANE.TEXT],
      ];
      const [row] = build(lanes, [['1', '2', '3']], { before });
      assert.deepEqual(Object.entries(row), [
        [name, '3'],
        ['b', '2'],
      ]);
      const arrays = build(lanes, [['1', '2', '3']], { before, asArrays: true });
      assert.deepEqual(arrays, [['1', '2', '3']]);
      assert.equal(new Shape(columns(lanes)).fields.length, 3);
    }
  },
);

eachTier('no columns at all, and the 1600 that PostgreSQL allows', (before) => {
  assert.deepEqual(build([], [[], [], []], { before }), [{}, {}, {}]);
  const lanes = Array.from({ length: 1600 }, (_, k) => [`c${k}`, k % 2 ? LANE.TEXT : LANE.INT32]);
  const values = lanes.map(([, lane], k) => (lane === LANE.TEXT ? `t${k}` : k));
  const [row] = build(lanes, [values], { before });
  assert.deepEqual(Object.values(row), values);
});

eachTier('JSON that stands beside its rows, wherever its column is', (before) => {
  const documents = ['{"a":"é😀,]["}', 'null', null, '[1,[2]]', '" "', '7'];
  const values = documents.map((document) => (document === null ? null : JSON.parse(document)));
  for (const lanes of [
    { j: LANE.JOINED },
    { j: LANE.JOINED, t: LANE.TEXT },
    { t: LANE.TEXT, j: LANE.JOINED },
    { t: LANE.TEXT, i: LANE.INT32, j: LANE.JOINED, u: LANE.TEXT, n: LANE.INT32 },
  ]) {
    const names = Object.entries(lanes);
    const cell = (n) => ({ [LANE.TEXT]: `té${n}`, [LANE.INT32]: n });
    const rows = documents.map((document, n) =>
      names.map(([, lane]) => (lane === LANE.JOINED ? document : cell(n)[lane])),
    );
    const expected = rows.map((row, n) =>
      Object.fromEntries(names.map(([name], k) => [name, name === 'j' ? values[n] : row[k]])),
    );
    assert.deepEqual(build(names, rows, { before }), expected);
    const arrays = expected.map((row) => Object.values(row));
    assert.deepEqual(build(names, rows, { before, asArrays: true }), arrays);
  }
});

eachTier('a document that is none is named by its column', (before) => {
  for (const documents of [['{', '1'], ['1,2'], [''], ['1', ']'], ['1],[2']]) {
    const rows = documents.map((document) => [document]);
    assert.throws(() => build([['j', LANE.JOINED]], rows, { before }), /column "j" .* no JSON/);
  }
});

test('a value that cannot be read leaves the cursors behind its record', () => {
  const shape = new Shape(
    columns([
      ['a', LANE.INT32],
      ['t', LANE.TEXT],
    ]),
  );
  const segments = new Segments();
  for (const value of ['xy', 'z']) {
    segments.put(1, LANE.INT32);
    segments.put(value, LANE.TEXT);
  }
  const { nulls, int32 } = segments;
  const text = { substring: () => assert.fail('unreadable') };
  const segment = { text, nulls, int32, at: 0, cell: 0 };
  assert.throws(() => shape.build([], 2, segment), /unreadable/);
  assert.deepEqual([segment.cell, segment.at], [4, 3]);
});

test('a lane that nobody knows is refused', () => {
  assert.throws(() => new Shape(columns([['a', 99]])), /unknown lane, 99/);
});

test('fields are shared by results, so they are frozen, and keep the lane to themselves', () => {
  const { fields } = new Shape(columns([['a', LANE.INT32]]));
  const type = { typeOid: 25, typeName: 'text' };
  const field = { name: 'a', ...type, tableOid: 0, columnNumber: 1, modifier: -1 };
  assert.deepEqual(fields, [field]);
  assert.ok(Object.isFrozen(fields) && Object.isFrozen(fields[0]));
});

test('all of this holds where code generation is forbidden', { skip: isForbidden() }, () => {
  const flag = '--disallow-code-generation-from-strings';
  const environment = { ...process.env };
  delete environment.NODE_TEST_CONTEXT;
  const file = fileURLToPath(import.meta.url);
  execFileSync(process.execPath, [flag, file], { env: environment, stdio: 'pipe' });
});

function isForbidden() {
  try {
    return !new Function('return true')();
  } catch {
    return 'this is that run';
  }
}
