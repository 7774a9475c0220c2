// From the cells of a batch to row objects: one builder for each shape of a result, generated where the
// runtime allows it.

'use strict';

/** How a column's cells are read: the numbers of `Lane` in src/base/batch.rs. */
const LANE = { text: 0, int32: 1, uint32: 2, bool: 3, float64: 4, bigint64: 5 };

/** A name that may stand in generated code. All others are passed in as values (CVE-2017-16082). */
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * What a builder reads: views of the same cells, which of them are NULL, the text, and how far each has been
 * read.
 * @typedef {object} Batch
 * @property {Int32Array} int32 two for each cell
 * @property {Float64Array} float64
 * @property {BigInt64Array} bigint64
 * @property {Uint8Array} nulls
 * @property {string} text
 * @property {number} cell the next cell
 * @property {number} at where the next text begins
 */

/** Code that reads the cell `c + index`. A text cell holds where its text ends. */
function readingCode(lane, index) {
  const cell = index === 0 ? 'c' : `c + ${index}`;
  const low = `i[(${cell}) * 2]`;
  const value = {
    [LANE.text]: `t.substring(a, (a = ${low}))`,
    [LANE.int32]: low,
    [LANE.uint32]: `${low} >>> 0`,
    [LANE.bool]: `${low} === 1`,
    [LANE.float64]: `f[${cell}]`,
    [LANE.bigint64]: `g[${cell}]`,
  }[lane];
  return `n[${cell}] === 1 ? null : ${value}`;
}

/** The columns that are seen in an object: of those with the same name the last one, in the first one's place. */
function generatedBuilder(columns) {
  const names = [];
  const properties = columns.map(({ name, lane }, index) => {
    const value = readingCode(lane, index);
    if (PLAIN.test(name) && name !== '__proto__') return `${name}: ${value}`;
    // Computed keys define own properties, `__proto__` too, and are values to the code.
    return `[k[${names.push(name) - 1}]]: ${value}`;
  });
  const source = `
    'use strict';
    return function build(b, rows, out) {
      const i = b.int32, f = b.float64, g = b.bigint64, n = b.nulls, t = b.text;
      let c = b.cell, a = b.at;
      for (let r = 0; r < rows; r++) {
        out.push({ ${properties.join(', ')} });
        c += ${columns.length};
      }
      b.cell = c;
      b.at = a;
    };`;
  return new Function('k', source)(names);
}

function readCell(batch, lane, cell) {
  if (lane === LANE.text) {
    const begin = batch.at;
    if (batch.nulls[cell] === 1) return null;
    batch.at = batch.int32[cell * 2];
    return batch.text.substring(begin, batch.at);
  }
  if (batch.nulls[cell] === 1) return null;
  switch (lane) {
    case LANE.int32:
      return batch.int32[cell * 2];
    case LANE.uint32:
      return batch.int32[cell * 2] >>> 0;
    case LANE.bool:
      return batch.int32[cell * 2] === 1;
    case LANE.float64:
      return batch.float64[cell];
    default:
      return batch.bigint64[cell];
  }
}

/** For runtimes that forbid code generation from strings. */
function interpretedBuilder(columns) {
  return function build(batch, rows, out) {
    for (let row = 0; row < rows; row++) {
      const object = {};
      for (const { name, lane } of columns) {
        const value = readCell(batch, lane, batch.cell++);
        if (name === '__proto__') {
          const property = { value, writable: true, enumerable: true, configurable: true };
          Object.defineProperty(object, name, property);
        } else {
          object[name] = value;
        }
      }
      out.push(object);
    }
  };
}

let mayGenerate = true;

/**
 * A function that appends `rows` rows of a batch to `out`.
 * @param {{ name: string, lane: number }[]} columns
 * @returns {(batch: Batch, rows: number, out: object[]) => void}
 */
function createBuilder(columns) {
  if (mayGenerate) {
    try {
      return generatedBuilder(columns);
    } catch (error) {
      if (!(error instanceof EvalError)) throw error;
      mayGenerate = false;
    }
  }
  return interpretedBuilder(columns);
}

module.exports = { LANE, createBuilder, interpretedBuilder };
