// A panic in the addon becomes an error. It never reaches Node, and the process lives. The addon of
// this test is built with the feature `defects`, and panics where an SQL text says so.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { inspect, promisify } from 'node:util';

import contract from '../../js/transfer/contract.cjs';
import { clusterFor } from '../support/cluster/index.js';
import { buildDefective } from '../support/defective.js';

const { absences, thrown } = contract;
const require = createRequire(import.meta.url);
const folder = mkdtempSync(path.join(tmpdir(), 'hyperiondb-defect-'));

let cluster;
let createPool;
let file;
before(async () => {
  file = buildDefective(folder);
  // Replaces the addon that js/native/loader.cjs would load.
  require('../../js/native/loader.cjs').native = () => require(file);
  ({ createPool } = require('../../js/index.cjs'));
  cluster = await clusterFor({ nodes: 1 });
});
after(async () => {
  await cluster?.close();
  // Windows does not remove the file of a loaded addon.
  if (process.platform !== 'win32') rmSync(folder, { recursive: true });
});

const internal = (outcome) => (error) => {
  assert.equal(error.name, 'InternalError');
  assert.equal(error.code, 'HYPERION_INTERNAL');
  assert.equal(error.outcome, outcome);
  return true;
};

test('a panic in a call is the error of that call alone', async () => {
  const pool = createPool(cluster.options());
  await assert.rejects(pool.query('panic in a call'), internal(undefined));
  assert.equal((await pool.query('SELECT 1 AS one'))[0].one, 1);
  await pool.end();
});

test('a panic in a function of napi’s is an error of that call alone, as in any other', async () => {
  const pool = createPool(cluster.options());
  await assert.rejects(pool.query('panic in a seldom call'));
  const message = /^a defect in/;
  assert.throws(() => pool.status(), { name: 'InternalError', code: 'HYPERION_INTERNAL', message });
  assert.equal(pool.status().maxSize, 10);
  await pool.end();
});

test('a panic while the addon is loaded makes it an addon that can’t be loaded', async () => {
  const source = `
    try {
      require(${JSON.stringify(file)});
    } catch (error) {
      console.log(error.message);
    }`;
  const env = { ...process.env, PANIC_IN_LOADING: '1' };
  const { stdout } = await promisify(execFile)(process.execPath, ['--eval', source], { env });
  assert.equal(stdout, 'hyperiondb-client could not be loaded\n');
});

for (const where of ['panic in a command', 'panic in a turn']) {
  test(`a ${where} ends the pool, and what was in flight says that it may have run`, async () => {
    const other = createPool(cluster.options());
    const pool = createPool(cluster.options({ poolSize: 3 }));
    await pool.query('SELECT 1');
    const flying = [1, 2, 3, 4].map(() => pool.query('SELECT pg_sleep(30)::text'));
    const settled = Promise.allSettled(flying);
    const struck = pool.query(where).catch((error) => error);
    for (const { reason } of await settled) internal('unknown')(reason);
    assert.equal((await struck).code, 'HYPERION_INTERNAL');
    await assert.rejects(pool.query('SELECT 1'), { code: 'HYPERION_INTERNAL' });
    for (const look of [() => pool.status(), () => pool.cluster()]) {
      assert.throws(look, { name: 'InternalError', code: 'HYPERION_INTERNAL' });
    }
    assert.equal(inspect(pool), 'Pool { ended by a defect }');
    await pool.end();
    assert.equal((await other.query('SELECT 1 AS one'))[0].one, 1, 'the other pool is unharmed');
    await other.end();
  });
}

// This addon lends JavaScript no memory, as where the runtime refuses to take it.
test('memory of JavaScript’s that is taken away from a pool is an error of that pool', async () => {
  const addon = require('../../js/native/loader.cjs').native();
  for (const name of ['requestBuffer', 'records', 'cells', 'nulls']) {
    const { handle, ...buffers } = addon.createPool(JSON.stringify(cluster.options()), () => {});
    structuredClone(buffers[name], { transfer: [buffers[name]] });
    assert.equal(buffers[name].byteLength, 0);
    if (name === 'requestBuffer') {
      assert.throws(() => addon.query(handle), { code: thrown.THROWN_MARK });
    } else {
      addon.acquire(handle, 1, 0, absences.NO_LIMIT);
      addon.flush(handle);
    }
  }
  const pool = createPool(cluster.options());
  const rows = await pool.query('SELECT g, g::text AS t FROM generate_series(1, 5000) g');
  assert.deepEqual([rows.length, rows[4999]], [5000, { g: 5000, t: '5000' }]);
  await pool.end();
});
