'use strict';

// What the command line writes: text for people, with colours on a terminal alone.

const process = require('node:process');

const CODES = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 };

class Terminal {
  #out;
  #err;
  #drawn = 0;
  /** A line of `live` is shown. */
  #isShown = false;

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
    this.#clear();
    this.#out.write(`${text}\n`);
  }

  complain(text) {
    this.#clear();
    this.#err.write(`hyperiondb-client: ${text}\n`);
  }

  /** How many characters a line may have; without a terminal, any number. */
  get columns() {
    return (this.isLive && this.#out.columns) || Infinity;
  }

  /** Draws a text in place of the one that was drawn before, if this is a terminal. */
  redraw(text) {
    if (this.isLive && this.#drawn > 0) this.#out.write(`\u001b[${this.#drawn}A\u001b[0J`);
    this.print(text);
    const rows = (line) => Math.max(1, Math.ceil(shown(line).length / this.columns));
    this.#drawn = text.split('\n').reduce((sum, line) => sum + rows(line), 0);
  }

  /** Shows a line until the next one, on a terminal alone. */
  live(text) {
    if (this.#err.isTTY !== true) return;
    this.#err.write(`\r\u001b[2K${text.slice(0, (this.#err.columns || 80) - 1)}`);
    this.#isShown = true;
  }

  #clear() {
    if (this.#isShown) this.#err.write('\r\u001b[2K');
    this.#isShown = false;
  }

  /** Shows how far something is, on a terminal alone. `share` is from 0 to 1. */
  progress(title, share) {
    if (this.#err.isTTY !== true) return;
    if (share >= 1) return this.#clear();
    const percent = `${String(Math.round(share * 100)).padStart(3)} %`;
    // A line that is full would begin a new one.
    const room = (this.#err.columns || 80) - 1;
    const width = Math.min(30, room - title.length - percent.length - 2);
    const full = Math.round(width * share);
    const bar = width < 5 ? '' : `${'█'.repeat(full)}${'░'.repeat(width - full)} `;
    this.live(`${title} ${bar}${percent}`);
  }
}

/** A line without the codes of its colours. */
// eslint-disable-next-line no-control-regex -- these are control characters
const shown = (line) => line.replaceAll(/\u001b\[\d+m/g, '');

/**
 * Columns side by side. Each row is a list of texts, the first one of headings; `paint` colours
 * whole cells afterwards. Where `room` is too little for a line, each row becomes some lines.
 */
function table(rows, paint = (text) => text, room = Infinity) {
  const widths = [];
  for (const row of rows) {
    row.forEach((cell, n) => (widths[n] = Math.max(widths[n] ?? 0, cell.length)));
  }
  if (widths.reduce((sum, width) => sum + width + 2, -2) > room) return list(rows, paint, room);
  const line = (row, n) =>
    row
      .map((cell, column) => paint(cell.padEnd(widths[column]), n, column))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}

function list([head, ...rows], paint, room) {
  return rows
    .map((row, n) => {
      const lines = [paint(row[0], n + 1, 0)];
      let length = Infinity;
      row.slice(1).forEach((cell, column) => {
        const heading = head[column + 1].toLowerCase();
        const text = `${heading} ${paint(cell, n + 1, column + 1)}`;
        const added = heading.length + cell.length + 3;
        const begins = length + added > room;
        if (begins) lines.push(`  ${text}`);
        else lines[lines.length - 1] += `, ${text}`;
        length = begins ? added : length + added;
      });
      return lines.join('\n');
    })
    .join('\n');
}

module.exports = { Terminal, table };
