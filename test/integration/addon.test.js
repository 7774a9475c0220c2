// The addon as js/ sees it: its functions, the arguments that they refuse, and the programs that
// may load it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { clusterFor } from '../support/cluster/index.js';

const require = createRequire(import.meta.url);
const { native } = require('../../js/native/loader.cjs');
const { THROWN_MARK } = require('../../js/transfer/contract.cjs').thrown;

let cluster;
let pool;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  pool = native().createPool(JSON.stringify(cluster.options({ poolSize: 1 })), () => {});
});
after(async () => {
  native().end(pool.handle, 1, 0, true);
  await cluster?.close();
});

/** Functions that are called for each query or turn, and functions that are called seldom. */
const OFTEN = {
  statement: ['number', 'text', 'text'],
  query: ['number'],
  supply: ['number', 'number'],
  acquire: ['number', 'number', 'number', 'number'],
  cancel: ['number', 'number'],
  release: ['number', 'number', 'flag'],
  flush: ['number'],
  drain: ['number'],
  resolved: ['number', 'number', 'text', 'text'],
};
const SELDOM = {
  wantedFiles: ['text'],
  createPool: ['text', 'function'],
  parameterTypes: ['number', 'number'],
  forget: ['number', 'number'],
  summarize: ['text'],
  sanitize: ['text'],
  leaseHost: ['number', 'number'],
  leaseIsAlive: ['number', 'number'],
  leaseIsInOwnTransaction: ['number', 'number'],
  cancelLease: ['number', 'number'],
  ready: ['number', 'number'],
  status: ['number'],
  cluster: ['number'],
  answerSsl: ['number', 'number', 'text', 'text'],
  answerPassword: ['number', 'number', 'text', 'text'],
  setHosts: ['number', 'text'],
  end: ['number', 'number', 'number', 'flag'],
};
const ALL = { ...OFTEN, ...SELDOM };
const OF_NO_POOL = ['wantedFiles', 'createPool', 'summarize', 'sanitize'];

/** A valid value, and the error for an invalid one. */
const KINDS = {
  number: {
    right: 1,
    wrong: ['1', undefined, null, {}, 1n],
    what: "a number: Node-API's status 6",
  },
  text: { right: '', wrong: [1, undefined, null, {}], what: "a string: Node-API's status 3" },
  flag: { right: false, wrong: [1, undefined, null, 'x'], what: "a boolean: Node-API's status 7" },
  function: { right: () => {}, wrong: [1, undefined, {}], what: 'deliver is no function' },
};

test('the functions of the addon are properties of its own, by their names', () => {
  assert.deepEqual(
    Object.keys(native()).sort(),
    [...Object.keys(ALL), 'version', 'sources'].sort(),
  );
  for (const name of Object.keys(ALL)) {
    const { value, ...attributes } = Object.getOwnPropertyDescriptor(native(), name);
    assert.deepEqual([value.name, value.length], [name, 0]);
    assert.deepEqual(attributes, { writable: true, enumerable: true, configurable: true });
  }
});

test('a wrong argument is refused by each of them, in the same words', () => {
  for (const [name, kinds] of Object.entries(ALL)) {
    kinds.forEach((kind, n) => {
      const rights = kinds.map((kind) => KINDS[kind].right);
      if (name !== 'createPool') rights[0] = pool.handle;
      else rights[0] = JSON.stringify(cluster.options());
      for (const wrong of KINDS[kind].wrong) {
        const call = () => native()[name](...rights.with(n, wrong));
        assert.throws(call, (error) => {
          assert.deepEqual([error.name, error.code], ['Error', THROWN_MARK], name);
          const { class: kindOfError, code, message } = JSON.parse(error.message);
          assert.deepEqual([kindOfError, code], ['InternalError', 'HYPERION_INTERNAL']);
          assert.equal(message, KINDS[kind].what, `${name}, argument ${n}`);
          return true;
        });
      }
    });
  }
});

test('a pool that is not there is said to be closed, or nothing happens', () => {
  const LATE = [
    'flush',
    'cancel',
    'cancelLease',
    'forget',
    'release',
    'resolved',
    'answerSsl',
    'answerPassword',
  ];
  for (const [name, kinds] of Object.entries(ALL)) {
    if (OF_NO_POOL.includes(name)) continue;
    const [, ...rights] = kinds.map((kind) => KINDS[kind].right);
    const call = () => native()[name](0xffff_ffff, ...rights);
    if (LATE.includes(name)) assert.equal(call(), undefined, name);
    else assert.throws(call, { code: THROWN_MARK, message: /HYPERION_POOL_CLOSED/ }, name);
  }
});

test('half of a surrogate pair is refused', () => {
  for (const call of [
    () => native().statement(pool.handle, '\ud800', ''),
    () => native().setHosts(pool.handle, '"\ud800"'),
    () => native().createPool('"\ud800"', () => {}),
  ]) {
    assert.throws(call, { code: THROWN_MARK, message: /HYPERION_QUERY_TEXT/ });
  }
});

test('what a function has to tell is of the kind that js/ expects', () => {
  const { handle } = pool;
  assert.equal(native().leaseHost(handle, 7), undefined);
  assert.equal(native().leaseHost(handle, 0), undefined);
  assert.equal(native().leaseIsAlive(handle, 7), false);
  assert.equal(native().leaseIsInOwnTransaction(handle, 0), false);
  assert.equal(native().cancelLease(handle, 7), undefined);
  const id = native().statement(handle, 'SELECT 1', '');
  assert.equal(native().parameterTypes(handle, id), undefined);
  assert.equal(native().forget(handle, id), undefined);
  assert.equal(native().ready(handle, 2), undefined);
  assert.equal(JSON.parse(native().status(handle)).maxSize, 1);
  assert.equal(JSON.parse(native().cluster(handle)).length, 1);
});

/**
 * Runs the body of a function of `options` in a process that ends by itself, and returns its
 * result.
 */
async function inOwnProcess(body) {
  const text = `
    const options = ${JSON.stringify(cluster.options({ poolSize: 1 }))};
    const load = () => require(${JSON.stringify(require.resolve('../../js/index.cjs'))});
    (async () => { ${body} })().then((told) => console.log(JSON.stringify(told)));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--eval', text]);
  return JSON.parse(stdout);
}

test('setters on Object.prototype take no function away from an addon that is loaded later', async () => {
  const told = await inOwnProcess(`
    const { native } = require(${JSON.stringify(require.resolve('../../js/native/loader.cjs'))});
    const taken = [];
    for (const name of ${JSON.stringify(Object.keys(ALL))}) {
      Object.defineProperty(Object.prototype, name, { set() { taken.push(name); }, configurable: true });
    }
    const names = Object.keys(native()).length;
    for (const name of ${JSON.stringify(Object.keys(ALL))}) delete Object.prototype[name];
    return { taken, names };`);
  // It also names the version and the sources.
  assert.deepEqual(told, { taken: [], names: Object.keys(ALL).length + 2 });
});

test('an addon that is loaded several times in a thread has pools of its own each time', async () => {
  const told = await inOwnProcess(`
    const ask = async (pool) => (await pool.query('SELECT pg_backend_pid() AS pid'))[0].pid;
    const pools = [];
    for (let n = 0; n < 3; n += 1) {
      // As test runners with module registries do.
      for (const name of Object.keys(require.cache)) delete require.cache[name];
      pools.push(load().createPool(options));
    }
    const classes = new Set(pools.map((pool) => pool.constructor));
    const pids = new Set(await Promise.all(pools.map(ask)));
    const numbers = pools.map((pool) => pool.status().size);
    await pools[0].end();
    const closed = await ask(pools[0]).catch(({ code }) => code);
    const hosts = pools[2].cluster().length;
    return [classes.size, pids.size, numbers, closed, hosts, pids.has(await ask(pools[1]))];`);
  assert.deepEqual(told, [3, 3, [1, 1, 1], 'HYPERION_POOL_CLOSED', 1, true]);
});

test('an unknown option is answered with all that the typings have', () => {
  const { createPool } = require('../../js/index.cjs');
  const read = (file) => readFileSync(new URL(`../../typings/${file}`, import.meta.url), 'utf8');
  const typings = read('index.d.ts') + read('connection-options.d.ts');
  const interfaces = [...typings.matchAll(/interface (?:Pool|Connection)Options .*?\n\}/gs)];
  const names = interfaces.flatMap(([body]) =>
    [...body.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name]) => name),
  );
  assert.ok(names.length > 30);
  assert.throws(
    () => createPool({ user: 'u', nope: 1 }),
    ({ code, message }) => {
      assert.equal(code, 'HYPERION_CONFIGURATION');
      for (const name of names) assert.match(message, new RegExp(`\\b${name}\\b`));
      return true;
    },
  );
});
