'use strict';

// Whether a binary is complete. Linux maps a file that a download or a full disk has cut off
// without an error, and ends the process by SIGBUS once it reaches for the missing part. So the
// size that the file tells of itself is compared with its real size. Other systems compare that
// themselves. A tool that changed the file on purpose (a signature, a path for its libraries) has
// changed both.

const { readElf } = require('./elf.cjs');

class Incomplete extends Error {}

/**
 * @param {string} file
 * @param {number} [published] how many bytes it had then
 * @throws {Incomplete} where the file would end the process. A file that can't be read from here, or
 *   is no ELF file, is left to the system, which refuses files that it does not know.
 */
function assertComplete(file, published) {
  const { size, needed, isFilled } = readElf(file) ?? {};
  if (needed > size) {
    const expected = published > size ? published : `at least ${needed}`;
    throw new Incomplete(`${file} is cut off: it has ${size} bytes instead of ${expected}`);
  }
  if (isFilled === false) {
    throw new Incomplete(
      `${file} was not written to its end: of its ${size} bytes the last ones are zeros`,
    );
  }
}

module.exports = { assertComplete, Incomplete };
