// A wall clock for one process, which a test can set, by libfaketime. The monotonic clock
// continues, as it does when an administrator or NTP sets the time.

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

/**
 * Debian's and Ubuntu's package `faketime`; HYPERION_FAKETIME names another library.
 * @returns {string | undefined}
 */
export function findFaketime() {
  if (process.env.HYPERION_FAKETIME) return process.env.HYPERION_FAKETIME;
  if (process.platform !== 'linux' || !existsSync('/usr/lib')) return undefined;
  const candidates = readdirSync('/usr/lib').map((folder) =>
    path.join('/usr/lib', folder, 'faketime/libfaketime.so.1'),
  );
  return candidates.find((file) => existsSync(file));
}

export class WallClock {
  #file;

  /** @param {string} file will be written; the process must be able to read it */
  constructor(file) {
    this.#file = file;
    this.set(0);
  }

  /** How far it is ahead of the true time. @param {number} days */
  set(days) {
    writeFileSync(this.#file, `${days < 0 ? '' : '+'}${days}d\n`, { mode: 0o644 });
  }

  /** Environment variables that give a process this clock. */
  get environment() {
    return {
      LD_PRELOAD: findFaketime(),
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      // The name of the variable before version 0.9.9.
      DONT_FAKE_MONOTONIC: '1',
    };
  }
}
