// Each example is a program that runs, and that imports the package by its name.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { clusterFor } from '../support/cluster/index.js';

const folder = fileURLToPath(new URL('../../examples', import.meta.url));

let cluster;
let url;
before(async () => {
  cluster = await clusterFor({ nodes: 2 });
  await cluster.waitForReplication();
  const { user, password, database } = cluster;
  const login = [user, password].map(encodeURIComponent).join(':');
  url = `postgres://${login}@${cluster.hosts().join(',')}/${database}`;
});
after(() => cluster?.close());

function start(name, env = {}) {
  return spawn(process.execPath, [path.join(folder, name)], {
    cwd: folder,
    env: { ...process.env, DATABASE_URL: url, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Runs an example to its end, and returns its lines. */
async function run(name) {
  const child = start(name);
  const [said, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.equal(status, 0, said);
  return said.trim().split('\n');
}

const EXPECTED = {
  'queries.js': [
    'INSERT of 2 rows',
    'order bigint, total 12.50',
    'order bigint, total 7.25',
    '2 orders of 3 customers',
    '[ 1, 2 ]',
    'two',
  ],
  'transactions.js': [
    "[ { name: 'alice', balance: 80 }, { name: 'bob', balance: 120 } ]",
    'both are done',
    '23514: accounts_balance_check',
    'undone: 23505',
    '[ { balance: 1 } ]',
  ],
  'idempotency.js': ['first: true', 'again: false', '[ { balance: 50 } ]'],
  'cluster-module.js': ['2 sessions', 'ended with 0 and 0'],
  'outcome.js': ['paid', 'lost: outcome unknown', '100 in all'],
  'deadlines.js': [
    'TimeoutError HYPERION_QUERY_TIMEOUT, outcome not-committed',
    'AbortError: the client hung up',
    'HYPERION_TRANSACTION_TIMEOUT',
    '[ { one: 1 } ]',
  ],
  'standbys.js': [
    'primary pool [ { standby: false } ]',
    'standby pool [ { standby: true } ]',
    'true',
  ],
  'serverless.js': [
    "{ status: 200, body: { customer: 'a', later: true } }",
    "{ status: 200, body: { customer: 'b', later: true } }",
  ],
  'worker-threads.js': ['5050 + 15050 + 25050 = 45150'],
  'query-log.js': [
    'request 1: slow: SELECT pg_sleep(0.2)::text',
    'request 2: 42P01 in a transaction: SELECT balance FROM no_such_table',
  ],
  'opentelemetry.js': [
    'in checkout: SELECT pg_class | SELECT relname FROM pg_class WHERE relname = ? AND $1::int > ?',
    'in checkout: SELECT | SELECT ? / ? | 22012',
    'in checkout: ROLLBACK | ROLLBACK',
    'checkout',
  ],
  'types.js': [
    '{',
    '  n: 9007199254740991,',
    '  at: 2024-01-02T03:04:05.000Z,',
    '  place: [ 1, 2.5 ],',
    "  document: { tags: [ 'a', 'b' ] },",
    '  bytes: <Buffer 68 69>,',
    '  list: [ 1, 2, null ]',
    '}',
    "{ n: 1n, document: '[1]' }",
  ],
  'session.js': ['another one is at it', 'done as nightly', 'and again'],
};

for (const [name, lines] of Object.entries(EXPECTED)) {
  test(`examples/${name}`, async () => assert.deepEqual(await run(name), lines));
}

test('examples/service.js', async () => {
  const child = start('service.js', { PORT: '0' });
  const said = text(child.stdout);
  const [address] = await once(child.stdout, 'data');
  const response = await fetch(String(address).trim());
  assert.equal(response.status, 200);
  assert.match((await response.json()).now, /^\d{4}-\d\d-\d\dT/);
  const asked = async (name) => await fetch(String(address).trim() + name);
  const { isWell, hosts } = await (await asked('/health')).json();
  assert.deepEqual([isWell, hosts], [true, [cluster.primary.address]]);
  assert.match(await (await asked('/metrics')).text(), /^hyperiondb_pool_connections\{/m);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  assert.match(await said, /\nended\n$/);
});

test('examples/nextjs', async () => {
  const at = (name) => import(new URL(`../../examples/nextjs/${name}`, import.meta.url));
  const { default: config } = await at('next.config.mjs');
  assert.deepEqual(config, { serverExternalPackages: ['hyperiondb-client'] });
  process.env.DATABASE_URL = url;
  const [{ GET, runtime }, { pool }] = await Promise.all(
    ['app/orders/route.js', 'lib/pool.js'].map(at),
  );
  assert.equal(runtime, 'nodejs');
  const response = await GET(new Request('http://localhost/orders?least=3'));
  assert.deepEqual(await response.json(), { orders: 8 });
  assert.equal((await GET(new Request('http://localhost/orders?least=x'))).status, 400);
  await pool.end();
});

test('examples/failover.js', async () => {
  const lines = await run('failover.js');
  assert.ok(
    lines.some((line) => line.includes('the pool follows: ')),
    lines.join('\n'),
  );
});

test('each example is run here, is listed, and names the package', () => {
  const named = [...Object.keys(EXPECTED), 'service.js', 'failover.js'].sort();
  const programs = readdirSync(folder).filter((name) => name.endsWith('.js'));
  assert.deepEqual(programs.sort(), named);
  const list = readFileSync(path.join(folder, 'README.md'), 'utf8');
  for (const name of programs) {
    assert.ok(list.includes(`| \`${name}\` |`), name);
    const source = readFileSync(path.join(folder, name), 'utf8');
    assert.match(source, /\bfrom 'hyperiondb-client'|import\('hyperiondb-client'\)/, name);
  }
});
