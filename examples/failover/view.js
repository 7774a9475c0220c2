// The output of the demonstration while it runs: a table that is redrawn in place, or plain lines
// if the output is not a terminal.

const DRAW_MS = 250;
const LOG_MS = 1000;
/** How many of the latest events are shown. */
const EVENTS = 8;

const STATE_SQL = `
  SELECT CASE WHEN pg_is_in_recovery() THEN 'standby'
              WHEN current_setting('default_transaction_read_only')::bool THEN 'fenced'
              ELSE 'primary' END,
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END`;

export class View {
  #cluster;
  #ledger;
  #out;
  #began = performance.now();
  #events = [];
  #states = [];
  #lines = 0;
  #last = { at: performance.now(), count: 0, rate: 0 };
  #timer;
  #drawing = Promise.resolve();

  constructor(cluster, ledger, out) {
    this.#cluster = cluster;
    this.#ledger = ledger;
    this.#out = out;
  }

  start() {
    const every = this.#out.isTTY ? DRAW_MS : LOG_MS;
    this.#timer = setInterval(() => (this.#drawing = this.#draw()), every);
  }

  async stop() {
    clearInterval(this.#timer);
    await this.#drawing;
  }

  event(text) {
    const at = ((performance.now() - this.#began) / 1000).toFixed(2).padStart(6);
    const line = `${at} s  ${text}`;
    if (this.#out.isTTY) this.#events = [...this.#events, line].slice(-EVENTS);
    else this.#out.write(`${line}\n`);
  }

  async #draw() {
    this.#states = await Promise.all(this.#cluster.nodes.map((node) => this.#stateOf(node)));
    this.#measure();
    if (this.#out.isTTY) this.#redraw();
    else this.event(this.#summaryLine());
  }

  async #stateOf(node) {
    if (node.state !== 'running') return { role: 'down', position: '-' };
    try {
      const [[role, position]] = await this.#cluster.query(node, STATE_SQL);
      return { role, position: position ?? '-' };
    } catch {
      return { role: 'unreachable', position: '-' };
    }
  }

  #measure() {
    const [now, count] = [performance.now(), this.#ledger.acknowledged];
    const rate = ((count - this.#last.count) * 1000) / (now - this.#last.at);
    this.#last = { at: now, count, rate: Math.round(rate) };
  }

  #hostLines() {
    return this.#cluster.nodes.map((node, n) => {
      const { role, position } = this.#states[n];
      return `${node.name}  ${node.host}:${node.port}  ${role.padEnd(11)}  ${position}`;
    });
  }

  #writesText() {
    const silence = this.#ledger.silence;
    const outage = silence > 100 ? `   no write for ${Math.round(silence)} ms` : '';
    return `${this.#last.count} writes, ${this.#last.rate}/s${outage}`;
  }

  #summaryLine() {
    const hosts = this.#cluster.nodes.map((node, n) => {
      const { role, position } = this.#states[n];
      return `${node.name} ${role} ${position}`;
    });
    return `${this.#writesText()} | ${hosts.join(' | ')}`;
  }

  #redraw() {
    const lines = [...this.#hostLines(), '', this.#writesText(), '', ...this.#events];
    // Moves to the beginning of the last drawing, and clears everything below.
    const back = this.#lines > 0 ? `\x1b[${this.#lines}A\x1b[J` : '';
    this.#out.write(`${back}${lines.join('\n')}\n`);
    this.#lines = lines.length;
  }
}
