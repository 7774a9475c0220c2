// A pooler is recognized by the keys of its sessions, which it makes up. Now and then one of them
// looks like a server's: then only the number of the server's process shows the pooler.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { findPooler, startCluster, startProxy } from '../support/cluster/index.js';
import { openSession } from '../support/cluster/session.js';
import { openPool } from '../support/pools.js';

const preparing = findPooler({ prepares: true });
const skip = preparing === undefined && 'no pgbouncer of 1.21 or later is installed';

let cluster;
before(async () => {
  if (!skip) cluster = await startCluster({ nodes: 1 });
});
after(() => cluster?.close());

const direct = (sql) => cluster.query(cluster.primary, sql);

/** The tag of a BackendKeyData. */
const KEY = 'K'.charCodeAt(0);

/**
 * Forwards everything, and writes this process id into the keys of all sessions.
 * @param {string} address
 * @param {number | undefined} processId `undefined` leaves the keys as they are
 */
async function startRelay(address, processId) {
  const [host, port] = address.split(':');
  const asked = { process: 0 };
  /** For each connection, the beginning of a message whose rest is still to come. */
  const begun = new Map();
  const proxy = await startProxy(
    { host, port: Number(port) },
    {
      fromClient(chunk) {
        if (chunk.includes('pg_backend_pid()')) asked.process++;
        return chunk;
      },
      fromServer(chunk, link) {
        const bytes = Buffer.concat([begun.get(link) ?? Buffer.alloc(0), chunk]);
        let end = 0;
        while (bytes.length >= end + 5 && bytes.length > end + bytes.readUInt32BE(end + 1)) {
          if (bytes[end] === KEY && processId !== undefined) bytes.writeInt32BE(processId, end + 5);
          end += 1 + bytes.readUInt32BE(end + 1);
        }
        begun.set(link, bytes.subarray(end));
        return bytes.subarray(0, end);
      },
    },
  );
  return { asked, address: proxy.address, close: () => proxy.close() };
}

test('a pooler whose key looks like a server’s is told from a server', { skip }, async (t) => {
  const settings = { max_prepared_statements: 100, admin_users: cluster.user };
  const pooler = await cluster.pooler(cluster.primary, { size: 1, settings, program: preparing });
  const relay = await startRelay(pooler.address, 4242);
  t.after(() => relay.close());
  await direct(`CREATE TABLE grown (id int, v int4, w int8); INSERT INTO grown VALUES (1, 5, 5)`);
  const pool = openPool(t, cluster.options({ hosts: [relay.address], poolSize: 1 }));
  const read = () => pool.query('SELECT v, w FROM grown WHERE id = 1');
  const write = (n) => pool.query('INSERT INTO grown (id, v, w) VALUES (2, $1, $2)', [n, n]);
  for (let use = 0; use < 4; use++) {
    assert.deepEqual(await read(), [{ v: 5, w: 5n }]);
    await write(5);
  }
  await direct(`DELETE FROM grown WHERE id = 2;
    ALTER TABLE grown ALTER v TYPE float4, ALTER w TYPE float8`);
  const admin = await openSession(pooler, { ...cluster.credentials, database: 'pgbouncer' });
  await admin.query('RECONNECT').finally(() => admin.close());
  for (let use = 0; use < 4; use++) {
    assert.deepEqual(await read(), [{ v: 5, w: 5 }]);
    await write(6);
  }
  const saved = await direct('SELECT DISTINCT v, w FROM grown WHERE id = 2');
  assert.deepEqual(saved, [['6', '6']]);
  assert.equal(relay.asked.process, 1, 'it is asked once');
});

test('a script behind such a key trusts no check of another session', { skip }, async (t) => {
  const pooler = await cluster.pooler(cluster.primary, { size: 1, program: preparing });
  const relay = await startRelay(pooler.address, 77);
  t.after(() => relay.close());
  const pool = openPool(t, cluster.options({ hosts: [relay.address], poolSize: 1 }));
  const script = "SELECT '1 day 02:00'::interval AS i; SELECT 0.1::float8 + 0.2::float8 AS f";
  const expected = [[{ i: '1 day 02:00:00' }], [{ f: 0.30000000000000004 }]];
  assert.deepEqual(await pool.query(script), expected);
  const other = await openSession(pooler, cluster.credentials);
  t.after(() => other.close());
  await other.query("SET extra_float_digits = 0; SET IntervalStyle = 'iso_8601'");
  for (let use = 0; use < 3; use++) assert.deepEqual(await pool.query(script), expected);
});

test('a server is asked once a session, and then known as one', { skip }, async (t) => {
  const relay = await startRelay(cluster.primary.address, undefined);
  t.after(() => relay.close());
  const pool = openPool(t, cluster.options({ hosts: [relay.address], poolSize: 1 }));
  for (let use = 0; use < 5; use++) {
    assert.deepEqual(await pool.query('SELECT $1::int AS n', [use]), [{ n: use }]);
    await pool.transaction((tx) => tx.query('SELECT 1'));
  }
  const sql = 'SELECT statement FROM pg_prepared_statements WHERE statement LIKE $1';
  const kept = await pool.query(sql, ['SELECT $1::int AS n%']);
  assert.deepEqual(kept, [{ statement: 'SELECT $1::int AS n' }], 'prepared by its own text');
  assert.equal(relay.asked.process, 1);
});
