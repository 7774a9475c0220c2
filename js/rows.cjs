'use strict';

// Turns the cells of a batch into rows. `src/base/batch.rs` is the other half of this contract: eight
// bytes a cell, seen through several typed arrays at once, and one string that holds the text of all
// cells one after another.
//
// A shape is what the rows of a statement look like. It begins with a builder that loops over the
// columns, and gets one generated for it once it has built enough rows to pay for the compiler. A name
// from the server becomes part of generated code only if it is a plain identifier; any other name is
// used as a value, never as text (CVE-2017-16082 was a client that pasted them all in).

/** How to read one cell, by the number of its lane; null is dealt with before. */
const LANES = [
  // Text ends where its cell says, and begins where the text before it ended.
  { code: (c) => `text.substring(at, (at = int32[${c} << 1]))`, read: readText },
  { code: (c) => `int32[${c} << 1]`, read: (segment, c) => segment.int32[c << 1] },
  { code: (c) => `int32[${c} << 1] >>> 0`, read: (segment, c) => segment.int32[c << 1] >>> 0 },
  { code: (c) => `int32[${c} << 1] === 1`, read: (segment, c) => segment.int32[c << 1] === 1 },
  { code: (c) => `float64[${c}]`, read: (segment, c) => segment.float64[c] },
  { code: (c) => `bigint64[${c}]`, read: (segment, c) => segment.bigint64[c] },
];

/** Lanes whose cells take text, so that the text's cursor moves with them. */
const TEXT_LANES = new Set([0]);

function readText(segment, c) {
  const start = segment.at;
  segment.at = segment.int32[c << 1];
  return segment.text.substring(start, segment.at);
}

/**
 * Compiling takes as long as looping over some 150 rows of five columns, so that a statement that is
 * run a few times never pays for it.
 */
const ROWS_BEFORE_COMPILING = 150;

/** V8 gives objects up to this size a hidden class; beyond it a loop is as good. */
const MOST_COMPILED_COLUMNS = 512;

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const isPlain = (name) => PLAIN_NAME.test(name) && name !== '__proto__';

/** What `fields` shows of a column. The lane is between the addon and this file. */
function publicField({ name, typeOid, tableOid, columnNumber, modifier }) {
  return Object.freeze({ name, typeOid, tableOid, columnNumber, modifier });
}

class Shape {
  #names;
  #lanes;
  #objects = { build: null, compile: compileObjects, rows: 0 };
  #arrays = { build: null, compile: compileArrays, rows: 0 };

  /** `columns` as the addon announces them: `{ name, typeOid, ..., lane }`. */
  constructor(columns) {
    for (const { name, lane } of columns) {
      if (LANES[lane] === undefined) {
        throw new RangeError(`column ${JSON.stringify(name)} comes in an unknown lane, ${lane}`);
      }
    }
    this.#names = columns.map((column) => column.name);
    this.#lanes = columns.map((column) => column.lane);
    this.#objects.build = loopObjects(this.#names, this.#lanes);
    this.#arrays.build = loopArrays(this.#lanes);
    /** Shared by all results of this shape, hence frozen. */
    this.fields = Object.freeze(columns.map(publicField));
  }

  /**
   * Appends `count` rows to `rows`, and moves the cursors of `segment` behind them. A value that can't
   * be read throws, with the cursors moved all the same: the records behind it are for others.
   */
  build(rows, count, segment, asArrays) {
    const start = segment.cell;
    const mode = asArrays ? this.#arrays : this.#objects;
    if (mode.rows < ROWS_BEFORE_COMPILING) this.#count(mode, count);
    try {
      mode.build(rows, count, segment);
    } catch (error) {
      segment.cell = start;
      this.#skip(count, segment);
      throw error;
    }
  }

  #count(mode, count) {
    mode.rows += count;
    if (mode.rows < ROWS_BEFORE_COMPILING || this.#lanes.length > MOST_COMPILED_COLUMNS) return;
    if (canCompile()) mode.build = mode.compile(this.#names, this.#lanes);
  }

  /** Moves the cursors behind `count` rows that begin at `segment.cell`. */
  #skip(count, segment) {
    const width = this.#lanes.length;
    const lastRow = segment.cell + (count - 1) * width;
    const lastText = this.#lanes.findLastIndex((lane) => TEXT_LANES.has(lane));
    if (lastText >= 0) segment.at = segment.int32[(lastRow + lastText) << 1];
    segment.cell = lastRow + width;
  }
}

function loopObjects(names, lanes) {
  // A plain assignment would set the prototype, run a setter or fail on names that Object.prototype
  // has; it is three times faster for all others.
  const defined = names.map((name) => name in Object.prototype);
  const readers = lanes.map((lane) => LANES[lane].read);
  return (rows, count, segment) => {
    let cell = segment.cell;
    for (let r = 0; r < count; r += 1) {
      const row = {};
      for (let k = 0; k < readers.length; k += 1, cell += 1) {
        const value = segment.nulls[cell] ? null : readers[k](segment, cell);
        if (defined[k]) define(row, names[k], value);
        else row[names[k]] = value;
      }
      rows.push(row);
    }
    segment.cell = cell;
  };
}

function define(row, name, value) {
  Object.defineProperty(row, name, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function loopArrays(lanes) {
  const readers = lanes.map((lane) => LANES[lane].read);
  return (rows, count, segment) => {
    let cell = segment.cell;
    for (let r = 0; r < count; r += 1) {
      const row = [];
      for (let k = 0; k < readers.length; k += 1, cell += 1) {
        row.push(segment.nulls[cell] ? null : readers[k](segment, cell));
      }
      rows.push(row);
    }
    segment.cell = cell;
  };
}

function compileObjects(names, lanes) {
  const members = names.map((name, k) => {
    const key = isPlain(name) ? name : `[names[${k}]]`;
    return `${key}: ${cellCode(lanes[k], k)}`;
  });
  return compile(`{ ${members.join(', ')} }`, names, lanes.length);
}

function compileArrays(names, lanes) {
  return compile(`[${lanes.map(cellCode).join(', ')}]`, names, lanes.length);
}

function cellCode(lane, k) {
  const cell = `(cell + ${k})`;
  return `nulls[${cell}] ? null : ${LANES[lane].code(cell)}`;
}

function compile(row, names, width) {
  const body = `'use strict';
return (rows, count, segment) => {
  const { text, nulls, int32, float64, bigint64 } = segment;
  let { cell, at } = segment;
  for (let r = 0; r < count; r += 1, cell += ${width}) rows.push(${row});
  segment.cell = cell;
  segment.at = at;
};`;
  // Every part of the text is from this file, from a list of lanes, or a plain identifier.
  return new Function('names', body)(names);
}

let compiles;

/** `node --disallow-code-generation-from-strings` and a vm context can forbid it. */
function canCompile() {
  if (compiles === undefined) {
    try {
      compiles = new Function('return true')();
    } catch {
      compiles = false;
    }
  }
  return compiles;
}

module.exports = { Shape, ROWS_BEFORE_COMPILING };
