// The package as a package: how programs import it, where it refuses to run, and that its promises
// behave like any other promise.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { build as bundle } from 'esbuild';
import ts from 'typescript';

import { createPool } from 'hyperiondb-client';

import { clusterFor } from '../support/cluster/index.js';

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('../..', import.meta.url));

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

test('import and require give the same package', () => {
  const common = require('hyperiondb-client');
  assert.equal(common.createPool, createPool);
  for (const name of ['HyperionError', 'DatabaseError', 'ConnectionError', 'PoolTimeoutError']) {
    assert.equal(typeof common[name], 'function');
  }
});

test('await using, as TypeScript compiles it, leaves nothing behind on this Node', async () => {
  const { outputText } = ts.transpileModule(
    `
    import { createPool, type Connection, type Pool } from 'hyperiondb-client';
    const seen: unknown[] = [];
    let left: Pool;
    {
      await using pool: Pool = createPool(${JSON.stringify(cluster.options({ poolSize: 1 }))});
      left = pool;
      await pool.query('DROP TABLE IF EXISTS scoped; CREATE TABLE scoped (n int)');
      {
        await using connection: Connection = await pool.connect();
        await using tx = await connection.begin();
        await tx.query('INSERT INTO scoped VALUES (1)');
        seen.push(pool.status().inUse);
      }
      {
        await using tx = await pool.begin();
        await tx.query('INSERT INTO scoped VALUES (2)');
        await tx.commit();
      }
      seen.push(pool.status().inUse, await pool.query('SELECT n FROM scoped'));
    }
    seen.push(await left.query('SELECT 1').catch(({ code }) => code));
    console.log(JSON.stringify(seen));`,
    { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 } },
  );
  assert.doesNotMatch(outputText, /await using/);
  const args = ['--input-type=module', '--eval', outputText];
  const { stdout } = await run(process.execPath, args, { cwd: root });
  assert.deepEqual(JSON.parse(stdout), [1, 0, [{ n: 2 }], 'HYPERION_POOL_CLOSED']);
});

for (const [runtime, name] of [
  ['bun', 'Bun'],
  ['deno', 'Deno'],
]) {
  test(`in ${name} a clear error comes before any native call`, async () => {
    const source = `
      Object.defineProperty(process.versions, '${runtime}', { value: '1.4.5' });
      const dlopen = process.dlopen;
      process.dlopen = (...args) => { console.log('native'); return dlopen.apply(process, args); };
      try {
        require('hyperiondb-client').createPool({ user: 'u' });
      } catch (error) {
        console.log(error.name, error.code, error.message);
      }`;
    const { stdout } = await run(process.execPath, ['--eval', source], { cwd: root });
    assert.match(stdout, /^ConfigurationError HYPERION_UNSUPPORTED_RUNTIME/);
    assert.match(stdout, new RegExp(`does not run in ${name} \\(1\\.4\\.5\\).*use Node\\.js`));
    assert.doesNotMatch(stdout, /^native/m);
  });
}

for (const format of ['cjs', 'esm']) {
  test(`a bundle, as ${format}, says that the package must be external`, async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'hyperion-bundle-'));
    const outfile = path.join(folder, `app.${format === 'esm' ? 'mjs' : 'cjs'}`);
    const contents = `
      import { createPool } from 'hyperiondb-client';
      createPool({ user: 'u' });`;
    const stdin = { contents, resolveDir: root };
    try {
      await bundle({ stdin, outfile, format, bundle: true, platform: 'node', logLevel: 'silent' });
      await assert.rejects(
        run(process.execPath, [outfile]),
        /was bundled.*serverExternalPackages/s,
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

test('without a binary for the platform the error says what was looked for', async () => {
  const source = `
    Object.defineProperty(process, 'arch', { value: 'riscv64' });
    try {
      require('hyperiondb-client').createPool({ user: 'u' });
    } catch (error) {
      console.log(error.message);
    }`;
  const { stdout } = await run(process.execPath, ['--eval', source], { cwd: root });
  assert.match(stdout, /riscv64/);
  assert.match(stdout, /npm run build/);
});

test('AsyncLocalStorage keeps its value across a query', async () => {
  const storage = new AsyncLocalStorage();
  const pool = createPool(cluster.options({ poolSize: 2 }));
  const ask = (n) =>
    storage.run(n, async () => {
      const [{ v }] = await pool.query('SELECT $1::int AS v', [n]);
      return [v, storage.getStore()];
    });
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => ask(n)));
  answers.forEach((answer, n) => assert.deepEqual(answer, [n, n]));
  await pool.end();
});

test('an error that nobody catches is an unhandled rejection like any other', async () => {
  const source = `
    const { createPool } = require('hyperiondb-client');
    const pool = createPool(${JSON.stringify(cluster.options())});
    process.on('unhandledRejection', (error) => { console.log('unhandled', error.code); process.exit(7); });
    pool.query('SELECT nothing FROM nowhere');`;
  await assert.rejects(run(process.execPath, ['--eval', source], { cwd: root }), (error) => {
    assert.equal(error.code, 7);
    assert.equal(error.stdout, 'unhandled 42P01\n');
    return true;
  });
});

test('an error that nobody catches shows its query', async () => {
  const shown = async (call) => {
    const source = `
      const { createPool } = require('hyperiondb-client');
      const pool = createPool(${JSON.stringify(cluster.options())});
      ${call};`;
    const failed = run(process.execPath, ['--eval', source], { cwd: root });
    return (await failed.then(assert.fail, (error) => error)).stderr;
  };
  const long = `SELECT nothing\n  FROM nowhere -- ${'x'.repeat(300)}`;
  const call = `pool.query(${JSON.stringify(long)})`;
  const stack = await shown(call);
  assert.match(
    stack,
    /DatabaseError: .*nowhere.*\n {4}at query \(SELECT nothing FROM nowhere -- x+ \.\.\.\)/,
  );
  assert.ok(!stack.includes('x'.repeat(200)));
  assert.match(await shown(`pool.transaction((tx) => tx.query('selec'))`), /at query \(selec\)/);
  // The function that awaits it has its own line in the stack.
  assert.doesNotMatch(await shown(`(async () => { await ${call}; })()`), /at query/);
});

test('listeners and getters may call back into the pool, and may throw', async () => {
  const pool = createPool(cluster.options({ poolSize: 2 }));
  const inner = [];
  pool.on('notice', () => {
    inner.push(pool.query('SELECT 1 AS one'));
  });
  await pool.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await Promise.all(inner), [[{ one: 1 }]]);
  const parameters = [1, 2];
  Object.defineProperty(parameters, 1, {
    get() {
      inner.push(pool.query('SELECT 2 AS two'));
      return 7;
    },
  });
  const rows = await pool.query('SELECT $1::int AS a, $2::int AS b', parameters);
  assert.deepEqual(rows, [{ a: 1, b: 7 }]);
  assert.deepEqual(await inner[1], [{ two: 2 }]);
  assert.equal(inner.length, 2, 'the getter was read once');
  Object.defineProperty(parameters, 0, {
    get() {
      throw new RangeError('no such thing');
    },
  });
  await assert.rejects(pool.query('SELECT $1::int, $2::int', parameters), RangeError);
  assert.deepEqual(await pool.query('SELECT 3 AS three'), [{ three: 3 }]);
  await pool.end();
});
