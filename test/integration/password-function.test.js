// The option `password` as a function, which is asked for each login, against real servers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';

let cluster;

before(async () => {
  cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const open = (t, password, more) => {
  const pool = createPool(cluster.options({ password, poolSize: 2, ...more }));
  t.after(() => pool.end({ timeoutMs: 0 }));
  return pool;
};

/** What `cluster()` says of the last attempt to log in, which failed. */
async function failure(t, password, more) {
  const pool = open(t, password, { acquireTimeoutMs: 300, ...more });
  await assert.rejects(pool.query('SELECT 1'), (error) => {
    assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }), /hunter2/);
    return true;
  });
  const [{ lastError }] = pool.cluster();
  assert.doesNotMatch(inspect(lastError), /hunter2/);
  return lastError;
}

test('it is asked for each login, and for nothing else', async (t) => {
  const asked = [];
  const password = (about) => {
    asked.push(about);
    return asked.length % 2 === 0 ? cluster.password : Promise.resolve(cluster.password);
  };
  const pool = open(t, password);
  const one = await pool.connect();
  await one.query('SELECT 1');
  const [host] = cluster.hosts();
  assert.deepEqual(asked, [{ host }]);
  const two = await pool.connect();
  await Promise.all([one.query('SELECT 1'), two.query('SELECT 1')]);
  assert.deepEqual(asked, [{ host }, { host }]);
  await Promise.all([one.release(), two.release()]);
  assert.doesNotMatch(inspect(pool, { depth: 9, showHidden: true }), new RegExp(cluster.password));
});

test('a password that changes is taken by the next login', async (t) => {
  const set = (text) => cluster.query(cluster.primary, `ALTER ROLE rotating PASSWORD '${text}'`);
  await cluster.query(cluster.primary, 'CREATE ROLE rotating LOGIN');
  let current = 'first';
  await set(current);
  const pool = open(t, async () => current, { user: 'rotating' });
  const one = await pool.connect();
  current = 'second';
  await set(current);
  const two = await pool.connect();
  for (const session of [one, two]) {
    assert.deepEqual(await session.query('SELECT current_user::text AS who'), [
      { who: 'rotating' },
    ]);
  }
  await Promise.all([one.release(), two.release()]);
});

test('its failure is the error of the attempt', async (t) => {
  for (const [password, words] of [
    [() => Promise.reject(new Error('the vault is sealed')), /failed: the vault is sealed$/],
    [
      () => Promise.reject(Object.assign(new Error('refused'), { code: 'EVAULT' })),
      /refused \(EVAULT\)$/,
    ],
    [
      () => {
        throw new Error('at once');
      },
      /failed: at once$/,
    ],

    [() => 12_345, /must give a string, not a number$/],
    [() => undefined, /must give a string, not undefined$/],
    [() => ['hunter2'], /must give a string, not an array$/],
    [async () => ({ password: 'hunter2' }), /must give a string, not an object$/],
    [() => '', /must give a string, not an empty one$/],
    [() => 'hunter2\0', /not one with NUL or half a character$/],
  ]) {
    const error = await failure(t, password);
    assert.equal(error.code, 'HYPERION_PASSWORD', inspect(error));
    assert.match(error.message, words);
    assert.match(error.message, /^can't log in at /);
  }
});

test('the next attempt asks again', async (t) => {
  let asked = 0;
  const password = () => {
    asked += 1;
    if (asked === 1) throw new Error('not yet');
    return cluster.password;
  };
  assert.equal((await open(t, password).query('SELECT 1 AS one'))[0].one, 1);
  assert.equal(asked, 2);
});

test('an answer that never comes is bounded by the time for an attempt', async (t) => {
  const error = await failure(t, () => new Promise(() => {}), { connectTimeoutMs: 100 });
  assert.equal(error.code, 'HYPERION_CONNECT_TIMEOUT');
});

test('an answer that comes when nobody waits has no effect', async (t) => {
  let answer;
  const pool = open(t, () => new Promise((resolve) => (answer = resolve)));
  const query = pool.query('SELECT 1');
  query.catch(() => {});
  while (answer === undefined) await new Promise((resolve) => setImmediate(resolve));
  await pool.end({ timeoutMs: 0 });
  answer(cluster.password);
  await assert.rejects(query);
});

test('it comes before every other password', async (t) => {
  const { user, database } = cluster;
  const [host] = cluster.hosts();
  const pool = createPool(`postgres://${user}:wrong@${host}/${database}`, {
    password: () => cluster.password,
  });
  t.after(() => pool.end());
  assert.equal((await pool.query('SELECT 1 AS one'))[0].one, 1);
});
