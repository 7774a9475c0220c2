// Settings that a pool names at its login, behind PgBouncer. PgBouncer applies them once, so a
// DISCARD ALL removes them, and '02/01/2024' means another day. The pool sets them again before a
// caller gets the session.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { findPooler, startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const first = findPooler();
const behindPooler = { skip: first === undefined && 'pgbouncer is not installed' };
// Since 1.20, PgBouncer sets IntervalStyle too.
const tracking = findPooler({ prepares: true });
const programs = [...new Set([first, tracking ?? first])];

let cluster;
before(async () => {
  if (behindPooler.skip) return;
  cluster = await startCluster({ nodes: 1 });
  await cluster.query(
    cluster.primary,
    `CREATE TABLE saved (d date, t timestamptz, i interval);
     CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql
       AS $$ BEGIN SET TimeZone = 'America/Lima'; SET DateStyle = 'ISO, YMD'; END $$`,
  );
});
after(() => cluster?.close());

const named = { DateStyle: 'iso,dmy', TimeZone: 'asia/tokyo' };
const INSERT = `INSERT INTO saved VALUES ('02/01/2024', '2024-06-01 12:00', '-1 2:03:00')
  RETURNING current_setting('TimeZone') AS zone, current_setting('application_name') AS name,
    current_setting('IntervalStyle') AS style`;

/** The inserted rows, as the server has them. */
async function saved() {
  const sql = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY';
    SELECT DISTINCT d, t, extract(epoch FROM i)::int FROM saved`;
  const rows = await cluster.query(cluster.primary, sql);
  await cluster.query(cluster.primary, 'TRUNCATE saved');
  return rows;
}

/**
 * Takes a connection and releases it. The query comes before the pool knows that the reset
 * succeeded.
 */
async function visit(pool, ...statements) {
  const connection = await pool.connect();
  for (const sql of ['SELECT 1', ...statements]) await connection.query(sql);
  const released = connection.release();
  const [row] = await pool.query(INSERT);
  await released;
  return row;
}

for (const mode of ['session', 'transaction']) {
  test(`in ${mode} mode they outlast each reset`, behindPooler, async (t) => {
    for (const program of programs) {
      const pooler = await cluster.pooler(cluster.primary, { mode, program });
      t.after(() => pooler.close());
      const tracks = program === tracking;
      const pool = openPool(
        t,
        cluster.options({
          hosts: [pooler.address],
          poolSize: 4,
          statementCacheSize: 0,
          applicationName: "o'brien",
          parameters: { ...named, ...(tracks && { IntervalStyle: 'sql_standard' }) },
        }),
      );
      const expected = {
        zone: 'Asia/Tokyo',
        name: "o'brien",
        style: tracks ? 'sql_standard' : 'postgres',
      };
      assert.deepEqual(await pool.query(INSERT), [expected]);
      for (let round = 0; round < 5; round++) {
        assert.deepEqual(await visit(pool), expected);
        assert.deepEqual(await visit(pool, "SET TimeZone = 'Europe/Berlin'"), expected);
        assert.deepEqual(await visit(pool, 'DISCARD ALL'), expected);
        // Calls in autocommit that change their session, whether or not their text shows it.
        for (const sql of ['RESET ALL', 'DISCARD ALL', 'SELECT change()']) {
          await pool.query(sql);
          assert.deepEqual(await pool.query(INSERT), [expected], sql);
        }
        await visit(pool);
        const transaction = await pool.begin();
        assert.deepEqual(await transaction.query(INSERT), [expected]);
        await transaction.commit();
      }
      const seconds = tracks ? '-93780' : '-79020';
      assert.deepEqual(await saved(), [['2024-01-02', '2024-06-01 03:00:00+00', seconds]], program);
    }
  });
}

test('many at once, of whom some take connections', behindPooler, async (t) => {
  for (const program of programs) {
    const pooler = await cluster.pooler(cluster.primary, { mode: 'session', program });
    t.after(() => pooler.close());
    const options = { hosts: [pooler.address], poolSize: 4, parameters: named };
    const pool = openPool(t, cluster.options(options));
    const all = Array.from({ length: 200 }, (_, n) =>
      n % 4 === 0 ? visit(pool, 'SELECT change()') : pool.query(INSERT),
    );
    await Promise.all(all);
    assert.deepEqual(await saved(), [['2024-01-02', '2024-06-01 03:00:00+00', '-79020']], program);
  }
});

test('a pooler whose server had them by itself, and is reloaded', behindPooler, async (t) => {
  const set = async (zone) => {
    await cluster.query(cluster.primary, `ALTER SYSTEM SET TimeZone = '${zone}'`);
    await cluster.query(cluster.primary, 'SELECT pg_reload_conf()');
  };
  t.after(() => set('UTC'));
  for (const program of programs) {
    await set('Asia/Tokyo');
    const pooler = await cluster.pooler(cluster.primary, { mode: 'session', program });
    t.after(() => pooler.close());
    const pool = openPool(
      t,
      cluster.options({
        hosts: [pooler.address],
        poolSize: 1,
        parameters: { TimeZone: 'Asia/Tokyo' },
      }),
    );
    const zone = async () => {
      const sql = "SELECT current_setting('TimeZone') AS zone, pg_backend_pid() AS pid";
      return (await pool.query(sql))[0];
    };
    const { pid } = await zone();
    await visit(pool);
    await set('Africa/Cairo');
    // The next answer reports the reload. From then on the pool undoes its effect.
    for (let n = 0; n < 3; n++) await zone();
    for (let n = 0; n < 5; n++) {
      assert.equal((await visit(pool)).zone, 'Asia/Tokyo');
      assert.deepEqual(await zone(), { zone: 'Asia/Tokyo', pid });
    }
    await saved();
  }
});

test('a database that is not in UTF-8', behindPooler, async (t) => {
  await cluster.query(
    cluster.primary,
    "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
  );
  for (const program of programs) {
    const pooler = await cluster.pooler(cluster.primary, { mode: 'session', program });
    t.after(() => pooler.close());
    const pool = openPool(
      t,
      cluster.options({ hosts: [pooler.address], poolSize: 2, database: 'latin' }),
    );
    for (let n = 0; n < 5; n++) {
      const connection = await pool.connect();
      await connection.query('SELECT 1');
      const released = connection.release();
      assert.deepEqual(await pool.query("SELECT 'é' AS a, $1::text AS b", ['ü']), [
        { a: 'é', b: 'ü' },
      ]);
      await released;
    }
  }
});

test('several statements in one text that name settings are answered', behindPooler, async (t) => {
  for (const program of programs) {
    const pooler = await cluster.pooler(cluster.primary, { mode: 'transaction', program });
    t.after(() => pooler.close());
    for (const parameters of [{}, named]) {
      const options = { poolSize: 3, statementCacheSize: 0, parameters };
      const pool = openPool(t, cluster.options({ ...options, hosts: [pooler.address] }));
      for (let n = 0; n < 50; n++) {
        await pool.query('SELECT 1; RESET ALL', [], { timeoutMs: 20_000 });
        for (let k = 0; k < 3; k++) assert.deepEqual(await pool.query('SELECT 1 AS a'), [{ a: 1 }]);
      }
    }
  }
});

test('a server that is asked itself keeps them', behindPooler, async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, parameters: named }));
  for (let round = 0; round < 5; round++) {
    assert.equal((await visit(pool, 'SELECT change()')).zone, 'Asia/Tokyo');
  }
  assert.deepEqual(await saved(), [['2024-01-02', '2024-06-01 03:00:00+00', '-79020']]);
});
