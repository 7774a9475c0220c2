// Installs the package by package managers other than npm: pnpm, whose packages see only their own
// dependencies, and Yarn's Plug'n'Play, which has no node_modules. Each keeps its caches in the
// project's folder, since a cache would return an earlier package of the same version.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';

import { run, tool } from './fetch.js';
import { PROGRAMS, startRegistry } from './install.js';

const MANAGERS = {
  pnpm(folder, url) {
    const own = ['--registry', url, '--store-dir', path.join(folder, 'store')];
    own.push(`--config.cache-dir=${path.join(folder, 'cache')}`);
    return {
      install: [tool('pnpm/bin/pnpm.cjs'), 'add', ...own, 'hyperiondb-client'],
      start: ['query.cjs'],
    };
  },
  "Yarn's Plug'n'Play"(folder, url) {
    const settings = [
      `npmRegistryServer: '${url}'`,
      `unsafeHttpWhitelist: ['127.0.0.1']`,
      'npmMinimalAgeGate: 0',
      'nodeLinker: pnp',
      'enableGlobalCache: false',
      `globalFolder: '${path.join(folder, 'global')}'`,
      'enableTelemetry: false',
    ];
    writeFileSync(path.join(folder, '.yarnrc.yml'), `${settings.join('\n')}\n`);
    // Without this file, Yarn takes the folder for a part of a project around it.
    writeFileSync(path.join(folder, 'yarn.lock'), '');
    const yarn = tool('@yarnpkg/cli-dist/bin/yarn.js');
    return { install: [yarn, 'add', 'hyperiondb-client'], start: [yarn, 'node', 'query.cjs'] };
  },
};

export const managers = Object.keys(MANAGERS);

/** Installs by a package manager, and runs a query. */
export async function queryBy(manager, tarballs, options) {
  const parent = mkdtempSync(path.join(tmpdir(), 'hyperion-manager-'));
  const cwd = path.join(parent, 'project');
  mkdirSync(cwd);
  writeFileSync(path.join(cwd, 'package.json'), '{ "private": true }\n');
  writeFileSync(path.join(cwd, 'query.cjs'), PROGRAMS['query.cjs']);
  const registry = await startRegistry(tarballs);
  const env = { ...process.env, HYPERION_SMOKE: JSON.stringify(options), YARN_IGNORE_PATH: '1' };
  // A package manager that believes it was started by another one would start that.
  for (const name of Object.keys(env)) if (/^(npm_|COREPACK)/i.test(name)) delete env[name];
  try {
    const { install, start } = MANAGERS[manager](cwd, registry.url);
    run(process.execPath, install, { cwd, env });
    const said = run(process.execPath, start, { cwd, env });
    if (said !== '42\n') throw new Error(`the program said ${said}`);
  } finally {
    registry.close();
    rmSync(parent, { recursive: true, force: true });
  }
}
