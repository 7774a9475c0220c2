// Transactions in random order: savepoints beside and inside of each other, queries at any level at
// any moment, a transaction that begins behind the end of another, releases in the middle. Each
// acknowledged row is there, unless its savepoint or its transaction was reported as failed; no
// other row is. On a real server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { clusterAndPool } from '../support/pools.js';
import { Random, SEED } from '../support/random.js';

const ACTORS = 8;
const ROUNDS = 30;
const DEEPEST = 3;

const { pool } = await clusterAndPool({ nodes: 1 }, { poolSize: ACTORS });
await pool.query(
  `DROP TABLE IF EXISTS storm_late, storm;
   CREATE TABLE storm (id int PRIMARY KEY);
   CREATE TABLE storm_late (id int REFERENCES storm DEFERRABLE INITIALLY DEFERRED)`,
);

class Storm {
  there = [];
  absent = [];
  /** Ends of transactions that are awaited later. */
  ends = [];
  #ids = 0;

  constructor(dice) {
    this.dice = dice;
  }

  chance(percent) {
    return this.dice.below(100) < percent;
  }

  pause() {
    return sleep(this.dice.below(4));
  }

  /** Waits for the call that was just made, or for a moment, or not at all. */
  wait(promise) {
    return [promise, promise, this.pause(), null][this.dice.below(4)];
  }

  /**
   * Views are nodes of a tree. `kept` has the acknowledged ids of a view that no inner savepoint
   * has undone.
   */
  async insert(node) {
    this.#ids += 1;
    const id = this.#ids;
    const inserted = node.view.query('INSERT INTO storm VALUES ($1)', [id]);
    await inserted.then(
      () => node.kept.push(id),
      () => this.absent.push(id),
    );
  }

  async savepoint(node) {
    const inner = { view: null, kept: [], outer: node, depth: node.depth + 1 };
    const run = async (view) => {
      inner.view = view;
      await this.disorder(inner);
      if (this.chance(30)) throw new Error('undo');
    };
    await node.view.savepoint(run).then(
      () => node.kept.push(...inner.kept.splice(0)),
      () => this.absent.push(...inner.kept.splice(0)),
    );
  }

  /** A few actions, one after the other or at the same time. */
  async disorder(node) {
    const deeds = [];
    for (let n = 1 + this.dice.below(4); n > 0; n -= 1) {
      deeds.push(this.act(node));
      await this.wait(deeds.at(-1));
    }
    await Promise.all(deeds);
  }

  async act(node) {
    if (this.chance(10)) await node.view.query('SELECT 1/0').catch(() => {});
    else if (node.depth < DEEPEST && this.chance(40)) await this.savepoint(node);
    else if (node.outer !== null && this.chance(20)) await this.insert(node.outer);
    else await this.insert(node);
    if (this.chance(30)) await this.pause();
  }

  async transact(connection) {
    const root = { view: null, kept: [], outer: null, depth: 0 };
    const run = async (view) => {
      root.view = view;
      await this.disorder(root);
      if (this.chance(15)) await view.query('INSERT INTO storm_late VALUES (-1)').catch(() => {});
      if (this.chance(15)) throw new Error('undo');
    };
    const kept = () => this.there.push(...root.kept.splice(0));
    const undone = () => this.absent.push(...root.kept.splice(0));
    if (this.chance(40)) return connection.transaction(run).then(kept, undone);
    const tx = await connection.begin().catch(() => null);
    if (tx === null) return undefined;
    const succeeds = await run(tx).then(
      () => this.chance(70),
      () => false,
    );
    const end = succeeds ? tx.commit().then(kept, undone) : tx.rollback().then(undone, undone);
    this.ends.push(end);
    return this.chance(50) ? end : undefined;
  }

  async visit() {
    const connection = await pool.connect();
    const work = [];
    for (let n = 1 + this.dice.below(4); n > 0; n -= 1) {
      work.push(this.transact(connection));
      await this.wait(work.at(-1));
    }
    if (this.chance(60)) await Promise.all(work);
    await connection.release();
    await Promise.all([...work, ...this.ends]);
  }
}

test('what is acknowledged in a transaction that committed is there, and nothing else', async () => {
  const storm = new Storm(new Random());
  const act = async () => {
    for (let round = 0; round < ROUNDS; round += 1) await storm.visit();
  };
  await Promise.all(Array.from({ length: ACTORS }, act));
  const rows = await pool.query('SELECT id FROM storm');
  const there = new Set(rows.map(({ id }) => id));
  const lost = storm.there.filter((id) => !there.has(id));
  const unwanted = storm.absent.filter((id) => there.has(id));
  assert.deepEqual({ lost, unwanted }, { lost: [], unwanted: [] }, `seed ${SEED}`);
  assert.equal(storm.there.length, there.size, `seed ${SEED}`);
  assert.ok(there.size > 50 && storm.absent.length > 50, `seed ${SEED}`);
  assert.equal(pool.status().inUse, 0);
});
