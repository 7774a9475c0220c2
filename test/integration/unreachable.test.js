// A host that refuses at once: which callers get the system's error at once, and which hosts the
// pool waits for.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';

import { ConnectionError, createPool, isRetryable, PoolTimeoutError } from '../../js/index.mjs';
import { freePort } from '../support/cluster/port.js';
import { scriptedBackend, welcome } from '../support/scripted/backend.js';

/** So long that a test fails if it waits for this. */
const acquireTimeoutMs = 600_000;

/** The error of Node's own socket for the same address. */
async function nodeError(place) {
  const [error] = await once(net.connect(place), 'error', {
    signal: AbortSignal.timeout(60_000),
  }).catch((thrown) => [thrown]);
  return error;
}

const fieldsOf = ({ code, errno, syscall, address, port, hostname }) => ({
  ...{ code, errno, syscall, address, port, hostname },
});

async function failureOf(options) {
  const pool = createPool({ user: 'u', acquireTimeoutMs, ...options });
  try {
    return await pool.query('SELECT 1').then(assert.fail, (error) => error);
  } finally {
    await pool.end();
  }
}

test('a port that refuses is told at once, as Node would', async () => {
  const port = await freePort();
  const error = await failureOf({ host: '127.0.0.1', port });
  assert.ok(error instanceof ConnectionError);
  assert.equal(error.code, 'HYPERION_UNREACHABLE');
  assert.equal(error.outcome, 'not-sent');
  assert.equal(error.host, `127.0.0.1:${port}`);
  assert.match(error.message, /can't connect to 127\.0\.0\.1:\d+: connection refused/);
  assert.ok(isRetryable(error));
  const theirs = await nodeError({ host: '127.0.0.1', port });
  assert.equal(theirs.code, 'ECONNREFUSED');
  for (const cause of [error.cause, error.hosts[0].cause]) {
    assert.ok(cause instanceof Error);
    assert.equal(cause.message, theirs.message);
    assert.deepEqual(fieldsOf(cause), fieldsOf(theirs));
  }
});

test('events and pool.cluster() have what the system said too', async () => {
  const port = await freePort();
  const pool = createPool({ user: 'u', acquireTimeoutMs, host: '127.0.0.1', port });
  const told = once(pool, 'host');
  await pool.query('SELECT 1').catch(() => {});
  const [{ error }] = await told;
  const { errno, syscall, address, port: to } = await nodeError({ host: '127.0.0.1', port });
  const { message } = error;
  assert.deepEqual(error, {
    ...{ code: 'HYPERION_CONNECTION_LOST', message, errno, syscall, address, port: to },
  });
  assert.deepEqual(pool.cluster()[0].lastError, error);
  await pool.end();
  const hosts = ['nobody.example'];
  const lookup = lookupFailing('ENOTFOUND', -3008);
  const lost = createPool({ user: 'u', acquireTimeoutMs, hosts, lookup });
  await lost.query('SELECT 1').catch(() => {});
  const { lastError } = lost.cluster()[0];
  assert.equal(lastError.errno, -3008);
  assert.equal(lastError.syscall, 'getaddrinfo');
  assert.equal(lastError.hostname, 'nobody.example');
  await lost.end();
});

test('so is a socket that is not there', { skip: os.platform() === 'win32' }, async () => {
  const directory = path.join(os.tmpdir(), `hyperion-nowhere-${process.pid}`);
  const error = await failureOf({ host: directory });
  const theirs = await nodeError({ path: path.join(directory, '.s.PGSQL.5432') });
  assert.equal(theirs.code, 'ENOENT');
  assert.equal(error.code, 'HYPERION_UNREACHABLE');
  assert.equal(error.cause.message, theirs.message);
  assert.deepEqual(fieldsOf(error.cause), fieldsOf(theirs));
});

const lookupFailing = (code, errno) => (hostname, _options, callback) => {
  const error = new Error(`getaddrinfo ${code} ${hostname}`);
  setImmediate(callback, Object.assign(error, { code, errno, syscall: 'getaddrinfo', hostname }));
};

test('so is a name that nobody knows, and a name server that does not answer is waited for', async () => {
  const hosts = ['nobody.example'];
  const unknown = await failureOf({ hosts, lookup: lookupFailing('ENOTFOUND', -3008) });
  assert.equal(unknown.code, 'HYPERION_UNREACHABLE');
  assert.deepEqual(fieldsOf(unknown.cause), {
    ...{ code: 'ENOTFOUND', errno: -3008, syscall: 'getaddrinfo' },
    ...{ address: undefined, port: undefined, hostname: 'nobody.example' },
  });
  const again = { lookup: lookupFailing('EAI_AGAIN', -3001), acquireTimeoutMs: 100 };
  const waited = await failureOf({ hosts, ...again });
  assert.ok(waited instanceof PoolTimeoutError);
  assert.equal(waited.hosts[0].cause.code, 'EAI_AGAIN');
});

test('an error of the own look-up is told whatever it is', async () => {
  for (const thrown of [
    ...[new Error('plain'), 'text', { code: 7n }, { code: Symbol('s'), errno: NaN }],
    ...[
      {
        get message() {
          throw new Error('hostile');
        },
      },
    ],
  ]) {
    const lookup = (_hostname, _options, callback) => callback(thrown);
    const error = await failureOf({ hosts: ['h'], lookup, acquireTimeoutMs: 50 });
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.equal(error.hosts[0].cause, undefined);
  }
});

test('calls, transactions, connections and ready are all told', async () => {
  const pool = createPool({
    user: 'u',
    port: await freePort(),
    host: '127.0.0.1',
    acquireTimeoutMs,
  });
  const calls = [
    ...[pool.ready(), pool.connect(), pool.query('SELECT 1')],
    pool.transaction((tx) => tx.query('SELECT 1')),
  ];
  for (const { reason } of await Promise.allSettled(calls)) {
    assert.equal(reason?.code, 'HYPERION_UNREACHABLE');
  }
  await pool.end();
});

test('several hosts are told together, and one that is silent is waited for', async (t) => {
  const refusing = `127.0.0.1:${await freePort()}`;
  const both = await failureOf({ hosts: [refusing, refusing.replace('127.0.0.1', '127.0.0.2')] });
  assert.equal(both.code, 'HYPERION_UNREACHABLE');
  assert.equal(both.host, undefined);
  assert.deepEqual(
    both.hosts.map(({ cause }) => cause.code),
    ['ECONNREFUSED', 'ECONNREFUSED'],
  );
  assert.match(both.message, /^no host can be reached \(/);
  const silent = net.createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const hosts = [refusing, `127.0.0.1:${silent.address().port}`];
  const options = { hosts, connectTimeoutMs: 600_000, acquireTimeoutMs: 200 };
  assert.equal((await failureOf(options)).code, 'HYPERION_NO_PRIMARY');
});

test('failFast: false waits for a server that starts later', async () => {
  const port = await freePort();
  const options = { user: 'u', host: '127.0.0.1', port, acquireTimeoutMs: 100, failFast: false };
  assert.equal((await failureOf(options)).code, 'HYPERION_NO_PRIMARY');
});

test('a server that has answered before is waited for when it refuses', async () => {
  const server = await scriptedBackend(async (frontend) => {
    await frontend.startup();
    frontend.send(welcome);
    // It answers no further request.
    await frontend.until('X');
  });
  const pool = createPool(server.options({ acquireTimeoutMs: 300 }));
  await pool.ready();
  await server.close();
  const asked = pool.query('SELECT 1', [], { readOnly: true });
  const error = await asked.then(assert.fail, (thrown) => thrown);
  assert.equal(error.code, 'HYPERION_NO_PRIMARY');
  assert.equal(error.hosts[0].cause?.code, 'ECONNREFUSED');
  await pool.end();
});
