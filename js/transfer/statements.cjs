'use strict';

// The SQL texts that the addon knows by number, so that each text crosses into the addon once.

/** How many statements a pool remembers, half of them in each generation. */
const MOST_STATEMENTS = 1000;

/**
 * A longer text (in UTF-16 units) is not remembered. It is a script or a bulk INSERT, and a
 * thousand such texts would fill the memory.
 */
const LONGEST_TEXT = 64 * 1024;

/** The length of all remembered texts together, in UTF-16 units. */
const MOST_UNITS = 8 * 1024 * 1024;

/**
 * An approximate LRU cache of two generations, in which a hit costs one look-up in one Map. When
 * the young generation is full, it becomes the old generation, and the statements of the previous
 * old generation are forgotten.
 *
 * Any call may throw near the end of the stack. So each number that the addon has given is put into
 * a generation before any other call is made.
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

  /** Whether the addon forgets `sql` once its request is queued. */
  isTransient(sql) {
    return sql.length > LONGEST_TEXT;
  }

  #admit(sql) {
    if (this.isTransient(sql)) return this.#create(sql);
    const known = this.#old.get(sql);
    if (known !== undefined) {
      // Moved into the young generation before the generations change, which would forget it.
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

  /** Called when no query uses this cache's type config any longer. */
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
