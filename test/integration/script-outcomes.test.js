// Scripts whose earlier statements succeeded and that then fail: the outcome of the error is what
// the server has done, outside of transactions and inside, with every way to send a script.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool: reader } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });
await reader.query('DROP TABLE IF EXISTS scripted; CREATE TABLE scripted (key text)');

const keys = async () =>
  (await reader.query('SELECT key FROM scripted ORDER BY key')).map(({ key }) => key);

/** How a script fails: when it is parsed, planned or run, and at the end of its transaction. */
const FAILURES = {
  'a division by zero': ['SELECT 1/0', '22012'],
  'a syntax error': ['SELEC', '42601'],
  'a table that is not there': ['SELECT FROM nowhere', '42P01'],
  'a value in its run': ['SELECT 1 / (key IS NULL)::int FROM scripted', '22012'],
  'an exception': [`DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0001'; END $$`, 'P0001'],
};

const INSERT = `INSERT INTO scripted VALUES ('script')`;

/**
 * What stands in front of the failure, and what is kept of it outside of a transaction. In a script
 * that is sent as a whole, the server finds a syntax error before it runs anything, so that nothing
 * is kept.
 */
const SCRIPTS = {
  'select 1': [],
  'select 1; select 2; SELECT key FROM scripted': [],
  [`select 1; ${INSERT}`]: [],
  [`${INSERT} RETURNING key; select 1`]: [],
  [`WITH w AS (${INSERT} RETURNING key) SELECT * FROM w; select 1`]: [],
  [`BEGIN; ${INSERT}; ROLLBACK; select 1`]: [],
  [`BEGIN; ${INSERT}; COMMIT; select 1`]: ['script'],
  [`BEGIN; ${INSERT}; COMMIT; ${INSERT.replace("'script'", "'undone'")}`]: ['script'],
};
/** The server refuses this one outside of a transaction. */
const WITHIN = `${INSERT}; SAVEPOINT s; select 1; RELEASE s`;

/** Sessions by whose settings the pool sends a script as a whole, or statement by statement. */
const SETTINGS = {
  'by the defaults': {},
  'with another DateStyle': { parameters: { DateStyle: 'SQL, DMY' } },
};

const failureOf = (promise) =>
  promise.then(
    (value) => assert.fail(`resolved: ${JSON.stringify(value)}`),
    (error) => error,
  );

for (const [how, settings] of Object.entries(SETTINGS)) {
  const open = (t) => openPool(t, cluster.options({ poolSize: 1, ...settings }));

  for (const [name, [failing, code]] of Object.entries(FAILURES)) {
    test(`outside of a transaction, ${name}, ${how}`, async (t) => {
      const pool = open(t);
      for (const [script, kept] of Object.entries(SCRIPTS)) {
        const sql = `${script}; ${failing}`;
        const onConnection = async (options) => {
          const connection = await pool.connect();
          try {
            return await failureOf(connection.query(sql, [], options));
          } finally {
            await connection.release();
          }
        };
        const ways = {
          'pool.query': () => failureOf(pool.query(sql)),
          'pool.query again': () => failureOf(pool.query(sql)),
          'prepare: false': () => failureOf(pool.query(sql, [], { prepare: false })),
          'connection.query': () => onConnection(),
        };
        for (const [way, ask] of Object.entries(ways)) {
          // The row is there for the failure that reads it.
          await reader.query("DELETE FROM scripted; INSERT INTO scripted VALUES ('a row')");
          const error = await ask();
          assert.equal(error.code, code, `${way} ${sql}: ${error.message}`);
          const [row, ...there] = await keys();
          assert.equal(row, 'a row');
          const isNothing = code === '42601' && there.length === 0;
          assert.deepEqual(there, isNothing ? [] : kept, `${way}: ${sql}`);
          const outcome = there.length > 0 ? 'unknown' : 'not-committed';
          assert.equal(error.outcome, outcome, `${way}: ${sql}`);
          assert.deepEqual(await pool.query("SELECT 'alive' AS v"), [{ v: 'alive' }]);
        }
        // Who says that a script reads is told that it had no effect.
        if (!/INSERT/.test(script)) {
          const error = await failureOf(pool.query(sql, [], { readOnly: true }));
          assert.deepEqual([error.code, error.outcome], [code, 'not-committed'], sql);
        }
      }
    });

    test(`inside of a transaction, ${name}, ${how}`, async (t) => {
      const pool = open(t);
      // What ends the transaction itself has tests of its own (`statement-ends.test.js`).
      const scripts = Object.keys(SCRIPTS).filter((script) => !script.startsWith('BEGIN'));
      for (const script of [...scripts, WITHIN]) {
        const sql = `${script}; ${failing}`;
        const told = [];
        const tell = async (promise) => told.push(await failureOf(promise));
        const first = `INSERT INTO scripted VALUES ('a row')`;
        const ways = {
          'left to pool.transaction': async () => {
            const work = async (tx) => {
              await tx.query(first);
              await tx.query(sql);
            };
            await tell(pool.transaction(work));
            return [];
          },
          'caught in pool.transaction': async () => {
            const work = async (tx) => {
              await tx.query(first);
              await tell(tx.query(sql));
            };
            await tell(pool.transaction(work));
            told.pop();
            return [];
          },
          'undone by a savepoint': async () => {
            const work = async (tx) => {
              await tx.query(first);
              await tell(tx.savepoint((sp) => sp.query(sql)));
            };
            await pool.transaction(work);
            return ['a row'];
          },
          'in pool.begin': async () => {
            const tx = await pool.begin();
            await tx.query(first);
            await tell(tx.query(sql));
            await tell(tx.commit());
            const { code: over, outcome } = told.pop();
            assert.deepEqual(
              [over, outcome],
              ['HYPERION_TRANSACTION_ROLLED_BACK', 'not-committed'],
            );
            return [];
          },
          'behind a BEGIN of the caller': async () => {
            const connection = await pool.connect();
            await connection.query('BEGIN');
            await connection.query(first);
            await tell(connection.query(sql));
            await connection.query('COMMIT').catch(() => {});
            await connection.release();
            return [];
          },
        };
        for (const [way, ask] of Object.entries(ways)) {
          await reader.query('DELETE FROM scripted');
          const expected = await ask();
          const [error] = told.splice(0);
          assert.equal(error.code, code, `${way} ${sql}: ${error.message}`);
          assert.equal(error.outcome, 'not-committed', `${way}: ${sql}`);
          assert.deepEqual(await keys(), expected, `${way}: ${sql}`);
          assert.equal(pool.status().inUse, 0, `${way}: ${sql}`);
        }
      }
    });
  }
}
