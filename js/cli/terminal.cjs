'use strict';

// What the command line writes: text for people, with colours on a terminal alone.

const process = require('node:process');

const CODES = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 };

class Terminal {
  #out;
  #err;
  #drawn = 0;

  constructor(out, err) {
    this.#out = out;
    this.#err = err;
    // Whoever reads the output may leave: `... --watch | head`.
    out.on?.('error', (error) => {
      if (error.code === 'EPIPE') process.exit(0);
      throw error;
    });
  }

  get isLive() {
    return this.#out.isTTY === true;
  }

  /** https://no-color.org */
  get hasColours() {
    return this.isLive && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  }

  /** @param {keyof CODES} colour */
  paint(colour, text) {
    return this.hasColours ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
  }

  print(text) {
    this.#out.write(`${text}\n`);
  }

  complain(text) {
    this.#err.write(`hyperiondb-client: ${text}\n`);
  }

  /** Draws a text in place of the one that was drawn before, if this is a terminal. */
  redraw(text) {
    if (this.isLive && this.#drawn > 0) this.#out.write(`\u001b[${this.#drawn}A\u001b[0J`);
    this.print(text);
    this.#drawn = text.split('\n').length;
  }

  /** Shows how far something is, on a terminal alone. `share` is from 0 to 1. */
  progress(title, share) {
    if (this.#err.isTTY !== true) return;
    const width = 30;
    const full = Math.round(width * Math.min(share, 1));
    const bar = '█'.repeat(full) + '░'.repeat(width - full);
    this.#err.write(`\r${title} ${bar} ${String(Math.round(share * 100)).padStart(3)} %`);
    if (share >= 1) this.#err.write('\r\u001b[2K');
  }
}

/** Columns side by side. Each row is a list of texts; `paint` colours whole cells afterwards. */
function table(rows, paint = (text) => text) {
  const widths = [];
  for (const row of rows) {
    row.forEach((cell, n) => (widths[n] = Math.max(widths[n] ?? 0, cell.length)));
  }
  const line = (row, n) =>
    row
      .map((cell, column) => paint(cell.padEnd(widths[column]), n, column))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}

module.exports = { Terminal, table };
