// No answer of a server and no parameter ends the process when memory is short: a child process may
// allocate little more than it has.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { clusterFor } from '../support/cluster/index.js';

const run = promisify(execFile);
const child = fileURLToPath(new URL('../support/programs/little-memory.js', import.meta.url));

const hasLimits = process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0;
const withLimits = { skip: !hasLimits && 'there is no prlimit' };

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

const tooLarge = { name: 'ProtocolError', code: 'HYPERION_RESULT_TOO_LARGE', outcome: 'unknown' };
const noMemory = { name: 'ProtocolError', code: 'HYPERION_OUT_OF_MEMORY', outcome: 'unknown' };

for (const [what, expected] of Object.entries({
  limited: tooLarge,
  value: noMemory,
  rows: noMemory,
  notice: { code: 'none' },
  error: { name: 'DatabaseError', code: 'P0001', outcome: 'not-committed' },
  parameter: { name: 'ConfigurationError', code: 'HYPERION_OUT_OF_MEMORY', outcome: 'not-sent' },
})) {
  test(`200 MB that there is no memory for: ${what}`, withLimits, async () => {
    const options = JSON.stringify(cluster.options());
    const { stdout } = await run(process.execPath, [path.normalize(child), what, options]);
    assert.deepEqual(JSON.parse(stdout), { ...expected, two: 2 });
  });
}
