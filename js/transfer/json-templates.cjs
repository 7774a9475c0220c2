'use strict';

// Parses JSON documents that differ only in their plain values, as most documents of one column do.
// Code that was generated for their common template makes the objects. It knows the order of the
// parts, and does not look up strings in V8's table, as JSON.parse does.
//
// A template is the text of a document with gaps for its strings, numbers, booleans and nulls. The
// generated code compares all other text with the template, character by character, and reads the
// gaps by the rules of JSON (RFC 8259). So the values are the same as those of JSON.parse. If
// anything differs, JSON.parse is used. Names become part of generated code only if they are plain
// (`plain-names.cjs`). All other text of a template is compared by character codes.

const { isPlain } = require('./plain-names.cjs');

/** With a longer template, or with more gaps, the generated code is not faster than JSON.parse. */
const MOST_LITERAL = 240;
const MOST_GAPS = 32;
const LONGEST_DOCUMENT = 4096;

/**
 * A text with an escape, or with a character that a JSON string can't contain, is left to
 * JSON.parse.
 */
const UNUSUAL = new RegExp(String.raw`[\\\u0000-\u001f]`);
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Integers with at most this many digits are exact. */
const FEW_DIGITS = 9;
/** In longer strings, V8 searches for the end. */
const SHORT_STRING = 24;

const KEYWORDS = [
  ['true', true],
  ['false', false],
  ['null', null],
];

const [MINUS, POINT, ZERO, NINE, QUOTE] = [...'-.09"'].map((c) => c.charCodeAt(0));
const [UPPER_E, LOWER_E, LOWER_N, OPEN, CLOSE, COMMA] = [...'Een[],'].map((c) => c.charCodeAt(0));

/** Returned instead of a value that can't be read. */
const MISMATCH = Symbol('mismatch');

/** Where the last value ended. */
let end = 0;
const endOfValue = () => end;

/** The value that begins at `at`, in a text without unusual characters. */
function readValue(text, at) {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return readString(text, at + 1);
  if (first > ZERO && first <= NINE) {
    let value = first - ZERO;
    let to = at + 1;
    for (; to < at + FEW_DIGITS; to += 1) {
      const digit = text.charCodeAt(to) - ZERO;
      if (!(digit >= 0 && digit <= 9)) break;
      value = value * 10 + digit;
    }
    const next = text.charCodeAt(to);
    if (next !== POINT && next !== UPPER_E && next !== LOWER_E && !(next >= ZERO && next <= NINE)) {
      end = to;
      return value;
    }
  }
  if (first === MINUS || (first >= ZERO && first <= NINE)) return readNumber(text, at);
  for (const [word, value] of KEYWORDS) {
    if (text.startsWith(word, at)) {
      end = at + word.length;
      return value;
    }
  }
  return MISMATCH;
}

function readString(text, start) {
  let to = start;
  while (to < start + SHORT_STRING && text.charCodeAt(to) !== QUOTE) to += 1;
  if (to === start + SHORT_STRING) to = text.indexOf('"', to);
  if (to < 0) return MISMATCH;
  end = to + 1;
  return text.substring(start, to);
}

function readNumber(text, at) {
  NUMBER.lastIndex = at;
  const found = NUMBER.exec(text);
  if (found === null) return MISMATCH;
  end = NUMBER.lastIndex;
  return Number(found[0]);
}

/** The template of a valid document without unusual characters. */
class Template {
  /** The literal text before each gap, and after the last gap. */
  pieces = [''];
  /** Names that are not plain. */
  names = [];
  /** Makes the document from `v0`, `v1`, ..., the values of the gaps. */
  expression;
  #text;
  #at = 0;

  constructor(text) {
    this.#text = text;
    this.expression = this.#value();
    this.#keep(text.length);
  }

  get isWorthIt() {
    return this.pieces.length <= MOST_GAPS && this.pieces.join('').length <= MOST_LITERAL;
  }

  #keep(to) {
    this.pieces[this.pieces.length - 1] += this.#text.slice(this.#at, to);
    this.#at = to;
  }

  #keepBlanks() {
    // A text without unusual characters has no other white space.
    let to = this.#at;
    while (this.#text[to] === ' ') to += 1;
    this.#keep(to);
  }

  #value() {
    this.#keepBlanks();
    const first = this.#text[this.#at];
    if (first === '{') return `{ ${this.#list('}', () => this.#member())} }`;
    if (first === '[') return `[${this.#list(']', () => this.#value())}]`;
    readValue(this.#text, this.#at);
    this.#at = end;
    this.pieces.push('');
    return `v${this.pieces.length - 2}`;
  }

  #list(close, one) {
    const all = [];
    this.#keep(this.#at + 1);
    this.#keepBlanks();
    while (this.#text[this.#at] !== close) {
      all.push(one());
      this.#keepBlanks();
      if (this.#text[this.#at] === ',') this.#keep(this.#at + 1);
    }
    this.#keep(this.#at + 1);
    return all.join(', ');
  }

  #member() {
    this.#keepBlanks();
    const name = readString(this.#text, this.#at + 1);
    this.#keep(end);
    this.#keepBlanks();
    this.#keep(this.#at + 1);
    const key = isPlain(name) ? name : `[names[${this.names.push(name) - 1}]]`;
    return `${key}: ${this.#value()}`;
  }
}

/** Code that gives up if `piece` is not at `at`, and otherwise moves `at` past it. */
function literalCode(piece) {
  if (piece === '') return '';
  const differs = Array.from({ length: piece.length }, (_, k) => {
    const place = k === 0 ? 'at' : `at + ${k}`;
    return `text.charCodeAt(${place}) !== ${piece.charCodeAt(k)}`;
  });
  return `if (${differs.join(' || ')}) return null;
    at += ${piece.length};`;
}

/**
 * A function that makes documents with the same template as this document, or null if that is not
 * worthwhile. The `count` documents are an array in `text`, from `start` up to `stop`. The function
 * returns null if one of them has another template.
 *
 * @param {string} document valid JSON, without unusual characters
 * @returns {null |
 *   ((text: string, start: number, stop: number, count: number) => null | unknown[])}
 */
function compileTemplate(document) {
  if (document.length > LONGEST_DOCUMENT) return null;
  const template = new Template(document);
  if (!template.isWorthIt) return null;
  const { pieces, names, expression } = template;
  const gap = (k) => `const v${k} = read(text, at);
    if (v${k} === MISMATCH) return null;
    at = end();`;
  const steps = pieces.map((piece, k) =>
    k === 0 ? literalCode(piece) : `${gap(k - 1)}\n    ${literalCode(piece)}`,
  );
  // A null in place of a document is a null of the column.
  const orNull = `if (text.charCodeAt(at) === ${LOWER_N} && text.startsWith('null', at)) {
      at += 4;
      values.push(null);
      continue;
    }`;
  const body = `'use strict';
return (text, start, stop, count) => {
  const values = [];
  let at = start;
  for (let r = 0; r < count; r += 1) {
    if (text.charCodeAt(at) !== (r === 0 ? ${OPEN} : ${COMMA})) return null;
    at += 1;
    ${pieces[0] === '' ? '' : orNull}
    ${steps.join('\n    ')}
    values.push(${expression});
  }
  return text.charCodeAt(at) === ${CLOSE} && at + 1 === stop ? values : null;
};`;
  return new Function('names', 'read', 'MISMATCH', 'end', body)(
    names,
    readValue,
    MISMATCH,
    endOfValue,
  );
}

/** With fewer documents, looking for a template is not worthwhile. */
const FEW = 16;
const MOST_CREDIT = 32;
/**
 * Compiled code for a template costs time. The attempts end after four consecutive batches with
 * other templates, or if more than one batch in nine has another template.
 */
const MISMATCH_COST = 8;

/** The documents of one column, a batch at a time. */
class JsonTemplates {
  #make = null;
  #credit = MOST_CREDIT;

  /**
   * The values of documents that are an array in `text`, or null if JSON.parse is to make them.
   * `from` and `to` are the bounds of a typical document.
   *
   * @param {string} text
   * @param {{ start: number, stop: number, count: number, from: number, to: number }} bounds
   */
  values(text, bounds) {
    if (this.#credit < MISMATCH_COST || bounds.count < FEW) return null;
    const values = this.#try(text, bounds);
    if (values === null) {
      this.#make = null;
      this.#credit -= MISMATCH_COST;
    } else {
      this.#credit = Math.min(this.#credit + 1, MOST_CREDIT);
    }
    return values;
  }

  #try(text, { start, stop, count, from, to }) {
    if (UNUSUAL.test(text.substring(start, stop))) return null;
    if (this.#make === null) {
      const document = text.substring(from, to);
      try {
        JSON.parse(document);
      } catch {
        return null;
      }
      this.#make = compileTemplate(document);
    }
    return this.#make === null ? null : this.#make(text, start, stop, count);
  }
}

module.exports = { JsonTemplates };
