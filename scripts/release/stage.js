// Lays out the packages to publish, in `.cache/release/stage`. All seven binaries must be in
// `.cache/release/addons`.

import path from 'node:path';
import process from 'node:process';

import platform from '../../js/native/platform.cjs';
import { fileOf } from './addons.js';
import { cache, run, tool } from './fetch.js';
import { layOut, packAll } from './packages.js';
import { disagreements } from './versions.js';

const found = disagreements({ isRelease: true });
if (found.length > 0) throw new Error(found.join('; '));
const stage = path.join(cache, 'stage');
layOut(stage, Object.fromEntries(platform.PUBLISHED.map((abi) => [abi, fileOf(abi)])));
// napi reads the binaries' packages as if it published them. publish.js publishes the packages that
// are packed here, since napi takes any package on npm with the same version for the same package.
const napi = [tool('@napi-rs/cli/dist/cli.js'), 'pre-publish', '-t', 'npm'];
run(process.execPath, [...napi, '--no-gh-release', '--dry-run'], { cwd: stage });
const packed = packAll(stage, path.join(cache, 'tarballs'));
for (const { name, size } of Object.values(packed)) console.log(`${name}: ${size} bytes`);
const publint = [tool('publint/src/cli.js'), packed.main.file, '--strict'];
run(process.execPath, publint);
run(process.execPath, [tool('@arethetypeswrong/cli/dist/index.js'), packed.main.file]);
