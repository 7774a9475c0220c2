// The typings in a user's project: each TypeScript compiler in use, with its default settings and
// with strict ones.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const COMPILERS = ['typescript', 'typescript-6', 'typescript-7'];

const USAGE = `
import { createPool, DatabaseError, type QueryResult } from 'hyperiondb-client';

const pool = createPool({ user: 'app' });
pool.on('primary', ({ host, outageMs }) => [host.length, outageMs.toFixed()]);
// @ts-expect-error there is no such event
pool.on('primaries', () => {});

export async function names(): Promise<string[]> {
  const result: QueryResult<{ name: string }> = await pool.query('SELECT name FROM guests');
  return result.rows.map((row) => row.name);
}
export const isDuplicate = (error: unknown) =>
  error instanceof DatabaseError && error.code === '23505';
`;

const SETTINGS = {
  defaults: {},
  bundler: { strict: true, module: 'preserve', moduleResolution: 'bundler' },
  node: { strict: true, module: 'nodenext', exactOptionalPropertyTypes: true },
};

let project;
before(async () => {
  project = await mkdtemp(path.join(tmpdir(), 'hyperion-typings-'));
  const installed = path.join(project, 'node_modules', 'hyperiondb-client');
  await mkdir(installed, { recursive: true });
  await cp(path.join(root, 'typings'), path.join(installed, 'typings'), { recursive: true });
  await cp(path.join(root, 'package.json'), path.join(installed, 'package.json'));
  for (const name of ['@types', 'undici-types']) {
    await symlink(path.join(root, 'node_modules', name), path.join(project, 'node_modules', name));
  }
  await writeFile(path.join(project, 'package.json'), '{ "type": "module" }');
  await writeFile(path.join(project, 'usage.ts'), USAGE);
});
after(() => rm(project, { recursive: true, force: true }));

for (const compiler of COMPILERS) {
  for (const [name, settings] of Object.entries(SETTINGS)) {
    test(`${compiler} takes the typings with these settings: ${name}`, async () => {
      const file = path.join(project, `${compiler}.${name}.json`);
      const lib = name === 'defaults' ? {} : { lib: ['ES2023', 'ESNext.Disposable'] };
      const compilerOptions = { noEmit: true, ...lib, ...settings };
      await writeFile(file, JSON.stringify({ compilerOptions, files: ['usage.ts'] }));
      const tsc = path.join(root, 'node_modules', compiler, 'bin', 'tsc');
      const { stdout } = await run(process.execPath, [tsc, '--project', file]).catch((e) => e);
      assert.equal(stdout, '');
    });
  }
}
