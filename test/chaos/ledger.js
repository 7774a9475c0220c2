// A load whose result can be checked: writers of unique keys, and readers that know which keys must
// be there.

import assert from 'node:assert/strict';

import { Random, SEED } from '../support/random.js';
import { Load } from './load.js';

const WRITERS = 8;
const READERS = 4;

export class Ledger extends Load {
  /** No unique index, so that a key that was applied twice is there twice. */
  static SETUP = `DROP TABLE IF EXISTS ledger;
    CREATE TABLE ledger (writer int NOT NULL, n int NOT NULL); CREATE INDEX ON ledger (writer, n)`;

  acknowledged = 0;
  reads = 0;
  #pool;
  /** For each writer: the acknowledged keys, and the highest key that is known to be there. */
  #keys = Array.from({ length: WRITERS }, () => ({ acknowledged: new Set(), highest: -1 }));
  #failed = [];
  #stale = [];

  constructor(pool) {
    super();
    this.#pool = pool;
  }

  get count() {
    return this.acknowledged;
  }

  start() {
    for (let writer = 0; writer < WRITERS; writer++) this.add(this.#write(writer));
    for (let reader = 0; reader < READERS; reader++) this.add(this.#read(reader));
  }

  async #write(writer) {
    const keys = this.#keys[writer];
    for (let n = 0; !this.isStopped; n++) {
      try {
        await this.#pool.query('INSERT INTO ledger VALUES ($1, $2)', [writer, n]);
        keys.acknowledged.add(n);
        keys.highest = Math.max(keys.highest, n);
        this.acknowledged += 1;
      } catch (error) {
        this.#failed.push(error);
      }
    }
  }

  // Keys that were acknowledged or read before a read began must be in its answer, whichever host
  // gives it.
  async #read(reader) {
    const random = new Random(SEED, reader);
    while (!this.isStopped) {
      const writer = random.below(WRITERS);
      const keys = this.#keys[writer];
      const known = keys.highest;
      const sql = 'SELECT coalesce(max(n), -1) AS highest FROM ledger WHERE writer = $1';
      const [{ highest }] = await this.#pool.query(sql, [writer], { readOnly: true });
      if (highest < known) this.#stale.push({ writer, known, highest });
      keys.highest = Math.max(keys.highest, highest);
      this.reads += 1;
    }
  }

  /** Compares what callers were told with the table. */
  async check(cluster) {
    const sql = 'SELECT writer, n, count(*) FROM ledger GROUP BY writer, n';
    const rows = (await cluster.query(cluster.primary, sql)).map((row) => row.map(Number));
    const found = new Set(rows.map(([writer, n]) => `${writer}-${n}`));
    const lost = this.#keys.flatMap(({ acknowledged }, writer) =>
      [...acknowledged].map((n) => `${writer}-${n}`).filter((key) => !found.has(key)),
    );
    assert.deepEqual(lost, [], 'acknowledged writes that are not in the table');
    const doubled = rows.filter(([, , count]) => count > 1);
    assert.deepEqual(doubled, [], 'keys that are in the table more than once');
    assert.deepEqual(this.#stale, [], 'reads that did not see what was acknowledged before');
    for (const error of this.#failed) {
      // A writer may get no error but that of a lost answer: the pool can send everything else
      // again.
      assert.equal(error.outcome, 'unknown', error.stack);
      assert.equal(error.code, '40003', error.stack);
    }
    return `${this.acknowledged} acknowledged, ${this.#failed.length} unknown, ${this.reads} reads`;
  }
}
