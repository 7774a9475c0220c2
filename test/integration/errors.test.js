// Errors that callers can act on: classes, codes, fields, stacks, causes, and whether a retry can
// help.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

import library, { createPool, isRetryable } from '../../js/index.mjs';
import { clusterAndPool, openPool } from '../support/pools.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SECRET = 'quite-a-value';

const { cluster, pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 2 });
await pool.query(
  `DROP TABLE IF EXISTS guests;
   CREATE TABLE guests (name text CONSTRAINT guests_name UNIQUE CHECK (name <> 'nobody'))`,
);

const errorOf = (promise) =>
  promise.then(
    () => assert.fail('it did not fail'),
    (error) => error,
  );

test('every class is a HyperionError, exported by both doors, named in its stack', async () => {
  const names = [
    ...['DatabaseError', 'ConnectionError', 'PoolTimeoutError', 'QueryTimeoutError', 'AbortError'],
    ...['ConfigurationError', 'ProtocolError', 'TransactionError', 'InternalError'],
  ];
  const module = await import('../../js/index.mjs');
  for (const name of names) {
    const constructor = module[name];
    assert.equal(constructor, library[name]);
    const error = new constructor('m', { code: 'c' });
    assert.ok(error instanceof module.HyperionError && error instanceof Error);
    assert.equal(constructor.name, name);
    const shown = name === 'QueryTimeoutError' ? 'TimeoutError' : name;
    assert.equal(error.name, shown);
    assert.match(error.stack, new RegExp(`^${shown}: m`));
    assert.deepEqual(Object.keys(error), ['code']);
  }
  assert.equal(module.TimeoutError, module.QueryTimeoutError);
});

test('the server’s fields come along, and no parameter', async () => {
  const sql = 'INSERT INTO guests VALUES ($1)';
  await pool.query(sql, [SECRET]);
  const tx = await pool.begin();
  const connection = await pool.connect();
  const errors = await Promise.all([
    ...[connection, tx].map((queryable) => errorOf(queryable.query(sql, [SECRET]))),
  ]);
  await tx.rollback();
  await connection.release();
  errors.push(await errorOf(pool.query(sql, [SECRET])));
  for (const error of errors) {
    assert.equal(error.name, 'DatabaseError');
    const { code, severity, schema, table, constraint, file, line, routine, outcome, host } = error;
    assert.deepEqual(
      [code, severity, schema, table, constraint, outcome, host],
      [
        ...['23505', 'ERROR', 'public', 'guests', 'guests_name'],
        ...['not-committed', cluster.primary.address],
      ],
    );
    assert.ok(typeof file === 'string' && typeof line === 'number' && typeof routine === 'string');
    assert.equal(error.query, sql);
    assert.ok(!Object.keys(error).includes('query'));
    // Apart from the server's own text, which quotes the existing key.
    const { detail, ...rest } = error;
    assert.match(detail, /already exists/);
    assert.doesNotMatch(`${error.stack}${inspect(rest)}${JSON.stringify(rest)}`, /quite-a-value/);
  }
  const syntax = await errorOf(pool.query('SELECT 1 FRM guests'));
  assert.deepEqual([syntax.code, syntax.position], ['42601', 14]);
});

test('the caller’s line is in the stack, whoever runs the query', async () => {
  const connection = await pool.connect();
  const tx = await pool.begin();
  const callers = {
    async fromPool() {
      await pool.query('SELECT 1/0');
    },
    async fromConnection() {
      await connection.query('SELECT 1/0');
    },
    async fromTransaction() {
      await tx.query('SELECT 1/0');
    },
    async fromCommit() {
      await tx.commit();
    },
    async fromCallback() {
      await connection.transaction((inner) => inner.query('SELECT 1/0'));
    },
    async fromSavepoint() {
      await connection.transaction((inner) => inner.savepoint((sp) => sp.query('SELECT 1/0')));
    },
    async fromUse() {
      await tx.query('SELECT 1');
    },
  };
  for (const [name, caller] of Object.entries(callers)) {
    const error = await errorOf(caller());
    assert.match(error.stack, new RegExp(`${name}.*errors\\.test\\.js`), error.stack);
  }
  await connection.release();
});

test('a stack begins at the caller’s line, and has none of this package', async (t) => {
  const single = createPool(cluster.options({ poolSize: 1 }));
  const ended = createPool(cluster.options());
  const [released, finished] = await Promise.all([pool.connect(), pool.begin()]);
  await Promise.all([released.release(), finished.commit(), ended.end()]);
  const connection = await pool.connect();
  const holder = await single.connect();
  t.after(async () => {
    await Promise.all([connection, holder].map((one) => one.release()));
    await single.end();
  });
  await pool.query(
    'DROP TABLE IF EXISTS late; CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)',
  );
  const refuseCommit = (tx) => tx.query('INSERT INTO late VALUES (1), (1)');
  const signal = AbortSignal.abort();
  const calls = {
    ...{ query: () => pool.query('SELECT 1/0'), ready: () => ended.ready() },
    commit: () => pool.transaction(refuseCommit),
    commitOnConnection: () => connection.transaction(refuseCommit),
    commitByMethod: async () => {
      const tx = await pool.begin();
      await refuseCommit(tx);
      await tx.commit();
    },
    rolledBack: () => pool.transaction((tx) => tx.query('SELECT 1/0').catch(() => {})),
    notAwaited: () => pool.transaction((tx) => void tx.query('SELECT 1')),
    openSavepoint: () => pool.transaction((tx) => void tx.savepoint(() => new Promise(() => {}))),
    releasedSavepoint: async () => {
      const tx = await connection.begin();
      await tx
        .savepoint((sp) => sp.query('SELECT 1/0').catch(() => {}))
        .finally(() => tx.rollback());
    },
    timeout: () => pool.transaction((tx) => tx.query('SELECT pg_sleep(60)'), { timeoutMs: 20 }),
    noConnection: () => single.transaction(() => {}, { timeoutMs: 20 }),
    ...{ begin: () => single.begin({ timeoutMs: 20 }), ended: () => ended.begin() },
    ...{ connect: () => single.connect({ timeoutMs: 20 }), endedConnect: () => ended.connect() },
    // Refused at once.
    ...{ text: () => pool.query(1), parameter: () => pool.query('SELECT $1', [() => 1]) },
    arrayParameter: () => pool.query('SELECT $1', [[[Symbol('x')]]]),
    options: () => connection.query('SELECT 1', [], { wrong: 1 }),
    types: () => pool.query('SELECT 1', [], { types: { int8: 'wrong' } }),
    ...{ aborted: () => pool.query('SELECT 1', [], { signal }), end: () => pool.end(1) },
    ...{
      abortedConnect: () => pool.connect({ signal }),
      abortedBegin: () => pool.begin({ signal }),
    },
    ...{ wrongBegin: () => pool.begin(1), wrongBeginHere: () => connection.begin(1) },
    ...{ noCallback: () => pool.transaction(), noCallbackHere: () => connection.transaction() },
    ...{ wrongConnect: () => pool.connect(1), released: () => released.query('SELECT 1') },
    ...{ releasedTransaction: () => released.transaction(() => {}) },
    ...{ finished: () => finished.query('SELECT 1'), twice: () => finished.commit() },
    ...{ lateSavepoint: () => finished.savepoint(() => {}) },
    // In a callback, which this package awaits.
    inCallback: () => pool.transaction(async (tx) => await tx.query('SELECT 1', [], { wrong: 1 })),
    overlap: () =>
      pool.transaction(async (tx) => {
        await tx.savepoint(async (sp) => {
          await sp.query('SELECT 1');
          await tx.query('SELECT 1');
        });
      }),
    ...{ createPool: async () => createPool({ wrong: 1 }), hosts: async () => pool.setHosts(1) },
  };
  for (const [name, call] of Object.entries(calls)) {
    const caller = { [name]: async () => await call() }[name];
    const outer = async () => await caller();
    const { stack } = await errorOf(outer());
    const frames = stack.split('\n').filter((line) => line.startsWith('    at '));
    assert.match(frames[0], /errors\.test\.js/, stack);
    assert.match(stack, new RegExp(`${name}.*errors\\.test\\.js`), stack);
    assert.ok(!frames.some((frame) => frame.includes(path.join(root, 'js'))), stack);
  }
});

test('a method without its object says so', async () => {
  const connection = await pool.connect();
  const tx = await connection.begin();
  await tx.savepoint(async (savepoint) => {
    const objects = { pool, connection, transaction: tx, savepoint };
    const names = [
      ...['query', 'begin', 'transaction', 'connect', 'savepoint'],
      ...['commit', 'rollback', 'release', 'ready', 'end'],
    ];
    for (const [what, object] of Object.entries(objects)) {
      for (const name of names.filter((known) => known in object)) {
        const { [name]: method } = object;
        const error = await errorOf(method('SELECT 1'));
        assert.deepEqual(
          [error.name, error.code, error.outcome],
          ['ConfigurationError', 'HYPERION_CONFIGURATION', 'not-sent'],
        );
        const message = `${name}() was called without its ${what}: write ${what}.${name}(), or bind it`;
        assert.equal(error.message, message);
        assert.match(error.stack.split('\n')[1], /errors\.test\.js/);
      }
    }
    const query = savepoint.query.bind(savepoint);
    assert.deepEqual(await query('SELECT 1 AS one'), [{ one: 1 }]);
  });
  await tx.commit();
  await connection.release();
});

test('the end of a session is the cause of what failed with it', async () => {
  const connection = await pool.connect();
  const [{ pid }] = await connection.query('SELECT pg_backend_pid() AS pid');
  const failed = errorOf(connection.transaction((tx) => tx.query('SELECT pg_sleep(30)')));
  await cluster.waitForSession(`pid = ${pid} AND wait_event = 'PgSleep'`);
  await cluster.endSession(cluster.primary, pid);
  const error = await failed;
  assert.deepEqual(
    [error.name, error.code, error.outcome],
    ['ConnectionError', 'HYPERION_CONNECTION_LOST', 'not-committed'],
  );
  assert.equal(error.cause.name, 'DatabaseError');
  assert.deepEqual([error.cause.code, error.cause.severity], ['57P01', 'FATAL']);
  assert.ok(isRetryable(error));
  await connection.release();
});

test('isRetryable is true where trying again can help, and false where it can harm', () => {
  const { DatabaseError, ConnectionError, TransactionError } = library;
  const make = (Class, code, outcome, cause) => new Class('m', { code, outcome, cause });
  const serialization = make(DatabaseError, '40001', 'not-committed');
  const table = [
    [serialization, true],
    [make(DatabaseError, '40P01', 'not-committed'), true],
    [make(DatabaseError, '55P03', 'not-committed'), true],
    [make(DatabaseError, '25006', 'not-committed'), true],
    [make(DatabaseError, '08006'), true],
    [make(ConnectionError, 'HYPERION_CONNECTION_LOST', 'not-sent'), true],
    [
      make(TransactionError, 'HYPERION_TRANSACTION_ROLLED_BACK', 'not-committed', serialization),
      true,
    ],
    [new Error('mine', { cause: serialization }), true],
    [new Error('mine', { cause: new Error('deeper', { cause: serialization }) }), true],
    // Errors of `pg` and of Node's own sockets.
    [Object.assign(new Error('pg'), { code: '40001' }), true],
    [Object.assign(new Error('socket'), { code: 'ECONNRESET' }), false],

    [make(DatabaseError, '23505', 'not-committed'), false],
    [make(DatabaseError, '57014', 'not-committed'), false],
    [make(DatabaseError, '40001', 'unknown'), false],
    [make(ConnectionError, '40003', 'unknown'), false],
    [make(TransactionError, 'HYPERION_NOT_REPLICATED', 'unknown'), false],
    [make(TransactionError, 'HYPERION_TRANSACTION_ROLLED_BACK', 'not-committed'), false],
    [make(TransactionError, 'HYPERION_QUERY_NOT_AWAITED', 'not-committed', serialization), false],
    [new Error('mine', { cause: make(ConnectionError, '40003', 'unknown') }), false],
    ...[new Error('mine'), 'a string', undefined, null, { code: '40001' }].map((e) => [e, false]),
  ];
  for (const [error, expected] of table) {
    assert.equal(isRetryable(error), expected, `${error?.code} ${error}`);
  }
  const circle = new Error('a circle');
  circle.cause = circle;
  assert.equal(isRetryable(circle), false);
});

test('every code is in the table of docs/ERRORS.md, and no other', () => {
  const used = new Set();
  const look = (folder) => {
    for (const entry of readdirSync(path.join(root, folder), { withFileTypes: true })) {
      const name = path.join(folder, entry.name);
      if (entry.isDirectory()) {
        look(name);
        continue;
      }
      // The tests of a file are at its end.
      const [text] = readFileSync(path.join(root, name), 'utf8').split('#[cfg(test)]\nmod tests {');
      for (const [code] of text.matchAll(/\bHYPERION_[A-Z_]+\b/g)) used.add(code);
    }
  };
  look('src');
  look('js');
  const table = readFileSync(path.join(root, 'docs/ERRORS.md'), 'utf8').split('\n## Codes')[1];
  const documented = [...table.matchAll(/^\| `(HYPERION_[A-Z_]+)`/gm)].map(([, code]) => code);
  assert.deepEqual(documented.toSorted(), [...used].toSorted());
});

test('the table of docs/ERRORS.md says of each error what it is', async (t) => {
  const [, table] = readFileSync(path.join(root, 'docs/ERRORS.md'), 'utf8').split('\n## Codes');
  const rows = new Map(
    [...table.matchAll(/^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|/gm)].map(([, code, ...row]) => [
      code,
      row,
    ]),
  );
  const options = { poolSize: 1, maxResultBytes: 100_000, acquireTimeoutMs: 500, maxQueue: 1 };
  const single = openPool(t, cluster.options(options));
  const ended = createPool(cluster.options());
  await ended.end();
  await single.query('SELECT $1::int8', [1]);
  const released = await single.connect();
  await released.release();
  const finished = await single.begin();
  await finished.commit();
  const held = async (ask) => {
    const holder = await single.connect();
    await assert.rejects(ask(holder), (error) => check(error));
    await holder.release();
  };
  const seen = new Set();
  const check = ({ name, code, outcome, stack }) => {
    const [classes, outcomes] = rows.get(code);
    assert.ok(classes.includes(`\`${name}\``), stack);
    assert.ok(outcomes.includes(outcome) || /^as above|by what/.test(outcomes), stack);
    seen.add(code);
    return true;
  };
  const signal = AbortSignal.abort();
  for (const ask of [
    () => single.query('SELECT \0'),
    () => single.query('SELECT $1', [() => 1]),
    () => single.query('SELECT $1::int8', [1.5]),
    () => single.query('SELECT 1', Array(70_000).fill(1)),
    () => single.query('SELECT 1', [], { wrong: 1 }),
    () => single.query('SELECT repeat($1, 200000)', ['x']),
    () => single.query('SELECT 9007199254740993 AS v', [], { types: { int8: 'number' } }),
    () => single.query('SELECT 1', [], { signal }),
    () => single.query('SELECT pg_sleep(60)', [], { timeoutMs: 20 }),
    () => single.transaction((tx) => tx.query('SELECT pg_sleep(60)'), { timeoutMs: 20 }),
    () => single.transaction((tx) => tx.query('SELECT 1/0').catch(() => {})),
    () => single.transaction((tx) => void tx.query('SELECT 1')),
    () => single.transaction((tx) => tx.query('ROLLBACK').then(() => tx.query('SELECT 1'))),
    () => released.query('SELECT 1'),
    () => finished.query('SELECT 1'),
    () => ended.query('SELECT 1'),
  ]) {
    await assert.rejects(ask(), (error) => check(error));
  }
  await held(() => single.query('SELECT 1'));
  await held(async () => {
    const waits = single.query('SELECT 1');
    waits.catch(() => {});
    await single.query('SELECT 2');
  });
  await held(async (holder) => {
    await holder.begin();
    await holder.begin();
  });
  assert.equal(seen.size, 18, [...seen].join());
});

test('with longStackTraces the stack shows who asked, whoever waits', async (t) => {
  const traced = openPool(t, cluster.options({ longStackTraces: true }));
  const asked = (on) => on.query('SELECT nothing');
  const own = new RegExp(path.join(root, 'js').replaceAll('\\', '\\\\'));
  const check = (error) => {
    assert.match(error.stack, /^DatabaseError: .*\n {4}at asked .*errors\.test\.js/);
    assert.doesNotMatch(error.stack, own);
    assert.equal(error.code, '42703');
  };
  await new Promise((resolve) => asked(traced).catch(resolve)).then(check);
  const connection = await traced.connect();
  await new Promise((resolve) => asked(connection).catch(resolve)).then(check);
  await connection.release();
  await new Promise((resolve) => traced.transaction((tx) => asked(tx)).catch(resolve)).then(check);
  assert.throws(() => createPool({ user: 'u', longStackTraces: 1 }), {
    message: "option 'longStackTraces' must be true or false, not 1",
  });
});
