// The application of the demonstration: it writes unique keys, and remembers the answer to each.

export class Ledger {
  static TABLE = 'DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (key text NOT NULL)';
  static COUNT = 'SELECT key, count(*) FROM ledger GROUP BY key';

  #pool;
  #acknowledged = new Set();
  #unknown = 0;
  #failed = [];
  #stopped = false;
  #writers = [];
  #lastAcknowledged;
  /** Each event, and the longest pause between two acknowledged writes after it. */
  #marks = [];

  constructor(pool) {
    this.#pool = pool;
  }

  get acknowledged() {
    return this.#acknowledged.size;
  }

  /** For how long no write has been acknowledged, in ms. */
  get silence() {
    return this.#lastAcknowledged === undefined ? 0 : performance.now() - this.#lastAcknowledged;
  }

  /** Records that something happens to the cluster now. */
  mark(event) {
    this.#marks.push({ event, silence: 0 });
  }

  start(writers) {
    this.#writers = Array.from({ length: writers }, (_, writer) => this.#write(writer));
  }

  async stop() {
    this.#stopped = true;
    await Promise.all(this.#writers);
  }

  async #write(writer) {
    for (let n = 0; !this.#stopped; n++) {
      const key = `${writer}-${n}`;
      try {
        await this.#pool.query('INSERT INTO ledger (key) VALUES ($1)', [key]);
        this.#acknowledge(key);
      } catch (error) {
        if (error.outcome === 'unknown') this.#unknown++;
        else this.#failed.push(error);
      }
      // The load is steady and does not saturate the machine, which also runs three servers.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #acknowledge(key) {
    const mark = this.#marks.at(-1);
    if (mark) mark.silence = Math.max(mark.silence, this.silence);
    this.#lastAcknowledged = performance.now();
    this.#acknowledged.add(key);
  }

  /**
   * Compares the acknowledged keys with the table.
   * @param {string[][]} rows of `Ledger.COUNT`
   * @param {number | undefined} extraThreads
   */
  report(rows, extraThreads) {
    const counts = new Map(rows.map(([key, count]) => [key, Number(count)]));
    const lost = [...this.#acknowledged].filter((key) => !counts.has(key)).length;
    const doubled = [...counts.values()].filter((count) => count > 1).length;
    const text = [
      '',
      `writes acknowledged   ${this.#acknowledged.size}`,
      `lost                  ${lost}`,
      `applied twice         ${doubled}`,
      `outcome unknown       ${this.#unknown}   (the answer was lost with the connection)`,
      `failed otherwise      ${this.#failed.length}`,
      ...this.#marks.map(({ event, silence }) => {
        const outage = `${Math.round(silence)} ms`;
        return `outage                ${outage.padEnd(8)} ${event}`;
      }),
      `extra threads         ${extraThreads ?? 'not known on this system'}`,
    ].join('\n');
    const first = this.#failed[0];
    const healthy = lost === 0 && doubled === 0 && this.#acknowledged.size > 0 && !first;
    return { text: first ? `${text}\nfirst failure: ${first.stack}` : text, healthy };
  }
}
