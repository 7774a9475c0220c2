// A process in which other code changes the prototypes of all objects, or transfers buffers that
// are not its own. Results and errors stay correct, and nothing crashes. Real servers, in processes
// of their own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import contract from '../../js/transfer/contract.cjs';
import { clusterFor } from '../support/cluster/index.js';

const { absences, codes, bufferWords, thrown } = contract;
const run = promisify(execFile);

let cluster;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
});
after(() => cluster?.close());

/**
 * Runs the body of a function of `createPool`, `options`, `gc` and `addon` in a process, and
 * returns its result.
 */
async function inOwnProcess(body) {
  const index = createRequire(import.meta.url).resolve('../../js/index.cjs');
  const text = `
    const { createPool } = require(${JSON.stringify(index)});
    const fs = require('node:fs');
    const { native } = require(${JSON.stringify(index.replace('index.cjs', 'native/loader.cjs'))});
    const options = ${JSON.stringify(cluster.options({ poolSize: 1 }))};
    (async () => {
      const addon = native();
      const told = await (async () => { ${body} })();
      // Node's console fails with some of these changes.
      fs.writeSync(1, JSON.stringify(told));
      process.exit();
    })();`;
  const { stdout } = await run(process.execPath, ['--expose-gc', '--eval', text]);
  return JSON.parse(stdout);
}

const POLLUTIONS = {
  get: 'Object.prototype.get = () => 5',
  set: 'Object.prototype.set = () => 5',
  value: 'Object.prototype.value = 5',
  cause: 'Object.prototype.cause = { message: "x" }',
  options:
    'Object.assign(Object.prototype, { readOnly: true, types: 5, timeoutMs: "x", signal: 5, rowMode: "array", lookup: 5 })',
  numbers: 'for (let n = 0; n < 12; n += 1) Object.prototype[n] = () => "wrong"',
  'a setter of a column': `Object.defineProperty(Object.prototype, 'one', { set() {}, configurable: true })`,
};

for (const [name, pollution] of Object.entries(POLLUTIONS)) {
  test(`Object.prototype with ${name} changes no result, and ends no pool`, async () => {
    const told = await inOwnProcess(`
      const early = createPool(options);
      await early.query('SELECT 1 AS one');
      ${pollution};
      const pool = createPool(options);
      const seen = [];
      for (const pool of [early, createPool(options)]) {
        const rows = await pool.query('SELECT 1 AS one');
        const [{ a }] = await pool.query('SELECT $1::jsonb AS a', [[1, { b: 2 }]], { prepare: true });
        const error = await pool.query('nonsense').catch((thrown) => thrown);
        await pool.transaction((tx) => tx.query('CREATE TEMP TABLE t ()'), {});
        await (await pool.connect({})).release();
        seen.push([
          Object.getOwnPropertyDescriptor(rows[0], 'one').value, a[1].b, rows.rowCount,
          rows.command, error.code, Object.hasOwn(error, 'cause'),
        ]);
      }
      return seen;`);
    const right = [1, 2, 1, 'SELECT', '42601', false];
    assert.deepEqual(told, [right, right]);
  });
}

const FILL = 'const fill = Array.from({ length: 3000 }, () => new ArrayBuffer(65536));';
const DIRTY = 'fill.filter((buffer) => new Uint8Array(buffer).some((byte) => byte !== 0)).length';

test('the memory that a pool shares with its addon outlives whoever takes it', async () => {
  const dirty = await inOwnProcess(`
    let taken;
    const set = (value) => { taken = value; };
    Object.defineProperty(Object.prototype, 'cells', { set, configurable: true });
    const pool = createPool(options);
    delete Object.prototype.cells;
    if (taken !== undefined) return 'it was handed out';

    const parts = addon.createPool(JSON.stringify(options), () => {});
    for (const name of ['requestBuffer', 'records', 'cells', 'nulls']) {
      try {
        const buffer = parts[name];
        if (buffer.transfer === undefined) structuredClone(buffer, { transfer: [buffer] });
        else buffer.transfer();
      } catch {}
      delete parts[name];
    }
    gc(); gc();
    ${FILL}
    const id = addon.statement(parts.handle, 'SELECT g FROM generate_series(1, 5000) g', '');
    try { addon.query(parts.handle); } catch {}
    addon.acquire(parts.handle, 5, 0, ${absences.NO_LIMIT});
    addon.flush(parts.handle);
    for (let n = 0; n < 20; n += 1) {
      const rows = await pool.query('SELECT g, g::text FROM generate_series(1, 5000) g');
      if (rows.length !== 5000) return 'rows are missing';
    }
    return ${DIRTY};`);
  assert.equal(dirty, 0);
});

test('values that take away what stands beside them harm nothing', async () => {
  const told = await inOwnProcess(`
    const parts = addon.createPool(JSON.stringify(options), () => {});
    const words = new Int32Array(parts.requestBuffer);
    words[${bufferWords.BUFFER_REQUEST}] = 1;
    words[${bufferWords.BUFFER_COUNT}] = ${absences.ELSEWHERE};
    words[${bufferWords.BUFFER_LIMIT}] = ${absences.NO_LIMIT};
    words[${bufferWords.BUFFER_STATEMENT}] = addon.statement(parts.handle, 'SELECT 1', '');
    let codes = new Uint8Array(1 << 20).fill(${codes.OPEN});
    codes[1] = ${codes.CLOSE};
    const values = [{}, {}];
    Object.defineProperty(values, 1, { get() {
      structuredClone(codes.buffer, { transfer: [codes.buffer] });
      gc();
      globalThis.fill = Array.from({ length: 50 }, () => new Uint8Array(1 << 20).fill(7));
      return {};
    } });
    try { addon.query(parts.handle, values, [codes, new Float64Array(4), '']); } catch (error) { return error.code; }
    return 'taken';`);
  assert.equal(told, thrown.THROWN_MARK);
});
