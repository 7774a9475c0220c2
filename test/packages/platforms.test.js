// The package on other platforms than this one, and on each supported Node.js: installed without
// Rust, used, and used through a failover. The test skips what this machine can't run, and says
// why. A binary of another platform takes minutes to build, so only CI builds it here; elsewhere
// `npm run release:dry` does.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';

import platform from '../../js/native/platform.cjs';
import { addonPath } from '../../scripts/build.js';
import { buildAddon, fileOf } from '../../scripts/release/addons.js';
import { Unavailable } from '../../scripts/release/fetch.js';
import { nodeOn } from '../../scripts/release/foreign.js';
import { faults } from '../../scripts/release/gates.js';
import { installed, smoke } from '../../scripts/release/install.js';
import { layOut, packAll } from '../../scripts/release/packages.js';
import { startServers } from '../../scripts/release/servers.js';
import { nodeOf } from '../support/nodes.js';

const own = platform.ownAbi();
const isQuick = true;

let folder;
before(async () => {
  // The builds must not slow down the tests that run at the same time.
  os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);
  folder = await mkdtemp(path.join(os.tmpdir(), 'hyperion-platforms-'));
});
after(() => rm(folder, { recursive: true }));

async function runInstalled(abi, file, command, where) {
  const stage = path.join(folder, `${abi}-stage`);
  const tarballs = path.join(folder, `${abi}-tarballs`);
  layOut(stage, { [abi]: file }, { asBuiltHere: abi === own, isQuick: abi !== own });
  packAll(stage, tarballs);
  const project = await installed(tarballs, abi === own ? {} : { abi });
  try {
    const servers = await startServers(where);
    try {
      assert.match(await smoke({ ...project, command, servers }), /"acknowledged":\d+/);
    } finally {
      await servers.close();
    }
  } finally {
    project.remove();
  }
}

for (const major of [20, 22, 24, 26]) {
  test(`installed on Node.js ${major}`, async (t) => {
    const { program, missing } = await nodeOf(major);
    if (missing !== undefined) t.skip(missing);
    // On one of them, the pair of servers that replaces the tests' cluster on Windows.
    else await runInstalled(own, addonPath, [program], major === 22 ? { asPair: true } : {});
  });
}

for (const abi of ['linux-x64-musl', 'linux-arm64-gnu']) {
  const skip = !process.env.CI && 'it takes minutes to build: set CI, or see `npm run release:dry`';
  test(`installed on ${abi}`, { skip: abi === own || skip, timeout: 1_800_000 }, async (t) => {
    let command;
    try {
      command = nodeOn(abi);
      buildAddon(abi, { isQuick });
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      t.skip(error.message);
      return;
    }
    const file = fileOf(abi, { isQuick });
    assert.deepEqual(faults(file, abi, { isQuick }), []);
    await runInstalled(abi, file, command);
  });
}
