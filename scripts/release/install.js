// Proves that packed tarballs can be installed in an empty folder without Rust, and work there.

import { spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import platforms from '../../js/native/platform.cjs';
import { npm, root, run } from './fetch.js';

const REGISTRY = fileURLToPath(new URL('registry.js', import.meta.url));
const SMOKE = fileURLToPath(new URL('smoke.cjs', import.meta.url));

const QUERY = `
const pool = createPool(JSON.parse(process.env.HYPERION_SMOKE));
const [row] = await pool.query('SELECT $1::int + 1 AS n', [41]);
console.log(row.n);
await pool.end();`;

/** The ways in which users import a package. */
export const PROGRAMS = {
  'query.cjs': `const { createPool } = require('hyperiondb-client');\n(async () => {${QUERY}\n})();`,
  'query.mjs': `import { createPool } from 'hyperiondb-client';${QUERY}`,
  'typed.mts': `
    import { createPool, type Pool, type QueryResult } from 'hyperiondb-client';
    const pool: Pool = createPool(JSON.parse(process.env['HYPERION_SMOKE'] ?? '{}'));
    const rows: QueryResult<{ n: number }> = await pool.query<{ n: number }>('SELECT $1::int + 1 AS n', [41]);
    console.log(rows[0]?.n);
    await pool.end();
    export {};`,
};

const STRICT = {
  strict: true,
  module: 'nodenext',
  target: 'es2022',
  lib: ['ES2023', 'ESNext.Disposable'],
  types: ['node'],
  typeRoots: [path.join(root, 'node_modules', '@types')],
};

/**
 * An empty project in which `npm install hyperiondb-client` was run.
 * @param {string} tarballs the folder with the tarballs
 * @param {{ abi?: string }} [options] `abi`: a platform other than this one
 */
export async function installed(tarballs, { abi } = {}) {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'hyperion-install-')));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const programs = path.join(folder, 'programs');
  mkdirSync(programs);
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  const env = { ...process.env, PATH: pathWithoutRust(programs) };
  const registry = await startRegistry(tarballs);
  const cache = path.join(folder, 'cache');
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', `--cache=${cache}`];
  const [platform, arch, library] = abi?.split('-') ?? [];
  const foreign = abi === undefined ? [] : [`--os=${platform}`, `--cpu=${arch}`];
  if (library !== undefined) foreign.push(`--libc=${library === 'gnu' ? 'glibc' : library}`);
  try {
    const args = [...quiet, ...foreign, `--registry=${registry.url}`, 'hyperiondb-client'];
    npm(['install', ...args], { cwd: folder, env });
  } catch (error) {
    remove();
    throw error;
  } finally {
    registry.close();
  }
  rmSync(cache, { recursive: true, force: true });
  const found = readdirSync(path.join(folder, 'node_modules')).filter((name) => /^\w/.test(name));
  const expected = ['hyperiondb-client', `hyperiondb-client-${abi ?? platforms.ownAbi()}`];
  if (found.sort().join() !== expected.join()) {
    remove();
    throw new Error(`npm has installed ${found.join(', ')}`);
  }
  return { folder, env, remove };
}

export async function startRegistry(tarballs) {
  const child = spawn(process.execPath, [REGISTRY, tarballs], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('error', reject);
    child.once('exit', () => reject(new Error('the registry has ended')));
  });
  return { url, close: () => child.stdin.end() };
}

/** A PATH with the system's programs and this Node, and without cargo and Rust's compiler. */
function pathWithoutRust(programs) {
  if (process.platform === 'win32') {
    const folders = process.env.PATH.split(path.delimiter);
    return folders
      .filter((folder) => !existsSync(path.join(folder, 'cargo.exe')))
      .join(path.delimiter);
  }
  symlinkSync(process.execPath, path.join(programs, 'node'));
  for (const name of ['sh', 'env']) {
    const found = ['/bin', '/usr/bin'].map((folder) => path.join(folder, name)).find(existsSync);
    symlinkSync(found, path.join(programs, name));
  }
  // npm itself may be in any folder.
  const npmFolder = process.env.PATH.split(path.delimiter).find((folder) =>
    existsSync(path.join(folder, 'npm')),
  );
  if (npmFolder !== undefined) symlinkSync(path.join(npmFolder, 'npm'), path.join(programs, 'npm'));
  return programs;
}

/** Runs a query by `require`, by `import`, and by a program compiled from TypeScript. */
export function queryInEachWay({ folder, env }, options) {
  for (const [name, text] of Object.entries(PROGRAMS)) writeFileSync(path.join(folder, name), text);
  const settings = { compilerOptions: STRICT, files: ['typed.mts'] };
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify(settings));
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  run(process.execPath, [tsc, '--project', folder], { cwd: folder });
  for (const name of ['query.cjs', 'query.mjs', 'typed.mjs']) {
    const all = { ...env, HYPERION_SMOKE: JSON.stringify(options) };
    const said = run(process.execPath, [path.join(folder, name)], { cwd: folder, env: all });
    if (said !== '42\n') throw new Error(`${name} said ${said}`);
  }
}

/**
 * Runs smoke.cjs in a project, and lets the primary fail when the program asks for that.
 * @param {{
 *   command: string[], folder: string, servers: { options: object, failOver: () => unknown }
 * }} where
 * @returns {Promise<string>} the last line that it prints
 */
export async function smoke({ command, folder, env = process.env, servers }) {
  copyFileSync(SMOKE, path.join(folder, 'smoke.cjs'));
  const [program, ...args] = command;
  const child = spawn(program, [...args, path.join(folder, 'smoke.cjs')], {
    cwd: folder,
    env: { ...env, HYPERION_SMOKE: JSON.stringify(servers.options) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const limit = setTimeout(() => child.kill('SIGKILL'), 300_000);
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  let last = '';
  let failing;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    last = line;
    if (line === 'ready') failing = Promise.resolve(servers.failOver());
    failing?.catch(() => child.kill('SIGKILL'));
  });
  const code = await ended;
  clearTimeout(limit);
  await failing;
  if (code !== 0) throw new Error(`the smoke test ended with ${code}: ${last}\n${errors}`);
  if (failing === undefined) throw new Error('the smoke test ended before its failover');
  return last;
}
