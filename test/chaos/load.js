// Calls that go on side by side until they are stopped.

import { waitUntil } from '../support/wait-until.js';

/** A load says in `count` how much has been done. */
export class Load {
  isStopped = false;
  #lanes = [];

  /** @param {Promise<void>} lane ends soon after `isStopped` is true */
  add(lane) {
    this.#lanes.push(lane);
  }

  /** Waits until this much more has been done. */
  async progress(more) {
    const goal = this.count + more;
    const isThere = () => this.count >= goal;
    await waitUntil(`${more} more calls that succeed`, isThere, { intervalMs: 2 });
  }

  /** Starts no more calls. */
  halt() {
    this.isStopped = true;
  }

  /** Resolves when every promise has settled. Throws the error of a failed read. */
  async stop() {
    this.halt();
    await Promise.all(this.#lanes);
  }
}
