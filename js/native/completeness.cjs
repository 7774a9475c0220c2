'use strict';

// Whether a binary is complete. A download or a full disk may have cut off a file. Linux maps such
// a file without an error, and SIGBUS kills the process when it reaches the missing part. So the
// size in the file's header is compared with the real size. On other systems, the loader of the
// system checks this. A tool that changes the file on purpose (a signature, a path for its
// libraries) changes both sizes.

const { readElf } = require('./elf.cjs');

class Incomplete extends Error {}

/**
 * @param {string} file
 * @param {number} [published] how many bytes the file had when it was published
 * @throws {Incomplete} if loading the file would kill the process. There is no error for a file
 * that
 * can't be read or is not an ELF file, since the system refuses such files.
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
