// 100,000 queries of a program that misuses the pool in every way: no connection stays checked out,
// no handle stays open, every promise settles, and valid queries get correct answers in between.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { clusterFor } from '../support/cluster/index.js';
import { seedOr } from '../support/random.js';
import { waitUntil } from '../support/wait-until.js';

const QUERIES = 100_000;
const SEED = seedOr(20_261_123);

test('100,000 queries with random misuse leave nothing behind', async (t) => {
  const cluster = await clusterFor({ nodes: 1 });
  t.after(() => cluster.close());
  t.diagnostic(`HYPERION_SEED=${SEED}`);
  const options = cluster.options({
    ...{ poolSize: 10, acquireTimeoutMs: 1000, idleInTransactionTimeoutMs: 50 },
    applicationName: 'misuse',
  });
  const run = fileURLToPath(new URL('../support/programs/misuse.js', import.meta.url));
  const args = [run, JSON.stringify(options), QUERIES, SEED];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  const [output, [code, signal]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  assert.deepEqual([code, signal], [0, null], 'the process ends by itself');
  const report = JSON.parse(output);
  t.diagnostic(JSON.stringify(report));
  assert.ok(report.asked >= QUERIES);
  assert.equal(report.answered + report.failed, report.asked, 'every promise has settled');
  assert.ok(report.answered > report.asked / 3 && report.failed > 0 && report.thrown > 0);
  assert.ok(report.warnings > 0, 'forgotten transactions were told of');
  assert.equal(report.status.inUse, 0);
  assert.deepEqual(report.works, [{ clean: true }]);
  assert.deepEqual(report.handles, []);
  assert.equal(report.codes.HYPERION_POOL_CLOSED, 1);
  // The server has no sessions left either.
  const sessions = () => cluster.sessions("application_name = 'misuse'");
  const areGone = async () => (await sessions()).length === 0;
  await waitUntil('no session is left', areGone);
});
