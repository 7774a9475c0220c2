// What a transaction sends, and how it ends, whatever the server and the callback do. The addon is scripted, so
// that every answer comes when the test says so.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { ScriptedAddon } from './scripted/addon.js';

const { Pool } = createRequire(import.meta.url)('../js/pool.cjs');

const ACQUIRE = 2;
const RELEASE = 4;
const COMMIT = 8;
const LEASE = 77;

/**
 * A pool whose addon answers every query by itself: `answers` has a command or an error by SQL text, or null for
 * one that the test answers.
 */
function open(answers = {}) {
  const addon = new ScriptedAddon();
  const pool = new Pool(addon, '{}');
  addon.answer = (request, answer) =>
    addon.deliver((s) => {
      if (typeof answer === 'object') s.error(request, { class: 'DatabaseError', ...answer });
      else s.result(request, { command: answer, lease: answer === 'BEGIN' ? LEASE : 0 });
    });
  let answered = 0;
  addon.flush = () =>
    setImmediate(() => {
      for (; answered < addon.sent.length; answered++) {
        const { request, sql } = addon.sent[answered];
        const answer = sql in answers ? answers[sql] : sql;
        if (answer !== null) addon.answer(request, answer);
      }
    });
  const sent = () => addon.sent.map(({ sql, lease, flags }) => [sql, lease, flags]);
  return { addon, pool, sent };
}

test('BEGIN acquires, queries name the lease, COMMIT releases', async () => {
  const { pool, sent } = open();
  const result = await pool.transaction(async (tx) => {
    await tx.query('SELECT 1', [1]);
    return 'done';
  });
  assert.equal(result, 'done');
  assert.deepEqual(sent(), [
    ['BEGIN', 0, ACQUIRE],
    ['SELECT 1', LEASE, 0],
    ['COMMIT', LEASE, RELEASE | COMMIT],
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
    assert.deepEqual(sent().at(-1), ['ROLLBACK', LEASE, RELEASE]);
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

test('where BEGIN fails the callback never runs', async () => {
  const { addon, pool, sent } = open({
    BEGIN: { class: 'PoolTimeoutError', code: 'X', message: 'm' },
  });
  const transaction = pool.transaction(() => assert.fail('ran'));
  await assert.rejects(transaction, { name: 'PoolTimeoutError' });
  assert.equal(sent().length, 1);
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

test('COMMIT waits for the queries that the callback did not wait for', async () => {
  const { addon, pool, sent } = open({ slow: null });
  let kept;
  const transaction = pool.transaction(async (tx) => {
    kept = tx;
    void tx.query('slow');
  });
  for (let n = 0; n < 5; n++) await turn();
  assert.equal(sent().at(-1)[0], 'slow');
  // The callback is done: nothing may slip in between.
  await assert.rejects(kept.query('late'), {
    ...{ name: 'TransactionError', code: 'HYPERION_TRANSACTION_FINISHED', outcome: 'not-sent' },
  });
  addon.answer(addon.sent.at(-1).request, 'SELECT');
  await transaction;
  assert.equal(sent().at(-1)[0], 'COMMIT');
  await assert.rejects(kept.query('late'), { name: 'TransactionError', query: 'late' });
});

test('a lost answer to COMMIT stays unknown', async () => {
  const lost = { class: 'ConnectionError', code: '40003', message: 'lost', outcome: 'unknown' };
  const { addon, pool, sent } = open({ COMMIT: lost });
  await assert.rejects(
    pool.transaction(async () => {}),
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
