// Chance that can be repeated: what a chaos test chooses comes from one seed. (What the servers and
// the kernel choose does not.)

import process from 'node:process';

/** The seed of this run: HYPERION_SEED, or one of its own. */
export const SEED = Number(process.env.HYPERION_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** The command that makes the same choices again. */
export const replay = (file) => `HYPERION_SEED=${SEED} npm test -- ${file}`;

/** Mulberry32. */
export class Random {
  #state;

  /** @param {number} stream independent ones of the same seed */
  constructor(stream = 0, seed = SEED) {
    this.#state = (seed ^ Math.imul(stream + 1, 0x9e3779b9)) >>> 0;
  }

  /** An integer from 0 to `bound - 1`. @param {number} bound */
  below(bound) {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % bound;
  }
}
