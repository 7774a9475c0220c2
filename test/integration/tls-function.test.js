// The option `ssl` as a function, which is asked for each login, against a real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { certificate, pem, secure } from '../support/tls/index.js';

let cluster;
let node;

before(async () => {
  cluster = await startCluster({ nodes: 1 });
  node = cluster.primary;
  await secure(node);
});
after(() => cluster?.close());

const SERIAL = `SELECT ssl, client_serial::text AS serial FROM pg_stat_ssl
                WHERE pid = pg_backend_pid()`;
const ca = () => pem('ca-ec.crt');
const shown = (name) => ({ ca: ca(), cert: pem(`${name}.crt`), key: pem(`${name}.key`) });

const open = (t, ssl, more) => {
  const pool = createPool(cluster.options({ hosts: [`localhost:${node.port}`], ssl, ...more }));
  t.after(() => pool.end({ timeoutMs: 0 }));
  return pool;
};

test('certificates are exchanged while a pool runs', async (t) => {
  await secure(node, { auth: 'cert', rule: 'hostssl' });
  let name = 'client';
  let asked = 0;
  const ssl = () => {
    asked += 1;
    return asked % 2 === 0 ? shown(name) : Promise.resolve(shown(name));
  };
  const pool = open(t, ssl, { poolSize: 2 });
  const one = await pool.connect();
  const [first] = await one.query(SERIAL);
  assert.equal(first.ssl, true);
  name = 'renewed';
  assert.deepEqual(await one.query(SERIAL), [first], 'a session keeps what it began with');
  assert.equal(asked, 1, 'nobody is asked for a query');
  const two = await pool.connect();
  const [second] = await two.query(SERIAL);
  assert.equal(asked, 2);
  assert.notEqual(second.serial, first.serial);
  const [{ tls }] = pool.cluster();
  assert.equal(tls.verified, 'full');
  await assert.rejects(one.query('SELECT pg_sleep(60)', [], { timeoutMs: 100 }), {
    code: 'HYPERION_QUERY_TIMEOUT',
    outcome: 'not-committed',
  });
  await Promise.all([one.release(), two.release()]);
  await secure(node);
});

test('logins of one turn share an answer', async (t) => {
  let asked = 0;
  const ssl = () => {
    asked += 1;
    return { ca: ca() };
  };
  const pool = open(t, ssl, { poolSize: 20, minIdle: 20 });
  await pool.ready();
  const { size } = pool.status();
  assert.equal(size, 20);
  assert.ok(asked < size, `${asked} questions`);
});

test('what a function does wrong is the error of an attempt, and the next one asks again', async (t) => {
  const wrong = [
    [() => assert.fail('no file'), /function of option 'ssl' failed: no file/],
    [() => Promise.reject(new Error('no vault')), /failed: no vault/],
    [() => { throw undefined; }, /failed: it threw no error/], // prettier-ignore
    [() => undefined, /gives must be an object or true, not undefined/],
    [() => false, /gives must be an object or true, not false/],
    [() => 'require', /gives must be an object or true/],
    [() => ({ ca: 'rubbish' }), /no certificate in PEM/],
    [() => ({ pfx: Buffer.alloc(1) }), /openssl pkcs12/],
    [() => ({ ca: pem('ca-other.crt') }), /not among those that were given/],
    [() => ({ ...shown('client'), key: pem('stranger.key') }), /KEY_VALUES_MISMATCH/],
    [() => new Promise(() => {}), /no answer within 300 ms/],
  ];
  for (const [answer, words] of wrong) {
    let isRight = false;
    const more = { connectTimeoutMs: 300, acquireTimeoutMs: 1500, failFast: false, poolSize: 1 };
    const pool = open(t, () => (isRight ? { ca: ca() } : answer()), more);
    const error = await pool.query('SELECT 1').then(assert.fail, (reason) => reason);
    assert.match(inspect(error), words);
    assert.doesNotMatch(inspect(error), /PRIVATE KEY/);
    isRight = true;
    assert.equal((await pool.query(SERIAL))[0].ssl, true, words.source);
    await pool.end();
  }
});

test('an answer that comes too late changes nothing', async (t) => {
  const late = [];
  let asked = 0;
  const ssl = () => {
    asked += 1;
    return asked === 1 ? new Promise((resolve) => late.push(resolve)) : { ca: ca() };
  };
  const pool = open(t, ssl, { connectTimeoutMs: 300, failFast: false, poolSize: 1 });
  assert.equal((await pool.query(SERIAL))[0].ssl, true);
  late.forEach((resolve) => resolve({ ca: pem('ca-other.crt') }));
  await new Promise(setImmediate);
  const waits = pool.query('SELECT pg_sleep(60)', [], { timeoutMs: 100 });
  await assert.rejects(waits, { outcome: 'not-committed' });
  await pool.end();
  // Nor does one that comes behind the end of the pool.
  const left = open(t, () => new Promise((resolve) => late.push(resolve)));
  const given = left.query('SELECT 1').catch((error) => error);
  while (late.length < 2) await new Promise(setImmediate);
  await left.end({ timeoutMs: 0 });
  late.forEach((resolve) => resolve({ ca: ca() }));
  assert.ok((await given) instanceof Error);
});

test('it goes together with the connection string, whose files are read for each login', async (t) => {
  await secure(node, { auth: 'cert', rule: 'hostssl' });
  const at = (query) => ({
    connectionString: `postgres://localhost:${node.port}/?${query}`,
    hosts: undefined,
  });
  const files = `sslcert=${certificate('client.crt')}&sslkey=${certificate('client.key')}`;
  const pool = open(t, () => ({ ca: ca() }), at(`sslmode=verify-full&${files}`));
  assert.equal((await pool.query(SERIAL))[0].ssl, true);
  await secure(node);
  assert.throws(() => open(t, () => true, at('sslmode=disable')), /turns TLS off/);
  const weak = open(t, () => ({ rejectUnauthorized: false }), {
    ...at('sslmode=verify-full'),
    acquireTimeoutMs: 500,
    failFast: false,
  });
  await assert.rejects(weak.query('SELECT 1'), /give one of them/);
});

test('nobody is asked for a Unix socket', async (t) => {
  const pool = open(t, assert.fail, { hosts: [node.socketDir], port: node.port });
  assert.equal((await pool.query(SERIAL))[0].ssl, false);
});
