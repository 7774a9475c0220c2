// How a host may be named: addresses, names that Node resolves, Unix sockets in folders and without one.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../js/index.mjs';
import { startCluster } from './cluster/index.js';

const onLinux = { skip: process.platform !== 'linux' && 'abstract sockets are Linux' };

/** Asks once by these options and closes the pool. */
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
    // The first address refuses; the race goes on to the second.
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

test('C11 a name that nobody knows is reported, and does not stop the others', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const lookup = (hostname, _options, callback) => {
    const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`);
    setImmediate(callback, Object.assign(error, { code: 'ENOTFOUND' }));
  };
  const hosts = ['nobody.example', cluster.primary.address];
  assert.equal((await ask(cluster.options({ hosts, lookup }))).length, 1);
  const alone = cluster.options({ hosts: ['nobody.example'], lookup, acquireTimeoutMs: 200 });
  await assert.rejects(ask(alone), (error) => {
    assert.equal(error.code, 'HYPERION_NO_PRIMARY');
    assert.match(error.hosts[0].why, /ENOTFOUND nobody\.example/);
    return true;
  });
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
