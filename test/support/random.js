// Random numbers from a seed, so that a run can be repeated.

/** SplitMix32. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed | 0;
  }

  next() {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** A whole number below `bound`. */
  below(bound) {
    return Math.floor((this.next() / 0x1_0000_0000) * bound);
  }
}
