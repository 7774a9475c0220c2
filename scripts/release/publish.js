// Publishes what stage.js has laid out: the packages of the platforms first, and then the one that
// depends on them.

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';

import { cache, npm, tool } from './fetch.js';

const cwd = path.join(cache, 'stage');
const args = ['pre-publish', '-t', 'npm', '--no-gh-release'];
const napi = [tool('@napi-rs/cli/dist/cli.js'), ...args];
const { status } = spawnSync(process.execPath, napi, { cwd, stdio: 'inherit' });
if (status !== 0) process.exit(1);
console.log(npm(['publish', '--access', 'public'], { cwd }));
