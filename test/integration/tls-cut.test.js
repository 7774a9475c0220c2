// A handshake whose connection ends at any byte, in either direction, on a real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { cutting, pem, secure } from '../support/tls/index.js';

let cluster;
let node;

before(async () => {
  cluster = await startCluster({ nodes: 1, maxConnections: 200 });
  node = cluster.primary;
  await secure(node);
});
after(() => cluster?.close());

/** How many are cut at the same time. */
const LANES = 20;
/** Far longer than a query takes, so that a test fails if one waits for this. */
const NEVER_MS = 120_000;
/** In a second and a half: a pool waits longer from attempt to attempt. */
const MOST_ATTEMPTS = 20;
/**
 * By how many bytes a handshake may be shorter than another one: an ECDSA signature takes 68 to 72
 * bytes (RFC 3279, 2.2.3).
 */
const SHORTER = 4;

const optionsOf = (port, more) =>
  cluster.options({
    // The addresses of a name would be raced, and each of them be a connection.
    hosts: [`127.0.0.1:${port}`],
    ssl: { ca: pem('ca-ec.crt') },
    poolSize: 1,
    connectTimeoutMs: NEVER_MS,
    acquireTimeoutMs: NEVER_MS,
    ...more,
  });

/** How many bytes come from one side until a read is answered. */
async function lengthOf(t, from) {
  const { port, passed } = await cutting(t, node.port, { from, after: Infinity, how: 'end' });
  const pool = createPool(optionsOf(port));
  await pool.query('SELECT 1 AS one', [], { readOnly: true });
  const length = passed[0][from];
  await pool.end();
  return length;
}

async function inLanes(points, work) {
  const rest = points.values();
  const lane = async () => {
    for (const point of rest) await work(point);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

for (const from of ['server', 'client']) {
  test(`where a connection ends at any byte from the ${from}, one other follows`, async (t) => {
    const length = await lengthOf(t, from);
    assert.ok(length > 500, `${length}`);
    await inLanes([...Array(length).keys()], async (bytes) => {
      const how = bytes % 2 === 0 ? 'end' : 'reset';
      const cut = { from, after: bytes, how, connections: 1 };
      const { port, passed } = await cutting(t, node.port, cut);
      const pool = createPool(optionsOf(port));
      const rows = await pool.query('SELECT 1 AS one', [], { readOnly: true });
      assert.deepEqual(rows, [{ one: 1 }], `${how} after ${bytes}`);
      const isReached = passed.length === 2 || bytes < length - SHORTER;
      assert.equal(passed.length, isReached ? 2 : 1, `${how} after ${bytes}`);
      await pool.end();
    });
  });
}

test('where each connection ends, a call fails by its deadline, and few are tried', async (t) => {
  const points = [];
  for (const from of ['server', 'client']) {
    const length = await lengthOf(t, from);
    for (let after = 0; after < length; after += 67) {
      for (const how of ['end', 'reset', 'stall']) points.push({ from, after, how });
    }
  }
  await inLanes(points, async (cut) => {
    const { port, passed } = await cutting(t, node.port, cut);
    const limits = { connectTimeoutMs: 500, acquireTimeoutMs: 1500, failFast: false };
    const pool = createPool(optionsOf(port, limits));
    const error = await pool
      .query('SELECT 1', [], { timeoutMs: 2500 })
      .then(assert.fail, (it) => it);
    const shown = `${inspect(cut)}: ${inspect(error)}`;
    assert.match(error.name, /^(PoolTimeout|Connection|Timeout)Error$/, shown);
    assert.match(error.code, /^(HYPERION_[A-Z_]+|40003)$/, shown);
    // The last bytes are those of the query itself.
    assert.ok(['not-sent', 'unknown'].includes(error.outcome), shown);
    assert.ok(passed.length <= MOST_ATTEMPTS, `${passed.length}: ${shown}`);
    await pool.end({ timeoutMs: 0 });
  });
});
