// The option `types` of pools and of queries.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const one = async (sql, types, on = pool) => (await on.query(sql, null, { types }))[0].v;

/** Presets, and each value with them. */
const PRESETS = [
  [{ int8: 'number' }, '9007199254740991::int8', 9007199254740991],
  [{ int8: 'string' }, '9223372036854775807::int8', '9223372036854775807'],
  [{ int8: 'bigint' }, '7::int8', 7n],
  [
    { int8: 'number' },
    "'{{1,NULL},{-2,3}}'::int8[]",
    [
      [1, null],
      [-2, 3],
    ],
  ],
  [{ int8: 'string' }, "'{1,NULL}'::int8[]", ['1', null]],
  [{ numeric: 'number' }, '12.50::numeric', 12.5],
  [{ numeric: 'number' }, "'NaN'::numeric", NaN],
  [{ numeric: 'number' }, "'{1.5}'::numeric[]", [1.5]],
  [{ json: 'text' }, '\'{"a":  12345678901234567890}\'::json', '{"a":  12345678901234567890}'],
  [{ json: 'text' }, "ARRAY['[1]']::jsonb[]", ['[1]']],
  [
    { timestamp: 'date' },
    "'2024-01-02 03:04:05.123456+02'::timestamptz",
    new Date('2024-01-02T01:04:05.123Z'),
  ],
  [
    { timestamp: 'date' },
    "'2024-01-02 03:04:05.5'::timestamp",
    new Date('2024-01-02T03:04:05.500Z'),
  ],
  [{ timestamp: 'date' }, "'2024-01-02'::date", new Date('2024-01-02T00:00:00Z')],
  [{ timestamp: 'date' }, "'0044-03-15 BC'::date", new Date(Date.UTC(-43, 2, 15))],
  [{ timestamp: 'date' }, "'infinity'::date", Infinity],
  [{ timestamp: 'date' }, "'-infinity'::timestamptz", -Infinity],
  [{ timestamp: 'date' }, "'{2024-01-02}'::date[]", [new Date('2024-01-02T00:00:00Z')]],
  [{ timestamp: 'string' }, "'2024-01-02'::date", '2024-01-02'],
];

for (const [types, sql, expected] of PRESETS) {
  test(`${JSON.stringify(types)} makes of ${sql} what it says`, async () => {
    const own = createPool(cluster.options({ poolSize: 1, types }));
    try {
      for (let use = 0; use < 3; use++) {
        assert.deepStrictEqual(await one(`SELECT ${sql} AS v`, types), expected, 'by the query');
        assert.deepStrictEqual(await one(`SELECT ${sql} AS v`, undefined, own), expected);
      }
      assert.deepStrictEqual(
        (await own.query(`SELECT 1; SELECT ${sql} AS v`))[1][0].v,
        expected,
        'by the simple protocol',
      );
    } finally {
      await own.end();
    }
  });
}

test('a parse gets exactly the text that psql shows, and values of arrays one by one', async () => {
  const seen = [];
  const parse = (...given) => {
    seen.push(given);
    return { made: given[0] };
  };
  const cases = [
    ['timestamptz', "'2024-01-02 03:04:05.50+00'::timestamptz"],
    ['1184', "'2024-01-02 03:04:05+00'::timestamptz"],
    ['int4', '42'],
    ['bool', 'true'],
    ['bytea', "'\\x00ff'::bytea"],
    ['jsonb', '\'{"b":1}\'::jsonb'],
    ['_int4', "'{1,2}'::int4[]"],
    ['inet', "'::1'::inet"],
    ['text', "'é'::text"],
  ];
  for (const [name, sql] of cases) {
    const [[text]] = await cluster.query(cluster.primary, `SELECT ${sql}`);
    for (let use = 0; use < 3; use++) {
      seen.length = 0;
      assert.deepEqual(await one(`SELECT ${sql} AS v`, { [name]: { parse } }), { made: text });
      assert.deepEqual(seen, [[text]]);
    }
  }
  for (let use = 0; use < 3; use++) {
    const value = await one("SELECT '{{1,NULL}}'::int4[] AS v", { int4: { parse } });
    assert.deepEqual(value, [[{ made: '1' }, null]]);
  }
  seen.length = 0;
  assert.equal(await one('SELECT NULL::int4 AS v', { int4: { parse } }), null);
  assert.deepEqual(seen, [], 'NULL is null');
});

test('choices of a query stand over those of its pool, and touch no other query', async () => {
  const own = createPool(cluster.options({ poolSize: 1, types: { int8: 'string' } }));
  const sql = "SELECT 1::int8 AS v, 2.5::numeric AS w, '3'::int4 AS x";
  for (let use = 0; use < 2; use++) {
    assert.deepEqual(await own.query(sql), [{ v: '1', w: '2.5', x: 3 }]);
    const types = { numeric: 'number', int4: { parse: (text) => `<${text}>` } };
    assert.deepEqual(await own.query(sql, [], { types }), [{ v: '1', w: 2.5, x: '<3>' }]);
    assert.deepEqual(await own.query(sql, [], { types: { int8: 'bigint' } }), [
      { v: 1n, w: '2.5', x: 3 },
    ]);
  }
  await own.end();
});

test('choices are used again where they say the same, and are let go where there are many', async () => {
  const parse = (text) => Number(text) + 1;
  for (let n = 0; n < 200; n++) {
    assert.equal(await one('SELECT 1::int8 AS v', { int8: { parse } }), 2);
    const fresh = (text) => Number(text) + n;
    assert.equal(await one('SELECT 1::int8 AS v', { int8: { parse: fresh } }), 1 + n);
  }
  assert.equal(await one('SELECT 1::int8 AS v'), 1n);
});

test('a value that a choice cannot hold, or a parse that throws, fails its query alone', async () => {
  const thrown = new Error('no');
  const parse = () => {
    throw thrown;
  };
  const cases = [
    ['9007199254740992::int8', { int8: 'number' }, /"v" of type int8 .* beyond 2\^53/],
    ["'{1,-9007199254740992}'::int8[]", { int8: 'number' }, /"v" of type _int8 .* beyond 2\^53/],
    ["'275761-01-01'::date", { timestamp: 'date' }, /"v" of type date .* beyond what a Date/],
    ["'x'::text", { text: { parse } }, /"v" of type text can't be read: no/],
  ];
  for (const [sql, types, message] of cases) {
    for (let use = 0; use < 2; use++) {
      const bystander = pool.query('SELECT 1 AS a');
      const failing = pool.query(`SELECT ${sql} AS v`, null, { types });
      await assert.rejects(failing, (error) => {
        assert.equal(error.name, 'ConfigurationError');
        assert.equal(error.code, 'HYPERION_UNREADABLE_VALUE');
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /9007199254740992|275761/, 'no value is shown');
        assert.match(error.stack, /choices\.test/);
        assert.equal(error.cause, types.text && thrown);
        return true;
      });
      assert.deepEqual(await bystander, [{ a: 1 }]);
    }
  }
});

test('whatever a parse throws is the cause of an error that names the column', async () => {
  const hostile = {
    toString() {
      throw new Error('again');
    },
  };
  for (const thrown of [undefined, null, 'text', Symbol('mark'), Object.create(null), hostile]) {
    const parse = () => {
      throw thrown;
    };
    const failing = pool.query("SELECT 'x'::text AS v", null, { types: { text: { parse } } });
    await assert.rejects(failing, (error) => {
      assert.equal(error.name, 'ConfigurationError');
      assert.equal(error.outcome, 'unknown');
      assert.match(error.message, /^column "v" of type text can't be read: /);
      assert.equal(error.cause, thrown);
      return true;
    });
  }
});

test('wrong choices are refused by name', async () => {
  const wrong = [
    [7, /'types' must be an object/],
    [{ int8: 'float' }, /'types\.int8' must be 'number' or 'bigint' or 'string'/],
    [{ int4: 'number' }, /'types\.int4' .*presets exist for int8, timestamp, numeric, json/],
    [{ nonsense: { parse: String } }, /'types\.nonsense' names no type/],
    [{ __proto__: null, ['__proto__']: 'x' }, /'types\.__proto__'/],
    [{ 0: { parse: String } }, /'types\.0' names no type/],
    [{ 4294967296: { parse: String } }, /names no type/],
    [{ int4: null }, /'types\.int4' must be/],
    [{ int4: {} }, /'types\.int4' needs a parse or a serialize function/],
    [{ int4: { parse: 1 } }, /'types\.int4\.parse' must be a function/],
    [{ int4: { parser: String } }, /'types\.int4' has no 'parser'/],
  ];
  for (const [types, message] of wrong) {
    const expected = { name: 'ConfigurationError', code: 'HYPERION_CONFIGURATION', message };
    await assert.rejects(pool.query('SELECT 1', [], { types }), expected);
    assert.throws(() => createPool(cluster.options({ types })), expected);
  }
});

const POINT = 600;
const writePoint = ({ x, y }) => `(${x},${y})`;

test('a serialize writes parameters of its type, on the first use of a statement and later', async () => {
  const seen = [];
  const serialize = (value) => {
    seen.push(value);
    return writePoint(value);
  };
  const [a, b] = [
    { x: 1, y: 2.5 },
    { x: -3, y: 0 },
  ];
  for (const name of ['point', String(POINT)]) {
    const types = { [name]: { serialize } };
    const own = createPool(cluster.options({ poolSize: 1, types }));
    for (const [on, options] of [
      [own, undefined],
      [pool, { types }],
    ]) {
      for (let use = 0; use < 3; use++) {
        const sql = `SELECT $1::text AS n, $2::point AS p, $3::point[]::text AS l, $4::point AS z /* ${name} */`;
        seen.length = 0;
        const rows = await on.query(sql, ['x', a, [[a], [b], [null]], undefined], options);
        assert.deepEqual(rows, [
          { n: 'x', p: '(1,2.5)', l: '{{"(1,2.5)"},{"(-3,0)"},{NULL}}', z: null },
        ]);
        assert.deepEqual(seen, [a, a, b], 'each value once, and no NULL');
        assert.deepEqual(await on.query(sql, ['y', null, '{"(1,2)"}', null], options), [
          { n: 'y', p: null, l: '{"(1,2)"}', z: null },
        ]);
      }
    }
    await own.end();
  }
});

test('a serialize is for any type: numbers, bytes, json, arrays as a whole, types of users', async (t) => {
  await pool.query("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN cents AS int");
  t.after(() => pool.query('DROP TYPE mood; DROP DOMAIN cents'));
  const [{ mood, cents }] = await pool.query(
    "SELECT 'mood'::regtype::oid AS mood, 'cents'::regtype::oid AS cents",
  );
  const cases = [
    [{ int4: { serialize: (n) => String(n * 2) } }, 'int4', 21, 42],
    [{ int4: { serialize: (n) => String(n * 2) } }, 'int4[]', [1, [2]].slice(0, 1), [2]],
    [{ numeric: { serialize: ({ cents: n }) => `${n}e-2` } }, 'numeric', { cents: 150 }, '1.50'],
    [{ bytea: { serialize: (text) => `\\x${text}` } }, 'bytea', '00ff', Buffer.from([0, 255])],
    [{ jsonb: { serialize: (v) => `{"v":${v}}` } }, 'jsonb', [1], { v: 1 }],
    [{ jsonb: { serialize: (v) => `{"v":${v}}` } }, 'jsonb[]', [1, null], [{ v: 1 }, null]],
    [{ text: { serialize: (v) => v.join('"\\') } }, 'text', ['a', 'b'], 'a"\\b'],
    [{ _int4: { serialize: (set) => `{${[...set]}}` } }, 'int4[]', new Set([1, 2]), [1, 2]],
    [{ box: { serialize: (v) => v.text } }, 'box[]', [{ text: '(1,1),(0,0)' }], ['(1,1),(0,0)']],
    [{ timestamptz: { serialize: () => 'epoch' } }, 'timestamptz', 1, '1970-01-01T00:00:00Z'],
    [{ [mood]: { serialize: (good) => (good ? 'happy' : 'sad') } }, 'mood', true, 'happy'],
    [{ [cents]: { serialize: (v) => String(v * 100) } }, 'cents', 1.5, 150],
  ];
  for (const [types, type, value, expected] of cases) {
    for (let use = 0; use < 3; use++) {
      const rows = await pool.query(`SELECT $1::${type} AS v`, [value], { types });
      assert.deepStrictEqual(rows, [{ v: expected }], type);
    }
  }
});

test('a serialize of a query stands over that of its pool, and a parse of the pool stays', async () => {
  const point = { serialize: writePoint, parse: (text) => `<${text}>` };
  const own = createPool(cluster.options({ poolSize: 1, types: { point } }));
  const swapped = { point: { serialize: ({ x, y }) => `(${y},${x})` } };
  for (let use = 0; use < 3; use++) {
    const ask = (options) => own.query('SELECT $1::point AS v', [{ x: 1, y: 2 }], options);
    assert.deepEqual(await ask(), [{ v: '<(1,2)>' }]);
    assert.deepEqual(await ask({ types: swapped }), [{ v: '<(2,1)>' }]);
  }
  await own.end();
});

test('a serialize that throws, or returns no string, fails its query alone, and nothing is sent', async () => {
  const thrown = new Error('a secret');
  const fail = () => {
    throw thrown;
  };
  const cases = [
    [fail, 'point', {}, /^parameter \$2 of type point: its serialize function threw/, thrown],
    [
      fail,
      'point[]',
      [{}],
      /^parameter \$2 of type point\[\]: its serialize function threw/,
      thrown,
    ],
    [() => 7, 'point', {}, /\$2 of type point: .* must return a string, not number/],
    [() => null, 'point', {}, /must return a string, not null/],
    [async () => '(1,2)', 'point', {}, /must return a string, not object/],
    [() => '(1,2)\0', 'point', {}, /^parameter \$2: PostgreSQL stores no NUL/],
    [() => '\ud800', 'point', {}, /^parameter \$2: .*half of a surrogate pair/],
    [() => '(1,2)', 'point[]', [[[[[[[1]]]]]]], /\$2 of type point\[\]: .*at most 6 dimensions/],
    [() => '(1,2)', 'point[]', [[1], 2], /arrays of one length and depth/],
  ];
  for (const [number, [serialize, type, value, message, cause]] of cases.entries()) {
    const types = { point: { serialize } };
    const sql = `SELECT $1::int AS n, $2::${type} AS v /* ${number} */`;
    for (let use = 0; use < 3; use++) {
      const bystander = pool.query('SELECT 1 AS a');
      await assert.rejects(pool.query(sql, [1, value], { types }), (error) => {
        assert.equal(error.name, 'ConfigurationError');
        assert.deepEqual([error.code, error.outcome], ['HYPERION_PARAMETER', 'not-sent']);
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /secret/);
        assert.deepEqual([error.cause, error.query], [cause, sql]);
        assert.match(error.stack, /choices\.test/);
        return true;
      });
      assert.deepEqual(await bystander, [{ a: 1 }]);
      assert.deepEqual(await pool.query(sql, [1, null], { types }), [{ n: 1, v: null }]);
    }
    // If nothing was sent, the transaction goes on.
    await pool.transaction(async (tx) => {
      for (const fresh of ['', '-- new']) {
        await assert.rejects(tx.query(sql + fresh, [1, value], { types }), { message });
        assert.deepEqual(await tx.query('SELECT 1 AS a'), [{ a: 1 }]);
      }
    });
  }
  assert.equal(pool.status().inUse, 0);
});

test('what else a value throws stays what it is, and too many parameters are refused', async () => {
  const types = { point: { serialize: writePoint } };
  const thrown = new Error('{"mine": true}');
  const getter = () => {
    throw thrown;
  };
  const value = Object.defineProperty([1], 0, { get: getter });
  for (let use = 0; use < 3; use++) {
    const asked = pool.query('SELECT $1::int[] AS v', [value], { types });
    await assert.rejects(asked, (error) => error === thrown);
    assert.deepEqual(await pool.query('SELECT $1::int[] AS v', [[1]], { types }), [{ v: [1] }]);
    await assert.rejects(pool.query('SELECT 1 AS v', Array(65_536).fill(1), { types }), {
      code: 'HYPERION_TOO_MANY_PARAMETERS',
    });
    await assert.rejects(pool.query('SELECT $1::point\0', [{}], { types }), {
      code: 'HYPERION_QUERY_TEXT',
    });
    await assert.rejects(pool.query('SELECT $1::nothing', [{}], { types }), { code: '42704' });
  }
});

test('where there are no values a serialize changes nothing', async () => {
  const types = { int4: { serialize: (n) => String(n) } };
  for (let use = 0; use < 2; use++) {
    for (const params of [[], null, undefined]) {
      const results = await pool.query('SELECT 1 AS a; SELECT 2 AS b', params, { types });
      assert.deepEqual(results, [[{ a: 1 }], [{ b: 2 }]]);
      assert.deepEqual(await pool.query('SELECT 1 AS a', params, { types }), [{ a: 1 }]);
    }
  }
});

test('with a serialize the statements of a transaction keep their order, awaited or not', async () => {
  const types = { point: { serialize: writePoint } };
  const own = createPool(cluster.options({ poolSize: 1, types }));
  await own.query('CREATE TABLE places (n serial, place point)');
  for (let use = 0; use < 3; use++) {
    const tx = await own.begin();
    const add = (x, text = '') =>
      tx.query(`INSERT INTO places (place) VALUES ($1) ${text}`, [{ x, y: use }]);
    const all = [
      add(1),
      tx.query('INSERT INTO places DEFAULT VALUES'),
      add(2, `-- ${use}`),
      add(3),
      tx.query('SELECT array_agg(place::text ORDER BY n) AS all FROM places'),
      tx.query('DELETE FROM places'),
      tx.commit(),
    ];
    const [{ all: places }] = (await Promise.all(all))[4];
    assert.deepEqual(places, [`(1,${use})`, null, `(2,${use})`, `(3,${use})`]);
  }
  assert.deepEqual(await own.query('SELECT count(*)::int AS n FROM places'), [{ n: 0 }]);
  await own.query('DROP TABLE places');
  await own.end();
});

test('a serialize that queries the same pool, many at once, long texts, and the end of the pool', async () => {
  const inner = [];
  const serialize = (value) => {
    if (value.ask) inner.push(own.query('SELECT $1::point AS v', [{ x: 9, y: 9 }]));
    return writePoint(value);
  };
  const own = createPool(cluster.options({ poolSize: 3, types: { point: { serialize } } }));
  const long = ' '.repeat(70_000);
  const asked = [];
  for (let n = 0; n < 500; n++) {
    const sql = `SELECT $1::point AS v /* ${n % 7} */${n % 50 === 0 ? long : ''}`;
    asked.push(own.query(sql, [{ x: n, y: 0, ask: n % 11 === 0 }]));
  }
  for (const [n, rows] of (await Promise.all(asked)).entries()) {
    assert.deepEqual(rows, [{ v: `(${n},0)` }]);
  }
  for (const rows of await Promise.all(inner)) assert.deepEqual(rows, [{ v: '(9,9)' }]);
  assert.equal(inner.length, 46);
  // The pool ends when the earlier calls are done.
  const last = own.query('SELECT $1::point AS v, 1 AS last', [{ x: 1, y: 1 }]);
  const ended = own.end();
  assert.deepEqual(await last, [{ v: '(1,1)', last: 1 }]);
  await ended;
});

test('a query whose values are to come can be given up', async () => {
  const types = { point: { serialize: writePoint } };
  const own = createPool(cluster.options({ poolSize: 1, types }));
  const controller = new AbortController();
  const serialize = (value) => {
    controller.abort();
    return writePoint(value);
  };
  const aborting = own.query('SELECT $1::point AS v', [{ x: 1, y: 1 }], {
    ...{ signal: controller.signal, types: { point: { serialize } } },
  });
  await assert.rejects(aborting, { name: 'AbortError', code: 'HYPERION_ABORTED' });
  const slow = own.query('SELECT $1::point AS v, pg_sleep(60)', [{ x: 1, y: 1 }], {
    timeoutMs: 50,
  });
  await assert.rejects(slow, { name: 'TimeoutError', outcome: 'not-committed' });
  assert.deepEqual(await own.query('SELECT $1::point AS v', [{ x: 1, y: 2 }]), [{ v: '(1,2)' }]);
  await own.end();
});
