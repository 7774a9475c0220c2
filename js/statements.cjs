'use strict';

// The SQL texts that the addon knows by number, so that a text crosses into it once.

/** Statements remembered for a pool, half of them in each generation. */
const MOST_STATEMENTS = 1000;

/**
 * A text longer than this (UTF-16 units) is not worth remembering: it is a script or a bulk INSERT, and
 * a thousand of them would fill the memory.
 */
const LONGEST_TEXT = 64 * 1024;

/**
 * Least recently used, but roughly: two generations. A hit is one look into one Map; when the young
 * generation is full, what was not used since the last time is forgotten.
 */
class Statements {
  #create;
  #forget;
  #young = new Map();
  #old = new Map();

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
    let id = this.#old.get(sql);
    if (id === undefined) id = this.#create(sql);
    else this.#old.delete(sql);
    if (this.#young.size >= MOST_STATEMENTS / 2) this.#age();
    this.#young.set(sql, id);
    return id;
  }

  /** For a set of choices that no query comes with any more. */
  forgetAll() {
    this.#age();
    this.#age();
  }

  #age() {
    const forgotten = this.#old;
    this.#old = this.#young;
    this.#young = new Map();
    for (const id of forgotten.values()) this.#forget(id);
  }
}

module.exports = { Statements, MOST_STATEMENTS, LONGEST_TEXT };
