// Several statements in one text, in a session whose settings are not the defaults. Their effects
// and results are those of the simple protocol, and their errors say nothing untrue about them.

import assert from 'node:assert/strict';
import process from 'node:process';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  await ask(`
    DROP TABLE IF EXISTS stepped, stepped_by_rule;
    CREATE TABLE stepped (n int);
    CREATE TABLE stepped_by_rule (n int);
    CREATE RULE twice AS ON INSERT TO stepped_by_rule DO ALSO (SELECT 1 AS a; SELECT date '2024-01-02' AS b);
    CREATE OR REPLACE PROCEDURE stepped_pay() LANGUAGE plpgsql
      AS $$ BEGIN INSERT INTO stepped VALUES (1); COMMIT; END $$`);
});
after(() => cluster?.close());

const since14 = {
  skip: Number(process.env.HYPERION_PG_VERSION ?? 15) < 14 && 'PostgreSQL 14 brought bodies in SQL',
};
const ask = (sql) => cluster.query(cluster.primary, sql);

/** Whether the sessions' settings are the defaults. */
const SETTINGS = {
  'by the defaults': {},
  'without all digits of floats': { parameters: { extra_float_digits: '0' } },
  'with another DateStyle': { parameters: { DateStyle: 'SQL, DMY' } },
};

async function withPool(more, use) {
  const pool = createPool(cluster.options({ poolSize: 1, ...more }));
  try {
    await use(pool);
  } finally {
    await pool.end();
  }
}

const INSERT = 'INSERT INTO stepped VALUES (1)';
const DO = 'DO $$ BEGIN INSERT INTO stepped VALUES (1); COMMIT; END $$';

for (const [how, more] of Object.entries(SETTINGS)) {
  test(`what was committed is never told not to be, ${how}`, async () => {
    const scripts = [
      `${DO}; SELECT 1/0`,
      `${INSERT}; DO $$ BEGIN COMMIT; END $$; SELECT 1/0`,
      `SELECT 1.5; CALL stepped_pay(); SELECT 1/0`,
      `SELECT set_config('app.tenant', '7', false); CALL stepped_pay(); SELECT 1/0`,
      `SELECT set_config('app.tenant', '7', false); ${DO}; SELECT 1/0`,
      `SELECT set_config('app.tenant', '7', false); DO $$ BEGIN ${INSERT}; COMMIT; PERFORM 1/0; END $$`,
      `SELECT 1.5; ${INSERT}; COMMIT; SELECT 1/0`,
      `${INSERT}; SELECT 1.5; VACUUM stepped; SELECT 1/0`,
      `${INSERT}; SELECT 1/0`,
    ];
    await withPool(more, async (pool) => {
      for (const sql of scripts) {
        await ask('TRUNCATE stepped');
        const error = await pool.query(sql).then(
          () => assert.fail(`${sql} was done`),
          (error) => error,
        );
        const [[count]] = await ask('SELECT count(*) FROM stepped');
        if (count !== '0') assert.equal(error.outcome, 'unknown', `${sql}: ${error.message}`);
      }
    });
  });

  test(`what the server refuses beside others it refuses, and nothing is done, ${how}`, async () => {
    const database = `stepped_${process.pid}`;
    const scripts = [
      'CREATE INDEX CONCURRENTLY stepped_index ON stepped (n); SELECT 1.5',
      `SELECT 1.5; CREATE INDEX CONCURRENTLY stepped_index ON stepped (n)`,
      `CREATE DATABASE ${database}; SELECT 1.5`,
      `VACUUM stepped; SELECT 1.5`,
      `ALTER SYSTEM SET work_mem = '5MB'; SELECT 1.5`,
    ];
    await withPool(more, async (pool) => {
      for (const sql of scripts) {
        await assert.rejects(pool.query(sql), { code: '25001', outcome: 'not-committed' }, sql);
      }
    });
    const left = await ask(
      `SELECT to_regclass('stepped_index') IS NULL, count(*) FROM pg_database WHERE datname = '${database}'`,
    );
    assert.deepEqual(left, [['t', '0']]);
  });

  test(`a script that gives no values is read as a whole before it runs, ${how}`, async () => {
    await withPool(more, async (pool) => {
      await ask('TRUNCATE stepped');
      const refused = { code: '42601', outcome: 'not-committed' };
      await assert.rejects(pool.query(`${INSERT}; COMMIT; SELEC 1`), refused);
      await assert.rejects(pool.query(`${DO}; ${INSERT}`), {
        code: '2D000',
        outcome: 'not-committed',
      });
      assert.deepEqual(await ask('SELECT count(*) FROM stepped'), [['0']]);
      await pool.query(`LOCK TABLE stepped; ${INSERT}`);
      assert.deepEqual(await ask('SELECT count(*) FROM stepped'), [['1']]);
    });
  });

  test(`a text that is cut off is refused as a whole before anything runs, ${how}`, async () => {
    await withPool(more, async (pool) => {
      await ask('TRUNCATE stepped');
      for (const end of ['/* a', "'a", '"a', '$a$ b', "E'\\'", "U&'a", "SELECT 2; /* '"]) {
        const sql = `${INSERT}; COMMIT; SELECT 1.5; ${end}`;
        const refused = { code: '42601', outcome: 'not-committed', message: /unterminated/ };
        await assert.rejects(pool.query(sql), refused, sql);
      }
      assert.deepEqual(await ask('SELECT count(*) FROM stepped'), [['0']]);
    });
  });

  test(`a string goes on in the next line as it began, ${how}`, async () => {
    const strings = [
      [
        String.raw`E'it'
        '\';y'`,
        "it';y",
      ],
      [
        String.raw`E'it' -- '
        -- ';
        '\'; SELECT '`,
        "it'; SELECT ",
      ],
      [
        String.raw`'it'
        ';y\n'`,
        String.raw`it;y\n`,
      ],
      [
        String.raw`U&'it'
        '\0041;y'`,
        'itA;y',
      ],
      [
        `n'it'
        ';y'`,
        'it;y',
      ],
      [
        `B'01'
        '10'`,
        '0110',
      ],
    ];
    await withPool(more, async (pool) => {
      for (const [string, value] of strings) {
        const results = await pool.query(`SELECT ${string} AS v; SELECT 2.5 AS n; --'`);
        assert.deepEqual(results, [[{ v: value }], [{ n: '2.5' }]], string);
      }
    });
  });

  test(`words of a function's body may be names, ${how}`, since14, async () => {
    await ask('DROP TABLE IF EXISTS named; CREATE TABLE named (begin int, "case" int, "end" int)');
    const bodies = [
      'SELECT begin FROM named',
      'SELECT 1 AS end',
      'SELECT 1 end',
      'SELECT named.case FROM named',
      'SELECT CASE WHEN begin = 1 THEN CASE WHEN named.end = 1 THEN 1 END ELSE 2 END AS case FROM named',
    ];
    await withPool(more, async (pool) => {
      for (const body of bodies) {
        const sql = `CREATE FUNCTION named_f() RETURNS int BEGIN ATOMIC ${body}; SELECT 7; END;
          SELECT named_f() AS n, 1.5 AS v; DROP FUNCTION named_f()`;
        const [, rows] = await pool.query(sql);
        assert.deepEqual(rows, [{ n: 7, v: '1.5' }], body);
      }
    });
  });

  test(`an error's position counts from the beginning of the text, ${how}`, async () => {
    await withPool(more, async (pool) => {
      for (const sql of [
        `SELECT 'ä😀', 1.5; SELECT nothing_such`,
        `SELECT 1.5;\n SELECT 1 AS a, nothing_such`,
      ]) {
        const position = [...sql.slice(0, sql.indexOf('nothing_such'))].length + 1;
        await assert.rejects(pool.query(sql), { code: '42703', position }, sql);
      }
    });
  });

  test(`a function may be called begin, and a transaction be set up, ${how}`, async () => {
    await withPool(more, async (pool) => {
      const named = `CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 7';
        SELECT begin() AS n; DROP FUNCTION begin()`;
      assert.deepEqual((await pool.query(named))[1], [{ n: 7 }]);
      const set = `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
        SELECT current_setting('transaction_isolation') AS level, 1.5::float8 AS n`;
      assert.deepEqual((await pool.query(set))[1], [{ level: 'serializable', n: 1.5 }]);
      await pool
        .transaction(async (tx) => {
          await assert.rejects(tx.query('SELECT 1/0'), { code: '22012' });
          await assert.rejects(tx.query('SELECT 1.5; SELECT 2'), { code: '25P02' });
          assert.deepEqual(await tx.query('SELECT 1').catch(({ code }) => code), '25P02');
        })
        .catch(() => {});
    });
  });

  test(`a rule with several queries keeps its connection, ${how}`, async () => {
    await withPool(more, async (pool) => {
      const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
      const sql = `INSERT INTO stepped_by_rule VALUES (1); SELECT 3 AS c`;
      const first = await pool.query(sql);
      assert.deepEqual(await pool.query(sql), first);
      const isSimple = how === 'by the defaults';
      const byRule = isSimple ? [[{ a: 1 }], [{ b: '2024-01-02' }]] : [[]];
      assert.deepEqual(first, [...byRule, [{ c: 3 }]]);
      const plain = await pool.query('INSERT INTO stepped_by_rule VALUES (1); SHOW search_path');
      assert.deepEqual(plain.at(-1), [{ search_path: '"$user", public' }]);
      assert.equal(JSON.stringify(plain).includes('02/01'), false);
      assert.deepEqual(await pool.query('SELECT pg_backend_pid() AS pid'), [{ pid }]);
    });
  });
}

test('what changes how strings are read is not sent where it would be read in parts', async () => {
  const sql = String.raw`SET standard_conforming_strings = off; SELECT 'a\\b' AS x`;
  await withPool({}, async (pool) => {
    assert.deepEqual((await pool.query(sql))[1], [{ x: String.raw`a\\b` }]);
  });
  await withPool({ parameters: { DateStyle: 'SQL, DMY' } }, async (pool) => {
    const refused = { code: 'HYPERION_STANDARD_STRINGS', outcome: 'not-sent' };
    await assert.rejects(pool.query(sql), refused);
    assert.deepEqual(await pool.query('SELECT 1 AS n'), [{ n: 1 }]);
  });
});

test('a transaction that has failed with a script is told not to be committed', async () => {
  await withPool({ parameters: { extra_float_digits: '0' } }, async (pool) => {
    await pool
      .transaction(async (tx) => {
        const sql = `SELECT 1.5; DO $$ BEGIN IF false THEN COMMIT; END IF; END $$; SELECT 1/0`;
        await assert.rejects(tx.query(sql), { code: '22012', outcome: 'not-committed' });
        throw new Error('done');
      })
      .catch((error) => assert.equal(error.message, 'done'));
  });
});
