// Parameters, from JavaScript to PostgreSQL. Each one arrives the same on the first use of a
// statement, which sends text or asks for the types, and on later uses, which know the types.
// (`results.test.js` tests the way back.)

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';
import { AS_SHOWN, PARAMETERS, VALUES } from '../support/values.js';

// A time zone that is neither UTC nor likely to be that of this process.
const { cluster, pool } = await clusterAndPool(
  { nodes: 1 },
  { poolSize: 1, parameters: { TimeZone: 'Asia/Kathmandu' } },
);

const shown = (value) => {
  const text = inspect(value, { breakLength: Infinity, depth: 8 });
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
};

/** The first use in the pool, and two later uses. */
async function eachUse(run) {
  for (let use = 0; use < 3; use++) await run(use);
}

PARAMETERS.forEach(([value, type, expected], number) => {
  test(`parameter ${shown(value)} as ${type}`, async () => {
    // Each has a text of its own, so that each has a first use.
    const sql = `SELECT $1::${type}::text AS v /* ${number} */`;
    await eachUse(async () =>
      assert.deepStrictEqual(await pool.query(sql, [value]), [{ v: expected }]),
    );
  });
});

test('a Date is the same moment in every type that has one, whatever the zone of the session', async () => {
  const sql = `SELECT extract(epoch FROM $1::timestamptz)::text AS epoch, $1 AS back,
    $2::timestamptz[] AS list, $3::timestamp AS local, $4::date AS day`;
  const moments = ['2024-02-29T23:30:00.001Z', '1969-12-31T23:59:59.999Z', '0001-01-01T00:00:00Z'];
  for (const moment of moments) {
    const date = new Date(moment);
    await eachUse(async () => {
      const [row] = await pool.query(sql, [date, [date, null], date, date]);
      const back = moment.replace('.000', '');
      assert.deepStrictEqual(row, {
        epoch: (date.getTime() / 1000).toFixed(row.epoch.split('.')[1]?.length ?? 0),
        back,
        list: [back, null],
        local: back.slice(0, -1),
        day: back.slice(0, 10),
      });
    });
  }
});

/**
 * What is something else as a parameter than it was as a result: the string of a JSON string is JSON itself, an array in
 * an array is a dimension, a number has lost digits, and the server reads no years as ECMAScript writes them.
 */
const ONE_WAY = [
  /^'("x"|null|12345678901234567890)'::json/,
  /^ARRAY.*::jsonb?\[\]$/,
  / BC|'(12345|294276|5874897)-/,
  /^ROW|^ARRAY\[ROW|^pg_/,
];

for (const [sql, value] of VALUES) {
  if (ONE_WAY.some((way) => way.test(sql))) continue;
  test(`the result ${shown(sql)} is a parameter that comes back`, async () => {
    const select = `SELECT pg_typeof(v)::text AS type, v::text AS text FROM (SELECT ${sql.replace(/( FROM |$)/, ' AS v$1')}) AS x`;
    const [{ type, text }] = await pool.query(select);
    const again = `SELECT $1::${type} AS v, $1::text AS text /* ${sql} */`;
    await eachUse(async () => {
      const [row] = await pool.query(again.replace('$1::text', `($1::${type})::text`), [value]);
      assert.deepStrictEqual(row.v, value);
      // The driver drops lower bounds, and the blanks of a json.
      if (!/\]=\{|::json$/.test(sql)) assert.equal(row.text, text);
    });
  });
}

test('every text that psql shows is a parameter that comes back', async () => {
  for (const [type, values] of Object.entries(AS_SHOWN)) {
    for (const value of values) {
      const literal = `'${value.replaceAll("'", "''")}'`;
      const [{ text }] = await pool.query(`SELECT ${literal}::${type} AS text`);
      // Not all types have an equality operator, so arrays are compared as text.
      const sql = `SELECT $1::${type} AS v, ARRAY[$1::${type}]::text = $2::${type}[]::text AS same`;
      await eachUse(async () => {
        const rows = await pool.query(sql, [text, [text]]);
        assert.deepStrictEqual(rows, [{ v: text, same: true }], `${type} ${shown(text)}`);
      });
    }
  }
});

/**
 * Invalid parameters. Each is the third of its statement, so that the error has a number to name.
 */
const MISFITS = [
  [1.5, 'int4', /\$3 of type int4: a number with a fraction/],
  [1.5, 'int8', /\$3 of type int8: a number with a fraction/],
  [32768, 'int2', /\$3 of type int2: .*out of the type's range/],
  [-2147483649, 'int4', /\$3 of type int4: .*range/],
  [2 ** 63, 'int8', /\$3 of type int8: .*range/],
  [2n ** 63n, 'int8', /\$3 of type int8: .*range/],
  [-1, 'oid', /\$3 of type oid: .*range/],
  [4294967296n, 'oid', /\$3 of type oid: .*range/],
  [NaN, 'int4', /\$3 of type int4: NaN and Infinity/],
  [Infinity, 'int8', /\$3 of type int8: NaN and Infinity/],
  [1e300, 'float4', /\$3 of type float4: .*range/],
  [true, 'int4', /\$3 of type int4: a boolean is not a number/],
  [new Date(NaN), 'timestamptz', /\$3 of type timestamptz: the Date is invalid/],
  [new Date(NaN), 'date', /\$3 of type date: the Date is invalid/],
  [new Date(-8.64e15), 'date', /\$3 of type date: .*range/],
  [new Date(-8.64e15), 'timestamptz', /\$3 of type timestamptz: .*range/],
  [new Date(0), 'int4', /\$3 of type int4: a Date fits/],
  [{ a: 1 }, 'text', /\$3 of type text: an object fits json and jsonb alone/],
  [{ a: 1 }, 'int4', /\$3 of type int4: an object fits json/],
  [{ toString: () => '7' }, 'int4', /\$3 of type int4: an object fits json/],
  [[1], 'int4', /\$3 of type int4: an array fits array types, json and jsonb alone/],
  [['a'], 'text', /\$3 of type text: an array fits/],
  [Buffer.from('a'), 'text', /\$3 of type text: a Buffer or typed array fits bytea alone/],
  [new Float64Array([1]), 'float8[]', /\$3 of type float8\[\]: .* pass Array\.from/],
  [-1n, 'xid8', /\$3 of type xid8: .*range/],
  [NaN, 'jsonb', /\$3 of type jsonb: NaN and Infinity have no form in JSON/],
  // The server would read these as another value.
  [1.5, 'xid8', /\$3 of type xid8: a number with a fraction/],
  [NaN, 'xid', /\$3 of type xid: NaN and Infinity/],
  [2 ** 32, 'cid', /\$3 of type cid: .*range/],
  [2n ** 64n - 1n, 'oid', /\$3 of type oid: .*range/],
  [2n ** 53n + 1n, 'float8', /\$3 of type float8: the BigInt is no exact number/],
  [2n ** 53n + 1n, 'float4', /\$3 of type float4: the BigInt is no exact number/],
  [[2n ** 53n + 1n], 'float8[]', /\$3 of type float8\[\]: the BigInt is no exact number/],
  [[1, 0.5], 'int4[]', /\$3 of type int4\[\]: a number with a fraction/],
  [[1, 32768], 'int2[]', /\$3 of type int2\[\]: .*range/],
  [[1, [2]], 'int4[]', /\$3 of type int4\[\]: .*arrays of one length and depth/],
  [[[1], [2, 3]], 'int4[]', /\$3 of type int4\[\]: .*arrays of one length and depth/],
  [[[1], null], 'text[]', /\$3 of type text\[\]: .*arrays of one length and depth/],
  [[[[[[[[1]]]]]]], 'int4[]', /\$3 of type int4\[\]: an array has at most 6 dimensions/],
  [[new Date(NaN)], 'date[]', /\$3 of type date\[\]: the Date is invalid/],
  [[{ a: 1 }], 'text[]', /\$3 of type text\[\]: an object fits json/],
  [[Buffer.from('a')], 'text[]', /\$3 of type text\[\]: a Buffer or typed array fits bytea/],
  [['a\0b'], 'text[]', /\$3 of type text\[\]: PostgreSQL stores no NUL/],
  [[Buffer.from('a')], 'jsonb', /\$3 of type jsonb: bytes have no form in JSON/],
];

MISFITS.forEach(([value, type, message], number) => {
  test(`${shown(value)} is refused as ${type}, by number and type`, async () => {
    const sql = `SELECT $1::int AS a, $2::text AS b, $3::${type} AS v /* misfit ${number} */`;
    // On the first use, the error may come from the server.
    await assert.rejects(pool.query(sql, [1, 'x', value]), (error) => {
      assert.match(error.code, /^(22P02|22003|42804|22008|HYPERION_PARAMETER)$/, error.stack);
      return true;
    });
    assert.deepEqual(await pool.query(sql, [1, 'x', null]), [{ a: 1, b: 'x', v: null }], 'goes on');
    await pool.transaction(async (tx) => {
      await tx.query('SELECT 1');
      await assert.rejects(tx.query(sql, [1, 'x', value]), {
        name: 'ConfigurationError',
        code: 'HYPERION_PARAMETER',
        outcome: 'not-sent',
        query: sql,
        message,
      });
      // If anything had been sent, the transaction would have failed.
      assert.deepEqual(await tx.query(sql, [2, 'y', null]), [{ a: 2, b: 'y', v: null }]);
    });
  });
});

const loop = [];
loop.push([loop]);
const circle = {};
circle.circle = circle;

/** Values that have no form for any type: refused before the statement is sent. */
const FORMLESS = [
  ['a\0b', /\$2: PostgreSQL stores no NUL/],
  ['\ud800', /\$2: .*half of a surrogate pair/],
  [`${'x'.repeat(1000)}\udfff`, /\$2: .*half of a surrogate pair/],
  [`é${'x'.repeat(1 << 20)}\ud800x`, /\$2: .*half of a surrogate pair/],
  [['ok', '\ud800'], /\$2: .*half of a surrogate pair/],
  [['\ud83d', '\ude00'], /\$2: .*half of a surrogate pair/],
  [Symbol('value'), /\$2: a symbol has no form/],
  [() => 'value', /\$2: a function has no form/],
  [[Symbol('value')], /\$2: a symbol has no form/],
  [Promise.resolve('value'), /\$2: it is a Promise: await it/],
  [new Map([['value', 1]]), /\$2: a Map has no form in JSON/],
  [[new Set(['value'])], /\$2: a Set has no form in JSON/],
  [circle, /\$2: the object has no form in JSON/],
  [{ value: 1n }, /\$2: the object has no form in JSON/],
  [loop, /\$2: an array is a part of itself/],
  [2n ** 500_000n, /\$2: a BigInt has more digits than any PostgreSQL number/],
  [[2n ** 500_000n], /\$2: a BigInt has more digits than any PostgreSQL number/],
];

for (const [value, message] of FORMLESS) {
  test(`${shown(value).replaceAll('\0', '\\0')} has no form, and nothing is sent`, async () => {
    const sql = 'INSERT INTO nowhere VALUES ($1, $2)';
    for (const mistake of [value, value]) {
      await assert.rejects(pool.query(sql, ['x', mistake]), (error) => {
        assert.equal(error.name, 'ConfigurationError');
        assert.match(error.code, /^HYPERION_PARAMETER(_LIMIT)?$/);
        assert.equal(error.outcome, 'not-sent');
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /value/);
        assert.equal(error.query, sql);
        assert.match(error.stack, /parameters\.test/);
        return true;
      });
    }
    assert.deepEqual(await pool.query('SELECT $1::text AS v', ['é']), [{ v: 'é' }]);
  });
}

test('no character of a text is lost, whatever its length and its characters', async () => {
  for (const character of ['x', 'é', '√', '😀']) {
    const bytes = Buffer.byteLength(character);
    const texts = [];
    for (const front of ['', '-', '--', '---']) {
      for (let size = 500; size < 530; size += 1) {
        texts.push(front + character.repeat(size / bytes));
      }
    }
    const asked = texts.map((text) => pool.query('SELECT $1::text AS v', [text]));
    const rows = (await Promise.all(asked)).flat();
    assert.deepEqual(
      rows.map(({ v }) => v),
      texts,
    );
  }
});

test('a text of SQL with a NUL or half of a surrogate pair is refused', async () => {
  for (const sql of ["SELECT 'a\0b'", '\0', "SELECT '\ud800'", 'SELECT 1 AS "\udfff"']) {
    for (const params of [undefined, ['x']]) {
      await assert.rejects(pool.query(sql, params), { code: 'HYPERION_QUERY_TEXT' });
    }
  }
  assert.deepEqual(await pool.query('SELECT 1 AS a'), [{ a: 1 }]);
});

test('65535 parameters are sent, and one more is a clear error', async () => {
  const most = 65_535;
  const list = (count) => Array.from({ length: count }, (_, n) => `$${n + 1}::int4`).join();
  const sql = `SELECT cardinality(v) AS count, v[${most}] AS last FROM (SELECT ARRAY[${list(most)}] AS v) x`;
  const values = Array.from({ length: most }, (_, n) => n);
  await eachUse(async () =>
    assert.deepEqual(await pool.query(sql, values), [{ count: most, last: most - 1 }]),
  );
  await assert.rejects(pool.query(`SELECT ARRAY[${list(most + 1)}]`, [...values, 1]), {
    name: 'ConfigurationError',
    code: 'HYPERION_TOO_MANY_PARAMETERS',
    message: 'a query has at most 65535 parameters, 65536 were given',
  });
  assert.deepEqual(await pool.query('SELECT $1::int4 AS a', [1]), [{ a: 1 }]);
});

// Up to 32 numbers, booleans and nulls cross in shared memory. All other values, and more than 32,
// cross as arguments.
test('every number of values arrives, of plain kinds and of others', async () => {
  const plain = [1.5, true, null, -0, undefined, false, Number.MAX_SAFE_INTEGER, NaN];
  for (const count of [0, 1, 8, 31, 32, 33, 70]) {
    for (const last of [7, 'x', 9n]) {
      const values = Array.from({ length: count }, (_, n) => plain[n % plain.length]);
      if (count > 1) values[count - 1] = last;
      const types = values.map((value) => (typeof value === 'boolean' ? 'bool' : 'text'));
      const columns = types.map((type, n) => `$${n + 1}::${type}::text AS c${n}`);
      const expected = values.map((value) => ((value ?? null) === null ? null : String(value)));
      await eachUse(async () => {
        const [row] = await pool.query(`SELECT ${columns.join()}`, values, { rowMode: 'array' });
        assert.deepEqual(row, expected);
      });
    }
  }
});

test('too few and too many parameters are the server’s to refuse, and harm nothing', async () => {
  const sql = 'SELECT $1::int AS a, $2::text AS b';
  for (let use = 0; use < 2; use++) {
    for (const params of [[], [1], [1, 'x', 2], [1, 'x', { a: 1 }]]) {
      await assert.rejects(pool.query(sql, params), { code: /^(08P01|HYPERION_PARAMETER)$/ });
    }
    assert.deepEqual(await pool.query(sql, [1, 'x']), [{ a: 1, b: 'x' }]);
  }
});

test('what no message can hold is refused before it is copied', async () => {
  const gigabyte = 2 ** 30;
  const { rss } = process.memoryUsage();
  const tooMuch = [
    [Buffer.alloc(gigabyte + 1)],
    [Buffer.alloc(1000), Buffer.alloc(gigabyte)],
    [[Buffer.alloc(1000), Buffer.alloc(gigabyte)]],
  ];
  for (const params of tooMuch) {
    await assert.rejects(pool.query('SELECT $1::bytea, $2::bytea', params), {
      name: 'ConfigurationError',
      code: 'HYPERION_PARAMETER_LIMIT',
      message: /^parameter \$[12]: .*at most 1 GiB/,
    });
  }
  assert.ok(process.memoryUsage().rss - rss < gigabyte / 2, 'nothing was copied');
  assert.deepEqual(await pool.query('SELECT 1 AS a'), [{ a: 1 }]);
});

test('arrays of a million elements, and texts of many megabytes', async () => {
  const numbers = Array.from({ length: 1_000_000 }, (_, n) => n - 500_000);
  const texts = Array.from({ length: 100_000 }, (_, n) => (n % 7 === 0 ? null : `é😀 ${n}`));
  const sql = `SELECT (SELECT sum(n) FROM unnest($1::int8[]) n)::int AS sum, cardinality($1) AS count,
    (SELECT string_agg(t, '|') FROM unnest($2::text[]) t) AS texts`;
  const expected = {
    sum: -500_000,
    count: 1_000_000,
    texts: texts.filter((text) => text !== null).join('|'),
  };
  await eachUse(async () =>
    assert.deepStrictEqual(await pool.query(sql, [numbers, texts]), [expected]),
  );
  const long = 'né😀'.repeat(1 << 20);
  await eachUse(async () => {
    const [row] = await pool.query('SELECT md5($1::text) = md5($2::text) AS same', [long, long]);
    assert.equal(row.same, true);
  });
});

/** A Proxy that counts the reads of each property. */
function counting(target) {
  const reads = new Map();
  const get = (of, key, receiver) => {
    if (typeof key === 'string') reads.set(key, (reads.get(key) ?? 0) + 1);
    return Reflect.get(of, key, receiver);
  };
  return { proxy: new Proxy(target, { get }), reads };
}

test('each value is read exactly once', async () => {
  const sql = 'SELECT $1::int4[]::text AS a, $2::jsonb::text AS b, $3::text AS c /* once */';
  await eachUse(async () => {
    let calls = 0;
    const array = counting([1, 2, 3]);
    const object = counting({ x: 1, y: { z: 2 } });
    const params = counting([
      array.proxy,
      { toJSON: () => ({ ...object.proxy, call: (calls += 1) }) },
      'text',
    ]);
    const rows = await pool.query(sql, params.proxy);
    assert.deepEqual(rows, [{ a: '{1,2,3}', b: '{"x": 1, "y": {"z": 2}, "call": 1}', c: 'text' }]);
    assert.equal(calls, 1);
    for (const { reads } of [array, object, params]) {
      for (const [key, count] of reads) {
        // Apart from JSON.stringify and Array.isArray, the length and each element are read once.
        if (/^(length|\d+|x|y)$/.test(key)) assert.equal(count, 1, key);
      }
    }
    assert.deepEqual([...params.reads.keys()], ['length', '0', '1', '2']);
  });
});

test('a value that answers otherwise the second time is sent as it was the first time', async () => {
  const sql = 'SELECT $1::int4[] AS a, $2::jsonb AS b /* otherwise */';
  const changing = (...answers) => {
    let n = 0;
    return () => answers[(n += 1) - 1] ?? assert.fail('it was read twice');
  };
  await eachUse(async () => {
    const array = [0, 0];
    Object.defineProperty(array, 1, { get: changing(7), enumerable: true });
    const object = { toJSON: changing({ a: 1 }) };
    assert.deepEqual(await pool.query(sql, [array, object]), [{ a: [0, 7], b: { a: 1 } }]);
  });
});

test('values that are changed once the query is made are sent as they were', async () => {
  const sql = 'SELECT $1::int4[] AS a, $2::jsonb AS b, $3::bytea AS c, $4::date AS d /* changed */';
  await eachUse(async () => {
    const [array, object] = [[1, [2]].slice(0, 1), { a: 1 }];
    const [buffer, date] = [Buffer.from([1, 2]), new Date('2024-01-02T00:00:00Z')];
    const params = [array, object, buffer, date];
    const answer = pool.query(sql, params);
    array.push(9);
    object.a = 9;
    buffer.fill(9);
    date.setTime(0);
    params.length = 0;
    assert.deepEqual(await answer, [
      { a: [1], b: { a: 1 }, c: Buffer.from([1, 2]), d: '2024-01-02' },
    ]);
  });
});

test('a getter may change the array that is being read', async () => {
  const sql = 'SELECT $1::int4[] AS a, $2::text AS b /* changing */';
  await eachUse(async () => {
    const array = [1, 2, 3];
    const params = [array, 'x'];
    Object.defineProperty(array, 0, {
      get() {
        array.length = 1;
        params.length = 0;
        return 1;
      },
    });
    // It had three elements when the call began. The removed ones are NULL.
    assert.deepEqual(await pool.query(sql, params), [{ a: [1, null, null], b: null }]);
  });
});

test('what a value’s own code throws is what the caller gets, and nothing is sent', async () => {
  const thrown = new Error('mine');
  const fail = () => {
    throw thrown;
  };
  const getter = Object.defineProperty([1], 0, { get: fail });
  const proxy = new Proxy([1], { get: fail });
  const sql = 'SELECT $1::int4[] AS a, $2::jsonb AS b /* thrown */';
  await eachUse(async () => {
    for (const params of [[getter, null], proxy, [[proxy], null], [null, [getter]]]) {
      await assert.rejects(pool.query(sql, params), (error) => error === thrown);
    }
    for (const value of [
      { toJSON: fail },
      {
        get a() {
          return fail();
        },
      },
      [{ toJSON: fail }],
    ]) {
      await assert.rejects(pool.query(sql, [null, value]), (error) => {
        assert.match(error.message, /^parameter \$2: the object has no form in JSON/);
        assert.deepEqual([error.code, error.cause], ['HYPERION_PARAMETER', thrown]);
        return true;
      });
    }
    assert.deepEqual(await pool.query(sql, [[1], 2]), [{ a: [1], b: 2 }]);
  });
});

test('bytes whose memory is gone are refused, and never sent as none', async () => {
  const buffer = new ArrayBuffer(4);
  const views = [buffer, new Uint8Array(buffer), new DataView(buffer), Buffer.from(buffer)];
  structuredClone(null, { transfer: [buffer] });
  const shrunk = new ArrayBuffer(8, { maxByteLength: 64 });
  const outside = [
    new Uint8Array(shrunk, 4, 4),
    new Float32Array(shrunk, 4),
    new DataView(shrunk, 4),
  ];
  shrunk.resize(2);
  for (const view of [...views, ...outside]) {
    for (const params of [[view], [[view]]]) {
      await assert.rejects(pool.query('SELECT $1::bytea', params), {
        code: 'HYPERION_PARAMETER',
        message: /^parameter \$1: the memory of its bytes is gone/,
      });
    }
  }
});

test('valueOf and toString of an object are never asked', async () => {
  const never = () => assert.fail('asked');
  const value = { a: 1, valueOf: never, toString: never, [Symbol.toPrimitive]: never };
  await eachUse(async () =>
    assert.deepEqual(await pool.query('SELECT $1::json AS v /* never */', [value]), [
      { v: { a: 1 } },
    ]),
  );
});

test('a getter may query the same pool, with arrays of its own', async () => {
  const sql = 'SELECT $1::int4[] AS a, $2::jsonb AS b /* re-entrant */';
  await eachUse(async () => {
    const inner = [];
    const ask = (n) => {
      inner.push(pool.query(sql, [[n, n], { n }]));
      return n;
    };
    const array = [1, 2, 3];
    for (const n of [0, 1, 2]) Object.defineProperty(array, n, { get: () => ask(n) });
    const object = { list: [{ toJSON: () => ask(3) }], toJSON: undefined };
    assert.deepEqual(await pool.query(sql, [array, object]), [{ a: [0, 1, 2], b: { list: [3] } }]);
    const answers = await Promise.all(inner);
    answers.forEach((rows, n) => assert.deepEqual(rows, [{ a: [n, n], b: { n } }]));
    assert.equal(answers.length, 4);
  });
});

test('a parameter that can’t be written leaves its neighbours in the pipeline unharmed', async () => {
  const sql = 'SELECT $1::int4 AS a, $2::text AS b, $3::int2[] AS c /* neighbours */';
  const good = (n) => [n, `é${n}`, [n, null]];
  const bad = (n) => [n, 'x'.repeat(n), [1, n + 0.5]];
  const own = createPool(cluster.options({ poolSize: 2 }));
  for (let use = 0; use < 4; use++) {
    const asked = Array.from({ length: 200 }, (_, n) =>
      own.query(sql, n % 3 === 1 ? bad(n) : good(n)).catch((error) => error.code),
    );
    for (const [n, answer] of (await Promise.all(asked)).entries()) {
      const [a, b, c] = good(n);
      if (n % 3 === 1) assert.equal(answer, 'HYPERION_PARAMETER');
      else assert.deepEqual(answer, [{ a, b, c }]);
    }
  }
  await own.end();
});

test('arrays and objects go to types that users made', async (t) => {
  await pool.query(`CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy,"');
    CREATE TYPE pair AS (n int, t text); CREATE DOMAIN small AS int CHECK (VALUE < 10);
    CREATE DOMAIN document AS jsonb; CREATE DOMAIN moment AS timestamptz`);
  t.after(() => pool.query('DROP TYPE mood, pair; DROP DOMAIN small, document, moment'));
  const cases = [
    [['sad', null, 'happy,"', 'so so'], 'mood[]', '{sad,NULL,"happy,\\"","so so"}'],
    [[['sad'], ['so so']], 'mood[]', '{{sad},{"so so"}}'],
    [['(1,a)', '(2,"b,c")'], 'pair[]', '{"(1,a)","(2,\\"b,c\\")"}'],
    ['sad', 'mood', 'sad'],
    ['(1,)', 'pair', '(1,)'],
    [[1, 2, null], 'small[]', '{1,2,NULL}'],
    [7, 'small', '7'],
    [{ a: [1] }, 'document', '{"a": [1]}'],
    [[{ a: 1 }], 'document[]', '{"{\\"a\\": 1}"}'],
  ];
  for (const [value, type, expected] of cases) {
    await eachUse(async () => {
      const rows = await pool.query(`SELECT $1::${type}::text AS v /* ${expected} */`, [value]);
      assert.deepEqual(rows, [{ v: expected }]);
    });
  }
  await eachUse(async () => {
    const date = new Date('2024-02-29T23:30:00.001Z');
    const [row] = await pool.query('SELECT $1::moment AS v, $2::moment[]::timestamptz[] AS w', [
      date,
      [date],
    ]);
    assert.deepEqual(row, { v: date.toJSON(), w: [date.toJSON()] });
    await assert.rejects(pool.query('SELECT $1::small[]', [[1, 99]]), { code: '23514' });
    await assert.rejects(pool.query('SELECT $1::mood[]', [['glad']]), { code: '22P02' });
  });
});
