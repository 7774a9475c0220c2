'use strict';

// Whether a binary is all there. Linux maps a file that a download or a full disk has cut off without a word, and ends the
// process by SIGBUS once it reaches for the rest: so what the file says of itself is compared with what there is. Other systems
// compare that themselves, and whoever changed the file on purpose (a signature, a path for its libraries) has changed both.

const fs = require('node:fs');

/** Of ELF, for 64 bits: the file's header, one of a segment, one of a section. */
const [HEADER, SEGMENT, SECTION] = [64, 56, 64];
const MAGIC = 0x464c457f;
const [BITS_64, LITTLE_ENDIAN] = [2, 1];
const LOADED = 1;

class NotWhole extends Error {}

/**
 * @param {string} file
 * @param {number} [published] how many bytes it had then
 * @throws {NotWhole} where the file would end the process. One that can't be read from here, or is none of ELF's, is the system's
 *   to judge: it refuses what it does not know.
 */
function assertWhole(file, published) {
  const { size, needed, isFilled } = read(file) ?? {};
  if (needed > size) {
    const expected = published > size ? published : `at least ${needed}`;
    throw new NotWhole(`${file} is cut off: it has ${size} bytes instead of ${expected}`);
  }
  if (isFilled === false) {
    throw new NotWhole(
      `${file} was not written to its end: of its ${size} bytes the last ones are zeros`,
    );
  }
}

function read(file) {
  let descriptor;
  try {
    // What is no file may be waited for.
    if (!fs.statSync(file).isFile()) return undefined;
    descriptor = fs.openSync(file, 'r');
    return readElf(fs.fstatSync(descriptor).size, (at, length) => {
      const bytes = Buffer.alloc(length);
      return fs.readSync(descriptor, bytes, 0, length, at) === length ? bytes : undefined;
    });
  } catch {
    return undefined;
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function readElf(size, bytesAt) {
  const header = bytesAt(0, HEADER);
  if (header?.readUInt32LE(0) !== MAGIC) return undefined;
  if (header[4] !== BITS_64 || header[5] !== LITTLE_ENDIAN) return undefined;
  const segments = [Number(header.readBigUInt64LE(32)), header.readUInt16LE(56) * SEGMENT];
  // Without these the system refuses it.
  const table = bytesAt(...segments);
  if (table === undefined) return undefined;
  let needed = 0;
  for (let at = 0; at < table.length; at += SEGMENT) {
    if (table.readUInt32LE(at) !== LOADED) continue;
    const end = table.readBigUInt64LE(at + 8) + table.readBigUInt64LE(at + 32);
    needed = Math.max(needed, Number(end));
  }
  return { size, needed, isFilled: endsFilled(header, size, bytesAt) };
}

/** The headers of sections, if any, stand at the end, and none but the first is empty. */
function endsFilled(header, size, bytesAt) {
  const count = header.readUInt16LE(60);
  const end = Number(header.readBigUInt64LE(40)) + count * SECTION;
  if (count < 2 || end > size) return undefined;
  return bytesAt(end - SECTION, SECTION)?.some((byte) => byte !== 0);
}

module.exports = { assertWhole, NotWhole };
