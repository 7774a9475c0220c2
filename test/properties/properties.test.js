// Runs the property tests in Rust that need a server (`test/properties`). They compare numerics,
// arrays and timestamps with the server's own text form of them, and parameters with the server's
// SQL. On the oldest, the default and the newest version.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { clusterFor, startCluster } from '../support/cluster/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const CARGO = [
  ...['test', '--locked', '--no-default-features', '--features', 'sim'],
  ...['--test', 'properties', '--', '--ignored'],
];

/** Cargo's output, after all tests have run. */
async function runOn(cluster) {
  const { user, password, database } = cluster.options();
  const env = {
    ...process.env,
    HYPERION_HOSTS: cluster.primary.address,
    HYPERION_USER: user,
    HYPERION_PASSWORD: password,
    HYPERION_DATABASE: database,
  };
  const cargo = spawn('cargo', CARGO, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [cargo.stdout, cargo.stderr]) stream.on('data', (text) => (said += text));
  const code = await new Promise((resolve, reject) => {
    cargo.once('error', reject);
    cargo.once('close', resolve);
  });
  return { code, said };
}

async function holds(t, starting) {
  const cluster = await starting;
  t.after(() => cluster.close());
  const { code, said } = await runOn(cluster);
  assert.equal(code, 0, said);
  // A filter that matches no test would succeed too.
  assert.match(said, /test result: ok\. [1-9]\d* passed; 0 failed; 0 ignored/, said);
}

test('values are what the server says that they are', (t) => holds(t, clusterFor({ nodes: 1 })));

const ownServers = { skip: process.env.HYPERION_HOSTS && 'it starts servers of its own versions' };
for (const version of ['13', '18']) {
  test(`values are what PostgreSQL ${version} says that they are`, ownServers, (t) =>
    holds(t, startCluster({ nodes: 1, version })),
  );
}

test('without a server they fail, and say why', async () => {
  const nobody = { primary: { address: '127.0.0.1:1' }, options: () => ({ user: 'u' }) };
  const { code, said } = await runOn(nobody);
  assert.notEqual(code, 0);
  assert.match(said, /127\.0\.0\.1:1: .*refused/i);
});
