'use strict';

// Whether a binary is complete. A download or a full disk may have cut off a file. Linux maps such
// a file without an error, and ends the process by SIGBUS when it reaches the missing part. So the
// size in the file's header is compared with its real size. Other systems compare the sizes
// themselves. A tool that changes the file on purpose (a signature, a path for its libraries)
// changes both sizes.

const { readElf } = require('./elf.cjs');

class Incomplete extends Error {}

/**
 * @param {string} file
 * @param {number} [published] how many bytes it had when it was published
 * @throws {Incomplete} if the file would end the process. No error is thrown for a file that can't
 *   be read, or that is not an ELF file: the system refuses such files.
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
