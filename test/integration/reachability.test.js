// Objects that are in use are not garbage, however V8 compiles the code that holds them: a process
// that optimizes all code and collects garbage all the time. On a real server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { clusterFor } from '../support/cluster/index.js';

const run = promisify(execFile);

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

const SOURCE = `
  import { setImmediate as turn } from 'node:timers/promises';
  import { setFlagsFromString } from 'node:v8';
  import { runInNewContext } from 'node:vm';

  setFlagsFromString('--always-turbofan');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const { createPool } = await import(process.argv[1]);
  const pool = createPool({ ...JSON.parse(process.argv[2]), poolSize: 2 });

  const SLOW = 'SELECT pg_sleep(0.1)';
  await pool.query(\`
    CREATE TABLE IF NOT EXISTS slow_commits (key int);
    CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END';
    DROP TRIGGER IF EXISTS slow ON slow_commits;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_commits DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION slow()\`);
  const insert = (tx) => tx.query('INSERT INTO slow_commits VALUES (1)');
  const failing = (tx) => tx.query(SLOW).then(() => { throw new Error('mine'); });
  const connected = async (use) => {
    const connection = await pool.connect();
    try {
      await use(connection);
    } finally {
      await connection.release();
    }
  };
  const ways = {
    'the last statement': () => pool.transaction((tx) => tx.query(SLOW)),
    'a limit': () => pool.transaction((tx) => tx.query(SLOW), { timeoutMs: 60_000 }),
    'its COMMIT': () => pool.transaction(insert),
    'its ROLLBACK': () => pool.transaction(failing).catch((error) => {
      if (error.message !== 'mine') throw error;
    }),
    savepoint: () => pool.transaction((tx) => tx.savepoint((inner) => inner.query(SLOW))),
    savepoints: () => pool.transaction((tx) => tx.savepoint((a) => a.savepoint((b) => b.query(SLOW)))),
    begin: async () => {
      const tx = await pool.begin();
      await tx.query(SLOW);
      await tx.rollback();
    },
    'COMMIT behind begin': async () => {
      const tx = await pool.begin();
      await insert(tx);
      await tx.commit();
    },
    connect: () => connected((connection) => connection.query(SLOW)),
    'a transaction on a connection': () =>
      connected((connection) => connection.transaction((tx) => tx.query(SLOW))),
    'begin on a connection': () => connected(async (connection) => {
      const tx = await connection.begin();
      await insert(tx);
      await tx.commit();
    }),
  };

  let isOver = false;
  const warnings = [];
  process.on('warning', ({ code, message }) => warnings.push(\`\${code}: \${message}\`));
  const collecting = (async () => {
    while (!isOver) {
      collect();
      await turn();
    }
  })();
  const failed = {};
  for (const [name, way] of Object.entries(ways)) {
    for (let n = 0; n < 4; n += 1) {
      await way().catch((error) => { failed[name] = error.code + ': ' + error.message; });
      warnings.splice(0).forEach((warning) => { failed[name] ??= warning; });
    }
  }
  isOver = true;
  await collecting;
  await pool.end();
  console.log(JSON.stringify(failed));`;

test('a transaction at work is never taken for garbage', async () => {
  const index = new URL('../../js/index.mjs', import.meta.url).href;
  const options = JSON.stringify(cluster.options());
  const flags = ['--input-type=module', '--eval', SOURCE, index, options];
  const { stdout } = await run(process.execPath, flags);
  assert.deepEqual(JSON.parse(stdout), {});
});
