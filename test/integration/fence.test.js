// An administrator fences a primary: it becomes read-only while its sessions stay open (ALTER
// SYSTEM SET default_transaction_read_only, reload). It accepts no write of this pool, and callers
// get no answers from it that came after the fence.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import pg from 'pg';

import { isRetryable } from '../../js/index.mjs';
import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { startSyncGate } from '../support/cluster/sync-gate.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 2 });
  await cluster.query(
    cluster.primary,
    'DROP TABLE IF EXISTS fenced; CREATE TABLE fenced (key int)',
  );
});
after(() => cluster?.close());

test('a write on an idle connection to a fenced primary waits for the fence to end', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('INSERT INTO fenced VALUES (1)');
  await cluster.fence(cluster.primary);
  const fenced = new Promise((resolve) => pool.once('fence', resolve));

  const write = pool.query('INSERT INTO fenced VALUES (2)');
  const { host, role } = await fenced;
  assert.equal(host, cluster.primary.address);
  assert.equal(role, 'read-only');
  const before = await cluster.query(cluster.primary, 'SELECT key FROM fenced');
  assert.deepEqual(before, [['1']], 'the write was refused');

  await cluster.unfence(cluster.primary);
  assert.equal((await write).rowCount, 1);
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced ORDER BY key');
  assert.deepEqual(rows, [['1'], ['2']], 'the write was applied exactly once');
});

test('a fence is said once, however many connections run into it', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 6, acquireTimeoutMs: 60_000 }));
  t.after(() => cluster.unfence(cluster.primary));
  let fences = 0;
  let isOver = false;
  pool.on('fence', () => (fences += 1));
  let served = 0;
  const users = Array.from({ length: 12 }, async () => {
    while (!isOver) {
      await pool.query('SELECT pg_sleep(0.001)');
      served += 1;
    }
  });
  const work = (more) => {
    const enough = served + more;
    return waitUntil(`${enough} queries are served`, () => served >= enough);
  };
  for (let round = 1; round <= 3; round += 1) {
    await work(100);
    await cluster.fence(cluster.primary);
    await waitUntil('the fence is told', () => fences >= round);
    await cluster.unfence(cluster.primary);
    await work(100);
    assert.equal(fences, round);
  }
  isOver = true;
  await Promise.all(users);
});

test('a read behind a fenced barrier is not handed out', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 500 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1 AS one');
  await cluster.fence(cluster.primary);
  await assert.rejects(pool.query('SELECT 1 AS one'), (error) => {
    assert.equal(error.name, 'PoolTimeoutError');
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.match(error.message, /^no writable primary available after 500ms/);
    assert.equal(error.outcome, 'not-sent');
    for (const { host, why } of error.hosts) {
      const isPrimary = host === cluster.primary.address;
      const expected = isPrimary ? /default_transaction_read_only is on/ : /is a standby/;
      assert.match(why, expected);
    }
    assert.equal(error.hosts.length, cluster.nodes.length);
    return true;
  });
  await cluster.unfence(cluster.primary);
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
});

test('a transaction that was open before the fence commits; the next one waits', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2, acquireTimeoutMs: 500 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.transaction(async (tx) => {
    await tx.query('INSERT INTO fenced VALUES (10)');
    await cluster.fence(cluster.primary, { barrier: false });
    await tx.query('INSERT INTO fenced VALUES (11)');
  });
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced WHERE key >= 10');
  assert.deepEqual(rows, [['10'], ['11']]);
  await assert.rejects(
    pool.transaction((tx) => tx.query('INSERT INTO fenced VALUES (12)')),
    { code: 'HYPERION_NO_PRIMARY' },
  );
});

test('a write that the fence comes across is delivered, and its host takes no more', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1');
  const fenced = new Promise((resolve) => pool.once('fence', resolve));
  const crossing = pool.query('INSERT INTO fenced SELECT 20 FROM pg_sleep(0.3)');
  await cluster.waitForSession("query LIKE 'INSERT INTO fenced SELECT 20%' AND state = 'active'");
  await cluster.fence(cluster.primary, { barrier: false });
  assert.equal((await crossing).rowCount, 1, 'it is committed there');
  const write = () => pool.query('INSERT INTO fenced VALUES (21)');
  // Before PostgreSQL 14 no answer reports the fence. The question in front of the next write shows
  // it.
  const asks = Number(process.env.HYPERION_PG_VERSION ?? 15) < 14 ? write() : undefined;
  assert.equal((await fenced).host, cluster.primary.address);

  const next = asks ?? write();
  await cluster.unfence(cluster.primary);
  assert.equal((await next).rowCount, 1);
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced WHERE key >= 20');
  assert.deepEqual(rows, [['20'], ['21']]);
});

test('a script that the fence comes across is delivered, and what follows waits', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1');
  // The session by which the pool asks a server that is busy for so long may report it earlier.
  const fenced = new Promise((resolve) => pool.once('fence', resolve));
  // The simple protocol: the server reads the message before the fence, so no answer reports the
  // fence.
  const crossing = pool.query(
    'INSERT INTO fenced SELECT 40 FROM pg_sleep(0.3); INSERT INTO fenced VALUES (41)',
  );
  await cluster.waitForSession("query LIKE 'INSERT INTO fenced SELECT 40%' AND state = 'active'");
  await cluster.fence(cluster.primary, { barrier: false });
  const counts = (await crossing).map(({ rowCount }) => rowCount);
  assert.deepEqual(counts, [1, 1], 'both are committed there');
  const next = pool.query('INSERT INTO fenced VALUES (42); INSERT INTO fenced VALUES (43)');
  assert.equal((await fenced).host, cluster.primary.address);

  await cluster.unfence(cluster.primary);
  assert.equal((await next).length, 2);
  const rows = await cluster.query(
    cluster.primary,
    'SELECT key FROM fenced WHERE key BETWEEN 40 AND 49 ORDER BY key',
  );
  assert.deepEqual(rows, [['40'], ['41'], ['42'], ['43']], 'each once');
});

test('a role whose sessions are read-only by themselves is told so, and nothing loops', async (t) => {
  const { primary } = cluster;
  t.after(() => cluster.query(primary, 'DROP ROLE IF EXISTS reader'));
  await cluster.query(
    primary,
    `DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'r';
     ALTER ROLE reader SET default_transaction_read_only = on`,
  );
  await cluster.waitForReplication();
  const options = { user: 'reader', password: 'r', acquireTimeoutMs: 300 };
  const pool = openPool(t, cluster.options(options));
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    const why = error.hosts.find(({ host }) => host === primary.address)?.why;
    assert.match(why, /default_transaction_read_only is on/);
    return true;
  });
});

test(
  'a pool that was idle through a fence and a promotion reads nothing stale',
  onOwnNodes,
  async (t) => {
    const pool = openPool(t, cluster.options({ poolSize: 4 }));
    const count = () => pool.query('SELECT count(*)::int AS n FROM fenced WHERE key = 30');
    await Promise.all([1, 2, 3, 4].map(count));
    const [deposed, promoted] = [cluster.primary, ...(await cluster.runningStandbys())];
    await cluster.fence(deposed);
    await cluster.waitForReplication();
    await cluster.promote(promoted);
    // The deposed primary still runs, and this pool still has sessions on it.
    await cluster.query(promoted, 'INSERT INTO fenced VALUES (30)');
    const counts = (await Promise.all([1, 2, 3, 4].map(count))).flat();
    assert.deepEqual(counts, Array(4).fill({ n: 1 }));
    await cluster.rejoin(deposed);
  },
);

test('a transaction that begins behind a fence begins anew when there is a primary, once', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2 }));
  t.after(() => cluster.unfence(cluster.primary));
  await pool.query('SELECT 1');
  // A connection that was granted before the fence, and one that is asked for after it.
  const early = await pool.begin();
  await cluster.fence(cluster.primary);
  const fenced = new Promise((resolve) => pool.once('fence', resolve));
  let attempts = 0;
  const write = async (tx, key) => {
    attempts += 1;
    await Promise.all([
      tx.query('INSERT INTO fenced VALUES ($1)', [key]),
      tx.query('INSERT INTO fenced VALUES ($1)', [key + 1]),
    ]);
    await tx.savepoint((sp) => sp.query('INSERT INTO fenced VALUES ($1)', [key + 2]));
  };
  const both = [
    write(early, 120).then(() => early.commit()),
    pool.transaction((tx) => write(tx, 130)),
  ];
  await fenced;
  await cluster.unfence(cluster.primary);
  await Promise.all(both);
  const rows = await cluster.query(
    cluster.primary,
    'SELECT key FROM fenced WHERE key BETWEEN 120 AND 139 ORDER BY key',
  );
  assert.deepEqual(rows.flat(), ['120', '121', '122', '130', '131', '132']);
  assert.equal(attempts, 2, 'the callers did not notice');
});

test('a statement that is refused as read-only later in a transaction ends it, not committed', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  const tx = await pool.begin();
  // As on a host that becomes fenced between the barrier and BEGIN.
  await tx.query('SET TRANSACTION READ ONLY');
  const refused = { name: 'DatabaseError', code: '25006', outcome: 'not-committed' };
  await assert.rejects(tx.query('INSERT INTO fenced VALUES (140)'), refused);
  await assert.rejects(tx.query('SELECT 1'), (error) => {
    assert.deepEqual([error.code, error.cause.code], ['25P02', '25006']);
    return true;
  });
  await assert.rejects(tx.commit(), (error) => {
    assert.equal(error.code, 'HYPERION_TRANSACTION_ROLLED_BACK');
    assert.deepEqual([error.outcome, error.cause.code], ['not-committed', '25006']);
    assert.equal(isRetryable(error), true);
    return true;
  });
  let attempts = 0;
  await pool.transaction(
    async (again) => {
      attempts += 1;
      if (attempts === 1) await again.query('SET TRANSACTION READ ONLY');
      await again.query('INSERT INTO fenced VALUES (141)');
    },
    { retries: 1 },
  );
  assert.equal(attempts, 2);
});

test('a session that was set to write through fences does so for its own user alone', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 300 }));
  t.after(() => cluster.unfence(cluster.primary));
  const connection = await pool.connect();
  await connection.query('SET default_transaction_read_only = off');
  await cluster.fence(cluster.primary);
  await connection.query('INSERT INTO fenced VALUES (150)');
  void connection.release();
  const write = pool.query('INSERT INTO fenced VALUES (151)');
  await assert.rejects(write, { code: 'HYPERION_NO_PRIMARY' });
  const rows = await cluster.query(cluster.primary, 'SELECT key FROM fenced WHERE key >= 150');
  assert.deepEqual(rows, [['150']]);
});

test('a transaction that a dedicated connection begins behind a fence reads nothing', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  t.after(() => cluster.unfence(cluster.primary));
  const connection = await pool.connect();
  const count = 'SELECT count(*)::int AS n FROM fenced';
  const [{ n }] = await connection.query(count);
  const unfit = { code: 'HYPERION_UNFIT_HOST', outcome: 'not-committed' };
  for (const sql of [count, `${count}; ${count}`]) {
    await cluster.fence(cluster.primary);
    let isRefused = false;
    const transaction = connection.transaction(async (tx) => {
      await assert.rejects(tx.query(sql), unfit);
      // A caller that goes on reads no more than before.
      await assert.rejects(tx.query(count), (error) => {
        assert.equal(error.outcome, 'not-sent');
        return true;
      });
      isRefused = true;
    });
    await assert.rejects(transaction);
    assert.ok(isRefused);
    await assert.rejects(
      connection.transaction((tx) => tx.query('SELECT $1::jsonb', [{ a: 1 }])),
      unfit,
    );
    await cluster.unfence(cluster.primary);
    // New sessions see the fence before this session has processed the signal to reload.
    let rows = null;
    while (rows === null) {
      rows = await connection.query(count).catch((error) => {
        assert.equal(error.code, 'HYPERION_UNFIT_HOST');
        return null;
      });
    }
    assert.deepEqual(rows, [{ n }]);
    assert.deepEqual(await connection.transaction((tx) => tx.query(count)), [{ n }]);
  }
  await connection.release();
});

test('a transaction that a statement begins behind a fence reads nothing', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  t.after(() => cluster.unfence(cluster.primary));
  const count = 'SELECT count(*)::int AS n FROM fenced';
  const connection = await pool.connect();
  const rows = await connection.query(count);
  // Transactions from before the fence go on.
  await connection.query('BEGIN');
  await cluster.fence(cluster.primary, { barrier: false });
  assert.deepEqual(await connection.query(count), rows);
  await connection.query('COMMIT');
  // A session processes the signal to reload when it has received it.
  await cluster.fence(cluster.primary);
  const unfit = { code: 'HYPERION_UNFIT_HOST', outcome: 'not-committed' };
  for (const sql of ['BEGIN', 'START TRANSACTION READ ONLY', `BEGIN; ${count}`]) {
    await assert.rejects(connection.query(sql), unfit, sql);
    await connection.query('ROLLBACK');
  }
  await connection.release(true);
});

/** Effects that a SELECT may have, and that its command tag does not show. */
const WITH_EFFECTS = [
  ['a function that writes', 'SELECT fenced_write($1)'],
  ['a script', (key) => `SELECT 1; SELECT fenced_write(${key})`],
  ['WITH', 'WITH w AS (INSERT INTO fenced VALUES ($1) RETURNING key) SELECT key FROM w'],
];

for (const [name, asked] of WITH_EFFECTS) {
  for (const onLease of [false, true]) {
    const where = onLease ? 'on a dedicated connection' : 'by the pool';
    test(`a fence that is lifted in front of a write is no reason to write twice: ${name}, ${where}`, async (t) => {
      await cluster.query(
        cluster.primary,
        `CREATE OR REPLACE FUNCTION fenced_write(k int) RETURNS int LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO fenced VALUES (k); RETURN k; END $$`,
      );
      const proxy = await startSyncGate(cluster.primary);
      t.after(() => proxy.close());
      t.after(() => cluster.unfence(cluster.primary));
      // The proxy reads messages.
      const options = { hosts: [proxy.address], poolSize: 1, roleCheck: 'query', ssl: false };
      const pool = openPool(t, cluster.options(options));
      const keys = [700, 701, 702];
      const key = keys.at(-1);
      const ask = (way, k) =>
        typeof asked === 'string' ? way.query(asked, [k]) : way.query(asked(k));
      const way = onLease ? await pool.connect() : pool;
      for (const k of keys.slice(0, -1)) await ask(way, k);
      await cluster.query(cluster.primary, `DELETE FROM fenced WHERE key = ${key}`);

      // The barrier meets the fence, and the statement after it does not.
      await cluster.fence(cluster.primary);
      const isHeld = proxy.hold();
      const told = ask(way, key).then(
        () => 'done',
        ({ outcome }) => outcome,
      );
      await isHeld;
      await cluster.unfence(cluster.primary);
      proxy.pass();
      const outcome = await told;
      const rows = await cluster.query(
        cluster.primary,
        `SELECT key FROM fenced WHERE key = ${key}`,
      );
      assert.equal(rows.length, 1, outcome);
      assert.ok(outcome === 'done' || outcome === 'unknown', outcome);
      if (onLease) await way.release(true);
    });
  }
}

test('what a read-only transaction may do is done once, and its answer is not handed out', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 5000 }));
  t.after(() => cluster.unfence(cluster.primary));
  const hears = new pg.Client({ ...cluster.primary, ...cluster.credentials });
  await hears.connect();
  t.after(() => hears.end());
  const heard = [];
  hears.on('notification', ({ payload }) => heard.push(payload));
  await hears.query('LISTEN fenced');
  const notify = [
    (way, told) => way.query("SELECT pg_notify('fenced', $1)", [told]),
    (way, told) => way.query(`SELECT 1; SELECT pg_notify('fenced', '${told}')`),
  ];
  for (const [n, ask] of notify.entries()) {
    await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    const unfit = { code: 'HYPERION_UNFIT_HOST', outcome: 'unknown' };
    const asked = ask(pool, `told ${n}`);
    await assert.rejects(asked, (error) => {
      assert.ok(!isRetryable(error));
      assert.equal(error.code, unfit.code);
      assert.equal(error.outcome, unfit.outcome);
      return true;
    });
    await cluster.unfence(cluster.primary);
    // A read, and a transaction of reads, lose nothing when they wait.
    assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
    await hears.query('SELECT 1');
    assert.deepEqual(
      heard,
      Array.from({ length: n + 1 }, (_, i) => `told ${i}`),
    );
  }
});

test('several statements of which one reads are not answered by a fenced host', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 300 }));
  t.after(() => cluster.unfence(cluster.primary));
  const count = 'SELECT count(*) FROM fenced';
  const harmless = [
    `BEGIN; ${count}; COMMIT`,
    `SET LOCAL statement_timeout = '5s'; ${count}`,
    `BEGIN; SET LOCAL work_mem = '8MB'; SAVEPOINT a; ${count}; RELEASE a; COMMIT`,
  ];
  const others = [
    `SET work_mem = '8MB'; ${count}`,
    `BEGIN; LOCK TABLE fenced IN ACCESS SHARE MODE; ${count}; COMMIT`,
    `NOTIFY fenced; ${count}`,
  ];
  for (const sql of [...harmless, ...others]) {
    await pool.query('SELECT 1');
    await cluster.fence(cluster.primary);
    await assert.rejects(pool.query(sql), (error) => {
      assert.equal(error.outcome === 'unknown', others.includes(sql), `${sql}: ${error.message}`);
      return true;
    });
    await cluster.unfence(cluster.primary);
  }
});

test('whatever a dedicated connection has left behind, it reads nothing behind a fence', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1 }));
  t.after(() => cluster.unfence(cluster.primary));
  const count = 'SELECT count(*)::int AS n FROM fenced';
  for (const sql of [
    'CREATE TEMP TABLE left_behind (a int)',
    "SET work_mem = '8MB'",
    'PREPARE left_behind AS SELECT 1',
    "SELECT set_config('app.tenant', 'a', false)",
  ]) {
    const connection = await pool.connect();
    await connection.query(sql);
    await connection.query(count);
    await cluster.fence(cluster.primary);
    const unfit = { code: 'HYPERION_UNFIT_HOST', outcome: 'not-committed' };
    await assert.rejects(connection.query(count), unfit, sql);
    await assert.rejects(
      connection.transaction((tx) => tx.query(count)),
      unfit,
      sql,
    );
    await cluster.unfence(cluster.primary);
    await connection.release(true);
  }
  // The caller has set the role of the session itself.
  const connection = await pool.connect();
  await connection.query('SET default_transaction_read_only = on');
  for (const use of [1, 2]) assert.equal((await connection.query(count)).length, 1, `use ${use}`);
  await connection.release();
});
