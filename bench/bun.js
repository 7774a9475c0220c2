// Bun, whose own client is comparable to this one: native code on its runtime's event loop. It
// comes from npm, into `.cache/bun/<version>`, when it is first needed.

import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import platform from '../js/native/platform.cjs';
import { fromNpm } from '../test/support/nodes.js';

const VERSION = '1.4.5';
const SYSTEMS = { linux: 'linux', darwin: 'darwin', win32: 'windows' };
const PROCESSORS = { x64: 'x64', arm64: 'aarch64' };

/**
 * `missing` is the reason why there is none.
 *
 * @returns {Promise<{ program: string } | { missing: string }>}
 */
export async function findBun() {
  const musl = process.platform === 'linux' && platform.isMusl() ? '-musl' : '';
  const name = `@oven/bun-${SYSTEMS[process.platform]}-${PROCESSORS[process.arch]}${musl}`;
  const file = process.platform === 'win32' ? 'bin/bun.exe' : 'bin/bun';
  const home = fileURLToPath(new URL(path.posix.join('../.cache/bun', VERSION), import.meta.url));
  try {
    return { program: await fromNpm(name, VERSION, file, home) };
  } catch (error) {
    return { missing: `no Bun here: ${String(error.message).split('\n', 1)[0]}` };
  }
}
