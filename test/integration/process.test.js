// The addon's effect on its process: no thread, no leaked descriptor, no crash when a worker ends
// in the middle, no CPU time when nothing is due.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';

import { clusterFor } from '../support/cluster/index.js';
import { waitUntil } from '../support/wait-until.js';

const run = promisify(execFile);
const onLinux = { skip: process.platform !== 'linux' && '/proc is Linux' };

/** Servers before 14 can't notice a closed connection. There a few sessions go on sleeping. */
const isOld = Number(process.env.HYPERION_PG_VERSION ?? 15) < 14;

let cluster;
before(async () => {
  // A sleeping session would notice only when it wakes that its client is gone.
  const settings = isOld ? {} : { client_connection_check_interval: '20ms' };
  cluster = await clusterFor({ nodes: 1, maxConnections: isOld ? 400 : 100, settings });
});
after(() => cluster?.close());

/**
 * Runs a module text in a Node process of its own, with `options` for its pool. Returns its output.
 */
async function inOwnProcess(source, options = {}) {
  const text = `
    import { createPool } from ${JSON.stringify(new URL('../../js/index.mjs', import.meta.url).href)};
    import { readdirSync } from 'node:fs';
    const options = ${JSON.stringify(cluster.options(options))};
    ${source}`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', text]);
  return stdout.trim();
}

test('the addon starts no thread', onLinux, async () => {
  const printed = await inOwnProcess(`
    const threads = () => readdirSync('/proc/self/task').length;
    const before = threads();
    const pool = createPool({ ...options, poolSize: 10, minIdle: 10 });
    await pool.ready();
    const lane = async () => { for (let n = 0; n < 100; n++) await pool.query('SELECT $1::int', [n]); };
    await Promise.all(Array.from({ length: 10 }, lane));
    console.log(JSON.stringify([before, threads(), pool.status().size]));
    await pool.end();`);
  const [before, later, size] = JSON.parse(printed);
  assert.equal(later, before);
  assert.equal(size, 10);
});

test('a process whose pool is idle ends by itself', async () => {
  const printed = await inOwnProcess(`
    const pool = createPool(options);
    console.log(JSON.stringify(await pool.query('SELECT 1 AS one')));`);
  assert.equal(printed, '[{"one":1}]');
});

test('a process with a query in flight does not end', async () => {
  const printed = await inOwnProcess(`
    const pool = createPool(options);
    pool.query('SELECT pg_sleep(0.3)::text, 1 AS one').then(([row]) => console.log(row.one));`);
  assert.equal(printed, '1');
});

for (const allowExitOnIdle of [true, false]) {
  test(`allowExitOnIdle: ${allowExitOnIdle} decides for idle connections alone`, async () => {
    // The timer keeps no process alive, so it fires only if the pool does.
    const printed = await inOwnProcess(`
      const pool = createPool({ ...options, allowExitOnIdle: ${allowExitOnIdle} });
      await pool.query('SELECT 1');
      const alive = () => { console.log('alive'); pool.end(); };
      setTimeout(alive, 200).unref();`);
    assert.equal(printed, allowExitOnIdle ? '' : 'alive');
  });
}

test('process.exit in the middle of queries is clean', async () => {
  const printed = await inOwnProcess(
    `
    const pool = createPool(options);
    for (let n = 0; n < 50; n++) pool.query('SELECT pg_sleep(10)::text').catch(() => {});
    await pool.query('SELECT 1');
    console.log('out');
    process.exit(0);`,
    { poolSize: 60 },
  );
  assert.equal(printed, 'out');
});

test('an idle pool uses no CPU and is woken by nothing', onLinux, async () => {
  const printed = await inOwnProcess(`
    import { readFileSync } from 'node:fs';
    const pool = createPool({ ...options, allowExitOnIdle: false });
    await pool.query('SELECT 1');
    // Each return from the kernel is a context switch, and an idle loop makes none. The timer that
    // ends the measurement makes a few, and so does Node's own work after its start.
    const switches = () =>
      Number(/voluntary_ctxt_switches:\\s+(\\d+)/.exec(readFileSync('/proc/thread-self/status'))[1]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = switches();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    console.log(switches() - before);
    await pool.end();`);
  assert.ok(Number(printed) <= 10, `${printed} wakes in 2 s`);
});

test('a worker that is terminated with queries in flight harms nothing', onLinux, async () => {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { createPool } = require(workerData.library);
    const pool = createPool(workerData.options);
    for (let n = 0; n < 20; n++) pool.query("SELECT pg_sleep(60)::text").catch(() => {});
    pool.query('SELECT 1').catch(() => {});
    const tell = () => parentPort.postMessage('running');
    const untilBusy = () => (pool.status().inUse === 5 ? tell() : setTimeout(untilBusy, 1));
    if (workerData.wait === undefined) untilBusy();
    else setTimeout(tell, workerData.wait);`;
  const library = new URL('../../js/index.cjs', import.meta.url).pathname;
  const descriptors = () => readdirSync('/proc/self/fd').length;
  let base;
  for (let round = 0; round < 50; round++) {
    // Every other worker ends with a query on each connection, and the others end at any moment
    // before.
    const wait = round % 2 === 0 ? undefined : round % 20;
    const workerData = { library, wait, options: cluster.options({ poolSize: 5 }) };
    const worker = new Worker(source, { eval: true, workerData });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    // The first rounds open descriptors that the process keeps anyway.
    if (round === 4) base = descriptors();
  }
  assert.ok(descriptors() <= base, `${descriptors()} descriptors, ${base} before`);
});

test(
  'pools that end with queries in flight give their descriptors back, and touch none after that',
  onLinux,
  async () => {
    const printed = await inOwnProcess(
      `
    import { closeSync, openSync, readSync } from 'node:fs';
    const list = () => readdirSync('/proc/self/fd');
    const failures = [];
    const round = async (turns) => {
      const pool = createPool(options);
      const work = Array.from({ length: 9 }, () => pool.query('SELECT pg_sleep(60)::text'));
      const settled = Promise.allSettled(work);
      // At any moment before, or with a query on all connections.
      const isThere = (turn) => turn >= turns && (turns < 20 || pool.status().inUse === 3);
      for (let turn = 0; turn < 100_000 && !isThere(turn); turn++) await new Promise(setImmediate);
      const ended = pool.end({ timeoutMs: 0 });
      const taken = [];
      const take = () => taken.push(openSync('/dev/zero', 'r+'));
      await Promise.race([ended, settled]);
      // These files get the numbers of the closed descriptors. No code may still read, write or
      // close those.
      for (let n = 0; n < 9; n++) take();
      await Promise.all([ended, settled]);
      for (let n = 0; n < 9; n++) take();
      await new Promise(setImmediate);
      for (const fd of taken) {
        try { readSync(fd, Buffer.alloc(1)); closeSync(fd); } catch (error) { failures.push(error.message); }
      }
    };
    for (let n = 0; n < 5; n++) await round(n);
    const base = list().length;
    for (let n = 0; n < 200; n++) await round(n % 40);
    const left = list().length - base;
    console.log(JSON.stringify({ left: Math.max(0, left), failures }));`,
      { poolSize: 3, cancelGraceMs: 100 },
    );
    assert.deepEqual(JSON.parse(printed), { left: 0, failures: [] });
  },
);

/** Node's ways to end a process, and the result for its parent. */
const EXITS = {
  'an uncaught exception': { how: "throw new Error('oh no')", expected: { code: 1 } },
  'an unhandled rejection': { how: "Promise.reject(new Error('oh no'))", expected: { code: 1 } },
  SIGTERM: {
    how: "process.kill(process.pid, 'SIGTERM')",
    expected: { code: null, signal: 'SIGTERM' },
  },
};

for (const [name, { how, expected }] of Object.entries(EXITS)) {
  test(`${name} in the middle of queries ends the process as it always does`, async () => {
    const ended = inOwnProcess(
      `
      const pool = createPool(options);
      const inTransaction = pool.transaction(async (tx) => {
        await tx.query('CREATE TABLE half_done ()');
        setImmediate(() => { ${how}; });
        await tx.query('SELECT pg_sleep(60)::text');
      });
      inTransaction.catch(() => {});
      for (let n = 0; n < 20; n++) pool.query('SELECT pg_sleep(60)::text').catch(() => {});`,
      { applicationName: 'ends', poolSize: 30 },
    );
    await assert.rejects(ended, (error) => {
      const { code, signal } = error;
      assert.deepEqual({ code, signal }, { signal: null, ...expected }, error.stderr);
      return true;
    });
    const sessions = "FROM pg_stat_activity WHERE application_name = 'ends'";
    const rest = () =>
      cluster.query(cluster.primary, `SELECT pg_terminate_backend(pid) ${sessions}`);
    await waitUntil('no session is left', async () => (await rest()).length === 0);
    const [[made]] = await cluster.query(cluster.primary, "SELECT to_regclass('half_done')");
    assert.equal(made, null, 'the transaction was rolled back');
  });
}

test('the main thread, eight workers and a context of node:vm each have pools of their own', async () => {
  const library = new URL('../../js/index.cjs', import.meta.url).pathname;
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { createPool } = require(workerData.library);
    const pool = createPool(workerData.options);
    const lane = async (n) => (await pool.query('SELECT $1::int AS n', [n]))[0].n;
    Promise.all(Array.from({ length: 200 }, (_, n) => lane(n)))
      .then((numbers) => pool.end().then(() => parentPort.postMessage(numbers)));`;
  const expected = Array.from({ length: 200 }, (_, n) => n);
  const workerData = { library, options: cluster.options({ poolSize: 3 }) };
  const inWorker = () => {
    const worker = new Worker(source, { eval: true, workerData });
    return new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  };
  const require = createRequire(import.meta.url);
  const { createPool } = require(library);
  const pool = createPool(workerData.options);
  const here = () =>
    Promise.all(expected.map(async (n) => (await pool.query('SELECT $1::int AS n', [n]))[0].n));
  // As test runners do: the same files, loaded again into another realm.
  const context = vm.createContext({ options: workerData.options, queueMicrotask });
  context.library = loadInContext(library, context);
  const inContext = vm.runInContext(
    `(async () => {
      const pool = library.createPool(options);
      const numbers = [];
      for (let n = 0; n < 200; n++) numbers.push((await pool.query('SELECT $1::int AS n', [n]))[0].n);
      const error = await pool.query('nonsense').catch((error) => error);
      await pool.end();
      return { numbers, isOwnError: error instanceof library.DatabaseError, code: error.code };
    })()`,
    context,
  );
  const answers = await Promise.all([here(), ...Array.from({ length: 8 }, inWorker)]);
  for (const answer of answers) assert.deepEqual(answer, expected);
  const { numbers, isOwnError, code } = await inContext;
  assert.deepEqual([...numbers], expected);
  assert.ok(isOwnError);
  assert.equal(code, '42601');
  await pool.end();
});

/** Loads a CommonJS module, and the modules that it requires, into a context of node:vm. */
function loadInContext(file, context, loaded = new Map()) {
  if (!file.endsWith('.cjs')) return createRequire(import.meta.url)(file);
  if (loaded.has(file)) return loaded.get(file).exports;
  const module = { exports: {} };
  loaded.set(file, module);
  const require = createRequire(file);
  const requireHere = (name) => {
    const found = require.resolve(name);
    return path.isAbsolute(found) ? loadInContext(found, context, loaded) : require(name);
  };
  const text = `(function (exports, require, module, __filename, __dirname, process) {${readFileSync(file, 'utf8')}\n})`;
  const wrapper = vm.runInContext(text, context, { filename: file });
  wrapper(module.exports, requireHere, module, file, path.dirname(file), process);
  return module.exports;
}

test(
  'processes that are forked have pools of their own, and inherit no socket',
  onLinux,
  async () => {
    const printed = await inOwnProcess(`
    import { spawnSync } from 'node:child_process';
    const pool = createPool({ ...options, poolSize: 4 });
    await Promise.all([1, 2, 3, 4].map(() => pool.query('SELECT pg_sleep(0.05)::text')));
    // The descriptors of this shell, apart from its standard streams, are inherited.
    const shell = spawnSync('sh', ['-c', 'ls -l /proc/$$/fd'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const sockets = shell.stdout.split('\\n').filter((line) => Number(/(\\d+) -> socket:/.exec(line)?.[1]) > 2).length;
    console.log(JSON.stringify({ sockets, size: pool.status().size}));
    await pool.end();`);
    const { sockets, size } = JSON.parse(printed);
    assert.equal(size, 4);
    assert.equal(sockets, 0);
    const source = `
    const pool = createPool(options);
    const pids = new Set();
    for (let n = 0; n < 100; n++) pids.add((await pool.query('SELECT pg_backend_pid() AS pid'))[0].pid);
    console.log(JSON.stringify([...pids]));
    await pool.end();`;
    const children = Array.from({ length: 4 }, () => inOwnProcess(source, { poolSize: 2 }));
    const pids = (await Promise.all(children)).flatMap((text) => JSON.parse(text));
    assert.equal(new Set(pids).size, pids.length, 'no session was used by two processes');
  },
);
