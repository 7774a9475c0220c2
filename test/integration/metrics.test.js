// What pools count: `pool.status()` and `pool.prometheus()`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { clusterFor } from '../support/cluster/index.js';
import { countsOf, openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 2 });
});
after(() => cluster?.close());

const closedIn = ({ closed }) => Object.values(closed).reduce((sum, count) => sum + count, 0);
const refusal = (code) => (error) => error.code === code;

test('each query, transaction and connection is counted once, on its host', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 2 }));
  for (let n = 0; n < 5; n += 1) await pool.query('SELECT 1');
  await pool.transaction(async (tx) => {
    await tx.query('SELECT 1');
    await tx.query('SELECT 2');
  });
  await (await pool.connect()).release();
  await assert.rejects(pool.query('SELECT 1 / 0'), refusal('22012'));
  const { acquired, queryMs, waitMs, failed, hosts } = pool.status();
  // A transaction has its COMMIT, too.
  assert.deepEqual([acquired, waitMs.count, queryMs.count, failed], [8, 8, 9, 1]);
  const { address } = cluster.primary;
  const [serving] = hosts.filter(({ host }) => host === address);
  assert.deepEqual([serving.acquired, serving.queryMs.count], [8, 9]);
  for (const { p50, p90, p99, max } of [queryMs, waitMs]) {
    assert.ok(p50 <= p90 && p90 <= p99 && p99 <= max);
  }
  assert.ok(queryMs.p50 > 0);
});

test('a query takes as long as the server does', async (t) => {
  const pool = openPool(t, cluster.options());
  await pool.query('SELECT pg_sleep(0.2)');
  const { queryMs } = pool.status();
  assert.ok(queryMs.max >= 200);
  assert.equal(queryMs.p99, queryMs.max);
});

test('what waits for a connection has waited, and what gets none is counted as that', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 1, acquireTimeoutMs: 300 }));
  const first = await pool.connect();
  await assert.rejects(pool.connect(), refusal('HYPERION_POOL_TIMEOUT'));
  await assert.rejects(
    first.query('SELECT pg_sleep(60)', [], { timeoutMs: 50 }),
    refusal('HYPERION_QUERY_TIMEOUT'),
  );
  const second = pool.connect();
  await waitUntil('the second one waits', () => pool.status().waiting === 1);
  const asked = performance.now();
  while (performance.now() - asked < 50) await new Promise(setImmediate);
  await first.release();
  await (await second).release();
  const { timeouts, cancelled, failed, waitMs, acquired } = pool.status();
  assert.deepEqual([timeouts, cancelled, failed], [{ acquire: 1, query: 1 }, 1, 2]);
  assert.equal(acquired, 2);
  assert.ok(waitMs.max >= 50);
});

test('sessions that are created less those that are closed are open, to the end', async (t) => {
  const pool = openPool(t, cluster.options({ poolSize: 3, idleTimeoutMs: 100 }));
  await Promise.all(Array.from({ length: 3 }, () => pool.query('SELECT pg_sleep(0.05)')));
  await waitUntil('idle connections are closed', () => pool.status().closed.idle === 3);
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  await pool.query('SELECT pg_terminate_backend($1)', [pid]).catch(() => {});
  await waitUntil('its end is heard', () => pool.status().closed.lost === 1);
  await pool.query('SELECT 1');
  const status = pool.status();
  const open = pool.cluster().reduce((sum, { connections }) => sum + connections.open, 0);
  assert.equal(status.created - closedIn(status), open);
  await pool.end();
  const ended = pool.status();
  assert.equal(ended.created, closedIn(ended));
  assert.ok(ended.closed.ended >= 1);
  assert.deepEqual(countsOf(pool), { maxSize: 3, size: 0, available: 0, inUse: 0, waiting: 0 });
  assert.equal(ended.acquired, status.acquired);
});

test('the text for Prometheus keeps its rules', async (t) => {
  const name = 'a "pool"\\\nof two lines';
  const pool = openPool(t, cluster.options({ name }));
  const other = openPool(t, cluster.options({ name: 'other' }));
  await Promise.all([pool, other].map((each) => each.query('SELECT 1')));
  const text = pool.prometheus(other);
  assert.ok(text.endsWith('\n'));
  const types = new Map();
  const samples = new Set();
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, family, rest] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? [];
    if (kind === 'TYPE') {
      assert.ok(!types.has(family), `${family} is twice`);
      types.set(family, rest);
    }
    if (kind !== undefined) continue;
    const [, sample, labels, value] = /^([a-z_]+)\{(.*)\} (\S+)$/.exec(line);
    assert.match(labels, /^([a-z]+="(\\[\\"n]|[^\\"\n])*"(,|$))+$/);
    assert.ok(Number.isFinite(Number(value)), line);
    const of = types.has(sample) ? sample : sample.replace(/_(bucket|sum|count)$/, '');
    const type = types.get(of);
    assert.ok(type !== undefined, `${sample} has no type`);
    assert.equal(type === 'counter', sample.endsWith('_total'), sample);
    assert.equal(type === 'histogram', of !== sample, sample);
    assert.ok(!samples.has(`${sample}{${labels}}`), `${line} is twice`);
    samples.add(`${sample}{${labels}}`);
  }
  assert.ok(
    text.includes('hyperiondb_pool_max_connections{pool="a \\"pool\\"\\\\\\nof two lines"} 10'),
  );
  assert.ok(text.includes('hyperiondb_pool_max_connections{pool="other"} 10'));
  // The buckets of a histogram add up.
  const { address } = cluster.primary;
  const series = `pool="other",host="${address}"`;
  const buckets = [...text.matchAll(/^hyperiondb_pool_query_seconds_bucket\{(.*)\} (\d+)$/gm)]
    .filter(([, labels]) => labels.startsWith(series))
    .map(([, , count]) => Number(count));
  assert.deepEqual(
    buckets,
    buckets.toSorted((a, b) => a - b),
  );
  assert.equal(buckets.at(-1), 1);
  assert.throws(() => pool.prometheus({}), refusal('HYPERION_CONFIGURATION'));
});

test('without a name the label is the database', async (t) => {
  const pool = openPool(t, cluster.options());
  assert.ok(pool.prometheus().includes(`{pool="${cluster.database}"}`));
});

test('the dashboard asks only for metrics that there are', async (t) => {
  const pool = openPool(t, cluster.options());
  await pool.query('SELECT 1');
  const text = pool.prometheus();
  const dashboard = new URL('../../examples/grafana-dashboard.json', import.meta.url);
  const { panels } = JSON.parse(readFileSync(dashboard, 'utf8'));
  const asked = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  const names = new Set(asked.flatMap((expr) => expr.match(/hyperiondb_\w+/g)));
  assert.ok(names.size > 10);
  for (const name of names) {
    const family = name.replace(/_(bucket|sum|count)$/, '');
    assert.ok(text.includes(`# TYPE ${family} `), `${name} is not there`);
  }
  for (const expr of asked) {
    const labels = [...expr.matchAll(/(\w+)(?:=~?|!~?=?)"|by \(([^)]*)\)/g)]
      .flatMap(([, label, list]) => label ?? list.split(/,\s*/))
      .filter((label) => label !== 'job');
    for (const label of labels) assert.ok(text.includes(`${label}="`), `${label} in ${expr}`);
  }
});
