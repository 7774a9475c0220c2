'use strict';

// The type config: what the option `types` of a pool or a query says.
//
// Only JavaScript knows the type config. For a type with a `parse` of the user's, the addon asks
// the server for the text (`src/types/decode/shape.rs`, Verbatim). A preset converts the values
// that the addon would deliver anyway.

const { configurationError, wrongOption } = require('../api/errors.cjs');
const NAMES = require('./type-names.cjs');
const { toDate, toSafeInteger } = require('./converters.cjs');
const { parameterSerializers } = require('./serializers.cjs');

const OIDS = new Map(Object.entries(NAMES).map(([oid, name]) => [name, Number(oid)]));

const NUMERIC = 1700;
const JSONS = [114, 3802];
/** The oids of timestamp, timestamptz and date. */
const TIMESTAMPS = [1114, 1184, 1082];

/**
 * By preset: its oids, and for each choice the converters of a value and of a string in an array.
 */
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

/** The properties of an object in `types`. The object needs at least one of them. */
const OWN = ['parse', 'serialize'];

/** The content of one `types` option. Options with the same content have the same TypeConfig. */
class TypeConfig {
  /** The content as a text, which identifies the type config. */
  key;
  /** By oid, the converter of a preset. */
  presets = new Map();
  /** By oid, the user's own `parse`. */
  parsers = new Map();
  /** By oid, the user's own `serialize`; null if there is none. */
  serializers = null;
  /**
   * For the addon: the oids of the types whose values are wanted as exactly the text that psql
   * shows.
   */
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

  /** The converter of a type, or null if the type config has none. */
  converter(oid) {
    return this.parsers.get(oid) ?? this.presets.get(oid) ?? null;
  }

  /** The functions for parameters of these types, as `Parameters` takes them. */
  serializersFor(oids) {
    return parameterSerializers(oids, this.serializers);
  }
}

/** How many queries' type configs are kept. The pool's own is kept in any case. */
const MOST_CONFIGS = 64;

/** The type config of one pool, and those of its queries. */
class TypeConfigs {
  #base;
  #known = new Map();
  #functions = new WeakMap();
  #functionCount = 0;
  #onForget;

  /**
   * `types` is the pool's option. `onForget` is called with each type config that is dropped.
   * Throws a ConfigurationError that names the wrong option.
   */
  constructor(types, onForget = () => {}) {
    this.#onForget = onForget;
    this.#base = readTypes(types, 'option');
    /** The pool's own type config, or null if the pool has no option `types`. */
    this.own = this.#base.size === 0 ? null : new TypeConfig(this.#keyOf(this.#base), this.#base);
  }

  /**
   * The type config of a query with the option `types`: the query's own content, and the pool's for
   * all other types.
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
      // A Map keeps the order of insertion, so the first type config is the least recently used.
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

  /** Called when the pool has ended. */
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

/** By oid, `{ preset, parse, serialize }`. All properties of the user's objects are read once. */
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
    // The query's content replaces the pool's. A `parse` for a single type is more specific than a
    // preset for several types.
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
  // Kept as they are, since type configs are compared by these functions.
  if (parse) entry.parse = parse;
  if (serialize) entry.serialize = serialize;
  entries.set(oid, entry);
}

/** The oid for a name, which is an oid in digits or a type that every server has. */
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
