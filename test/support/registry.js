// An npm registry that accepts packages, for the tests of a release. It can refuse an upload before
// or after it has stored it, show a package late, or fail to answer. It refuses a version that it
// already has, and issues the tokens that npm requests from GitHub.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, before, beforeEach } from 'node:test';
import { promisify } from 'node:util';

export async function startRegistry() {
  const packages = new Map();
  const seen = [];
  /** For each package that is not shown yet, how many requests still get a 404. */
  const hidden = new Map();
  const registry = { packages, seen, fails: () => undefined, answers: () => undefined };

  /** @returns {[number, object | Buffer] | 'none'} none: the connection ends without an answer */
  function answer(method, name, url, body) {
    if (url.startsWith('/oidc')) return [500, { error: 'this is no GitHub' }];
    if (method === 'GET' && url.includes('/-/') && url.endsWith('.tgz')) {
      const [owner, file] = name.split('/-/');
      return [200, packages.get(owner).files.get(file)];
    }
    if (method === 'PUT') return take(name, JSON.parse(body));
    const instead = registry.answers(name);
    if (instead !== undefined) return instead;
    const left = hidden.get(name) ?? 0;
    hidden.set(name, left - 1);
    const known = left > 0 ? undefined : packages.get(name);
    return known === undefined ? [404, { error: 'not found' }] : [200, known.document];
  }

  function take(name, upload) {
    const fault = registry.fails(name);
    if (fault === 'before') return [503, { error: 'out of order' }];
    if (fault === 'conflict') return [409, { error: 'Failed to save packument' }];
    const [version] = Object.keys(upload.versions);
    const has = packages.get(name)?.document.versions;
    if (has !== undefined && Object.hasOwn(has, version)) {
      return [403, { error: 'You cannot publish over the previously published versions' }];
    }
    if (fault === 'late') hidden.set(name, 3);
    const known = packages.get(name) ?? { document: upload, files: new Map() };
    Object.assign(known.document.versions, upload.versions);
    Object.assign(known.document['dist-tags'], upload['dist-tags']);
    for (const [file, { data }] of Object.entries(upload._attachments)) {
      known.files.set(file, Buffer.from(data, 'base64'));
    }
    delete known.document._attachments;
    packages.set(name, known);
    return fault === undefined ? [201, { ok: true }] : [503, { error: 'out of order' }];
  }

  const server = createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const { method, url } = request;
      const name = decodeURIComponent(url.slice(1).split('?')[0]);
      seen.push({ method, name, url });
      const answered = answer(method, name, url, Buffer.concat(parts));
      if (answered === 'none') {
        response.destroy();
        return;
      }
      const [status, said] = answered;
      const bytes = Buffer.isBuffer(said);
      response.writeHead(status, {
        'content-type': bytes ? 'application/octet-stream' : 'application/json',
      });
      response.end(bytes ? said : JSON.stringify(said));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return Object.assign(registry, {
    url: `http://127.0.0.1:${port}/`,
    close: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  });
}

/** Settings with which npm and git know only this registry. */
export async function settingsFor(registry, folder) {
  const host = registry.url.replace('http:', '');
  await writeFile(path.join(folder, 'npmrc'), `${host}:_authToken=secret\n`);
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    npm_execpath: process.env.npm_execpath,
    npm_config_cache: path.join(folder, 'npm-cache'),
    npm_config_fetch_retries: '0',
    npm_config_registry: registry.url,
    npm_config_update_notifier: 'false',
    npm_config_userconfig: path.join(folder, 'npmrc'),
    // The name of the committer, and no signature with a key of this machine's user.
    GIT_CONFIG_GLOBAL: path.join(folder, 'gitconfig'),
    GIT_CONFIG_NOSYSTEM: '1',
  };
  await writeFile(
    env.GIT_CONFIG_GLOBAL,
    '[user]\nname = A maintainer\nemail = maintainer@example.com\n[init]\ndefaultBranch = main\n',
  );
  return env;
}

/** @returns {Promise<{ code: number, stdout: string, stderr: string }>} */
export async function runToEnd(program, args, options) {
  try {
    return { code: 0, ...(await promisify(execFile)(program, args, options)) };
  } catch (error) {
    return error;
  }
}

/** For a test file that has called `useRegistry`: its folder, its registry, and npm's settings. */
export let folder;
export let registry;
export let env;

export function useRegistry(name) {
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), `hyperion-${name}-`));
  });
  beforeEach(async () => {
    await registry?.close();
    registry = await startRegistry();
    env = await settingsFor(registry, folder);
  });
  after(async () => {
    await registry.close();
    await rm(folder, { recursive: true });
  });
}

export const run = (program, args, options) => runToEnd(program, args, { env, ...options });
