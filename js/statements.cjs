// SQL texts by the number that the addon knows them by, so that a text crosses once. Two generations, so
// that a hit is one look-up and nothing is moved about: what was not used since the last turnover is forgotten.

'use strict';

const GENERATION = 1000;

class Statements {
  #young = new Map();
  #old = new Map();
  #register;
  #forget;

  constructor(register, forget) {
    this.#register = register;
    this.#forget = forget;
  }

  number(sql) {
    const known = this.#young.get(sql);
    if (known !== undefined) return known;
    const number = this.#old.get(sql) ?? this.#register(sql);
    this.#old.delete(sql);
    this.#young.set(sql, number);
    if (this.#young.size >= GENERATION) this.#turnOver();
    return number;
  }

  #turnOver() {
    for (const number of this.#old.values()) this.#forget(number);
    this.#old = this.#young;
    this.#young = new Map();
  }
}

module.exports = { Statements };
