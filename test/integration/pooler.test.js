// Behind PgBouncer in transaction mode. Each transaction may run in another session of the server,
// so the pool may rely on no state of a session. No statement stays prepared, unless the pooler
// keeps it (1.21 and later).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool, isRetryable } from '../../js/index.mjs';
import {
  findPooler,
  startCluster,
  startProxy,
  skipWithoutPooler,
} from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const behindPooler = skipWithoutPooler();
const preparing = findPooler({ prepares: true });
const thatPrepares = skipWithoutPooler({ prepares: true });

let cluster;
let pooler;
before(async () => {
  if (behindPooler.skip) return;
  cluster = await startCluster({ nodes: 2 });
  pooler = await cluster.pooler(cluster.primary, { size: 2 });
  await cluster.query(cluster.primary, 'CREATE TABLE item (id int PRIMARY KEY)');
});
after(() => cluster?.close());

const open = (extra) =>
  createPool(cluster.options({ hosts: [pooler.address], statementCacheSize: 0, ...extra }));

test('statements run in any session, with parameters, many at once', behindPooler, async () => {
  const pool = open({ poolSize: 10 });
  const count = 500;
  const ask = (n) => pool.query('SELECT $1::int AS n, pg_backend_pid() AS pid', [n]);
  const rows = (await Promise.all(Array.from({ length: count }, (_, n) => ask(n)))).flat();
  assert.deepEqual(
    rows.map(({ n }) => n),
    Array.from({ length: count }, (_, n) => n),
  );
  assert.ok(new Set(rows.map(({ pid }) => pid)).size <= 2, 'the pooler has two sessions');
  assert.ok(pool.status().size > 2, 'more connections share them');
  await pool.end();
});

test('a transaction stays in one session, and rolls back whole', behindPooler, async () => {
  const pool = open({ poolSize: 4 });
  const insert = async (tx, id) => {
    const pids = [];
    for (let n = 0; n < 3; n++) {
      const sql = 'INSERT INTO item VALUES ($1) RETURNING pg_backend_pid() AS pid';
      pids.push((await tx.query(sql, [id + n]))[0].pid);
    }
    assert.equal(new Set(pids).size, 1);
  };
  await Promise.all([10, 20, 30, 40].map((id) => pool.transaction((tx) => insert(tx, id))));
  const reason = new Error('changed my mind');
  await assert.rejects(
    pool.transaction(async (tx) => {
      await insert(tx, 50);
      throw reason;
    }),
    (error) => error === reason,
  );
  assert.deepEqual(await pool.query('SELECT count(*)::int AS n FROM item'), [{ n: 12 }]);
  await pool.end();
});

test(
  'a write that a fenced node refuses is told as not committed, at the least',
  behindPooler,
  async (t) => {
    // The pooler's report at the login may be from before the fence, and no later report corrects
    // it.
    const pool = open({ poolSize: 1, acquireTimeoutMs: 300 });
    t.after(() => cluster.unfence(cluster.primary));
    await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    await assert.rejects(pool.query('INSERT INTO item VALUES (1)'), (error) => {
      assert.match(error.code, /^(25006|HYPERION_NO_PRIMARY)$/);
      assert.match(error.outcome, /^not-(sent|committed)$/);
      return true;
    });
    await cluster.unfence(cluster.primary);
    // The pooler may go on reporting the fence until each of its two sessions has reported the end.
    for (let done = 0; done < 5;) {
      const written = await pool
        .query('INSERT INTO item VALUES ($1)', [100 + done])
        .catch((error) => error);
      if (written.rowCount === 1) done += 1;
      else assert.match(written.outcome, /^not-(sent|committed)$/);
    }
    await pool.end();
  },
);

test(
  'with roleCheck a fence behind a pooler is seen, and nothing stale',
  behindPooler,
  async (t) => {
    // Two pools, because the pooler reports to one of them what it does not report to the other.
    const options = { roleCheck: 'query', poolSize: 2 };
    const pools = [open(options), open({ ...options, acquireTimeoutMs: 300 })];
    t.after(() => Promise.all(pools.map((pool) => pool.end())));
    t.after(() => cluster.unfence(cluster.primary));
    for (const pool of pools) await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    const fenced = new Promise((resolve) => pools[0].once('fence', resolve));
    const waiting = pools[0].query('INSERT INTO item VALUES (200)');
    assert.equal((await fenced).role, 'read-only');
    for (const sql of ['INSERT INTO item VALUES (201)', 'SELECT 1']) {
      await assert.rejects(pools[1].query(sql), {
        code: 'HYPERION_NO_PRIMARY',
        outcome: 'not-sent',
      });
    }
    const held = await cluster.query(cluster.primary, 'SELECT id FROM item WHERE id >= 200');
    assert.deepEqual(held, []);
    await cluster.unfence(cluster.primary);
    assert.equal((await waiting).rowCount, 1);
    assert.equal((await pools[1].query('INSERT INTO item VALUES (201)')).rowCount, 1);
  },
);

test(
  'a write that a role may not do is refused, however often it is looked at',
  behindPooler,
  async (t) => {
    const pool = open({ roleCheck: 'query', poolSize: 1 });
    t.after(() => pool.end());
    const name = 'refuses_writes';
    await cluster.query(
      cluster.primary,
      `CREATE FUNCTION ${name}() RETURNS void LANGUAGE plpgsql
       AS $$ BEGIN RAISE 'cannot write' USING ERRCODE = 'read_only_sql_transaction'; END $$`,
    );
    await assert.rejects(pool.query(`SELECT ${name}()`), {
      code: '25006',
      outcome: 'not-committed',
    });
  },
);

test('a standby behind a pooler is told from the primary', behindPooler, async () => {
  const standby = await cluster.pooler(cluster.nodes[1]);
  const pool = open({ hosts: [standby.address, pooler.address] });
  const [{ port }] = await pool.query("SELECT current_setting('port')::int AS port");
  assert.equal(port, cluster.primary.port);
  await pool.end();
});

const SLEEP = 'SELECT pg_sleep($1)::text';
const timedOut = { name: 'TimeoutError', code: 'HYPERION_QUERY_TIMEOUT', outcome: 'not-committed' };
const SLEEPS = "state = 'active' AND query LIKE 'SELECT pg_sleep(%'";

test('a cancel goes through the pooler, to the query that is meant', behindPooler, async () => {
  const pool = open({ poolSize: 4 });
  await assert.rejects(pool.query(SLEEP, [60], { timeoutMs: 100 }), timedOut);
  const controller = new AbortController();
  const aborted = pool.query(SLEEP, [60], { signal: controller.signal });
  await cluster.waitForSession(SLEEPS);
  controller.abort();
  await assert.rejects(aborted, { name: 'AbortError', outcome: 'not-committed' });
  const late = pool.transaction((tx) => tx.query(SLEEP, [60]), { timeoutMs: 100 });
  await assert.rejects(late, { code: 'HYPERION_TRANSACTION_TIMEOUT', outcome: 'not-committed' });
  assert.deepEqual(await cluster.sessions(SLEEPS), []);
  // Other queries go on in the same two sessions, and the cancel hits none of them.
  let hits = 0;
  let over = false;
  const neighbour = async () => {
    for (let n = 0; !over; n++) {
      assert.deepEqual(await pool.query('SELECT $1::int AS n', [n]), [{ n }]);
    }
  };
  const neighbours = Promise.all([neighbour(), neighbour()]);
  for (let round = 0; round < 100; round++) {
    const slow = pool.query(SLEEP, [0.003], { timeoutMs: 1 + (round % 5) });
    hits += await slow.then(() => 0).catch(() => 1);
  }
  over = true;
  await neighbours;
  assert.ok(hits > 10, `only ${hits} of 100 were given up`);
  await pool.end();
});

test(
  'a write is sent once, whatever a pooler says of the server that it has lost',
  behindPooler,
  async (t) => {
    const line = await startProxy(cluster.primary);
    t.after(() => line.close());
    const cutOff = await cluster.pooler(line, { size: 2 });
    const pool = open({ hosts: [cutOff.address], poolSize: 1 });
    t.after(() => pool.end());
    const count = async () => (await cluster.query(cluster.primary, sql))[0][0];
    const sql = 'SELECT count(*) FROM item WHERE id = 3000';
    await pool.query('SELECT 1');
    await line.mute();
    const written = pool.query('INSERT INTO item VALUES (3000)');
    await waitUntil('it is written', async () => (await count()) === '1');
    await line.cut();
    await line.pass();
    await assert.rejects(written, { code: '40003', outcome: 'unknown' });
    assert.equal(await count(), '1');
  },
);

test('settings that PgBouncer knows by itself reach the sessions', behindPooler, async () => {
  const pool = open({ applicationName: 'through the pooler', poolSize: 2 });
  const sql = "SELECT current_setting('application_name') AS name";
  assert.deepEqual(await pool.query(sql), [{ name: 'through the pooler' }]);
  // The pooler refuses parameters that it does not know, and its error names them.
  const refused = open({ statementTimeoutMs: 1000, acquireTimeoutMs: 200 });
  await assert.rejects(refused.query(sql), {
    message: /unsupported startup parameter: statement_timeout/,
  });
  await Promise.all([pool.end(), refused.end()]);
});

test('in session mode a session is its client’s own', behindPooler, async () => {
  const own = await cluster.pooler(cluster.primary, { mode: 'session' });
  const pool = open({ hosts: [own.address], poolSize: 2, statementCacheSize: 10 });
  for (let n = 0; n < 30; n++) {
    assert.deepEqual(await pool.query(`SELECT $1::int + ${n % 15} AS n`, [n]), [
      { n: n + (n % 15) },
    ]);
  }
  const connection = await pool.connect();
  await connection.query("SET work_mem = '1MB'");
  assert.deepEqual(await connection.query('SHOW work_mem'), [{ work_mem: '1MB' }]);
  await connection.release();
  await assert.rejects(pool.query(SLEEP, [60], { timeoutMs: 100 }), timedOut);
  assert.notDeepEqual(await pool.query('SHOW work_mem'), [{ work_mem: '1MB' }]);
  await pool.end();
});

test('a pooler that keeps prepared statements has them kept', thatPrepares, async (t) => {
  const settings = { max_prepared_statements: 100 };
  const wanted = { size: 2, settings, program: preparing };
  const { address } = await cluster.pooler(cluster.primary, wanted);
  const options = { hosts: [address], poolSize: 4, statementCacheSize: 5 };
  const pool = open(options);
  t.after(() => pool.end());

  await t.test('in whatever session they run, more of them than are kept', async () => {
    const count = 20;
    for (let round = 0; round < 10; round++) {
      const all = Array.from({ length: count }, (_, n) =>
        pool.query(`SELECT $1::int + ${n} AS n`, [round]),
      );
      const expected = Array.from({ length: count }, (_, n) => [{ n: round + n }]);
      assert.deepEqual(await Promise.all(all), expected);
    }
    const [{ kept }] = await pool.query('SELECT count(*)::int AS kept FROM pg_prepared_statements');
    assert.ok(kept > 0, 'nothing is prepared');
  });

  await t.test('in transactions, and through a cancel', async () => {
    const insert = (tx, id) => tx.query('INSERT INTO item VALUES ($1)', [id]);
    const ids = Array.from({ length: 20 }, (_, n) => 1000 + n);
    await Promise.all(ids.map((id) => pool.transaction((tx) => insert(tx, id))));
    for (let round = 0; round < 3; round++) {
      await assert.rejects(pool.query(SLEEP, [60], { timeoutMs: 50 }), timedOut);
      const late = pool.transaction((tx) => tx.query(SLEEP, [60]), { timeoutMs: 50 });
      await assert.rejects(late, { code: 'HYPERION_TRANSACTION_TIMEOUT' });
    }
    const sql = 'SELECT count(*)::int AS n FROM item WHERE id = ANY ($1)';
    assert.deepEqual(await pool.query(sql, [ids]), [{ n: 20 }]);
  });

  await t.test(
    'and prepared anew where the pool itself has moved what their names mean',
    async () => {
      await pool.query('CREATE TABLE moving (v int)');
      const insert = 'INSERT INTO moving VALUES ($1)';
      for (let n = 0; n < 6; n++) await pool.query(insert, ['01234']);
      await pool.query('ALTER TABLE moving ALTER v TYPE text');
      await pool.query('TRUNCATE moving');
      for (let n = 0; n < 4; n++) await pool.query(insert, ['01234']);
      const saved = await cluster.query(cluster.primary, 'SELECT DISTINCT v FROM moving');
      assert.deepEqual(saved, [['01234']]);
      // Another schema at the front of search_path, for one transaction.
      await pool.query('CREATE SCHEMA before; CREATE TABLE before.moving (v int, w text)');
      const select = 'SELECT * FROM moving LIMIT 1';
      for (let n = 0; n < 6; n++) assert.deepEqual(await pool.query(select), [{ v: '01234' }]);
      const found = await pool.transaction(async (tx) => {
        await tx.query('SET LOCAL search_path = before, public');
        return tx.query(select);
      });
      assert.deepEqual([found, found.fields.map(({ name }) => name)], [[], ['v', 'w']]);
      for (let n = 0; n < 3; n++) assert.deepEqual(await pool.query(select), [{ v: '01234' }]);
      await pool.query('DROP SCHEMA before CASCADE; DROP TABLE moving');
    },
  );

  await t.test('on connections that are taken and given back under load', async () => {
    const ask = async (on, n) => {
      const sql = `SELECT $1::int + ${n % 12} AS n`;
      assert.deepEqual(await on.query(sql, [n]), [{ n: n + (n % 12) }]);
    };
    const visit = async (n) => {
      const connection = await pool.connect();
      await ask(connection, n);
      await connection.transaction((tx) => ask(tx, n));
      await connection.release();
    };
    const all = Array.from({ length: 300 }, (_, n) => (n % 3 === 0 ? visit(n) : ask(pool, n)));
    await Promise.all(all);
  });

  await t.test('through a change of the table that they read', async () => {
    await pool.query('CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)');
    const read = () => pool.query('SELECT * FROM changing WHERE a = $1', [1]);
    for (let use = 0; use < 4; use++) assert.deepEqual(await read(), [{ a: 1 }]);
    await pool.query("ALTER TABLE changing ADD COLUMN b text DEFAULT 'x'");
    for (let use = 0; use < 6; use++) assert.deepEqual(await read(), [{ a: 1, b: 'x' }]);
  });
});

test(
  'what waits in a pooler for too long was not sent, and is sent again',
  behindPooler,
  async (t) => {
    for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
      const settings = { query_wait_timeout: 1 };
      const narrow = await cluster.pooler(cluster.primary, { size: 1, settings, program });
      t.after(() => narrow.close());
      const options = { hosts: [narrow.address], poolSize: 4, acquireTimeoutMs: 20_000 };
      const [holder, pool] = [open({ ...options, poolSize: 1 }), open(options)];
      t.after(() => Promise.all([holder.end(), pool.end()]));
      const events = [];
      pool.on('host', ({ state, previous }) => events.push([previous, state]));
      await pool.query('CREATE TABLE IF NOT EXISTS waited (id serial, name text UNIQUE)');
      const held = await holder.begin();
      await held.query('SELECT 1');
      const insert = () => pool.query(`INSERT INTO waited (name) VALUES ('${narrow.address}')`);
      const written = insert();
      const [{ n }] = await held.query('SELECT 1 AS n FROM pg_sleep(2.5)');
      assert.equal(n, 1);
      await held.commit();
      assert.equal((await written).rowCount, 1);
      assert.deepEqual(events, [['unknown', 'up']], 'a pooler without a free session is well');

      // Time in the pooler's queue counts as time in the queue.
      const impatient = open({ ...options, acquireTimeoutMs: 500 });
      t.after(() => impatient.end());
      await impatient.query('SELECT 1');
      const again = await holder.begin();
      await again.query('SELECT 1');
      await assert.rejects(impatient.query('INSERT INTO waited (name) VALUES (NULL)'), (error) => {
        assert.equal(error.code, 'HYPERION_CONNECTION_LOST');
        assert.equal(error.outcome, 'not-sent');
        assert.equal(error.cause.message, 'query_wait_timeout');
        assert.ok(isRetryable(error));
        return true;
      });
      await again.rollback();
    }
  },
);

test(
  'what waits in a pooler whose own login the server refuses was not sent, and is sent again',
  behindPooler,
  async (t) => {
    const own = await startCluster({ nodes: 1 });
    t.after(() => own.close());
    const admin = await own.openSession(own.primary);
    t.after(() => admin.close());
    const { user, database, password } = own.options();
    const others = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;
    const allow = (whether) =>
      `UPDATE pg_database SET datallowconn = ${whether} WHERE datname = '${database}'`;
    const refusals = [
      [`ALTER ROLE ${user} NOLOGIN`, `ALTER ROLE ${user} LOGIN`],
      [`ALTER ROLE ${user} PASSWORD 'x'`, `ALTER ROLE ${user} PASSWORD '${password}'`],
      [allow(false), allow(true)],
    ];
    await admin.query('CREATE TABLE refused (id serial, n int)');
    let count = 0;
    for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
      for (const mode of ['session', 'transaction']) {
        for (const [refuse, accept] of refusals) {
          const settings = { server_login_retry: 1 };
          const pooler = await own.pooler(own.primary, { mode, settings, program });
          const options = { hosts: [pooler.address], poolSize: 2, statementCacheSize: 0 };
          const pool = createPool(own.options({ ...options, acquireTimeoutMs: 30_000 }));
          t.after(() => Promise.all([pool.end(), pooler.close()]));
          const insert = (n) => pool.query('INSERT INTO refused (n) VALUES ($1)', [n]);
          // After this PgBouncer knows its server's reports, and answers logins without the server.
          await insert(1);
          await admin.query(refuse);
          await admin.query(others);
          const written = [insert(2), insert(3)];
          await new Promise((resolve) => setTimeout(resolve, 500));
          await admin.query(accept);
          const results = await Promise.all(written);
          assert.deepEqual(
            results.map(({ rowCount }) => rowCount),
            [1, 1],
          );
          count += 3;
          assert.deepEqual(await admin.query('SELECT count(*) FROM refused'), [[`${count}`]]);
        }
      }
    }
  },
);

test(
  'behind poolers that go on telling what they heard once a promoted node takes the writes',
  behindPooler,
  async (t) => {
    const own = await startCluster({ nodes: 2 });
    t.after(() => own.close());
    await own.query(own.primary, 'CREATE TABLE moved (id int PRIMARY KEY)');
    for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
      const settings = { server_login_retry: 1 };
      const start = (node) => own.pooler(node, { settings, program });
      const poolers = await Promise.all(own.nodes.map(start));
      t.after(() => Promise.all(poolers.map((pooler) => pooler.close())));
      const hosts = poolers.map(({ address }) => address);
      const options = { hosts, statementCacheSize: 0, acquireTimeoutMs: 20_000 };
      const pool = openPool(t, own.options(options));
      await pool.query('DELETE FROM moved');
      for (const id of [1, 2]) {
        await own.switchover();
        assert.equal((await pool.query('INSERT INTO moved VALUES ($1)', [id])).rowCount, 1);
      }
      // So does a new pool, whatever the pooler reports at its first login.
      const other = openPool(t, own.options(options));
      assert.equal((await other.query('INSERT INTO moved VALUES (3)')).rowCount, 1);
      const kept = await own.query(own.primary, 'SELECT id FROM moved ORDER BY id');
      assert.deepEqual(kept, [['1'], ['2'], ['3']]);
    }
  },
);

test('a pooler that ends idle clients is not suspected', behindPooler, async (t) => {
  for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
    const strict = await cluster.pooler(cluster.primary, {
      settings: { client_idle_timeout: 1 },
      program,
    });
    t.after(() => strict.close());
    const pool = open({ hosts: [strict.address], poolSize: 3 });
    const told = [];
    pool.on('host', ({ state }) => told.push(state));
    const ask = () => pool.query('SELECT pg_backend_pid() AS pid FROM pg_sleep(0.01)');
    await Promise.all([ask(), ask(), ask()]);
    const { size } = pool.status();
    await waitUntil('they are ended', () => pool.status().size < size);
    for (let n = 0; n < 5; n++) await ask();
    assert.deepEqual(told, ['up']);
    await pool.end();
  }
});

test('what a pooler refuses at login for good is told at once', behindPooler, async () => {
  for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
    const strict = await cluster.pooler(cluster.primary, { program });
    const refused = async (extra, code, hint) => {
      const pool = open({ hosts: [strict.address], acquireTimeoutMs: 600_000, ...extra });
      await assert.rejects(pool.query('SELECT 1'), (error) => {
        assert.equal(error.name, 'DatabaseError', error.message);
        assert.match(error.code, code, error.message);
        assert.match(error.hint ?? '', hint);
        return true;
      });
      await pool.end();
    };
    await refused({ password: 'wrong' }, /^(08P01|28P01)$/, /password|^$/);
    await refused({ user: 'nobody' }, /^(08P01|28P01)$/, /user|^$/);
    await refused({ parameters: { geqo: 'off' } }, /^08P01$/, /ignore_startup_parameters/);
    await strict.close();
  }
});

test(
  'a pooler of which nobody told the pool never runs another client’s statement',
  behindPooler,
  async () => {
    const primary = cluster.primary;
    await cluster.query(
      primary,
      'CREATE TABLE victim (id int); INSERT INTO victim VALUES (1), (2)',
    );
    const settings = { statementCacheSize: 256, resetOnRelease: false, poolSize: 1 };
    const [reader, writer] = [open(settings), open(settings)];
    const read = (on) => on.query('SELECT id FROM victim WHERE id = $1', [1]);
    const remove = () => writer.query('DELETE FROM victim WHERE id >= $1 RETURNING id', [100]);
    for (let round = 0; round < 20; round++) {
      const rows = await Promise.all([read(reader), remove(), read(reader)]);
      assert.deepEqual(
        rows.map((of) => [...of]),
        [[{ id: 1 }], [], [{ id: 1 }]],
      );
      const twice = reader.transaction(async (tx) => [await read(tx), await read(tx)]);
      const told = await twice.catch((error) => error);
      if (told instanceof Error) {
        assert.deepEqual([told.code, told.outcome], ['26000', 'not-committed']);
        assert.match(told.hint, /PgBouncer in transaction mode, set statementCacheSize: 0/);
      }
    }
    assert.deepEqual(await cluster.query(primary, 'SELECT count(*) FROM victim'), [['2']]);
    await Promise.all([reader.end(), writer.end()]);
  },
);

test('what is long reaches the session that it is sent to, whole', behindPooler, async (t) => {
  for (const program of new Set([findPooler(), preparing ?? findPooler()])) {
    const { address } = await cluster.pooler(cluster.primary, { size: 2, program });
    const pool = open({ hosts: [address], poolSize: 4 });
    t.after(() => pool.end());
    // These bytes are whole messages, in case a peer takes the rest of a message for one.
    const attack = Buffer.concat([Buffer.from('S\0\0\0\x04'), query('CREATE TABLE pwned ()')]);
    const parameter = Buffer.alloc(300_000, attack);
    const ask = async (n) => {
      const long = n % 3 === 0 ? ` -- ${'x'.repeat((n * 7919) % 300_000)}` : '';
      const values = [n, n % 3 === 1 ? parameter.subarray(n) : parameter.subarray(0, n)];
      const work = (on) => on.query(`SELECT $1::int AS n, length($2::bytea) AS l${long}`, values);
      const limit = { timeoutMs: 60_000 };
      const rows = n % 4 === 0 ? await pool.transaction(work, limit) : await work(pool);
      assert.deepEqual(rows, [{ n, l: values[1].length }]);
    };
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < 60; round++) await ask(worker * 1000 + round);
      }),
    );
    const found = await pool.query("SELECT to_regclass('pwned') AS pwned");
    assert.deepEqual(found, [{ pwned: null }]);
  }
});

/** A Query message. */
function query(sql) {
  const text = Buffer.from(`${sql}\0`);
  const head = Buffer.alloc(5, 'Q');
  head.writeInt32BE(text.length + 4, 1);
  return Buffer.concat([head, text]);
}
