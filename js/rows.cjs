'use strict';

// Turns the cells of a batch into rows. `src/base/batch.rs` is the other half of this contract: eight
// bytes a cell, seen through several typed arrays at once, and one string that holds the text of all
// cells one after another.
//
// A shape is what the rows of a statement look like. It begins with a builder that loops over the
// columns, and gets one generated for it once it has built enough rows to pay for the compiler. A name
// from the server becomes part of generated code only if it is a plain identifier; any other name is
// used as a value, never as text (CVE-2017-16082 was a client that pasted them all in).

const { converterOf, typeName: nameOf } = require('./types.cjs');

/** Text ends where its cell says, and begins where the text before it ended. */
const TEXT = { code: (c) => `text.substring(at, (at = int32[${c} << 1]))`, read: readText };

/** How to read one cell, by the number of its lane; null is dealt with before. */
const LANES = [
  TEXT,
  { code: (c) => `int32[${c} << 1]`, read: (segment, c) => segment.int32[c << 1] },
  { code: (c) => `int32[${c} << 1] >>> 0`, read: (segment, c) => segment.int32[c << 1] >>> 0 },
  { code: (c) => `int32[${c} << 1] === 1`, read: (segment, c) => segment.int32[c << 1] === 1 },
  { code: (c) => `float64[${c}]`, read: (segment, c) => segment.float64[c] },
  { code: (c) => `bigint64[${c}]`, read: (segment, c) => segment.bigint64[c] },
  // JSON, bytes and arrays: `types.cjs` makes their values of the text.
  ...[TEXT, TEXT, TEXT],
];

/** Whether cells of the lane take text, so that the text's cursor moves with them. */
const takesText = (lane) => LANES[lane] === TEXT;

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
function publicField({ name, typeOid, typeName, tableOid, columnNumber, modifier }) {
  const type = typeName ?? nameOf(typeOid);
  return Object.freeze({ name, typeOid, typeName: type, tableOid, columnNumber, modifier });
}

class Shape {
  #columns;
  #lanes;
  /** What the values are made by; a statement and its shapes know one set of choices alone. */
  #choices;
  #plan;
  #objects;
  #arrays;

  /** `columns` as the addon announces them: `{ name, typeOid, ..., lane }`. */
  constructor(columns) {
    for (const { name, lane } of columns) {
      if (LANES[lane] === undefined) {
        throw new RangeError(`column ${JSON.stringify(name)} comes in an unknown lane, ${lane}`);
      }
    }
    this.#columns = columns;
    this.#lanes = columns.map((column) => column.lane);
    /** Shared by all results of this shape, hence frozen. */
    this.fields = Object.freeze(columns.map(publicField));
  }

  /**
   * Appends `count` rows to `rows`, and moves the cursors of `segment` behind them. A value that can't
   * be read throws, with the cursors moved all the same: the records behind it are for others.
   */
  build(rows, count, segment, asArrays, choices = null) {
    const start = segment.cell;
    if (choices !== this.#choices) this.#choose(choices);
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

  #choose(choices) {
    this.#choices = choices;
    this.#plan = {
      names: this.#columns.map((column) => column.name),
      lanes: this.#lanes,
      /** What makes the value of what the lane gives; null where that is the value. */
      converters: this.#columns.map((column) => converterOf(column, choices)),
    };
    this.#objects = { build: loopObjects(this.#plan), compile: compileObjects, rows: 0 };
    this.#arrays = { build: loopArrays(this.#plan), compile: compileArrays, rows: 0 };
  }

  #count(mode, count) {
    mode.rows += count;
    if (mode.rows < ROWS_BEFORE_COMPILING || this.#lanes.length > MOST_COMPILED_COLUMNS) return;
    if (canCompile()) mode.build = mode.compile(this.#plan);
  }

  /** Moves the cursors behind `count` rows that begin at `segment.cell`. */
  #skip(count, segment) {
    const width = this.#lanes.length;
    const lastRow = segment.cell + (count - 1) * width;
    const lastText = this.#lanes.findLastIndex(takesText);
    if (lastText >= 0) segment.at = segment.int32[(lastRow + lastText) << 1];
    segment.cell = lastRow + width;
  }
}

function loopObjects({ names, lanes, converters }) {
  // A plain assignment would set the prototype, run a setter or fail on names that Object.prototype
  // has; it is three times faster for all others.
  const defined = names.map((name) => name in Object.prototype);
  const readers = lanes.map((lane, k) => reader(lane, converters[k]));
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

function reader(lane, convert) {
  const { read } = LANES[lane];
  return convert === null ? read : (segment, cell) => convert(read(segment, cell));
}

function define(row, name, value) {
  Object.defineProperty(row, name, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function loopArrays({ lanes, converters }) {
  const readers = lanes.map((lane, k) => reader(lane, converters[k]));
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

function compileObjects(plan) {
  const members = plan.names.map((name, k) => {
    const key = isPlain(name) ? name : `[names[${k}]]`;
    return `${key}: ${cellCode(plan, k)}`;
  });
  return compile(`{ ${members.join(', ')} }`, plan);
}

function compileArrays(plan) {
  return compile(`[${plan.lanes.map((_, k) => cellCode(plan, k)).join(', ')}]`, plan);
}

function cellCode({ lanes, converters }, k) {
  const cell = `(cell + ${k})`;
  const value = LANES[lanes[k]].code(cell);
  return `nulls[${cell}] ? null : ${converters[k] === null ? value : `make${k}(${value})`}`;
}

function compile(row, { names, converters }) {
  const made = converters.map((convert, k) => (convert === null ? '' : `make${k}`));
  const body = `'use strict';
const [${made.join(', ')}] = converters;
return (rows, count, segment) => {
  const { text, nulls, int32, float64, bigint64 } = segment;
  let { cell, at } = segment;
  for (let r = 0; r < count; r += 1, cell += ${names.length}) rows.push(${row});
  segment.cell = cell;
  segment.at = at;
};`;
  // Every part of the text is from this file, from a list of lanes, or a plain identifier.
  return new Function('names', 'converters', body)(names, converters);
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
