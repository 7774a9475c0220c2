// The code in the documents: JavaScript passes the type checker with the package's own typings, a
// shell can read its blocks, and what is marked with `<!-- run -->` runs on a real server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { withAbsoluteLinks } from '../../scripts/release/packages.js';
import { clusterFor } from '../support/cluster/index.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

const inFolder = (folder) =>
  readdirSync(path.join(root, folder))
    .filter((name) => name.endsWith('.md') && name !== 'CHANGELOG.md')
    .map((name) => path.posix.join(folder, name));
const DOCUMENTS = ['.', 'docs', 'docs/design', 'examples'].flatMap(inFolder);

/** The code blocks of all documents, each with its language and whether it is marked to run. */
const blocks = DOCUMENTS.flatMap((document) => {
  const text = readFileSync(path.join(root, document), 'utf8');
  const found = text.matchAll(/(<!-- run -->\s*)?^( *)```(\w*)\n(.*?)^ *```$/gms);
  return [...found].map(([whole, mark, indent, language, code]) => ({
    name: `${document}:${text.slice(0, text.indexOf(whole)).split('\n').length}`,
    isRun: mark !== undefined,
    language,
    code: code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  }));
});
/** The examples in the typings. */
for (const file of readdirSync(path.join(root, 'typings'))) {
  const text = readFileSync(path.join(root, 'typings', file), 'utf8');
  for (const found of text.matchAll(/^ *\* @example\n((?: *\*(?!\/)(?! @).*\n)+)/gm)) {
    const line = text.slice(0, found.index).split('\n').length;
    const code = found[1].replaceAll(/^ *\* ?/gm, '');
    blocks.push({ name: `typings/${file}:${line}`, isRun: false, language: 'js', code });
  }
}
const ofLanguage = (language) => blocks.filter((block) => block.language === language);

/** What blocks use that the text around them describes. */
const AMBIENT = `
import type * as package_ from 'hyperiondb-client';
declare global {
  const createPool: typeof package_.createPool;
  const isRetryable: typeof package_.isRetryable;
  const tx: package_.Transaction;
  const response: import('node:http').ServerResponse;
  const createServer: typeof import('node:http').createServer;
  const readFileSync: typeof import('node:fs').readFileSync;
  var pool: package_.Pool;
  const server: import('node:http').Server;
  const hosts: string[];
  const request: { signal: AbortSignal };
  const [ca, cert, key, passphrase, id, text]: string[];
  const year: number;
  const fetchToken: () => Promise<string>;
  const report: (error: unknown) => void;
  const log: (...values: unknown[]) => void;
  const afterAll: (callback: () => Promise<void>) => void;
  const readFile: typeof import('node:fs/promises').readFile;
}
`;
const OTHERS = `declare module '@opentelemetry/instrumentation' {
  export const registerInstrumentations: (options: { instrumentations: object[] }) => void;
}
`;

/** Takes the place of the package for blocks that run: every pool leads to the test's servers. */
const shim = (connection) => `
import * as all from ${JSON.stringify(pathToFileURL(path.join(root, 'js/index.mjs')).href)};
export * from ${JSON.stringify(pathToFileURL(path.join(root, 'js/index.mjs')).href)};
const { connectionString, ...connection } = ${JSON.stringify(connection)};
export const createPool = (given) => {
  const { connectionString, ssl, ...others } = typeof given === 'string' ? {} : (given ?? {});
  return all.createPool({ ...others, ...connection });
};
`;

const TABLES = `
CREATE TABLE orders (id serial PRIMARY KEY, customer int, total numeric);
INSERT INTO orders (customer, total) VALUES (42, 1), (43, 2);
CREATE TABLE accounts (id text PRIMARY KEY, balance int);
INSERT INTO accounts VALUES ('a', 500), ('b', 0);
CREATE TABLE mails (id text PRIMARY KEY, text text);
INSERT INTO mails VALUES ('there', '');
CREATE TABLE events (body jsonb);
`;

let folder;
let cluster;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'hyperion-documents-'));
  cluster = await clusterFor({ nodes: 2 });
  await cluster.query(cluster.primary, TABLES);
});
after(async () => {
  await cluster?.close();
  await rm(folder, { recursive: true, force: true });
});

const fileOf = ({ name }) => `${name.replaceAll(/\W+/g, '-')}.mjs`;

test('the documents have blocks of each kind', () => {
  assert.ok(ofLanguage('js').length > 20);
  assert.ok(blocks.filter(({ name }) => name.startsWith('typings/')).length >= 10);
  assert.ok(blocks.filter(({ isRun }) => isRun).length >= 8);
  const known = ['js', 'sh', 'dockerfile', 'mermaid', ''];
  for (const { name, language } of blocks)
    assert.ok(known.includes(language), `${name}: ${language}`);
});

test('each block of JavaScript passes the type checker', async () => {
  const project = path.join(folder, 'types');
  const installed = path.join(project, 'node_modules', 'hyperiondb-client');
  await mkdir(installed, { recursive: true });
  await cp(path.join(root, 'typings'), path.join(installed, 'typings'), { recursive: true });
  await cp(path.join(root, 'package.json'), path.join(installed, 'package.json'));
  for (const name of ['@types', 'undici-types', '@opentelemetry']) {
    await symlink(path.join(root, 'node_modules', name), path.join(project, 'node_modules', name));
  }
  await writeFile(path.join(project, 'ambient.d.mts'), AMBIENT);
  await writeFile(path.join(project, 'others.d.ts'), OTHERS);
  const files = ['ambient.d.mts', 'others.d.ts'];
  for (const block of ofLanguage('js')) {
    // A block without an import or export would be a script, whose names are everybody's.
    await writeFile(path.join(project, fileOf(block)), `${block.code}\nexport {};\n`);
    files.push(fileOf(block));
  }
  const compilerOptions = {
    ...{ allowJs: true, checkJs: true, noEmit: true, strict: false, skipLibCheck: true },
    ...{ module: 'nodenext', target: 'ES2023', lib: ['ES2023', 'ESNext.Disposable'] },
    types: ['node'],
  };
  await writeFile(path.join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  const compiler = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  await run(process.execPath, [compiler, '--project', project]).catch(({ stdout }) => {
    assert.fail(stdout);
  });
});

test('links of documents in the package lead to the release in the repository', () => {
  const about = { version: '1.2.3', homepage: 'https://github.com/o/r#readme' };
  const text =
    '![A](docs/a.svg), [b](../README.md#x), [c](https://c.example), [d](#d), [`e`](e.md)';
  const at = 'https://github.com/o/r/blob/v1.2.3';
  const expected =
    '![A](https://raw.githubusercontent.com/o/r/v1.2.3/docs/docs/a.svg), ' +
    `[b](${at}/README.md#x), [c](https://c.example), [d](#d), [\`e\`](${at}/docs/e.md)`;
  assert.equal(withAbsoluteLinks(text, 'docs/name.md', about), expected);
});

for (const block of ofLanguage('sh')) {
  test(`a shell can read ${block.name}`, { skip: process.platform === 'win32' }, async () => {
    const file = path.join(folder, 'block.sh');
    await writeFile(file, block.code);
    await run('bash', ['-n', file]);
  });
}

for (const block of blocks.filter(({ isRun }) => isRun)) {
  test(`${block.name} runs`, async () => {
    const project = path.join(folder, 'run');
    const installed = path.join(project, 'node_modules', 'hyperiondb-client');
    await mkdir(installed, { recursive: true });
    await writeFile(path.join(installed, 'package.json'), '{ "exports": "./index.mjs" }');
    await writeFile(path.join(installed, 'index.mjs'), shim(cluster.options()));
    const makesPool = block.code.includes('createPool(');
    const head = makesPool
      ? ''
      : "import { createPool as open } from 'hyperiondb-client';\n" +
        "const pool = open();\nconst [id, text] = ['there', 'text'];\n";
    const tail = makesPool ? '' : '\nawait pool.end();\n';
    await writeFile(path.join(project, fileOf(block)), `${head}${block.code}${tail}`);
    await run(process.execPath, [path.join(project, fileOf(block))], { timeout: 60_000 });
  });
}
