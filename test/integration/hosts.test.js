// The forms of a host: addresses, names that Node resolves, Unix sockets in a folder and abstract
// ones.

import assert from 'node:assert/strict';
import net from 'node:net';
import os from 'node:os';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startBlackHole } from '../support/cluster/blackhole.js';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const onLinux = { skip: process.platform !== 'linux' && 'abstract sockets are Linux' };

/** Asks once with these options, and closes the pool. */
async function ask(options) {
  const pool = createPool(options);
  try {
    return await pool.query('SELECT inet_server_addr()::text AS address');
  } finally {
    await pool.end();
  }
}

test('a name is resolved by Node, by dns.lookup or by the caller, anew at every attempt', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const { port } = cluster.primary;
  const byNode = await ask(cluster.options({ hosts: ['localhost'], port }));
  assert.deepEqual(byNode, [{ address: '127.0.0.1/32' }]);

  const asked = [];
  const lookup = (hostname, options, callback) => {
    asked.push([hostname, options.all]);
    // The first address refuses, and the pool goes on to the second.
    callback(null, [
      { address: '127.0.0.9', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ]);
  };
  for (let n = 1; n <= 2; n++) {
    const rows = await ask(cluster.options({ hosts: ['db.example'], port, lookup }));
    assert.deepEqual(rows, [{ address: '127.0.0.1/32' }]);
    assert.deepEqual(asked, Array(n).fill(['db.example', true]));
  }
});

const hasV6 = os.networkInterfaces().lo?.some(({ address }) => address === '::1');
const withV6 = { skip: !hasV6 && 'the loopback has no ::1' };

/** A look-up that always gives these addresses. */
const always =
  (...addresses) =>
  (_hostname, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: net.isIP(address) })),
    );

test('a pool follows its name to another address', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const { port } = cluster.primary;
  const first = await cluster.proxy(cluster.primary, { host: '127.0.0.2', port });
  let address = '127.0.0.2';
  const lookup = (...asked) => always(address)(...asked);
  const pool = openPool(t, cluster.options({ hosts: ['db.example'], port, lookup, poolSize: 1 }));
  await pool.query('SELECT 1');
  assert.equal(first.accepted, 1);
  address = '127.0.0.1';
  await first.close();
  const rows = await pool.query('SELECT 1 AS one', [], { readOnly: true });
  assert.deepEqual(rows, [{ one: 1 }]);
});

for (const [silent, good] of [
  ['::1', '127.0.0.1'],
  ['127.0.0.2', '::1'],
]) {
  test(`${silent} is silent, and ${good} serves at once`, withV6, async (t) => {
    const cluster = await startCluster({ nodes: 1 });
    t.after(() => cluster.close());
    const { port } = cluster.primary;
    const hole = await startBlackHole({ host: silent, port });
    t.after(() => hole.close());
    const address = good === '::1' && (await cluster.proxy(cluster.primary, { host: good, port }));
    const lookup = always(silent, good);
    const options = { hosts: ['db.example'], port, lookup, connectTimeoutMs: 600_000 };
    assert.equal((await ask(cluster.options(options))).length, 1);
    if (address) assert.equal(address.accepted, 1);
  });
}

test('a name that nobody knows is reported, and does not stop the others', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const lookup = (hostname, _options, callback) => {
    const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`);
    setImmediate(callback, Object.assign(error, { code: 'ENOTFOUND' }));
  };
  const hosts = ['nobody.example', cluster.primary.address];
  assert.equal((await ask(cluster.options({ hosts, lookup }))).length, 1);
  const alone = { hosts: ['nobody.example'], lookup, acquireTimeoutMs: 200 };
  for (const [failFast, code] of [
    [true, 'HYPERION_UNREACHABLE'],
    [false, 'HYPERION_NO_PRIMARY'],
  ]) {
    await assert.rejects(ask(cluster.options({ ...alone, failFast })), (error) => {
      assert.equal(error.code, code);
      assert.match(error.hosts[0].why, /ENOTFOUND nobody\.example/);
      assert.equal(error.hosts[0].cause.code, 'ENOTFOUND');
      return true;
    });
  }
});

test('a host that begins with @ is a socket without a file', onLinux, async (t) => {
  if (Number(process.env.HYPERION_PG_VERSION ?? 15) < 14) {
    t.skip('servers have such sockets since PostgreSQL 14');
    return;
  }
  const name = `@hyperion-test-${process.pid}`;
  const cluster = await startCluster({ nodes: 1, settings: { unix_socket_directories: name } });
  t.after(() => cluster.close());
  const rows = await ask(cluster.options({ hosts: [name], port: cluster.primary.port }));
  assert.deepEqual(rows, [{ address: null }]);
});

test('a look-up of the caller’s that throws, late or not, or answers without end is an error or an answer', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const { address, port } = cluster.primary;
  const ip = address.split(':')[0];
  let read = 0;
  const endless = new Proxy([], {
    get: (target, name) => {
      if (name === 'length') return 1e9;
      read += 1;
      return ip;
    },
  });
  const good = { 'late behind its answer': true, 'with a list without end': true };
  const lookups = {
    'late behind its answer': async (_name, _options, callback) => {
      callback(null, [{ address: ip, family: 4 }]);
      await null;
      throw new Error('too late');
    },
    'with a list without end': (_name, _options, callback) => callback(null, endless),
    late: () => Promise.reject(new Error('no such name')),
    'late, for no reason': () => Promise.reject(), // eslint-disable-line prefer-promise-reject-errors
    'at once': () => {
      throw new Error('no such name');
    },
  };
  for (const [name, lookup] of Object.entries(lookups)) {
    const options = { hosts: ['db.example'], port, lookup, acquireTimeoutMs: 300 };
    const asked = ask(cluster.options(options));
    if (good[name]) assert.equal((await asked).length, 1, name);
    else await assert.rejects(asked, { outcome: 'not-sent' }, name);
  }
  assert.ok(read < 1000, `${read} of its elements were read`);
});
