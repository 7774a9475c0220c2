'use strict';

// Makes rows from the cells of a batch. `src/transfer/row_batch.rs` writes a batch: cells of eight
// bytes each, which several typed arrays show at once, and one string with the text of all cells.
//
// A shape stands for the columns of a statement. At first it has a builder that loops over the
// columns. Once that builder has made enough rows to justify compiling, the shape gets a generated
// builder. A name from the server becomes part of generated code only if it is plain
// (`plain-names.cjs`).

const { cells, lanes: LANE } = require('./contract.cjs');
const { JsonTemplates } = require('./json-templates.cjs');
const { isPlain } = require('./plain-names.cjs');
const { converterOf, typeName: nameOf } = require('../types/converters.cjs');

const { CUT } = cells;
const { JOINED } = LANE;

/** The cell says where its text ends. The text begins where the previous text ends. */
const TEXT = { code: (c) => `text.substring(at, (at = int32[${c} << 1]))`, read: readText };

/** How to read one cell, by its lane. Nulls are handled before. */
const LANES = {
  __proto__: null,
  [LANE.TEXT]: TEXT,
  [LANE.INT32]: {
    code: (c) => `int32[${c} << 1]`,
    read: (segment, c) => segment.int32[c << 1],
  },
  [LANE.UINT32]: {
    code: (c) => `int32[${c} << 1] >>> 0`,
    read: (segment, c) => segment.int32[c << 1] >>> 0,
  },
  [LANE.BOOL]: {
    code: (c) => `int32[${c} << 1] === 1`,
    read: (segment, c) => segment.int32[c << 1] === 1,
  },
  [LANE.FLOAT64]: { code: (c) => `float64[${c}]`, read: (segment, c) => segment.float64[c] },
  [LANE.BIGINT64]: { code: (c) => `bigint64[${c}]`, read: (segment, c) => segment.bigint64[c] },
  [LANE.BIGUINT64]: {
    code: (c) => `BigInt.asUintN(64, bigint64[${c}])`,
    read: (segment, c) => BigInt.asUintN(64, segment.bigint64[c]),
  },
  // `converters.cjs` makes the values of these lanes from their text.
  [LANE.JSON]: TEXT,
  [LANE.BYTES]: TEXT,
  [LANE.ARRAY]: TEXT,
  // JSON that is kept apart from the text of the rows. Its values are parsed before the rows are
  // built.
  [LANE.JOINED]: { code: null, read: null },
};

/** Whether cells of the lane have text, so that they move the cursor of the text. */
const takesText = (lane) => LANES[lane] === TEXT;

function readText(segment, c) {
  const start = segment.at;
  segment.at = segment.int32[c << 1];
  return segment.text.substring(start, segment.at);
}

/**
 * Compiling takes as long as looping over some 150 rows of five columns. A statement that runs only
 * a few times never pays for it.
 */
const ROWS_BEFORE_COMPILING = 150;

/** V8 gives objects of up to this size a hidden class. Beyond it, a loop is as fast. */
const MOST_COMPILED_COLUMNS = 512;

/** A column as `fields` shows it. The lane is internal. */
function publicField({ name, typeOid, typeName, tableOid, columnNumber, modifier }) {
  const type = typeName ?? nameOf(typeOid);
  return Object.freeze({ name, typeOid, typeName: type, tableOid, columnNumber, modifier });
}

class Shape {
  #columns;
  #lanes;
  /** The last column that takes its text from the text of the rows. */
  #lastText;
  /** The type config of the plan. A statement has only one, and so have its shapes. */
  #typeConfig;
  #plan;
  #objects;
  #arrays;

  /** `columns` in the form of the addon: `{ name, typeOid, ..., lane }`. */
  constructor(columns) {
    for (const { name, lane } of columns) {
      if (LANES[lane] === undefined) {
        throw new RangeError(`column ${JSON.stringify(name)} comes in an unknown lane, ${lane}`);
      }
    }
    this.#columns = columns;
    this.#lanes = columns.map((column) => column.lane);
    this.#lastText = this.#lanes.findLastIndex(takesText);
    /** Frozen, since all results of this shape share it. */
    this.fields = Object.freeze(columns.map(publicField));
  }

  /**
   * Appends `count` rows to `rows`, and moves the cursors of `segment` past them. If a value can't
   * be read, it throws, but still moves the cursors: the next records belong to other requests.
   * `joinedUnits` is the length of the JSON after the text of the rows. `cut` has the values of a
   * long row that have come in pieces.
   */
  build(rows, count, segment, form = {}) {
    const { asArrays = false, typeConfig = null, joinedUnits = 0, cut = null } = form;
    const { cell } = segment;
    const end = this.#endOfText(count, segment);
    if (typeConfig !== this.#typeConfig) this.#configure(typeConfig);
    const mode = asArrays ? this.#arrays : this.#objects;
    if (cut === null && mode.rows < ROWS_BEFORE_COMPILING) this.#count(mode, count);
    try {
      const joined = joinedUnits === 0 ? null : this.#join(count, segment, end, joinedUnits);
      if (cut === null) mode.build(rows, count, segment, joined);
      else rows.push(longRow(this.#plan, segment, { asArrays, joined, cut }));
    } finally {
      segment.cell = cell + count * this.#lanes.length;
      segment.at = end + joinedUnits;
    }
  }

  /**
   * The values of the column whose JSON is kept apart from the text. The JSON begins at `start`,
   * and is parsed in one go if possible.
   */
  #join(count, segment, start, units) {
    const { joined, converters, parsesJoined, templates } = this.#plan;
    const convert = converters[joined];
    const isCompiled = Math.max(this.#objects.rows, this.#arrays.rows) >= ROWS_BEFORE_COMPILING;
    if (parsesJoined && isCompiled && canCompile()) {
      const made = templates.values(segment.text, this.#joinedBounds(count, segment, start, units));
      if (made !== null) return made;
    }
    const text = segment.text.substring(start, start + units);
    if (parsesJoined) {
      try {
        const values = JSON.parse(text);
        if (values.length === count) return values;
      } catch {
        // A document is not valid JSON. The loop below finds out which one.
      }
    }
    const values = [];
    let from = 1;
    for (let r = 0, cell = segment.cell + joined; r < count; r += 1, cell += this.#lanes.length) {
      const to = segment.int32[cell << 1];
      values.push(segment.nulls[cell] ? null : convert(text.substring(from, to)));
      from = to + 1;
    }
    return values;
  }

  /** The bounds of the JSON, and of its first document that is not a null of the column. */
  #joinedBounds(count, segment, start, units) {
    const { joined } = this.#plan;
    let from = start + 1;
    let cell = segment.cell + joined;
    for (let r = 1; r < count && segment.nulls[cell] !== 0; r += 1, cell += this.#lanes.length) {
      from = start + segment.int32[cell << 1] + 1;
    }
    const to = start + segment.int32[cell << 1];
    return { start, stop: start + units, count, from, to };
  }

  #configure(typeConfig) {
    this.#typeConfig = typeConfig;
    const joined = this.#lanes.indexOf(JOINED);
    this.#plan = {
      names: this.#columns.map((column) => column.name),
      lanes: this.#lanes,
      joined,
      templates: new JsonTemplates(),
      /**
       * Whether the parsed documents themselves are wanted, because the user has no converter for
       * them.
       */
      parsesJoined:
        joined >= 0 && (typeConfig?.converter(this.#columns[joined].typeOid) ?? null) === null,
      /**
       * By column, the function that makes the value from the lane's value. Null if the lane's
       * value is the value.
       */
      converters: this.#columns.map((column) => converterOf(column, typeConfig)),
    };
    this.#objects = { build: loopObjects(this.#plan), compile: compileObjects, rows: 0 };
    this.#arrays = { build: loopArrays(this.#plan), compile: compileArrays, rows: 0 };
  }

  #count(mode, count) {
    mode.rows += count;
    if (mode.rows < ROWS_BEFORE_COMPILING || this.#lanes.length > MOST_COMPILED_COLUMNS) return;
    if (canCompile()) mode.build = mode.compile(this.#plan);
  }

  /** Where the text of the next `count` rows ends. */
  #endOfText(count, segment) {
    const last = this.#lastText;
    if (last < 0 || count === 0) return segment.at;
    return segment.int32[(segment.cell + (count - 1) * this.#lanes.length + last) << 1];
  }
}

function loopObjects({ names, lanes, joined: beside, converters }) {
  // A plain assignment would set the prototype or run a setter, or would fail because of a name in
  // Object.prototype. For all other names it is three times as fast.
  const readers = lanes.map((lane, k) => reader(lane, converters[k]));
  return (rows, count, segment, joined) => {
    // Checked for each batch, since other code may add a name to Object.prototype at any time.
    const defined = names.map((name) => name in Object.prototype);
    let cell = segment.cell;
    for (let r = 0; r < count; r += 1) {
      const row = {};
      for (let k = 0; k < readers.length; k += 1, cell += 1) {
        let value = null;
        if (k === beside) value = joined[r];
        else if (!segment.nulls[cell]) value = readers[k](segment, cell);
        if (defined[k]) define(row, names[k], value);
        else row[names[k]] = value;
      }
      rows.push(row);
    }
  };
}

function reader(lane, convert) {
  const { read } = LANES[lane];
  return convert === null ? read : (segment, cell) => convert(read(segment, cell));
}

function define(row, name, value) {
  Object.defineProperty(row, name, {
    __proto__: null,
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function loopArrays({ lanes, joined: beside, converters }) {
  const readers = lanes.map((lane, k) => reader(lane, converters[k]));
  return (rows, count, segment, joined) => {
    let cell = segment.cell;
    for (let r = 0; r < count; r += 1) {
      const row = [];
      for (let k = 0; k < readers.length; k += 1, cell += 1) {
        if (k === beside) row.push(joined[r]);
        else row.push(segment.nulls[cell] ? null : readers[k](segment, cell));
      }
      rows.push(row);
    }
  };
}

/** The row at the cursors. `cut` has the values of the row that have come in pieces. */
function longRow({ names, lanes, joined: beside, converters }, segment, { asArrays, joined, cut }) {
  const row = asArrays ? [] : {};
  let taken = 0;
  lanes.forEach((lane, k) => {
    const cell = segment.cell + k;
    let value = null;
    if (segment.nulls[cell] === CUT) {
      value = cut[taken++];
      // A Buffer needs no conversion.
      if (converters[k] !== null && typeof value === 'string') value = converters[k](value);
    } else if (k === beside) {
      value = joined[0];
    } else if (segment.nulls[cell] === 0) {
      value = reader(lane, converters[k])(segment, cell);
    }
    if (asArrays) row.push(value);
    else define(row, names[k], value);
  });
  return row;
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

function cellCode({ lanes, joined, converters }, k) {
  if (k === joined) return 'joined[r]';
  const cell = `(cell + ${k})`;
  const value = LANES[lanes[k]].code(cell);
  return `nulls[${cell}] ? null : ${converters[k] === null ? value : `make${k}(${value})`}`;
}

function compile(row, { names, converters }) {
  const made = converters.map((convert, k) => (convert === null ? '' : `make${k}`));
  const body = `'use strict';
const [${made.join(', ')}] = converters;
return (rows, count, segment, joined) => {
  const { text, nulls, int32, float64, bigint64 } = segment;
  let { cell, at } = segment;
  for (let r = 0; r < count; r += 1, cell += ${names.length}) rows.push(${row});
};`;
  // Every part of this code comes from this file or the list of lanes, or is a plain identifier.
  return new Function('names', 'converters', body)(names, converters);
}

let compiles;

/** `node --disallow-code-generation-from-strings` and a vm context can forbid compiling. */
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
