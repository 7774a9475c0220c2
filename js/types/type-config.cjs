'use strict';

// What users choose about types: the option `types`, of a pool and of a query, and what becomes of
// a cell.
//
// Type configs are JavaScript's alone. The addon only hears of the types whose text the user's own
// `parse` wants, and asks for that text (`src/types/shape.rs`, Verbatim); a preset works on what
// comes anyway.

const { configurationError, wrongOption } = require('../api/errors.cjs');
const NAMES = require('./type-names.cjs');
const { toDate, toSafeInteger } = require('./converters.cjs');
const { parameterSerializers } = require('./serializers.cjs');

const OIDS = new Map(Object.entries(NAMES).map(([oid, name]) => [name, Number(oid)]));

const NUMERIC = 1700;
const JSONS = [114, 3802];
/** timestamp, timestamptz and date. */
const TIMESTAMPS = [1114, 1184, 1082];

/** By preset and choice: the oids, and what becomes of a value and of the string in an array. */
const PRESETS = {
  __proto__: null,
  int8: {
    oids: [20],
    choices: { number: toSafeInteger, bigint: null, string: String },
  },
  timestamp: { oids: TIMESTAMPS, choices: { string: null, date: toDate } },
  numeric: { oids: [NUMERIC], choices: { string: null, number: Number } },
  json: { oids: JSONS, choices: { parse: null, text: String } },
};

/** Own code for a type: `{ parse, serialize }`, each of them or both. */
const OWN = ['parse', 'serialize'];

/**
 * What one set of choices says, whoever made it: choices with the same content are the same object.
 */
class TypeConfig {
  /** The content, by which it is found again. */
  key;
  /** oid to what makes the value: of presets. */
  presets = new Map();
  /** oid to the user's own `parse`. */
  parsers = new Map();
  /** oid to the user's own `serialize`, or null where there is none. */
  serializers = null;
  /** For the addon: the types that come as exactly the text that psql shows. */
  verbatim = '';

  constructor(key, entries) {
    this.key = key;
    for (const [oid, { preset, parse, serialize }] of entries) {
      if (preset) this.presets.set(oid, preset);
      if (parse) this.parsers.set(oid, parse);
      if (serialize) (this.serializers ??= new Map()).set(oid, serialize);
    }
    this.verbatim = [...this.parsers.keys()].join(',');
  }

  /** What makes a value of the type, where a choice says so. */
  converter(oid) {
    return this.parsers.get(oid) ?? this.presets.get(oid) ?? null;
  }

  /** What writes the values of parameters of these types, as `Parameters` takes it. */
  serializersFor(oids) {
    return parameterSerializers(oids, this.serializers);
  }
}

/** Sets of choices kept for the queries that bring them along; a pool's own is always there. */
const MOST_CONFIGS = 64;

/** The choices of one pool, and those that queries bring along on top of them. */
class TypeConfigs {
  #base;
  #known = new Map();
  #functions = new WeakMap();
  #functionCount = 0;
  #onForget;

  /**
   * `types` is the pool's option. `onForget` hears of choices that will not be used again. Throws a
   * ConfigurationError that names what is wrong.
   */
  constructor(types, onForget = () => {}) {
    this.#onForget = onForget;
    this.#base = readTypes(types, 'option');
    /** The pool's own, or null where nothing was chosen. */
    this.own = this.#base.size === 0 ? null : new TypeConfig(this.#keyOf(this.#base), this.#base);
  }

  /**
   * The choices of a query with the option `types`: its own, and the pool's for all other types.
   */
  forQuery(types) {
    const own = readTypes(types, 'query option');
    if (own.size === 0) return this.own;
    const entries = new Map(this.#base);
    for (const [oid, entry] of own) entries.set(oid, { ...entries.get(oid), ...entry });
    const key = this.#keyOf(entries);
    if (key === this.own?.key) return this.own;
    const known = this.#known.get(key);
    if (known !== undefined) {
      // The least recently used one stands in front.
      this.#known.delete(key);
      this.#known.set(key, known);
      return known;
    }
    if (this.#known.size >= MOST_CONFIGS) {
      const [oldest, typeConfig] = this.#known.entries().next().value;
      this.#known.delete(oldest);
      this.#onForget(typeConfig);
    }
    const typeConfig = new TypeConfig(key, entries);
    this.#known.set(key, typeConfig);
    return typeConfig;
  }

  /** Of the pool that has ended. */
  forgetAll() {
    this.#known.clear();
    this.#base = new Map();
    this.own = null;
  }

  #keyOf(entries) {
    const sorted = [...entries].sort(([a], [b]) => a - b);
    const part = (what) => (what ? this.#number(what) : '');
    return sorted
      .map(([oid, e]) => `${oid}:${part(e.preset)}:${part(e.parse)}:${part(e.serialize)}`)
      .join();
  }

  #number(of) {
    let number = this.#functions.get(of);
    if (number === undefined) this.#functions.set(of, (number = this.#functionCount += 1));
    return number;
  }
}

/** oid to `{ preset, parse, serialize }`. Everything of the user's is read once. */
function readTypes(types, option) {
  const entries = new Map();
  if (types === undefined || types === null) return entries;
  if (typeof types !== 'object' || Array.isArray(types)) {
    throw wrongOption(`${option} 'types'`, 'an object of types and choices', types);
  }
  for (const [name, choice] of Object.entries(types)) {
    if (choice === undefined) continue;
    const where = `${option} 'types.${name}'`;
    if (typeof choice === 'string') readPreset(entries, name, choice, where);
    else readOwn(entries, name, choice, where);
  }
  return entries;
}

function readPreset(entries, name, choice, where) {
  const preset = PRESETS[name];
  if (preset === undefined) {
    const names = Object.keys(PRESETS).join(', ');
    throw wrongOption(where, `{ parse, serialize } (presets exist for ${names})`, choice);
  }
  if (!Object.hasOwn(preset.choices, choice)) {
    const allowed = Object.keys(preset.choices).map((known) => `'${known}'`);
    throw wrongOption(where, `${allowed.join(' or ')} or { parse, serialize }`, choice);
  }
  for (const oid of preset.oids) {
    // What a query chooses ends what the pool had chosen; own code for this very type is the closer
    // word.
    const entry = entries.get(oid);
    if (!entry?.parse) entries.set(oid, { ...entry, preset: preset.choices[choice], parse: null });
  }
}

function readOwn(entries, name, choice, where) {
  const oid = oidOf(name, where);
  if (choice === null || typeof choice !== 'object') {
    throw wrongOption(where, '{ parse, serialize }', choice);
  }
  const unknown = Object.keys(choice).find((key) => !OWN.includes(key));
  if (unknown !== undefined)
    throw configurationError(`${where} has no '${unknown}': parse and serialize are`);
  const { parse, serialize } = choice;
  for (const [key, given] of Object.entries({ parse, serialize })) {
    if (given !== undefined && typeof given !== 'function') {
      throw wrongOption(`${where.slice(0, -1)}.${key}'`, 'a function', given);
    }
  }
  if (!parse && !serialize)
    throw configurationError(`${where} needs a parse or a serialize function`);
  const entry = { ...entries.get(oid) };
  // By these functions choices are told apart, so that they are kept as they are.
  if (parse) entry.parse = parse;
  if (serialize) entry.serialize = serialize;
  entries.set(oid, entry);
}

/** An oid in digits, or the name of a type that every server has. */
function oidOf(name, where) {
  const oid = /^[1-9][0-9]*$/.test(name) ? Number(name) : OIDS.get(name);
  if (oid === undefined || oid > 0xffff_ffff) {
    throw configurationError(
      `${where} names no type: use its oid, or the name of a built-in type in pg_type`,
    );
  }
  return oid;
}

module.exports = { TypeConfigs };
