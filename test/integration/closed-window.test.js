// Servers that live and do not read (src/reactor/closed_window.rs). A server that runs a long
// statement reads nothing that was sent after it, and TCP_USER_TIMEOUT counts that as silence.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';

const onLinux = { skip: process.platform !== 'linux' && 'no other system has TCP_USER_TIMEOUT' };

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const MIB = 1024 * 1024;

// The larger one blocks the socket. The smaller one fits into the kernel's buffer, and not into the
// server's.
for (const size of [24 * MIB, MIB]) {
  test(`${size / MIB} MiB behind a statement longer than the option`, onLinux, async (t) => {
    const options = { poolSize: 1, tcpUserTimeoutMs: 2000, acquireTimeoutMs: 60_000 };
    const pool = openPool(t, cluster.options(options));
    const connection = await pool.connect();
    const length = 'SELECT length($1::bytea) AS length';
    assert.equal((await connection.query(length, [Buffer.alloc(1)]))[0].length, 1);
    const answers = await Promise.all([
      connection.query('SELECT pg_sleep(7)'),
      connection.query(length, [Buffer.alloc(size)]),
    ]);
    assert.equal(answers[1][0].length, size);
    await connection.release();
  });
}
