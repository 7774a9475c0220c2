// Publishes the packages that stage.js has packed: first those of the platforms, and then the one
// that depends on them. It can be run again after it stopped anywhere: a package that npm has
// already is left as it is if it is the same, and is an error if it is not. `--packed=` names
// another folder of packages. `--wait=` is how many milliseconds to wait before npm is asked again.
// These very files are published, and not what `npm publish` would pack anew.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';

import { compareVersions } from './binary.js';
import { cache, npm } from './fetch.js';
import { newestOf } from './versions.js';

const { values } = parseArgs({
  options: {
    packed: { type: 'string', default: path.join(cache, 'tarballs') },
    wait: { type: 'string', default: '5000' },
  },
});
/** How often a request is tried. npm fails at times, and reports conflicts with its own work. */
const ATTEMPTS = 4;
const pause = (attempt) => sleep(Number(values.wait) * attempt);

/** All eight packages, the main one last: until it is published, users get none of them. */
function packages() {
  const index = JSON.parse(readFileSync(path.join(values.packed, 'index.json'), 'utf8'));
  const all = Object.entries(index).map(([name, { file, about }]) => {
    if (file === undefined) throw new Error(`${name} has not been packed`);
    return { name, version: about.version, file: path.join(values.packed, file) };
  });
  const [main, ...platforms] = all;
  return [...platforms, main];
}

const registry = npm(['config', 'get', 'registry']).trim().replace(/\/?$/, '/');

/** @returns {Promise<Buffer | undefined>} undefined if npm has nothing there */
async function get(url) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(url, { headers: { accept: 'application/json, */*' } });
      if (response.status === 404) return undefined;
      if (response.ok) return Buffer.from(await response.arrayBuffer());
      throw new Error(`npm answered ${response.status}`);
    } catch (error) {
      const why = [error.message, error.cause?.message].filter(Boolean).join(': ');
      if (attempt === ATTEMPTS) throw new Error(`${url}: ${why}`, { cause: error });
      await pause(attempt);
    }
  }
}

/** All versions of a package that npm has. */
async function versionsOf(name) {
  const url = new URL(name, registry);
  const bytes = await get(url);
  if (bytes === undefined) return {};
  try {
    return JSON.parse(bytes).versions ?? {};
  } catch (cause) {
    throw new Error(`${url} is no registry's answer: ${bytes.subarray(0, 100)}`, { cause });
  }
}

/** Whether npm has this package. Another package of the same name and version is an error. */
async function isThere({ name, version, file }) {
  const versions = await versionsOf(name);
  if (!Object.hasOwn(versions, version)) {
    const newest = newestOf(Object.keys(versions));
    if (newest === undefined || compareVersions(newest, version) < 0) return false;
    throw new Error(`npm has ${name} ${newest}: ${version} would become the latest one instead`);
  }
  const { integrity, tarball } = versions[version].dist;
  const bytes = readFileSync(file);
  const own = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
  if (integrity === own) return true;
  const published = await get(tarball);
  if (published === undefined) throw new Error(`npm names ${tarball} and does not have it`);
  // The zlib of another Node may have compressed the same files.
  if (gunzipSync(bytes).equals(gunzipSync(published))) return true;
  throw new Error(`npm has another ${name} ${version} (${integrity}) than this one (${own})`);
}

async function publish(one) {
  const stdio = ['ignore', 'inherit', 'inherit'];
  for (let attempt = 1; ; attempt += 1) {
    try {
      npm(['publish', one.file, '--access', 'public'], { stdio });
      break;
    } catch (error) {
      // The answer may have been lost, or npm may show the package only later.
      await pause(attempt);
      if (await isThere(one)) break;
      if (attempt === ATTEMPTS) throw error;
    }
  }
  console.log(`published ${one.name} ${one.version}`);
}

try {
  // All packages are checked before the first one is published.
  const missing = [];
  for (const one of packages()) {
    if (!(await isThere(one))) missing.push(one);
    else console.log(`npm has ${one.name} ${one.version} already, and it is the same`);
  }
  for (const one of missing) await publish(one);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
