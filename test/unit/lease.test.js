// What a transaction sends, and how it ends, whatever the server and the callback do. A scripted
// addon answers when the test says so.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { ScriptedAddon } from '../support/scripted/addon.js';

const require = createRequire(import.meta.url);
const { Pool } = require('../../js/api/pool.cjs');
const { isRetryable } = require('../../js/api/errors.cjs');
const { queryFlags, isolationLevels } = require('../../js/transfer/contract.cjs');

const { TRANSACTION: TX, BEGIN_READ_ONLY, BEGIN_DEFERRABLE, ISOLATION_SHIFT } = queryFlags;
const END = TX | queryFlags.END | queryFlags.RELEASE;
const COMMIT = END | queryFlags.COMMIT;
const LEASE = 77;

/**
 * A pool whose addon answers by itself: `answers` has a command or an error by SQL text, or null for one that the
 * test answers. ACQUIRE stands for a connection.
 */
function open(answers = {}) {
  const addon = new ScriptedAddon();
  const pool = new Pool(addon, '{}');
  addon.answer = (request, answer) =>
    addon.deliver((s) => {
      // A server that refuses a statement in a transaction reports the transaction as failed.
      const refusal = { class: 'DatabaseError', transactionFailed: !answer.class };
      if (typeof answer === 'object') s.error(request, { ...refusal, ...answer });
      else s.result(request, { command: answer, lease: answer === 'ACQUIRE' ? LEASE : 0 });
    });
  let acquired = 0;
  let answered = 0;
  addon.flush = () =>
    setImmediate(() => {
      for (; acquired < addon.acquired.length; acquired++) {
        addon.answer(addon.acquired[acquired].request, answers.ACQUIRE ?? 'ACQUIRE');
      }
      for (; answered < addon.sent.length; answered++) {
        const { request, sql } = addon.sent[answered];
        const answer = sql in answers ? answers[sql] : sql;
        if (answer !== null) addon.answer(request, answer);
      }
    });
  const sent = () => addon.sent.map(({ sql, lease, flags }) => [sql, lease, flags]);
  return { addon, pool, sent };
}

test('the statements of a transaction say so, and how it begins; COMMIT gives the connection back', async () => {
  const { addon, pool, sent } = open();
  const result = await pool.transaction(async (tx) => {
    await tx.query('SELECT 1', [1]);
    return 'done';
  });
  assert.equal(result, 'done');
  assert.deepEqual(
    addon.acquired.map(({ flags }) => flags),
    [TX],
  );
  assert.deepEqual(sent(), [
    ['SELECT 1', LEASE, TX],
    ['COMMIT', LEASE, COMMIT],
  ]);
  const options = { isolation: 'serializable', readOnly: true, deferrable: true };
  await pool.transaction((tx) => tx.query('SELECT 2'), options);
  const level = isolationLevels.SERIALIZABLE << ISOLATION_SHIFT;
  const mode = BEGIN_READ_ONLY | BEGIN_DEFERRABLE | level;
  assert.deepEqual(sent().slice(2), [
    ['SELECT 2', LEASE, TX | mode],
    ['COMMIT', LEASE, COMMIT | mode],
  ]);
});

test('what was thrown comes out as it is, after ROLLBACK', async () => {
  for (const reason of [new Error('mine'), 'a string', undefined, Object.freeze(new Error('f'))]) {
    const { addon, pool, sent } = open();
    const transaction = pool.transaction(() => {
      throw reason;
    });
    const [settled] = await Promise.allSettled([transaction]);
    assert.deepEqual([settled.status, settled.reason], ['rejected', reason]);
    assert.deepEqual(sent().at(-1), ['ROLLBACK', LEASE, END]);
    assert.deepEqual(addon.released, []);
  }
});

test('where ROLLBACK fails the connection is destroyed, and its error is attached', async () => {
  const { addon, pool } = open({
    ROLLBACK: { class: 'ConnectionError', code: '08006', message: 'lost' },
  });
  const reason = new Error('mine');
  const transaction = pool.transaction(() => Promise.reject(reason));
  assert.equal(await transaction.catch((error) => error), reason);
  assert.deepEqual(addon.released, [{ lease: LEASE, destroy: true }]);
  assert.equal(reason.suppressed.code, '08006');
  assert.deepEqual(Object.keys(reason), []);
});

test('where no connection can be had the callback never runs', async () => {
  const { addon, pool, sent } = open({
    ACQUIRE: { class: 'PoolTimeoutError', code: 'X', message: 'm' },
  });
  const transaction = pool.transaction(() => assert.fail('ran'));
  await assert.rejects(transaction, { name: 'PoolTimeoutError' });
  await assert.rejects(pool.begin(), { name: 'PoolTimeoutError' });
  await assert.rejects(pool.connect(), { name: 'PoolTimeoutError' });
  assert.equal(sent().length, 0);
  assert.deepEqual(addon.released, []);
});

test('a COMMIT that the server answers with ROLLBACK names the statement that failed', async () => {
  const failure = { code: '23505', message: 'duplicate', outcome: 'not-committed' };
  const { pool } = open({ INSERT: failure, COMMIT: 'ROLLBACK' });
  const transaction = pool.transaction((tx) => tx.query('INSERT').catch(() => {}));
  await assert.rejects(transaction, (error) => {
    assert.equal(error.name, 'TransactionError');
    assert.equal(error.code, 'HYPERION_TRANSACTION_ROLLED_BACK');
    assert.equal(error.outcome, 'not-committed');
    assert.equal(error.cause.code, '23505');
    return true;
  });
});

test('a query that the callback did not wait for rolls the transaction back', async () => {
  const { addon, pool, sent } = open({ slow: null });
  let kept;
  const transaction = pool.transaction(async (tx) => {
    kept = tx;
    void tx.query('slow');
  });
  for (let n = 0; n < 5; n++) await turn();
  assert.equal(sent().at(-1)[0], 'slow', 'nothing goes out before its answer');
  addon.answer(addon.sent.at(-1).request, 'SELECT');
  await assert.rejects(transaction, {
    ...{ name: 'TransactionError', code: 'HYPERION_QUERY_NOT_AWAITED', outcome: 'not-committed' },
    query: 'slow',
  });
  assert.equal(sent().at(-1)[0], 'ROLLBACK');
  await assert.rejects(kept.query('late'), {
    ...{ name: 'TransactionError', code: 'HYPERION_TRANSACTION_FINISHED', outcome: 'not-sent' },
    query: 'late',
  });
});

test('commit() may go out behind queries that nobody waits for yet', async () => {
  const { pool, sent } = open({ a: 'SELECT' });
  const tx = await pool.begin();
  await Promise.all([tx.query('a'), tx.commit()]);
  assert.deepEqual(
    sent().map(([sql]) => sql),
    ['a', 'COMMIT'],
  );
  for (const late of [tx.query('b'), tx.commit(), tx.rollback(), tx.savepoint(() => {})]) {
    await assert.rejects(late, { code: 'HYPERION_TRANSACTION_FINISHED' });
  }
});

test('a lost answer to COMMIT stays unknown', async () => {
  const lost = { class: 'ConnectionError', code: '40003', message: 'lost', outcome: 'unknown' };
  const { addon, pool, sent } = open({ COMMIT: lost });
  await assert.rejects(
    pool.transaction(async () => {}, { retries: 5 }),
    { code: '40003', outcome: 'unknown' },
  );
  assert.equal(sent().at(-1)[0], 'COMMIT');
  assert.deepEqual(addon.released, []);
});

test('a transaction needs a function', async () => {
  const { pool, sent } = open();
  await assert.rejects(pool.transaction('BEGIN'), { name: 'ConfigurationError' });
  assert.deepEqual(sent(), []);
});

test('retries run the whole callback again, where that can help', async () => {
  const lost = { class: 'ConnectionError', code: 'HYPERION_CONNECTION_LOST', message: 'lost' };
  const serialization = { code: '40001', message: 'concurrent update' };
  const cases = [
    [{ ...lost, outcome: 'not-committed' }, 3],
    [serialization, 3],
    [{ ...serialization, code: '40P01' }, 3],
    [{ ...lost, code: '40003', outcome: 'unknown' }, 1],
    [{ code: '23505', message: 'duplicate', outcome: 'not-committed' }, 1],
  ];
  for (const [failure, expected] of cases) {
    const { pool } = open({ write: failure });
    let attempts = 0;
    const transaction = pool.transaction(
      (tx) => {
        attempts += 1;
        return tx.query('write');
      },
      { retries: 2 },
    );
    await assert.rejects(transaction, { code: failure.code });
    assert.equal(attempts, expected, failure.code);
  }
});

test('a write that the user’s own readOnly forbids is not retryable, whoever asks', async () => {
  const refused = { code: '25006', message: 'read-only', outcome: 'not-committed' };
  const { pool } = open({ write: refused });
  const connection = await pool.connect();
  for (const [queryable, options, expected] of [
    [pool, { readOnly: true }, false],
    [connection, { readOnly: true }, false],
    [pool, {}, true],
    [connection, {}, true],
  ]) {
    let attempts = 0;
    const write = (tx) => {
      attempts += 1;
      return tx.query('write').catch((cause) => Promise.reject(new Error('mine', { cause })));
    };
    const error = await queryable
      .transaction(write, { ...options, retries: 1 })
      .catch((thrown) => thrown);
    assert.deepEqual([isRetryable(error), isRetryable(error.cause)], [expected, expected]);
    assert.equal(attempts, expected ? 2 : 1);
  }
  // After the transaction the error is the server's own again.
  await connection.transaction((tx) => tx.query('x'), { readOnly: true });
  assert.ok(isRetryable(await connection.query('write').catch((error) => error)));
});

test('a callback that has committed by itself is not run again, whatever it throws behind that', async () => {
  const unknown = { class: 'ConnectionError', code: '40003', message: 'lost', outcome: 'unknown' };
  const serialization = { code: '40001', message: 'concurrent update', outcome: 'not-committed' };
  const cases = [
    ['COMMIT', 1],
    [unknown, 1],
    [serialization, 2],
    ['ROLLBACK', 2],
  ];
  for (const [answer, expected] of cases) {
    const { pool } = open({ COMMIT: answer });
    let attempts = 0;
    const transaction = pool.transaction(
      async (tx) => {
        attempts += 1;
        await tx.query('write');
        await tx.commit().catch(() => {});
        throw Object.assign(new Error('mine'), { code: '40001' });
      },
      { retries: 1 },
    );
    await assert.rejects(transaction, { message: 'mine' });
    assert.equal(attempts, expected, String(answer.code ?? answer));
  }
});

test('a commit that the callback did not wait for is not called a success before it is one', async () => {
  const refused = { code: '23505', message: 'duplicate', outcome: 'not-committed' };
  for (const [answer, code] of [
    [refused, '23505'],
    ['ROLLBACK', 'HYPERION_TRANSACTION_ROLLED_BACK'],
  ]) {
    const { pool } = open({ COMMIT: answer });
    const transaction = pool.transaction(async (tx) => {
      await tx.query('write');
      tx.commit().catch(() => {});
    });
    await assert.rejects(transaction, { code, outcome: 'not-committed' });
  }
  const { pool } = open();
  const committed = await pool.transaction(async (tx) => {
    await tx.query('write');
    void tx.commit();
    return 'done';
  });
  assert.equal(committed, 'done');
});

test('where a repeated transaction gets no further, why it was repeated is the cause', async () => {
  const refusal = { class: 'PoolTimeoutError', code: 'HYPERION_POOL_TIMEOUT', message: 'm' };
  const hang = () => new Promise(() => {});
  const ways = {
    'no connection': ({ answers }) => (answers.ACQUIRE = refusal),
    'the connection was released': ({ connection }) => void connection.release(),
    'its own limit': (world) => (world.next = hang),
  };
  for (const [name, then] of Object.entries(ways)) {
    const answers = { write: { code: '40001', message: 'concurrent update' } };
    const { pool } = open(answers);
    const world = { answers, connection: await pool.connect(), next: null };
    const on = name === 'the connection was released' ? world.connection : pool;
    const write = (tx) => world.next?.() ?? tx.query('write').finally(() => then(world));
    const options = { retries: 1, timeoutMs: 50 };
    const error = await on.transaction(write, options).catch((thrown) => thrown);
    assert.notEqual(error.code, '40001', name);
    assert.equal(error.cause?.code, '40001', name);
    assert.ok(!Object.keys(error).includes('cause'));
  }
});

test('an error that was wrapped, and one that was swallowed before COMMIT, are looked through', async () => {
  const { pool } = open({ write: { code: '40001', message: 'm' }, COMMIT: 'ROLLBACK' });
  for (const handle of [
    (cause) => Promise.reject(new Error('mine', { cause })),
    () => Promise.resolve('swallowed'),
  ]) {
    let attempts = 0;
    const transaction = pool.transaction(
      (tx) => {
        attempts += 1;
        return tx.query('write').catch(handle);
      },
      { retries: 1 },
    );
    await assert.rejects(transaction);
    assert.equal(attempts, 2);
  }
});

test('a savepoint beside another is refused at once, and nothing of it is sent', async () => {
  const { pool, sent } = open();
  let endFirst;
  const overlap = {
    ...{ name: 'TransactionError', code: 'HYPERION_SAVEPOINTS_OVERLAP', outcome: 'not-sent' },
  };
  await pool.transaction(async (tx) => {
    const first = tx.savepoint(() => new Promise((resolve) => (endFirst = resolve)));
    await assert.rejects(
      tx.savepoint(() => assert.fail('ran')),
      overlap,
    );
    await assert.rejects(tx.query('outside'), { ...overlap, query: 'outside' });
    endFirst();
    await first;
    await tx.query('behind');
  });
  assert.deepEqual(
    sent().map(([sql]) => sql),
    [...['SAVEPOINT hyperion_1', 'RELEASE SAVEPOINT hyperion_1'], ...['behind', 'COMMIT']],
  );
});

test('wrong options are refused by name', async () => {
  const { addon, pool } = open();
  const cases = [
    [{ isolation: 'snapshot' }, /'isolation' must be one of 'read uncommitted', /],
    [{ readOnly: 1 }, /'readOnly' must be true or false/],
    [{ deferrable: 'yes' }, /'deferrable' must be true or false/],
    [{ timeoutMs: 0 }, /'timeoutMs' must be an integer from 1 to 2147483647/],
    [{ timeout: 5 }, /unknown transaction option 'timeout': allowed: isolation, /],
    ['serializable', /must be an object/],
  ];
  for (const [options, message] of cases) {
    const expected = { name: 'ConfigurationError', code: 'HYPERION_CONFIGURATION', message };
    await assert.rejects(pool.begin(options), expected);
    await assert.rejects(
      pool.transaction(() => {}, options),
      expected,
    );
  }
  await assert.rejects(pool.begin({ retries: 1 }), { message: /unknown transaction option/ });
  await assert.rejects(
    pool.transaction(() => {}, { retries: -1 }),
    { message: /'retries' must be an integer from 0 to 1000/ },
  );
  await assert.rejects(pool.connect({ resetOnRelease: false }), { name: 'ConfigurationError' });
  const tx = await pool.begin();
  await assert.rejects(tx.savepoint('x'), { message: 'a savepoint needs a function, not string' });
  assert.equal(addon.acquired.length, 1);
});
