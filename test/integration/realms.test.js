// The package in a realm of its own, as Jest, vitest's vmThreads and Electron load it. Its `Error`
// is not the one with which the addon makes errors, and not always the one of its caller.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

import { clusterFor } from '../support/cluster/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

let cluster;
let library;
let ForeignError;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  const context = vm.createContext({ process, queueMicrotask, setTimeout, clearTimeout, Buffer });
  ForeignError = vm.runInContext('Error', context);
  library = loadIn(context);
});
after(() => cluster?.close());

/** The result of `require('hyperiondb-client')`, with each of its files compiled in `context`. */
function loadIn(context) {
  const modules = new Map();
  const load = (file) => {
    if (modules.has(file)) return modules.get(file).exports;
    const module = { exports: {} };
    modules.set(file, module);
    const native = createRequire(file);
    const require = (name) => {
      const isOwn = name.startsWith('.') && name.endsWith('.cjs');
      return isOwn ? load(path.resolve(path.dirname(file), name)) : native(name);
    };
    const head = '(function (module, exports, require, __filename, __dirname) {';
    const script = new vm.Script(`${head}${readFileSync(file, 'utf8')}\n})`, { filename: file });
    const run = script.runInContext(context);
    run(module, module.exports, require, file, path.dirname(file));
    return module.exports;
  };
  return load(path.join(root, 'js', 'index.cjs'));
}

test('errors of the addon have their class, code and outcome', async () => {
  const { createPool, ConfigurationError, DatabaseError, isRetryable } = library;
  const refusal = (options) => {
    try {
      createPool(options);
    } catch (error) {
      return error;
    }
    return assert.fail('these options are wrong');
  };
  const wrong = refusal({ hosts: 5, user: 'x' });
  assert.ok(wrong instanceof ConfigurationError && wrong instanceof ForeignError, wrong);
  assert.equal(wrong.code, 'HYPERION_CONFIGURATION');
  assert.doesNotMatch(wrong.message, /^\{/);

  const pool = createPool(cluster.options());
  const failed = async (...args) => {
    const error = await pool.query(...args).then(assert.fail, (thrown) => thrown);
    return [error.constructor, error.code, error.outcome];
  };
  const text = [ConfigurationError, 'HYPERION_QUERY_TEXT', 'not-sent'];
  assert.deepEqual(await failed('SELECT 1\0'), text);
  const value = [ConfigurationError, 'HYPERION_PARAMETER', 'not-sent'];
  assert.deepEqual(await failed('SELECT $1::int', ['a\0']), value);
  assert.deepEqual(await failed('SELECT $1::int', ['a\0']), value);
  assert.deepEqual(await failed('SELECT 1/0'), [DatabaseError, '22012', 'not-committed']);
  assert.throws(
    () => pool.setHosts([]),
    (error) => error.constructor === ConfigurationError,
  );
  assert.equal(isRetryable(new Error('x', { cause: { code: '40001' } })), false);
  await pool.end();
});

test('errors of any realm are errors', async () => {
  const { createPool, isRetryable } = library;
  const pool = createPool(cluster.options());
  for (const Realm of [Error, ForeignError]) {
    const conflict = Object.assign(new Realm('conflict'), { code: '40001' });
    assert.equal(isRetryable(new Realm('of the caller', { cause: conflict })), true);
    let attempts = 0;
    const work = async (tx) => {
      await tx.query('SELECT 1');
      attempts += 1;
      if (attempts < 3) throw new Realm('again', { cause: conflict });
      return attempts;
    };
    assert.equal(await pool.transaction(work, { retries: 5 }), 3);
    const types = {
      int4: {
        parse() {
          throw new Realm('not this one');
        },
      },
    };
    await assert.rejects(pool.query('SELECT 1', [], { types }), /can't be read: not this one/);
  }
  await pool.end();
});
