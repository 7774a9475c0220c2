// Wall clocks that are wrong, and that jump. No decision of a pool depends on one, neither on its
// own process's nor on a server's. The processes are real; only their wall clocks are not.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { findFaketime, WallClock } from '../support/cluster/clock.js';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { waitUntil } from '../support/wait-until.js';

const run = promisify(execFile);
const withFaketime = { skip: findFaketime() === undefined && 'the package faketime is missing' };

test(
  'a clock that jumps by days in the process of the pool changes nothing',
  withFaketime,
  async (t) => {
    const cluster = await startCluster({ nodes: 1 });
    const folder = mkdtempSync(path.join(os.tmpdir(), 'hyperion-clock-'));
    t.after(() => {
      rmSync(folder, { recursive: true });
      return cluster.close();
    });
    const file = path.join(folder, 'clock');
    const source = `
    import { createPool } from ${JSON.stringify(new URL('../../js/index.mjs', import.meta.url).href)};
    import { WallClock } from ${JSON.stringify(new URL('../support/cluster/clock.js', import.meta.url).href)};
    const clock = new WallClock(${JSON.stringify(file)});
    const pool = createPool(${JSON.stringify(cluster.options({ poolSize: 3 }))});
    const pids = () => Promise.all([1, 2, 3].map(async () =>
      (await pool.query('SELECT pg_backend_pid() AS pid FROM pg_sleep(0.05)'))[0].pid));
    const before = await pids();
    const jumps = [];
    for (const days of [2, -2, 0]) {
      const at = Date.now();
      const bounds = { timeoutMs: 60_000 };
      const running = pool.query('SELECT 1 AS one FROM pg_sleep(0.1)', [], bounds);
      const transaction = pool.transaction((tx) => tx.query('SELECT 2 AS two FROM pg_sleep(0.1)'), bounds);
      const late = pool.query('SELECT pg_sleep(60)::text', [], { timeoutMs: 100 }).catch(({ code }) => code);
      clock.set(days);
      jumps.push({
        days: Math.round((Date.now() - at) / 86_400_000),
        answers: (await Promise.all([running, transaction])).flat(),
        late: await late,
      });
    }
    const after = await pids();
    const isKept = after.every((pid) => before.includes(pid));
    console.log(JSON.stringify({ jumps, isKept, states: pool.cluster().map(({ state }) => state) }));
    await pool.end();`;
    const env = { ...process.env, ...new WallClock(file).environment };
    const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', source], {
      env,
    });
    const answers = [{ one: 1 }, { two: 2 }];
    assert.deepEqual(JSON.parse(stdout), {
      jumps: [2, -4, 2].map((days) => ({ days, answers, late: 'HYPERION_QUERY_TIMEOUT' })),
      isKept: true,
      states: ['up'],
    });
  },
);

test(
  'servers whose clocks are wrong, and jump, are told apart by their histories alone',
  withFaketime,
  async (t) => {
    const cluster = await startCluster({ nodes: 2 });
    t.after(() => cluster.close());
    const [old, standby] = cluster.nodes;
    // The primary's clock is in the future, and its standby's clock in the past.
    const clocks = new Map();
    for (const [node, days] of [
      [standby, -3],
      [old, 3],
    ]) {
      const clock = new WallClock(path.join(node.socketDir, `${node.name}.clock`));
      clock.set(days);
      clocks.set(node, clock);
      node.environment = clock.environment;
      await cluster.restart(node);
    }
    const daysOn = async (node) => {
      const [[seconds]] = await cluster.query(node, 'SELECT extract(epoch FROM clock_timestamp())');
      return Math.round((Number(seconds) - Date.now() / 1000) / 86_400);
    };
    assert.deepEqual([await daysOn(old), await daysOn(standby)], [3, -3]);
    await cluster.query(old, 'CREATE TABLE kept (n int)');
    await cluster.waitForReplication();

    const pool = createPool(cluster.options({ poolSize: 2, acquireTimeoutMs: 60_000 }));
    const reader = createPool(cluster.options({ mode: 'standby', poolSize: 1 }));
    t.after(() => Promise.all([pool.end(), reader.end()]));
    const events = [];
    for (const name of ['primary', 'fence', 'rival']) {
      pool.on(name, ({ host, decision }) => events.push([name, host, decision]));
    }
    const write = (n) => pool.query('INSERT INTO kept VALUES ($1)', [n]);
    for (const days of [3, -5, 9]) {
      const running = pool.query('SELECT 1 AS one FROM pg_sleep(0.05)');
      clocks.get(old).set(days);
      await Promise.all([running, write(days), reader.query('SELECT 1')]);
    }
    assert.deepEqual(events, [['primary', old.address, undefined]]);

    await cluster.waitForReplication();
    await cluster.crash(old);
    await cluster.promote(standby);
    await write(10);
    assert.equal(await daysOn(standby), -3);
    // It comes back as a second primary: later by its own clock, earlier by the history of the
    // data.
    await cluster.start(old);
    const late = openPool(t, cluster.options({ poolSize: 1 }));
    const decisions = [];
    late.on('rival', ({ host, decision }) => decisions.push([host, decision]));
    await late.query('SELECT 1', [], { readOnly: true });
    // Outstanding questions for a host's lineage keep no process alive.
    await waitUntil('both have told their histories', () => decisions.length > 0);
    const [[rival, decision]] = decisions;
    assert.equal(decision, rival === old.address ? 'stays' : 'taken');
    await late.query('INSERT INTO kept VALUES (11)');
    const rows = await cluster.query(standby, 'SELECT n FROM kept ORDER BY n');
    assert.deepEqual(rows.flat(), ['-5', '3', '9', '10', '11']);
    const [changed, ...others] = events.slice(1);
    assert.deepEqual(changed, ['primary', standby.address, undefined]);
    // The pool may have connected to the host that came back.
    for (const event of others) assert.deepEqual(event, ['rival', old.address, 'stays']);
  },
);
