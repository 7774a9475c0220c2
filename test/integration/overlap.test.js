// Calls on a transaction or a connection while another call on it is under way: a savepoint beside
// another, a transaction behind the COMMIT of the previous one, a release in the middle. Whatever
// the timing, acknowledged work is there once its transaction has committed, and refused work is
// not. On real servers.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { createPool, isRetryable } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 4 });
await pool.query(
  `DROP TABLE IF EXISTS marks, late;
   CREATE TABLE marks (id int PRIMARY KEY);
   CREATE TABLE late (id int REFERENCES marks DEFERRABLE INITIALLY DEFERRED)`,
);
beforeEach(() => pool.query('TRUNCATE marks, late'));

const ids = async () => (await pool.query('SELECT id FROM marks ORDER BY id')).map(({ id }) => id);
const insert = (on, id) => on.query('INSERT INTO marks VALUES ($1)', [id]);
const errorOf = (promise) =>
  promise.then(
    () => assert.fail('it did not fail'),
    (error) => error,
  );
const overlap = {
  ...{ name: 'TransactionError', code: 'HYPERION_SAVEPOINTS_OVERLAP', outcome: 'not-sent' },
};

test('of savepoints side by side the second is refused at once, and the first goes on', async () => {
  for (const fails of [true, false]) {
    const settled = await pool.transaction((tx) =>
      Promise.allSettled([
        tx.savepoint(async (a) => {
          await sleep(5);
          await insert(a, 1);
          await sleep(10);
        }),
        tx.savepoint(async (b) => {
          await insert(b, 2);
          if (fails) throw new Error('b');
        }),
        insert(tx, 3),
      ]),
    );
    assert.deepEqual(
      settled.map(({ status, reason }) => reason?.code ?? status),
      ['fulfilled', overlap.code, overlap.code],
    );
    assert.deepEqual(await ids(), [1]);
    await pool.query('TRUNCATE marks, late');
  }
  const all = pool.transaction((tx) =>
    Promise.all([1, 2].map((id) => tx.savepoint((sp) => insert(sp, id)))),
  );
  await assert.rejects(all, overlap);
  assert.deepEqual(await ids(), []);
});

test('only the innermost savepoint is asked, at any depth, until it has ended for the server too', async () => {
  const connection = await pool.connect();
  await connection.transaction(async (tx) => {
    await tx.savepoint(async (outer) => {
      const inner = outer.savepoint(async (sp) => {
        for (const view of [tx, outer, connection]) {
          await assert.rejects(view.query('SELECT 1'), { ...overlap, query: 'SELECT 1' });
        }
        for (const view of [tx, outer])
          await assert.rejects(
            view.savepoint(() => {}),
            overlap,
          );
        await insert(sp, 1);
        throw new Error('inner');
      });
      await assert.rejects(inner, { message: 'inner' });
      await insert(outer, 2);
      // Its callback has ended, and the savepoint is not released yet.
      let done;
      const callback = new Promise((resolve) => (done = resolve));
      const late = outer.savepoint((sp) => insert(sp, 3).then(done));
      await callback;
      await assert.rejects(insert(outer, 4), overlap);
      await late;
      await insert(outer, 5);
    });
    await insert(connection, 6);
  });
  await connection.release();
  assert.deepEqual(await ids(), [2, 3, 5, 6]);
});

test('a savepoint that ends in front of one inside of it takes that along, and the transaction goes on', async () => {
  let goOn;
  const stopped = new Promise((resolve) => (goOn = resolve));
  let inner;
  await pool.transaction(async (tx) => {
    await insert(tx, 1);
    const outer = tx.savepoint(async (sp) => {
      await insert(sp, 2);
      await new Promise((resolve) => {
        inner = sp.savepoint(async (deeper) => {
          await insert(deeper, 3);
          resolve();
          await stopped;
          await insert(deeper, 4);
        });
        inner.catch(() => {});
      });
    });
    await assert.rejects(outer, { ...overlap, outcome: 'not-committed' });
    goOn();
    await assert.rejects(inner, { code: 'HYPERION_TRANSACTION_FINISHED', outcome: 'not-sent' });
    await insert(tx, 5);
  });
  assert.deepEqual(await ids(), [1, 5]);
});

test('a savepoint that could not be opened undoes nothing, and the one around it heals all', async () => {
  const failed = pool.transaction(async (tx) => {
    await tx.query('SELECT 1/0').catch(() => {});
    await tx.savepoint((sp) => sp.query('SELECT 1')).catch(() => {});
  });
  const error = await errorOf(failed);
  assert.deepEqual([error.code, error.cause.code], ['HYPERION_TRANSACTION_ROLLED_BACK', '22012']);
  await pool.transaction(async (tx) => {
    await insert(tx, 1);
    const outer = tx.savepoint(async (sp) => {
      await sp.query('SELECT 1/0').catch(() => {});
      const inner = await errorOf(sp.savepoint((deeper) => deeper.query('SELECT 1')));
      assert.deepEqual([inner.code, inner.cause.code], ['25P02', '22012']);
      throw new Error('undo me');
    });
    await assert.rejects(outer, { message: 'undo me' });
    await insert(tx, 2);
  });
  assert.deepEqual(await ids(), [1, 2]);
  let attempts = 0;
  const raise = `DO $$ BEGIN RAISE 'x' USING ERRCODE = '40001'; END $$`;
  await pool.transaction(
    async (tx) => {
      attempts += 1;
      if (attempts > 2) return;
      await tx.query(raise).catch(() => {});
      await tx.savepoint((sp) => sp.query('SELECT 1')).catch(() => {});
    },
    { retries: 3 },
  );
  assert.equal(attempts, 3);
});

test('what the savepoint was to hold and was never sent is not kept outside of it', async (t) => {
  // It waits behind a query for longer than its limit.
  const hasty = openPool(t, cluster.options({ poolSize: 1, queryTimeoutMs: 200 }));
  await hasty.query('SELECT 1');
  const transaction = hasty.transaction(async (tx) => {
    const slow = tx.query('SELECT pg_sleep(0.4)', [], { timeoutMs: 5000 });
    const sp = tx.savepoint(async (view) => {
      await slow;
      await insert(view, 1);
      throw new Error('undo');
    });
    await sp.catch(() => {});
  });
  const error = await errorOf(transaction);
  assert.equal(error.code, 'HYPERION_QUERY_TIMEOUT');
  assert.deepEqual(await ids(), []);
});

test('the cause is what the transaction has failed with, and nothing that it went on behind', async () => {
  const fail = (tx, code) =>
    tx.query(`DO $$ BEGIN RAISE 'x' USING ERRCODE = '${code}'; END $$`).catch(() => {});
  const before = {
    'a parameter': (tx) => tx.query('SELECT $1::int', [{}]),
    'an aborted signal': (tx) => tx.query('SELECT 1', [], { signal: AbortSignal.abort() }),
    'a savepoint by text': async (tx) => {
      await tx.query('SAVEPOINT a');
      await fail(tx, '22012');
      await tx.query('ROLLBACK TO a');
    },
    'all of that at once': (tx) =>
      Promise.all([tx.query('SAVEPOINT a'), fail(tx, '22012'), tx.query('ROLLBACK TO a')]),
  };
  await pool.query('SELECT $1::int', [1]);
  for (const [name, first] of Object.entries(before)) {
    let attempts = 0;
    const transaction = pool.transaction(
      async (tx) => {
        attempts += 1;
        await first(tx).catch(() => {});
        await fail(tx, '40001');
      },
      { retries: 2 },
    );
    const error = await errorOf(transaction);
    assert.deepEqual(
      [error.code, error.cause.code],
      ['HYPERION_TRANSACTION_ROLLED_BACK', '40001'],
      name,
    );
    assert.equal(attempts, 3, name);
  }
  const connection = await pool.connect();
  await connection.query('SELECT no_such_column').catch(() => {});
  const tx = await connection.begin();
  // Queries that were sent together have their answers together.
  const [failure, next] = await Promise.all([
    errorOf(tx.query('SELECT 1/0')),
    errorOf(tx.query('SELECT 1')),
  ]);
  assert.deepEqual([failure.code, next.code, next.cause], ['22012', '25P02', failure]);
  assert.ok(failure.transactionFailed && !Object.keys(failure).includes('transactionFailed'));
  await tx.rollback();
  await connection.release();
});

test('a transaction that begins behind a COMMIT or a ROLLBACK waits until that is done', async () => {
  const ways = {
    committed: { first: (tx) => insert(tx, 1), end: 'commit', there: [1] },
    'rolled back': { first: (tx) => insert(tx, 1), end: 'rollback', there: [] },
    'refused at COMMIT': {
      ...{ first: (tx) => tx.query('INSERT INTO late VALUES (9)'), end: 'commit', there: [] },
      code: '23503',
    },
    'failed before': {
      first: (tx) => tx.query('SELECT 1/0').catch(() => {}),
      end: 'commit',
      there: [],
    },
  };
  for (const [name, { first, end, there, code }] of Object.entries(ways)) {
    for (const options of [{}, { timeoutMs: 5000 }]) {
      const connection = await pool.connect();
      const one = await connection.begin();
      await first(one);
      const ended = one[end]().then(
        () => null,
        (error) => error,
      );
      // The first caller gets it.
      const begun = connection.begin({ isolation: 'serializable' });
      await assert.rejects(connection.begin(), { code: 'HYPERION_TRANSACTION_OPEN' });
      const two = await begun;
      const [{ isolation }] = await two.query(
        "SELECT current_setting('transaction_isolation') AS isolation",
        ...[[], options],
      );
      assert.equal(isolation, 'serializable', name);
      await two.query('INSERT INTO marks VALUES (2)', [], options);
      await two.rollback();
      const failure = await ended;
      if (code !== undefined) assert.equal(failure.code, code);
      assert.deepEqual(await ids(), there, name);

      const three = await connection.begin();
      await first(three).catch(() => {});
      const endedAgain = three.rollback();
      const four = connection.transaction((tx) =>
        tx.query('INSERT INTO marks VALUES (4)', [], options),
      );
      await Promise.all([endedAgain, four]);
      assert.deepEqual(await ids(), [...there, 4], name);
      await connection.release();
      await pool.query('TRUNCATE marks, late');
    }
  }
});

test('who waits for a COMMIT to begin gives up when its own time is over, or the connection is released', async () => {
  const connection = await pool.connect();
  const holder = await pool.begin();
  await holder.query('LOCK TABLE marks');
  const tx = await connection.begin();
  const blocked = insert(tx, 1);
  const committed = tx.commit();
  const late = { code: 'HYPERION_TRANSACTION_TIMEOUT', outcome: 'not-sent' };
  await assert.rejects(connection.begin({ timeoutMs: 20 }), late);
  await assert.rejects(
    connection.transaction(() => assert.fail('ran'), { timeoutMs: 20 }),
    late,
  );
  const waiting = [connection.begin(), connection.transaction(() => assert.fail('ran'))];
  const released = connection.release();
  await holder.rollback();
  for (const refused of waiting) {
    await assert.rejects(refused, { code: 'HYPERION_CONNECTION_RELEASED', outcome: 'not-sent' });
  }
  await Promise.all([blocked, committed, released]);
  assert.deepEqual(await ids(), [1]);
});

test('release waits for a transaction that runs, and for its COMMIT', async () => {
  const connection = await pool.connect();
  const work = connection.transaction(async (tx) => {
    await insert(tx, 1);
    await sleep(20);
    await insert(tx, 2);
    return 'done';
  });
  let isDone = false;
  void work.then(() => (isDone = true));
  await connection.release();
  assert.ok(isDone);
  assert.equal(await work, 'done');
  assert.deepEqual(await ids(), [1, 2]);
  const returned = await (async () => {
    const other = await pool.connect();
    try {
      return other.transaction((tx) => insert(tx, 3).then(() => 'returned'));
    } finally {
      await other.release();
    }
  })();
  assert.equal(returned, 'returned');
  assert.deepEqual(await ids(), [1, 2, 3]);
  assert.equal(pool.status().inUse, 0);
});

test('a callback that waits for the release of its own connection is told, and nothing of it is kept', async () => {
  const connection = await pool.connect();
  const work = connection.transaction(async (tx) => {
    await insert(tx, 1);
    await connection.release();
    return 'done';
  });
  const error = await errorOf(work);
  assert.deepEqual(
    [error.name, error.code, error.outcome],
    ['TransactionError', 'HYPERION_TRANSACTION_FINISHED', 'not-committed'],
  );
  assert.deepEqual(await ids(), []);
  assert.equal(pool.status().inUse, 0);
});

test('a rollback that the callback has not asked for is no success', async () => {
  const half = pool.transaction(async (tx) => {
    await insert(tx, 1);
    const open = new Promise((resolve) => {
      tx.savepoint((sp) => insert(sp, 2).then(() => (resolve(), new Promise(() => {})))).catch(
        () => {},
      );
    });
    await open;
    await tx.commit().catch(() => {});
    return 'done';
  });
  await assert.rejects(half, { code: 'HYPERION_QUERY_NOT_AWAITED', outcome: 'not-committed' });
  const wanted = pool.transaction(async (tx) => {
    await insert(tx, 3);
    await tx.rollback();
    return 'done';
  });
  assert.equal(await wanted, 'done');
  assert.deepEqual(await ids(), []);
});

test('a transaction is not repeated on a connection that is gone', async () => {
  const connection = await pool.connect();
  const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
  let attempts = 0;
  const transaction = connection.transaction(
    async (tx) => {
      attempts += 1;
      await tx.query('SELECT 1');
      await cluster.endSession(cluster.primary, pid);
      await tx.query('SELECT 1');
    },
    { retries: 7 },
  );
  await assert.rejects(transaction, { code: 'HYPERION_CONNECTION_LOST', outcome: 'not-committed' });
  assert.equal(attempts, 1);
  await connection.release();
});

test('a transaction that was idle for too long is abandoned, whoever has noticed first', async (t) => {
  for (const parameters of [{ idleInTransactionTimeoutMs: 30 }, {}]) {
    const own = openPool(t, cluster.options({ poolSize: 1, ...parameters }));
    let attempts = 0;
    const transaction = own.transaction(
      async (tx) => {
        attempts += 1;
        const limit = "SET LOCAL idle_in_transaction_session_timeout = '30ms'";
        await tx.query(parameters.idleInTransactionTimeoutMs === undefined ? limit : 'SELECT 1');
        await sleep(120);
        await tx.query('SELECT 1');
      },
      { retries: 2 },
    );
    await assert.rejects(transaction, {
      code: 'HYPERION_TRANSACTION_ABANDONED',
      outcome: 'not-committed',
    });
    assert.equal(attempts, 1);
  }
});

test('once the pool has ended, each door says so in the same words', async () => {
  const ended = createPool(cluster.options({ poolSize: 1 }));
  await ended.query('SELECT 1');
  await ended.end();
  for (const call of [
    ...[() => ended.query('SELECT 1'), () => ended.connect(), () => ended.begin()],
    ...[() => ended.transaction(() => {}), () => ended.ready()],
  ]) {
    await assert.rejects(call(), {
      ...{ name: 'ConfigurationError', code: 'HYPERION_POOL_CLOSED', outcome: 'not-sent' },
      message: 'the pool is closed: pool.end() was called',
    });
  }
});

/** A dedicated connection that prepared `sql` before another client migrated the table. */
async function outdated(sql) {
  await pool.query('DROP TABLE IF EXISTS notes; CREATE TABLE notes (a int, b text)');
  const connection = await pool.connect();
  for (let n = 0; n < 3; n += 1) await connection.query(sql);
  for (const ddl of ['TRUNCATE notes', 'ALTER TABLE notes ADD d int']) {
    await cluster.query(cluster.primary, ddl);
  }
  return connection;
}
const notes = async () => (await pool.query('SELECT b FROM notes ORDER BY b')).map(({ b }) => b);
const NOTE = "INSERT INTO notes (b) VALUES ('new') RETURNING *";
const assertOutrun = (error) => {
  // The pool knows the statement from its other connections, and the server refuses Bind because of
  // the formats.
  assert.ok(['0A000', '08P01'].includes(error.code), String(error));
  assert.equal(error.outcome, 'not-committed');
  assert.match(error.hint, /prepared anew when it is repeated/);
  assert.equal(isRetryable(error), true);
};

test('a write that is to be prepared anew does not run in a transaction that was asked for behind it', async () => {
  for (let round = 0; round < 20; round += 1) {
    const connection = await outdated(NOTE);
    // The statement that begins the transaction waits for its final answer.
    const written = connection.query(NOTE);
    const tx = await connection.begin();
    await tx.query('SELECT 1');
    await tx.rollback();
    assert.equal((await written).length, 1);
    await connection.release();
    assert.deepEqual(await notes(), ['new']);
  }
});

test('a statement that is to be prepared anew does not run behind those that were asked for later', async () => {
  for (let round = 0; round < 20; round += 1) {
    const connection = await outdated(NOTE);
    const failed = errorOf(connection.query(NOTE));
    await connection.query("UPDATE notes SET b = 'changed'");
    assertOutrun(await failed);
    // Alone, the pool sends it again silently, and so it does with the last of several.
    await cluster.query(cluster.primary, 'ALTER TABLE notes DROP d');
    const [, rows] = await Promise.all([
      connection.query("INSERT INTO notes (b) VALUES ('first')"),
      connection.query(NOTE),
    ]);
    assert.deepEqual([...rows], [{ a: null, b: 'new' }]);
    assert.deepEqual(await notes(), ['first', 'new']);
    await connection.release();
  }
});

test('nothing is sent behind the first step of a script, whatever is refused in front of it', async () => {
  await pool.query('CREATE SCHEMA IF NOT EXISTS other; DROP TYPE IF EXISTS other.mood');
  await pool.query("CREATE TYPE other.mood AS ENUM ('ok')");
  const declare = "DECLARE c CURSOR FOR SELECT 'ok'::mood";
  for (let round = 0; round < 40; round += 1) {
    const one = createPool(cluster.options({ poolSize: 1 }));
    const connection = await one.connect();
    await connection.query('SET search_path TO other');
    await errorOf(connection.query(declare));
    await connection.query('DISCARD ALL');
    const settled = await Promise.allSettled(
      [declare, 'SELECT 0.5::float8 AS x', 'SELECT 1; SELECT 2'].map((sql) =>
        connection.query(sql),
      ),
    );
    assert.deepEqual(
      settled.map(({ status, reason }) => reason?.code ?? status),
      ['42704', 'fulfilled', 'fulfilled'],
    );
    await connection.release();
    await one.end();
  }
});

const isOpen = {
  ...{ name: 'TransactionError', code: 'HYPERION_TRANSACTION_OPEN', outcome: 'not-sent' },
};

test('nothing begins inside of a transaction that was begun by a statement', async () => {
  const connection = await pool.connect();
  await connection.query('BEGIN');
  await insert(connection, 1);
  const never = () => assert.fail('the callback was called');
  await assert.rejects(connection.transaction(never), isOpen);
  await assert.rejects(connection.begin(), isOpen);
  await insert(connection, 2);
  assert.equal((await connection.query('COMMIT')).command, 'COMMIT');
  assert.deepEqual(await ids(), [1, 2]);
  // A failed transaction is open too.
  await connection.query('BEGIN');
  await assert.rejects(connection.query('SELECT 1/0'), { code: '22012' });
  await assert.rejects(connection.transaction(never), isOpen);
  await connection.query('ROLLBACK');
  await connection.transaction((tx) => insert(tx, 3));
  await connection.release();
  assert.deepEqual(await ids(), [1, 2, 3]);
});

test('what a BEGIN that is under way begins is not ended by a transaction behind it', async () => {
  const connection = await pool.connect();
  for (const first of [true, false]) {
    const own = [connection.query('BEGIN'), insert(connection, first ? 1 : 4)];
    await assert.rejects(
      connection.transaction((tx) => insert(tx, 2)),
      isOpen,
    );
    const unheard = connection.transaction(async (tx) => {
      await insert(tx, 2).catch(() => {});
      return 'done';
    });
    await assert.rejects(unheard, isOpen);
    await Promise.all(own);
    assert.equal((await connection.query('COMMIT')).command, 'COMMIT');
  }
  // After the end that the caller has written, the next transaction begins.
  await connection.query('BEGIN');
  const end = connection.query('ROLLBACK');
  await connection.transaction((tx) => insert(tx, 3));
  assert.equal((await end).command, 'ROLLBACK');
  await connection.release();
  assert.deepEqual(await ids(), [1, 3, 4]);
});
