// npm run release:dry: everything of a release except the upload. It builds the binaries that this
// machine can build, packs them, installs them in empty folders and runs them there. It says what
// it had to skip, and why. `-- --targets=linux-x64-gnu,linux-x64-musl` leaves out the other
// platforms. `--reuse` takes the binaries of the last run (or of another machine, in
// .cache/release/addons) if they were built from the present sources.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';

import platforms from '../../js/native/platform.cjs';
import { nodeOf } from '../../test/support/nodes.js';
import { licenses, licensesPath } from '../licenses.js';
import { buildAddon, fileOf } from './addons.js';
import { cache, root, run, tool, Unavailable } from './fetch.js';
import { nodeOn } from './foreign.js';
import { faults } from './gates.js';
import { installed, queryInEachWay, smoke } from './install.js';
import { managers, queryBy } from './managers.js';
import { layOut, packAll } from './packages.js';
import { startServers } from './servers.js';
import { disagreements, newerOnNpm, nextPatch, REMEDY } from './versions.js';

const values = readArguments();
const wanted = values.targets?.split(',') ?? platforms.PUBLISHED;
const own = platforms.ownAbi();
const counts = { passed: 0, failed: 0, skipped: 0 };

function readArguments() {
  try {
    const options = { targets: { type: 'string' }, reuse: { type: 'boolean', default: false } };
    const { values: given } = parseArgs({ options });
    const unknown = given.targets?.split(',').filter((abi) => !platforms.PUBLISHED.includes(abi));
    if (!unknown?.length) return given;
    throw new Error(`no such target: ${unknown.join()}. There are ${platforms.PUBLISHED.join()}`);
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

/** Runs one check and shows its result. A check that can't run on this machine does not fail. */
async function check(name, work) {
  console.log(`> ${name}`);
  try {
    const said = await work();
    counts.passed += 1;
    if (typeof said === 'string') console.log(`  ${said}`);
    return true;
  } catch (error) {
    const isSkipped = error instanceof Unavailable;
    counts[isSkipped ? 'skipped' : 'failed'] += 1;
    console.log(`  ${isSkipped ? 'skipped' : 'FAILED'}: ${error.message}`);
    return false;
  }
}

function none(found) {
  if (found.length > 0) throw new Error(found.join('; '));
}

async function withProject(options, work) {
  const project = await installed(tarballs, options);
  try {
    return await work(project);
  } finally {
    project.remove();
  }
}

async function withServers(work) {
  const servers = await startServers();
  try {
    return await work(servers);
  } finally {
    await servers.close();
  }
}

const runSmoke = (project, command) =>
  withServers((servers) => smoke({ ...project, command, servers }));

await check('the version is the same everywhere', () => none(disagreements()));
await check('npm takes the next version', () => {
  const newer = newerOnNpm(nextPatch());
  if (newer.length > 0) throw new Error(`${nextPatch()} can't be: ${newer.join('; ')}. ${REMEDY}`);
});
await check('THIRD_PARTY_LICENSES is what `npm run licenses` writes', () => {
  if (readFileSync(licensesPath, 'utf8') !== licenses()) throw new Error('run `npm run licenses`');
});

const addons = {};
for (const abi of wanted) {
  const isBuilt = await check(`the binary for ${abi}`, () => {
    if (!values.reuse) {
      rmSync(fileOf(abi), { force: true });
      buildAddon(abi);
    }
    if (!existsSync(fileOf(abi))) throw new Unavailable('there is none from another run');
    none(faults(fileOf(abi), abi));
    return `${readFileSync(fileOf(abi)).length} bytes`;
  });
  if (isBuilt) addons[abi] = fileOf(abi);
}

const stage = path.join(cache, 'stage');
const tarballs = path.join(cache, 'tarballs');
let packed;
await check('the packages', () => {
  layOut(stage, addons);
  packed = packAll(stage, tarballs);
  return Object.values(packed)
    .map(({ name, size }) => `${name}: ${size} bytes`)
    .join('\n  ');
});
if (packed !== undefined) {
  await check('publint', () => {
    run(process.execPath, [tool('publint/src/cli.js'), packed.main.file, '--strict']);
  });
  await check('Are the types wrong?', () => {
    run(process.execPath, [tool('@arethetypeswrong/cli/dist/index.js'), packed.main.file]);
  });
  await check('napi pre-publish', () => {
    const missing = platforms.PUBLISHED.filter((abi) => !(abi in addons));
    if (missing.length > 0) throw new Unavailable(`it wants all: ${missing.join(', ')} not built`);
    const args = ['pre-publish', '-t', 'npm', '--no-gh-release', '--dry-run'];
    run(process.execPath, [tool('@napi-rs/cli/dist/cli.js'), ...args], { cwd: stage });
  });
}

if (packed !== undefined && own in addons) {
  await withProject({}, async (project) => {
    await check('installed without Rust: a query by require, by import and from TypeScript', () =>
      withServers(({ options }) => queryInEachWay(project, options)),
    );
    for (const manager of managers) {
      await check(`installed by ${manager}: a query`, () =>
        withServers(({ options }) => queryBy(manager, tarballs, options)),
      );
    }
    for (const major of [20, 22, 24, 26]) {
      await check(`installed, and through a failover on Node ${major}`, async () => {
        const { program, missing } = await nodeOf(major);
        if (missing !== undefined) throw new Unavailable(missing);
        return runSmoke(project, [program]);
      });
    }
  });
}
for (const abi of Object.keys(addons)) {
  if (abi === own || packed === undefined) continue;
  await check(`installed, and through a failover on ${abi}`, async () => {
    const command = nodeOn(abi);
    return withProject({ abi }, (project) => runSmoke(project, command));
  });
}
await check('the workflows, by actionlint', () => {
  run(process.execPath, [path.join(root, 'scripts/release/workflows.js')]);
});

console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);
