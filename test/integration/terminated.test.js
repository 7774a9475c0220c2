// Workers that end at any moment of a call from the loop harm no other thread. Where such a call
// leaves an exception pending, napi ends the whole process with the worker
// (docs/design/node-and-the-loop.md).

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { clusterFor } from '../support/cluster/index.js';
import { buildDefective } from '../support/defective.js';
import { nodeOf } from '../support/nodes.js';

const storm = fileURLToPath(new URL('../support/programs/terminated/storm.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'hyperiondb-terminated-'));

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(async () => {
  await cluster?.close();
  if (process.platform !== 'win32') rmSync(folder, { recursive: true });
});

/** Runs a storm in a process of its own, which must end by itself, and returns its report. */
async function run(program, what) {
  const options = cluster.options({ poolSize: 2 });
  const told = JSON.stringify({ options, seed: 1, workers: 50, loadsAddon: true, ...what });
  const { stdout, stderr } = await promisify(execFile)(program, [storm, told]);
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

const own = Number.parseInt(process.versions.node, 10);
for (const major of new Set([own, 20, 24])) {
  for (const loadsAddon of [true, false]) {
    const who = loadsAddon ? 'and the main thread have' : 'alone have';
    test(`50 workers end in calls of the addon's, which they ${who} loaded, on Node.js ${major}`, async (t) => {
      const { program, missing } = await nodeOf(major);
      if (missing) return t.skip(missing);
      const { wrong, before, after, rows } = await run(program, { loadsAddon, seed: major });
      assert.deepEqual(wrong, []);
      assert.equal(after.threads, before.threads);
      assert.ok(after.descriptors <= before.descriptors, JSON.stringify({ before, after }));
      if (loadsAddon) assert.deepEqual(rows, [{ one: 1 }]);
    });
  }
}

// This shows that the test above finds such a defect.
test('an exception that is left pending ends the process with its worker', async () => {
  const addon = buildDefective(folder);
  const { wrong } = await run(process.execPath, { addon, workers: 14 });
  assert.deepEqual(wrong, []);
  await assert.rejects(run(process.execPath, { addon, workers: 14, isBroken: true }), (error) => {
    assert.equal(error.signal ?? error.code, 'SIGABRT');
    assert.match(error.stderr, /HandleScope/);
    return true;
  });
});
