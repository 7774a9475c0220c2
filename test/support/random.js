// Random numbers from a seed, so that a run can be repeated. (The choices of servers and of the
// kernel can't be repeated.)

import process from 'node:process';

/** The seed in HYPERION_SEED, or otherwise `usual`. */
export const seedOr = (usual) => Number(process.env.HYPERION_SEED ?? usual);

/** The seed of this run. */
export const SEED = seedOr(Math.floor(Math.random() * 2 ** 31));

/** The command that makes the same choices again. */
export const replay = (file) => `HYPERION_SEED=${SEED} npm test -- ${file}`;

/** SplitMix32. */
export class Random {
  #state;

  /** @param {number} stream independent streams of the same seed */
  constructor(seed = SEED, stream = 0) {
    // If the factor were the increment of `next`, one stream would be another stream some steps
    // later.
    this.#state = (seed ^ Math.imul(stream, 0x85ebca6b)) | 0;
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
