'use strict';

// Reads the headers of Linux programs and libraries, as far as this package needs them: a few bytes
// of each.

const fs = require('node:fs');

/** For 64 bits, the sizes of the file's header, a segment's header and a section's header. */
const [HEADER, SEGMENT, SECTION] = [64, 56, 64];
const MAGIC = 0x464c457f;
const [BITS_64, LITTLE_ENDIAN] = [2, 1];
const [LOADED, INTERPRETER] = [1, 3];
/** Longer than any path. */
const LONGEST_NAME = 4096;

/**
 * The size of the file, how many bytes its segments need, whether its end was written, and which
 * program loads its libraries. Undefined if the file can't be read, or is not an ELF file.
 *
 * @returns {{ size: number, needed: number, isFilled?: boolean, interpreter?: string } | undefined}
 */
function readElf(file) {
  let descriptor;
  try {
    // Opening a pipe or a device could block.
    if (!fs.statSync(file).isFile()) return undefined;
    descriptor = fs.openSync(file, 'r');
    return read(fs.fstatSync(descriptor).size, (at, length) => {
      const bytes = Buffer.alloc(length);
      return fs.readSync(descriptor, bytes, 0, length, at) === length ? bytes : undefined;
    });
  } catch {
    return undefined;
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function read(size, bytesAt) {
  const header = bytesAt(0, HEADER);
  if (header?.readUInt32LE(0) !== MAGIC) return undefined;
  if (header[4] !== BITS_64 || header[5] !== LITTLE_ENDIAN) return undefined;
  const segments = bytesAt(Number(header.readBigUInt64LE(32)), header.readUInt16LE(56) * SEGMENT);
  // The system refuses a file without segments.
  if (segments === undefined) return undefined;
  const found = { size, needed: 0, isFilled: endsFilled(header, size, bytesAt) };
  for (let at = 0; at < segments.length; at += SEGMENT) {
    const type = segments.readUInt32LE(at);
    const offset = Number(segments.readBigUInt64LE(at + 8));
    const length = Number(segments.readBigUInt64LE(at + 32));
    if (type === LOADED) found.needed = Math.max(found.needed, offset + length);
    if (type === INTERPRETER && length < LONGEST_NAME) {
      found.interpreter = bytesAt(offset, length)?.toString('latin1');
    }
  }
  return found;
}

/**
 * The headers of sections, if there are any, are at the end of the file. Only the first is empty.
 */
function endsFilled(header, size, bytesAt) {
  const count = header.readUInt16LE(60);
  const end = Number(header.readBigUInt64LE(40)) + count * SECTION;
  if (count < 2 || end > size) return undefined;
  return bytesAt(end - SECTION, SECTION)?.some((byte) => byte !== 0);
}

module.exports = { readElf };
