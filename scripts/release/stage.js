// Lays out what is published, in `.cache/release/stage`: all seven binaries have to be in
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
// Reads the binaries' packages as it would publish them. publish.js does that, with what is packed
// here: napi takes any package that is on npm already for the same one.
const napi = [tool('@napi-rs/cli/dist/cli.js'), 'pre-publish', '-t', 'npm'];
run(process.execPath, [...napi, '--no-gh-release', '--dry-run'], { cwd: stage });
const packed = packAll(stage, path.join(cache, 'tarballs'));
for (const { name, size } of Object.values(packed)) console.log(`${name}: ${size} bytes`);
const publint = [tool('publint/src/cli.js'), packed.main.file, '--strict'];
run(process.execPath, publint);
run(process.execPath, [tool('@arethetypeswrong/cli/dist/index.js'), packed.main.file]);
