// Values that are longer than one turn of the loop may transfer. They arrive in pieces
// (docs/design/rows-and-memory.md), and callers do not notice.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterAndPool } from '../support/pools.js';

/** A row of this many bytes is long, and the pieces of a text have this size. */
const PIECE = 256 * 1024;
const BYTES_PIECE = 64 * 1024;

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 4 });
await pool.query(`DROP TABLE IF EXISTS long_values; DROP DOMAIN IF EXISTS long_text, long_bytes;
  CREATE DOMAIN long_text AS text; CREATE DOMAIN long_bytes AS bytea CHECK (VALUE IS NOT NULL);
  CREATE TABLE long_values (id int, t text, b bytea, d long_text)`);

const md5 = (value) => createHash('md5').update(value).digest('hex');

/** The result of a statement comes as text on the first use, and then in binary. */
async function twice(sql, params, options, on = pool) {
  const first = await on.query(sql, params, options);
  const second = await on.query(sql, params, options);
  assert.deepStrictEqual(second, first);
  return first;
}

/** Long, and different everywhere: a lost, doubled or misplaced piece would show. */
function characters(alphabet, bytes, front = 0) {
  const parts = ['-'.repeat(front)];
  for (let n = 0, length = 0; length < bytes; n += 1) {
    const part = `${n}${alphabet}`;
    parts.push(part);
    length += Buffer.byteLength(part);
  }
  return parts.join('');
}

function someBytes(length) {
  const bytes = Buffer.alloc(length);
  for (let n = 0, x = 1; n < length; n += 1) {
    x = (x * 1103515245 + 12345) & 0x7fffffff;
    bytes[n] = x >>> 16;
  }
  return bytes;
}

const ALPHABETS = { one: 'x', two: 'é', beyond: 'ж', three: '√', four: '😀', all: 'aé√😀' };
for (const [name, alphabet] of Object.entries(ALPHABETS)) {
  test(`text of characters of ${name}, wherever the seams lie`, async () => {
    for (let front = 0; front < 5; front += 1) {
      const text = characters(alphabet, 3 * PIECE, front);
      const [row] = await twice('SELECT $1::text AS t, md5($1::text) AS hash', [text]);
      assert.equal(row.hash, md5(text));
      assert.equal(row.t.length, text.length);
      assert.ok(row.t === text);
    }
  });
}

test('values around the limits of a row and of a piece', async () => {
  const around = [-13, -11, -6, -5, -1, 0, 1, 2];
  for (const limit of [PIECE, 2 * PIECE, 2 ** 20, 2 ** 20 + PIECE]) {
    const lengths = around.map((more) => limit + more);
    const rows = await twice(
      `SELECT repeat('é', l / 2) || repeat('x', l % 2) AS t, repeat('y', l) AS ascii FROM unnest($1::int[]) l`,
      [lengths],
    );
    rows.forEach(({ t, ascii }, n) => {
      const length = lengths[n];
      assert.ok(t === 'é'.repeat(length >> 1) + 'x'.repeat(length & 1));
      assert.ok(ascii === 'y'.repeat(length));
    });
  }
});

test('bytes of any value and length, as text and in binary', async () => {
  for (const piece of [BYTES_PIECE, PIECE, 2 ** 20]) {
    for (const more of [-7, -6, -1, 0, 1]) {
      const bytes = Buffer.concat([Buffer.alloc(3), someBytes(3 * piece + more), Buffer.alloc(2)]);
      const sql = 'SELECT $1::bytea AS b, md5($1::bytea) AS hash, length($1::bytea) AS length';
      const [{ b, hash, length }] = await twice(sql, [bytes]);
      assert.ok(b.equals(bytes));
      assert.deepEqual([hash, length], [md5(bytes), bytes.length]);
      assert.equal(b.buffer.byteLength, b.length);
    }
  }
});

test('bytes in the form `escape`', async () => {
  const parameters = { bytea_output: 'escape' };
  const escaping = createPool(cluster.options({ parameters }));
  const bytes = someBytes(300_000);
  const sql = `SELECT $1::bytea AS b, repeat('x', 300000) AS t`;
  const [{ b, t }] = await twice(sql, [bytes], {}, escaping);
  assert.ok(b.equals(bytes) && t === 'x'.repeat(300_000));
  await escaping.end();
});

const MIXED = `SELECT NULL AS front, n AS id, repeat('aé√😀', 40000 + n) AS t1, 'short é ' || n AS s, NULL::text AS nothing,
  repeat('x', 300000 + n) AS t2, true AS yes, decode(repeat('00e9ff', 150000 + n), 'hex') AS b,
  repeat('d', 270000)::varchar AS v, jsonb_build_object('k', repeat('j', 300000)) AS doc,
  json_build_object('é', n) AS doc2, ARRAY[n, NULL] AS list, repeat('q', 2000 * n) AS q, NULL::bytea AS last
  FROM generate_series(1, 3) n`;
function mixed(n) {
  return {
    ...{ front: null, id: n, t1: 'aé√😀'.repeat(40_000 + n), s: `short é ${n}`, nothing: null },
    ...{ t2: 'x'.repeat(300_000 + n), yes: true },
    b: Buffer.from('00e9ff'.repeat(150_000 + n), 'hex'),
    ...{ v: 'd'.repeat(270_000), doc: { k: 'j'.repeat(300_000) }, doc2: { é: n } },
    ...{ list: [n, null], q: 'q'.repeat(2000 * n), last: null },
  };
}
const MIXED_ROWS = [1, 2, 3].map(mixed);

test('long columns among others, one after another, between NULLs', async () => {
  for (const prepare of [true, false]) {
    assert.deepStrictEqual(await twice(MIXED, [], { prepare }), MIXED_ROWS);
    const arrays = await twice(`${MIXED} ORDER BY n`, [], { rowMode: 'array', prepare });
    assert.deepStrictEqual(arrays, MIXED_ROWS.map(Object.values));
  }
  const uncached = createPool(cluster.options({ statementCacheSize: 0 }));
  assert.deepStrictEqual(await twice(MIXED, [], {}, uncached), MIXED_ROWS);
  await uncached.end();
});

test('scripts, transactions and cursors', async () => {
  const script = await pool.query(`SELECT 1 AS one; ${MIXED}; SELECT repeat('é', 500000) AS t`);
  assert.deepStrictEqual(script, [[{ one: 1 }], MIXED_ROWS, [{ t: 'é'.repeat(500_000) }]]);
  const inside = await pool.transaction(async (tx) => {
    await tx.query(`DECLARE c CURSOR FOR ${MIXED}`);
    return [await tx.query('FETCH 2 FROM c'), await tx.query('FETCH ALL FROM c')].flat();
  });
  assert.deepStrictEqual(inside, MIXED_ROWS);
});

test('short rows among long ones, compiled and not, with names that no object may be given plainly', async () => {
  const sql = `SELECT n AS id, repeat('x', CASE n % 100 WHEN 50 THEN 400000 ELSE n % 7 END) AS t, n::text AS "__proto__",
    jsonb_build_object('n', n) AS doc FROM generate_series(1, 500) n`;
  const expected = Array.from({ length: 500 }, (_, at) => {
    const n = at + 1;
    const t = 'x'.repeat(n % 100 === 50 ? 400_000 : n % 7);
    return { id: n, t, ['__proto__']: String(n), doc: { n } };
  });
  assert.deepStrictEqual(await twice(sql), expected);
  assert.deepStrictEqual(await twice(sql, [], { rowMode: 'array' }), expected.map(Object.values));
});

test('domains, and values that somebody’s own code makes', async () => {
  const [stored] = await pool.query(
    `INSERT INTO long_values VALUES (1, repeat('aé', 200000), decode(repeat('ff00', 200000), 'hex'), repeat('√', 200000))
     RETURNING id, t, b::long_bytes AS b, d`,
  );
  assert.deepStrictEqual(stored, {
    ...{ id: 1, t: 'aé'.repeat(200_000), d: '√'.repeat(200_000) },
    b: Buffer.from('ff00'.repeat(200_000), 'hex'),
  });
  const seen = [];
  const own = (text) => {
    seen.push(text);
    return { length: text.length };
  };
  const types = { text: { parse: own }, bytea: { parse: own }, jsonb: { parse: own } };
  const sql = `SELECT t, b, jsonb_build_object('t', t) AS doc, id FROM long_values`;
  const rows = await twice(sql, [], { types });
  const lengths = [400_000, 2 + 800_000, 400_000 + '{"t": ""}'.length];
  const [t, b, doc] = lengths.map((length) => ({ length }));
  assert.deepStrictEqual(rows, [{ t, b, doc, id: 1 }]);
  assert.deepEqual(seen.slice(0, 2), [stored.t, `\\x${stored.b.toString('hex')}`]);
  assert.deepStrictEqual(JSON.parse(seen[2]), { t: stored.t });
  const presets = { json: 'text', numeric: 'number' };
  const [{ doc: text }] = await twice(sql, [], { types: presets });
  assert.equal(text.length, doc.length);
});

test('own code that throws fails its query alone, whatever comes behind', async () => {
  let calls = 0;
  const types = {
    text: {
      parse: (text) => {
        calls += 1;
        if (text.startsWith('2')) throw new Error('not this one');
        return text.length;
      },
    },
  };
  const sql = `SELECT n || repeat('x', 600000) AS t, decode(repeat('00', 400000), 'hex') AS b FROM generate_series(1, 4) n`;
  for (let round = 0; round < 2; round += 1) {
    const [bad, good] = await Promise.allSettled([
      pool.query(sql, [], { types }),
      pool.query(MIXED),
    ]);
    assert.equal(bad.reason.code, 'HYPERION_UNREADABLE_VALUE');
    assert.equal(bad.reason.cause.message, 'not this one');
    assert.deepStrictEqual(good.value, MIXED_ROWS);
  }
  assert.ok(calls >= 4);
});

test('long arrays, which come whole', async () => {
  const [row] = await twice(
    `SELECT array_agg(repeat('é', 1000)) AS list, repeat('x', 400000) AS t FROM generate_series(1, 1000)`,
  );
  assert.deepStrictEqual(row, {
    list: Array(1000).fill('é'.repeat(1000)),
    t: 'x'.repeat(400_000),
  });
});

test('a row that is long by the number of its columns', async () => {
  const columns = Array.from(
    { length: 1600 },
    (_, n) => `repeat('é', 100 + $1::int * ${n}) AS c${n}`,
  );
  const sql = `SELECT ${columns.join(', ')}`;
  for (const factor of [0, 1, 3]) {
    const [row] = await pool.query(sql, [factor]);
    Object.values(row).forEach((value, n) => assert.ok(value === 'é'.repeat(100 + factor * n)));
    assert.equal(Object.keys(row).length, 1600);
  }
});

test('hundreds of values just above the limit', async () => {
  const sql = `SELECT n, repeat(chr(n + 200), 131060) AS t, decode(repeat(lpad(to_hex(n % 256), 2, '0'), 262150), 'hex') AS b
    FROM generate_series(1, 300) n`;
  const rows = await pool.query(sql);
  assert.equal(rows.length, 300);
  rows.forEach(({ n, t, b }, at) => {
    assert.equal(n, at + 1);
    assert.ok(t === String.fromCharCode(n + 200).repeat(131_060));
    assert.ok(b.equals(Buffer.alloc(262_150, n % 256)));
  });
});

test('twenty requests side by side, each of which gets its own', async () => {
  const sql = `SELECT $1::int AS id, repeat($1::text, 1000 * $1::int) AS t, md5(repeat($1::text, 1000 * $1::int)) AS hash,
    decode(repeat(lpad(to_hex($1::int), 2, '0'), 30000 * $1::int), 'hex') AS b`;
  const ids = Array.from({ length: 20 }, (_, n) => 100 + n);
  const answers = await Promise.all(ids.map((id) => pool.query(sql, [id])));
  answers.forEach(([{ id, t, hash, b }], n) => {
    assert.equal(id, ids[n]);
    assert.equal(md5(t), hash);
    assert.ok(b.equals(Buffer.alloc(30_000 * id, id)));
  });
});

test('requests that are given up while pieces come, and those behind them', async () => {
  for (let round = 0; round < 10; round += 1) {
    const controller = new AbortController();
    const { signal } = controller;
    const long = pool.query(`SELECT repeat('é', 5000000) AS t, 'x' AS x`, [], { signal });
    const others = Array.from({ length: 6 }, () => pool.query(MIXED));
    const turns = async () => {
      for (let turn = 0; turn < 10 * round; turn += 1) await new Promise(setImmediate);
      controller.abort();
    };
    const [given] = await Promise.allSettled([long, turns()]);
    if (given.status === 'fulfilled') {
      assert.ok(given.value[0].t === 'é'.repeat(5_000_000) && given.value[0].x === 'x');
    } else {
      assert.equal(given.reason.name, 'AbortError');
    }
    for (const rows of await Promise.all(others)) assert.deepStrictEqual(rows, MIXED_ROWS);
  }
});

test('a pool that ends hands out what it has', async () => {
  const ending = createPool(cluster.options({ poolSize: 2 }));
  const flying = [ending.query(MIXED), ending.query(`SELECT repeat('√', 3000000) AS t`)];
  await ending.query('SELECT 1');
  const ended = ending.end();
  const [rows, [{ t }]] = await Promise.all(flying);
  assert.deepStrictEqual(rows, MIXED_ROWS);
  assert.ok(t === '√'.repeat(3_000_000));
  await ended;
});
