// Transactions on a real server: their round trips, their begin and end, retries, and connections
// that the pool takes back.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import process from 'node:process';
import { beforeEach, test } from 'node:test';

import { clusterFor, onOwnNodes } from '../support/cluster/index.js';
import { clusterAndPool, openPool } from '../support/pools.js';
import * as scripted from '../support/scripted/backend.js';
import { waitUntil } from '../support/wait-until.js';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 3 });
await pool.query(
  `DROP TABLE IF EXISTS accounts;
   CREATE TABLE accounts (id int PRIMARY KEY, balance int CHECK (balance >= 0))`,
);
beforeEach(() => pool.query('DELETE FROM accounts; INSERT INTO accounts VALUES (1, 100), (2, 0)'));

const balances = async () =>
  (await pool.query('SELECT balance FROM accounts ORDER BY id')).map(({ balance }) => balance);
const transfer = async (tx, amount) => {
  await tx.query('UPDATE accounts SET balance = balance + $1 WHERE id = 2', [amount]);
  await tx.query('UPDATE accounts SET balance = balance - $1 WHERE id = 1', [amount]);
};

test('what the callback resolves to is what the transaction resolves to, committed', async () => {
  const result = await pool.transaction(async (tx) => {
    await transfer(tx, 30);
    return 'done';
  });
  assert.equal(result, 'done');
  assert.deepEqual(await balances(), [70, 30]);
  assert.equal(pool.status().inUse, 0);
});

test('what the callback throws is thrown, rolled back', async () => {
  const reason = new Error('changed my mind');
  const transaction = pool.transaction(async (tx) => {
    await transfer(tx, 30);
    throw reason;
  });
  await assert.rejects(transaction, (error) => error === reason);
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('an error of the server rolls back', async () => {
  await assert.rejects(
    pool.transaction((tx) => transfer(tx, 500)),
    { code: '23514' },
  );
  assert.deepEqual(await balances(), [100, 0]);
});

test('an error that the callback swallows does not become a commit', async () => {
  const transaction = pool.transaction((tx) => transfer(tx, 500).catch(() => 'all is well'));
  await assert.rejects(transaction, {
    name: 'TransactionError',
    code: 'HYPERION_TRANSACTION_ROLLED_BACK',
    outcome: 'not-committed',
    host: cluster.primary.address,
    query: 'COMMIT',
  });
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('a transaction sees its own writes on its own connection, nobody else does', async () => {
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = 1 WHERE id = 1');
    assert.deepEqual(await balances(), [100, 0]);
    const [{ a }] = await tx.query('SELECT pg_backend_pid() AS a');
    const [{ b }] = await tx.query('SELECT pg_backend_pid() AS b');
    assert.equal(a, b);
  });
  assert.deepEqual(await balances(), [1, 0]);
});

test('more transactions than connections wait for their turn', async () => {
  const moves = Array.from({ length: 50 }, () => pool.transaction((tx) => transfer(tx, 2)));
  await Promise.all(moves);
  assert.deepEqual(await balances(), [0, 100]);
});

test('a query for the lock of an open transaction does not hold up those behind it', async () => {
  // Enough quick statements for the pool to pipeline them.
  const touch = () => pool.query('UPDATE accounts SET balance = balance WHERE id = 2');
  for (let n = 0; n < 20; n++) await touch();
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = balance WHERE id = 2');
    const blocked = touch();
    // Each of these must get past the blocked one, or this transaction would never end.
    for (let n = 0; n < 20; n++) {
      await pool.query('UPDATE accounts SET balance = balance WHERE id = 1');
    }
    setImmediate(() => blocked.catch(() => {}));
  });
  assert.deepEqual(await balances(), [100, 0]);
});

test('a finished transaction says so', async () => {
  let kept;
  await pool.transaction(async (tx) => {
    kept = tx;
  });
  await assert.rejects(kept.query('SELECT 1'), { name: 'TransactionError' });
});

test('a transaction whose session is ended fails as not committed', async () => {
  const transaction = pool.transaction(async (tx) => {
    await transfer(tx, 30);
    const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
    await cluster.endSession(cluster.primary, pid);
    await tx.query('SELECT 1');
  });
  await assert.rejects(transaction, { name: 'ConnectionError', outcome: 'not-committed' });
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('a transaction of one statement costs two round trips', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  const counted = openPool(t, cluster.options({ hosts: [proxy.address], poolSize: 1 }));
  const sql = 'SELECT balance FROM accounts';
  await counted.query(sql);
  const before = proxy.roundTrips;
  await counted.transaction((tx) => tx.query(sql));
  assert.equal(proxy.roundTrips - before, 2);
  await counted.transaction(() => {});
  assert.equal(proxy.roundTrips - before, 2, 'a transaction of no statement costs none');
  await counted.transaction((tx) => Promise.all([tx.query(sql), tx.query(sql), tx.query(sql)]));
  assert.equal(proxy.roundTrips - before, 5, 'what is asked together waits for BEGIN alone');
});

test('begin gives a transaction that commits and rolls back when it is told', async () => {
  const kept = await pool.begin();
  await transfer(kept, 30);
  assert.equal(pool.status().inUse, 1);
  await kept.commit();
  assert.deepEqual(await balances(), [70, 30]);
  const dropped = await pool.begin();
  await transfer(dropped, 30);
  await dropped.rollback();
  assert.deepEqual(await balances(), [70, 30]);
  assert.equal(pool.status().inUse, 0);
  const late = { name: 'TransactionError', code: 'HYPERION_TRANSACTION_FINISHED' };
  await assert.rejects(kept.query('SELECT 1'), { ...late, outcome: 'not-sent', query: 'SELECT 1' });
  await assert.rejects(kept.commit(), late);
  await assert.rejects(dropped.rollback(), late);
});

test('a block that is left without commit rolls back', async () => {
  const tx = await pool.begin();
  await transfer(tx, 30);
  await tx[Symbol.asyncDispose]();
  assert.deepEqual(await balances(), [100, 0]);
  const committed = await pool.begin();
  await transfer(committed, 30);
  await committed.commit();
  await committed[Symbol.asyncDispose]();
  assert.deepEqual(await balances(), [70, 30]);
  assert.equal(pool.status().inUse, 0);
});

test('the options say how it begins', async () => {
  const modes = async (options) => {
    const sql = `SELECT current_setting('transaction_isolation') AS isolation,
      current_setting('transaction_read_only') AS read_only,
      current_setting('transaction_deferrable') AS deferrable`;
    const [{ isolation, read_only, deferrable }] = await pool.transaction(
      (tx) => tx.query(sql),
      options,
    );
    return [isolation, read_only, deferrable];
  };
  assert.deepEqual(await modes(), ['read committed', 'off', 'off']);
  for (const isolation of [
    ...['read uncommitted', 'read committed', 'repeatable read', 'serializable'],
  ]) {
    assert.deepEqual(await modes({ isolation }), [isolation, 'off', 'off']);
  }
  assert.deepEqual(await modes({ isolation: 'serializable', readOnly: true, deferrable: true }), [
    'serializable',
    'on',
    'on',
  ]);
  const write = pool.transaction((tx) => transfer(tx, 1), { readOnly: true, retries: 3 });
  await assert.rejects(write, { code: '25006', outcome: 'not-committed' });
});

test('a statement that the first flight can not carry runs in the transaction all the same', async () => {
  // A script, a parameter whose type must be asked for, and a parameter that can't be sent at all.
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = 1; UPDATE accounts SET balance = 2');
    assert.deepEqual(await balances(), [100, 0]);
  });
  assert.deepEqual(await balances(), [2, 2]);
  await assert.rejects(
    pool.transaction(async (tx) => {
      await tx.query('INSERT INTO accounts VALUES (3, length($1::bytea))', [Buffer.from('abc')]);
      throw new Error('no');
    }),
    { message: 'no' },
  );
  await pool.query('SELECT $1::int8', [1]);
  await pool.transaction(async (tx) => {
    await assert.rejects(tx.query('SELECT $1::int', ['\0']), { name: 'ConfigurationError' });
    await assert.rejects(tx.query('SELECT $1::int8', [1.5]), { outcome: 'not-sent' });
    await tx.query('UPDATE accounts SET balance = 3');
    assert.deepEqual(await balances(), [2, 2]);
  });
  assert.deepEqual(await balances(), [3, 3]);
});

test('a savepoint undoes its own part, at any depth', async () => {
  const reason = new Error('inner');
  await pool.transaction(async (tx) => {
    await tx.query('UPDATE accounts SET balance = 1');
    const inner = tx.savepoint(async (sp) => {
      await sp.query('UPDATE accounts SET balance = 2');
      await sp.transaction((deeper) => deeper.query('UPDATE accounts SET balance = 3'));
      throw reason;
    });
    await assert.rejects(inner, (error) => error === reason);
    // An error of the server in the transaction, and an error that its callback swallows.
    await assert.rejects(
      tx.transaction((sp) => transfer(sp, 500)),
      { code: '23514' },
    );
    const swallowed = tx.savepoint((sp) => transfer(sp, 500).catch(() => {}));
    await assert.rejects(swallowed, (error) => {
      assert.equal(error.code, '25P02');
      assert.equal(error.cause.code, '23514');
      return true;
    });
    let kept;
    const value = await tx.savepoint(async (sp) => {
      kept = sp;
      await sp.query('UPDATE accounts SET balance = balance + 10');
      return 'value';
    });
    assert.equal(value, 'value');
    await assert.rejects(kept.query('SELECT 1'), { code: 'HYPERION_TRANSACTION_FINISHED' });
    await assert.rejects(
      kept.savepoint(() => {}),
      { code: 'HYPERION_TRANSACTION_FINISHED' },
    );
  });
  assert.deepEqual(await balances(), [11, 11]);
});

test('a savepoint refuses options, which would be ignored', async () => {
  await pool.transaction(async (tx) => {
    const refused = { code: 'HYPERION_CONFIGURATION' };
    const options = { isolation: 'serializable' };
    for (const view of [tx.transaction, tx.savepoint]) {
      await assert.rejects(
        view.call(tx, () => assert.fail('it runs'), options),
        refused,
      );
    }
    await tx.savepoint(async (sp) => {
      await assert.rejects(
        sp.savepoint(() => assert.fail('it runs'), options),
        refused,
      );
    }, undefined);
    assert.deepEqual(await tx.query('SELECT 1 AS one'), [{ one: 1 }]);
  });
});

test('a transaction is not committed in the middle of a savepoint', async () => {
  const half = { code: 'HYPERION_QUERY_NOT_AWAITED', outcome: 'not-committed' };
  const both = async (sp, between) => {
    await sp.query('UPDATE accounts SET balance = balance - 30 WHERE id = 1');
    await between();
    await sp.query('UPDATE accounts SET balance = balance + 30 WHERE id = 2');
  };
  let goOn;
  const stopped = new Promise((resolve) => (goOn = resolve));
  let forgotten;
  const transaction = pool.transaction(
    (tx) =>
      new Promise((done) => {
        forgotten = tx.savepoint((sp) => both(sp, () => (done(), stopped)));
        forgotten.catch(() => {});
      }),
  );
  await assert.rejects(transaction, half);
  goOn();
  await assert.rejects(forgotten, { code: 'HYPERION_TRANSACTION_FINISHED' });
  const tx = await pool.begin();
  await assert.rejects(
    tx.savepoint((sp) => both(sp, () => tx.commit())),
    half,
  );
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('a serialization failure is repeated, and both increments count', async () => {
  let attempts = 0;
  const increment = async (tx) => {
    attempts += 1;
    const [{ balance }] = await tx.query('SELECT balance FROM accounts WHERE id = 1');
    await tx.query('UPDATE accounts SET balance = $1 WHERE id = 1', [balance + 1]);
  };
  const options = { isolation: 'serializable', retries: 50 };
  await Promise.all([1, 2, 3].map(() => pool.transaction(increment, options)));
  assert.equal((await balances())[0], 103);
  assert.ok(attempts >= 3);
  // This happens in each run, since the row changes between the read and the write.
  attempts = 0;
  await pool.transaction(async (tx) => {
    attempts += 1;
    const [{ balance }] = await tx.query('SELECT balance FROM accounts WHERE id = 1');
    if (attempts === 1) await pool.query('UPDATE accounts SET balance = 0 WHERE id = 1');
    await tx.query('UPDATE accounts SET balance = $1 WHERE id = 1', [balance + 1]);
  }, options);
  assert.deepEqual([attempts, (await balances())[0]], [2, 1]);
});

test('a deadlock is repeated', async () => {
  let met;
  const both = new Promise((resolve) => (met = resolve));
  let waiting = 0;
  let attempts = 0;
  const lockBoth = (first, second) =>
    pool.transaction(
      async (tx) => {
        attempts += 1;
        await tx.query("SET LOCAL deadlock_timeout = '10ms'");
        await tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [first]);
        if (++waiting === 2) met();
        await both;
        await tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [second]);
      },
      { retries: 3 },
    );
  await Promise.all([lockBoth(1, 2), lockBoth(2, 1)]);
  assert.deepEqual(await balances(), [102, 2]);
  assert.ok(attempts >= 3);
});

test('a transaction whose session was ended is repeated', async () => {
  let attempts = 0;
  await pool.transaction(
    async (tx) => {
      attempts += 1;
      await transfer(tx, 30);
      if (attempts > 1) return;
      const [{ pid }] = await tx.query('SELECT pg_backend_pid() AS pid');
      await cluster.endSession(cluster.primary, pid);
      await tx.query('SELECT 1');
    },
    { retries: 1 },
  );
  assert.deepEqual([attempts, await balances()], [2, [70, 30]]);
});

test('a transaction that does not finish in time is rolled back, whatever it is at', async () => {
  const late = {
    ...{ name: 'TimeoutError', code: 'HYPERION_TRANSACTION_TIMEOUT', outcome: 'not-committed' },
  };
  // The callback waits for something else, or the server is at work, or the caller only calls
  // begin().
  const forever = new Promise(() => {});
  const idle = pool.transaction((tx) => transfer(tx, 30).then(() => forever), { timeoutMs: 50 });
  await assert.rejects(idle, late);
  const busy = pool.transaction((tx) => tx.query('SELECT pg_sleep(30)'), { timeoutMs: 50 });
  await assert.rejects(busy, { ...late, query: 'SELECT pg_sleep(30)' });
  const tx = await pool.begin({ timeoutMs: 50 });
  await transfer(tx, 30);
  await assert.rejects(tx.query('SELECT pg_sleep(1)'), late);
  await assert.rejects(tx.commit(), late);
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
  // A transaction that ends in time is not affected.
  assert.equal(await pool.transaction(async () => 'done', { timeoutMs: 60_000 }), 'done');
});

test('the time of a transaction includes the wait for a connection', async (t) => {
  const single = openPool(t, cluster.options({ poolSize: 1 }));
  const holder = await single.begin();
  for (const begin of [
    () => single.begin({ timeoutMs: 50 }),
    () => single.transaction(() => assert.fail('ran'), { timeoutMs: 50 }),
  ]) {
    await assert.rejects(begin(), { code: 'HYPERION_TRANSACTION_TIMEOUT' });
  }
  await holder.rollback();
  // The connection that was granted too late is free again.
  assert.deepEqual(await single.query('SELECT 1 AS one'), [{ one: 1 }]);
  assert.equal(single.status().inUse, 0);
});

test('begin waits for a connection no longer than acquireTimeoutMs', async (t) => {
  const single = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 50 }));
  // A login may take longer where the machine is busy.
  const isReady = () =>
    single.ready().then(
      () => true,
      () => false,
    );
  await waitUntil('it has logged in', isReady);
  const holder = await single.begin();
  await assert.rejects(single.begin(), { name: 'PoolTimeoutError', code: 'HYPERION_POOL_TIMEOUT' });
  await holder.rollback();
});

test('a transaction that its own statement ended takes no more', async () => {
  const tx = await pool.begin();
  await transfer(tx, 30);
  await tx.query('ROLLBACK');
  const over = { name: 'TransactionError', code: 'HYPERION_TRANSACTION_OVER' };
  await assert.rejects(transfer(tx, 30), over);
  await assert.rejects(tx.commit(), over);
  assert.deepEqual(await balances(), [100, 0]);
  assert.equal(pool.status().inUse, 0);
});

test('what a statement of its own has committed is not done again', async () => {
  let attempts = 0;
  const transaction = pool.transaction(
    async (tx) => {
      attempts += 1;
      await transfer(tx, 30);
      await tx.query('COMMIT');
      throw Object.assign(new Error('mine'), { code: '40001' });
    },
    { retries: 3 },
  );
  await assert.rejects(transaction, { message: 'mine' });
  assert.deepEqual([attempts, await balances()], [1, [70, 30]]);
  assert.equal(pool.status().inUse, 0);
  const silent = pool.transaction((tx) => tx.query('COMMIT'), { retries: 3 });
  await assert.rejects(silent, { code: 'HYPERION_TRANSACTION_OVER', outcome: 'unknown' });
  const forever = new Promise(() => {});
  const late = pool.transaction((tx) => tx.query('COMMIT').then(() => forever), { timeoutMs: 50 });
  await assert.rejects(late, { name: 'TimeoutError', code: '40003', outcome: 'unknown' });
  const tx = await pool.begin();
  await transfer(tx, 10);
  await tx.query('ROLLBACK');
  await tx.rollback();
  assert.deepEqual(await balances(), [70, 30]);
  assert.equal(pool.status().inUse, 0);
});

test('a transaction that nobody finishes is taken back, with a warning that says where it began', async (t) => {
  const short = openPool(t, cluster.options({ poolSize: 1, idleInTransactionTimeoutMs: 100 }));
  const warned = once(process, 'warning');
  const tx = await short.begin();
  await transfer(tx, 30);
  const [warning] = await warned;
  assert.equal(warning.code, 'HYPERION_TRANSACTION_ABANDONED');
  assert.match(warning.message, /was idle for idleInTransactionTimeoutMs/);
  assert.match(warning.detail, /transaction\.test\.js/);
  const gone = { outcome: 'not-committed' };
  await assert.rejects(tx.query('SELECT 1'), gone);
  await assert.rejects(tx.commit(), gone);
  assert.deepEqual(await short.query('SELECT balance FROM accounts ORDER BY id'), [
    ...[{ balance: 100 }, { balance: 0 }],
  ]);
});

test('25P03 from the server reaches the transaction as the cause of its end', async (t) => {
  const short = openPool(t, cluster.options({ poolSize: 1 }));
  const warned = once(process, 'warning');
  const tx = await short.begin();
  await tx.query("SET idle_in_transaction_session_timeout = '50ms'");
  // The pool learns of it only from the answers in the transaction.
  const error = await untilItFails(
    () => cluster.query(cluster.primary, 'SELECT pg_sleep(0.2)'),
    tx,
  );
  assert.equal(error.name, 'TransactionError');
  assert.equal(error.code, 'HYPERION_TRANSACTION_ABANDONED');
  assert.equal(error.outcome, 'not-committed');
  assert.equal(error.cause.code, '25P03');
  assert.match(error.cause.message, /idle-in-transaction timeout/);
  // The error names the limit that has passed.
  const [warning] = await warned;
  assert.equal(warning.code, 'HYPERION_TRANSACTION_ABANDONED');
  assert.match(warning.message, /was idle for the server's idle_in_transaction_session_timeout:/);
  await tx.rollback();
});

test(
  'the time of a transaction bounds a COMMIT that waits for a standby',
  onOwnNodes,
  async (t) => {
    const synchronous = await clusterFor({ nodes: 2, synchronous: 1 });
    t.after(() => synchronous.close());
    const bounded = openPool(t, synchronous.options({ poolSize: 1 }));
    await bounded.query('CREATE TABLE IF NOT EXISTS waits (key int)');
    const standbys = synchronous.nodes.filter((node) => node !== synchronous.primary);
    for (const standby of standbys) {
      await synchronous.freeze(standby);
      t.after(() => synchronous.thaw(standby).catch(() => {}));
    }
    let attempts = 0;
    const transaction = bounded.transaction(
      (tx) => {
        attempts += 1;
        return tx.query('INSERT INTO waits VALUES (1)');
      },
      { timeoutMs: 300, retries: 5 },
    );
    await assert.rejects(transaction, (error) => {
      assert.deepEqual(
        [error.name, error.code, error.outcome, error.query],
        ['TimeoutError', '40003', 'unknown', 'COMMIT'],
      );
      return true;
    });
    assert.equal(attempts, 1, 'what may have been committed is not repeated');
    assert.equal(bounded.status().inUse, 0);
  },
);

test('where the server refuses BEGIN, nothing of the transaction runs', async (t) => {
  const tags = [];
  const refusal = { S: 'ERROR', V: 'ERROR', C: '57014', M: 'canceling statement' };
  const backend = await scripted.scriptedBackend(async (frontend) => {
    await frontend.logIn();
    frontend.send(scripted.error(refusal), scripted.readyForQuery());
    for (;;) tags.push((await frontend.message()).tag);
  });
  t.after(() => backend.close());
  const refusing = openPool(t, backend.options());
  const tx = await refusing.begin();
  const over = { name: 'TransactionError', code: 'HYPERION_TRANSACTION_OVER' };
  // Both are asked together. The second one must not run without the first.
  const [first, second] = await Promise.allSettled([
    tx.query('INSERT one'),
    tx.query('INSERT two'),
  ]);
  assert.deepEqual([first.reason.code, first.reason.outcome], ['57014', 'not-committed']);
  assert.equal(second.reason.code, over.code);
  await assert.rejects(tx.commit(), (error) => {
    assert.equal(error.code, over.code);
    assert.equal(error.cause, first.reason);
    return true;
  });
  assert.deepEqual(tags, []);
  assert.equal(refusing.status().inUse, 0);
});

async function untilItFails(pause, tx) {
  for (let n = 0; n < 50; n++) {
    await pause();
    const failed = await tx.query('SELECT 1').then(
      () => null,
      (error) => error,
    );
    if (failed !== null) return failed;
  }
  throw new Error('the session was not ended');
}
