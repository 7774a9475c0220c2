// A load of transactions that move money between accounts. Whatever happens, the sum does not
// change, and each transfer ended as its caller was told: done, not done, or unknown.

import assert from 'node:assert/strict';

import { Random, SEED } from '../support/random.js';
import { Load } from './load.js';

const ACCOUNTS = 20;
const BALANCE = 1000;
const LANES = 8;

export class Transfers extends Load {
  /** Each transfer writes its name, in the transaction that moves the money. */
  static SETUP = `DROP TABLE IF EXISTS account, transfer;
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
    CREATE TABLE transfer (lane int NOT NULL, n int NOT NULL);
    INSERT INTO account SELECT i, ${BALANCE} FROM generate_series(0, ${ACCOUNTS - 1}) i`;

  done = new Set();
  #pool;
  #failed = [];
  #sums = [];

  constructor(pool) {
    super();
    this.#pool = pool;
  }

  get count() {
    return this.done.size;
  }

  start() {
    for (let lane = 0; lane < LANES; lane++) this.add(this.#transfer(lane));
    this.add(this.#sum());
  }

  async #transfer(lane) {
    const random = new Random(SEED, lane);
    for (let n = 0; !this.isStopped; n++) {
      try {
        await this.#pool.transaction((tx) => move(tx, lane, n, random));
        this.done.add(`${lane}-${n}`);
      } catch (error) {
        this.#failed.push({ key: `${lane}-${n}`, error });
      }
    }
  }

  // A sum that is read in between is the same.
  async #sum() {
    while (!this.isStopped) {
      const sql = 'SELECT sum(balance)::int AS sum FROM account';
      const [{ sum }] = await this.#pool.query(sql, [], { readOnly: true });
      if (sum !== ACCOUNTS * BALANCE) this.#sums.push(sum);
    }
  }

  async check(cluster) {
    const ask = (sql) => cluster.query(cluster.primary, sql);
    const [[sum]] = await ask('SELECT sum(balance) FROM account');
    assert.equal(Number(sum), ACCOUNTS * BALANCE, 'the sum over all accounts');
    assert.deepEqual(this.#sums, [], 'sums that were read in between');
    const rows = await ask('SELECT lane, n, count(*) FROM transfer GROUP BY lane, n');
    const found = new Map(rows.map(([lane, n, count]) => [`${lane}-${n}`, Number(count)]));
    const lost = [...this.done].filter((key) => !found.has(key));
    assert.deepEqual(lost, [], 'acknowledged transfers that are not there');
    const doubled = [...found].filter(([, count]) => count > 1);
    assert.deepEqual(doubled, [], 'transfers that are there more than once');
    for (const { key, error } of this.#failed) {
      assert.match(error.outcome ?? 'none', /^(not-committed|unknown)$/, error.stack);
      if (error.outcome === 'unknown') assert.equal(error.code, '40003', error.stack);
      else assert.ok(!found.has(key), `${key} was told not to be committed: ${error.stack}`);
    }
    const unknown = this.#failed.filter(({ error }) => error.outcome === 'unknown').length;
    const refused = this.#failed.length - unknown;
    return `${this.done.size} transfers, ${refused} not committed, ${unknown} unknown`;
  }
}

async function move(tx, lane, n, random) {
  const amount = 1 + random.below(100);
  const from = random.below(ACCOUNTS);
  const to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
  const changes = [
    { id: from, by: -amount },
    { id: to, by: amount },
  ];
  // In the order of the accounts, since two transfers could otherwise deadlock.
  for (const { id, by } of changes.sort((a, b) => a.id - b.id)) {
    await tx.query('UPDATE account SET balance = balance + $1 WHERE id = $2', [by, id]);
  }
  await tx.query('INSERT INTO transfer VALUES ($1, $2)', [lane, n]);
}
