// Which ways to log in are accepted, and of which weaknesses the user is warned.

import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { connect, createServer } from 'node:net';
import os from 'node:os';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { warningsOf } from '../support/warnings.js';

/** What SCRAM keeps of a password, with as many iterations. */
function verifier(password, iterations) {
  const salt = Buffer.from('0123456789abcdef');
  const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const stored = createHash('sha256').update(hmac(salted, 'Client Key')).digest('base64');
  const server = hmac(salted, 'Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${server}`;
}

/** The relay's own address is not the loopback's, so that anybody might listen there. */
async function openToOthers(t, node) {
  const all = Object.values(os.networkInterfaces()).flat();
  const outer = all.find(({ internal, family }) => !internal && family === 'IPv4');
  if (outer === undefined) return undefined;
  const relay = createServer((socket) => {
    const server = connect(node.port, '127.0.0.1');
    socket.pipe(server).pipe(socket);
    const ends = [socket, server];
    for (const end of ends) end.on('error', () => ends.forEach((it) => it.destroy()));
  });
  await new Promise((resolve) => relay.listen(0, outer.address, resolve));
  t.after(() => relay.close());
  return `${outer.address}:${relay.address().port}`;
}

const METHODS = ['none', 'password', 'md5', 'scram-sha-256'];

for (const auth of ['trust', 'password', 'md5', 'scram-sha-256']) {
  test(`what is required is compared with ${auth}`, async (t) => {
    const cluster = await startCluster({ nodes: 1, auth });
    t.after(() => cluster.close());
    const method = auth === 'trust' ? 'none' : auth;
    for (const [requireAuth, isAllowed] of [
      [method, true],
      [`!${method}`, false],
      [METHODS, true],
      [METHODS.filter((other) => other !== method), false],
      [METHODS.filter((other) => other !== method).map((other) => `!${other}`), true],
      ['!gss,!sspi', true],
    ]) {
      const query = openPool(t, cluster.options({ requireAuth })).query('SELECT 1 AS one');
      if (isAllowed) {
        assert.equal((await query)[0].one, 1, `${requireAuth}`);
      } else {
        await assert.rejects(query, (error) => {
          assert.equal(error.code, 'HYPERION_AUTHENTICATION', `${requireAuth}`);
          assert.match(error.message, /but requireAuth allows .* alone/);
          return true;
        });
      }
    }
    const { user, password, database, primary } = cluster;
    const string = `host=127.0.0.1 port=${primary.port} user=${user} password='${password}' dbname=${database}`;
    const refused = createPool(`${string} require_auth=!${method}`);
    t.after(() => refused.end());
    await assert.rejects(refused.query('SELECT 1'), { code: 'HYPERION_AUTHENTICATION' });
  });
}

test('what is not supported can only be excluded', () => {
  for (const requireAuth of ['gss', 'sspi', 'scram', 'md5,!none', 5]) {
    assert.throws(() => createPool({ user: 'u', requireAuth }), {
      code: 'HYPERION_CONFIGURATION',
      message: /option 'requireAuth'/,
    });
  }
});

test('few iterations of SCRAM are warned of once, and refused where a method is required', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const role = async (name, iterations) => {
    const kept = verifier('secret', iterations);
    await cluster.query(cluster.primary, `CREATE ROLE ${name} LOGIN PASSWORD '${kept}'`);
    return cluster.options({ user: name, password: 'secret', poolSize: 2 });
  };
  const weak = await role('weak', 4095);
  const warnings = await warningsOf(async () => {
    const pool = openPool(t, { ...weak, pipelining: 'off' });
    const both = await Promise.all([pool.query('SELECT pg_sleep(0.01)'), pool.query('SELECT 1')]);
    assert.equal(both.length, 2);
  });
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['HYPERION_WEAK_LOGIN'],
  );
  assert.match(warnings[0].message, /asked for 4095 iterations of SCRAM/);
  await assert.rejects(openPool(t, { ...weak, requireAuth: 'scram-sha-256' }).query('SELECT 1'), {
    code: 'HYPERION_AUTHENTICATION',
    message: /asks for 4095 iterations of SCRAM, and requireAuth takes no fewer than 4096/,
  });
  const strong = await role('strong', 4096);
  const silence = await warningsOf(async () => {
    const rows = await openPool(t, { ...strong, requireAuth: 'scram-sha-256' }).query(
      'SELECT 1 AS one',
    );
    assert.equal(rows[0].one, 1);
  });
  assert.deepEqual(silence, []);
});

for (const [auth, words] of [
  ['trust', /did not ask for the password, over an unencrypted connection/],
  ['md5', /asked for an MD5 hash of the password over an unencrypted connection/],
  ['scram-sha-256', undefined],
]) {
  test(`${auth} over an open network`, async (t) => {
    const cluster = await startCluster({ nodes: 1, auth });
    t.after(() => cluster.close());
    const address = await openToOthers(t, cluster.primary);
    if (address === undefined) return t.skip('this machine has no address but the loopback');
    const options = (more) => cluster.options({ hosts: [address], ssl: false, ...more });
    const codes = async (more) => {
      const warnings = await warningsOf(() => openPool(t, options(more)).query('SELECT 1'));
      if (words !== undefined && warnings.length > 0) assert.match(warnings[0].message, words);
      return warnings.map(({ code }) => code);
    };
    const expected = words === undefined ? [] : ['HYPERION_WEAK_LOGIN'];
    assert.deepEqual(await codes(), expected);
    assert.deepEqual(
      await codes({ hosts: cluster.hosts() }),
      [],
      'nobody listens within a machine',
    );
    if (auth === 'trust') assert.deepEqual(await codes({ password: undefined, env: false }), []);
  });
}
