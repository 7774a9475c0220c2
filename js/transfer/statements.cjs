'use strict';

// The SQL texts that the addon knows by number, so that a text crosses into it once.

/** Statements remembered for a pool, half of them in each generation. */
const MOST_STATEMENTS = 1000;

/**
 * A text longer than this (UTF-16 units) is not worth remembering: it is a script or a bulk INSERT,
 * and a thousand of them would fill the memory.
 */
const LONGEST_TEXT = 64 * 1024;

/** Of all texts that are remembered, in UTF-16 units. */
const MOST_UNITS = 8 * 1024 * 1024;

/**
 * Least recently used, but roughly: two generations. A hit is one look into one Map. When the young
 * generation is full, the statements that were not used since the last time are forgotten.
 *
 * Any call may throw, at the latest where the stack ends. So each number that the addon gave is in
 * one of the generations before anything else is called.
 */
class Statements {
  #create;
  #forget;
  #young = new Map();
  #old = new Map();
  #youngUnits = 0;

  constructor(create, forget) {
    this.#create = create;
    this.#forget = forget;
  }

  /** The number of `sql` in the addon. */
  id(sql) {
    return this.#young.get(sql) ?? this.#admit(sql);
  }

  /** Whether `sql` is to be forgotten once its request is queued. */
  isTransient(sql) {
    return sql.length > LONGEST_TEXT;
  }

  #admit(sql) {
    if (this.isTransient(sql)) return this.#create(sql);
    const known = this.#old.get(sql);
    if (known !== undefined) {
      // Into the young ones, so that it is not forgotten by the ageing that it may cause.
      this.#young.set(sql, known);
      this.#youngUnits += sql.length;
      this.#old.delete(sql);
    }
    const isFull =
      this.#young.size >= MOST_STATEMENTS / 2 || this.#youngUnits + sql.length > MOST_UNITS / 2;
    if (isFull) this.#age();
    if (known !== undefined) return known;
    const id = this.#create(sql);
    this.#young.set(sql, id);
    this.#youngUnits += sql.length;
    return id;
  }

  /** For a set of choices that no query comes with any more. */
  forgetAll() {
    this.#age();
    this.#age();
  }

  #age() {
    for (const [sql, id] of this.#old) {
      this.#forget(id);
      this.#old.delete(sql);
    }
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngUnits = 0;
  }
}

module.exports = { Statements, MOST_STATEMENTS, MOST_UNITS, LONGEST_TEXT };
