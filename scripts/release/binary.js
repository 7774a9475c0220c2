// Reads the facts about a native library that the gates of a release check, from ELF, Mach-O and PE
// files. All of these are little-endian and have 64 bits.

/**
 * @typedef {object} Binary
 * @property {'linux' | 'darwin' | 'win32'} platform
 * @property {'x64' | 'arm64' | undefined} arch
 * @property {string[]} needed the libraries that the loader loads with it
 * @property {string[]} exported
 * @property {string | undefined} glibc the newest version of a needed symbol, such as '2.17'
 * @property {string | undefined} oldestSystem of macOS, such as '11.0'
 * @property {boolean} isSigned on macOS, even if only ad hoc
 */

/** Says why a file is not a readable library, in words that can follow the file's name. */
export class Unreadable extends Error {}

/**
 * @returns {Binary}
 * @throws {Unreadable}
 */
export function readBinary(bytes) {
  const magic = bytes.length > 64 ? bytes.readUInt32LE(0) : 0;
  try {
    if (magic === 0x464c457f) return readElf(bytes);
    if (magic === 0xfeedfacf) return readMachO(bytes);
    if ((magic & 0xffff) === 0x5a4d) return readPe(bytes);
  } catch (error) {
    if (error instanceof RangeError) throw cutOff();
    throw error;
  }
  throw new Unreadable('is no native library');
}

const cutOff = () => new Unreadable('is cut off, or names places that it does not have');

/** Checks that a part which the file names lies in the file, even if no gate reads it. */
function hold(bytes, offset, size) {
  if (offset + size > bytes.length) throw cutOff();
}

function text(bytes, at) {
  const end = at < bytes.length ? bytes.indexOf(0, at) : -1;
  if (end === -1) throw cutOff();
  return bytes.toString('latin1', at, end);
}

const u64 = (bytes, at) => Number(bytes.readBigUInt64LE(at));

function readElf(bytes) {
  const arch = { 62: 'x64', 183: 'arm64' }[bytes.readUInt16LE(18)];
  const sections = [];
  const [segments, segmentCount] = [u64(bytes, 32), bytes.readUInt16LE(56)];
  for (let at = segments; at < segments + segmentCount * 56; at += 56) {
    hold(bytes, u64(bytes, at + 8), u64(bytes, at + 32));
  }
  const [table, count] = [u64(bytes, 40), bytes.readUInt16LE(60)];
  hold(bytes, table, count * 64);
  for (let at = table; at < table + count * 64; at += 64) {
    sections.push({
      type: bytes.readUInt32LE(at + 4),
      offset: u64(bytes, at + 24),
      size: u64(bytes, at + 32),
      link: bytes.readUInt32LE(at + 40),
      count: bytes.readUInt32LE(at + 44),
    });
  }
  const [DYNAMIC, NOBITS, DYNSYM, VERNEED] = [6, 8, 11, 0x6ffffffe];
  for (const { type, offset, size } of sections) if (type !== NOBITS) hold(bytes, offset, size);
  const all = (type) => sections.filter((section) => section.type === type);
  const name = (section, offset) => {
    const strings = sections[section.link];
    if (strings === undefined) throw cutOff();
    return text(bytes, strings.offset + offset);
  };

  const needed = all(DYNAMIC).flatMap((section) => {
    const found = [];
    for (let at = section.offset; at < section.offset + section.size; at += 16) {
      if (u64(bytes, at) === 1) found.push(name(section, u64(bytes, at + 8)));
    }
    return found;
  });
  const exported = all(DYNSYM).flatMap((section) => {
    const found = [];
    for (let at = section.offset; at < section.offset + section.size; at += 24) {
      const isGlobal = bytes[at + 4] >> 4 !== 0;
      const isHere = bytes.readUInt16LE(at + 6) !== 0;
      if (isGlobal && isHere) found.push(name(section, bytes.readUInt32LE(at)));
    }
    return found;
  });
  const versions = all(VERNEED).flatMap((section) => {
    const found = [];
    let at = section.offset;
    for (let n = 0; n < section.count; n += 1) {
      let entry = at + bytes.readUInt32LE(at + 8);
      for (let m = 0; m < bytes.readUInt16LE(at + 2); m += 1) {
        found.push(name(section, bytes.readUInt32LE(entry + 8)));
        entry += bytes.readUInt32LE(entry + 12);
      }
      const step = bytes.readUInt32LE(at + 12);
      if (step === 0) break;
      at += step;
    }
    return found;
  });
  const glibc = versions
    .filter((version) => version.startsWith('GLIBC_'))
    .map((version) => version.slice('GLIBC_'.length))
    .sort(compareVersions)
    .at(-1);
  return { platform: 'linux', arch, needed, exported, glibc, isSigned: false };
}

/** Compares versions by their numbers: 2.17 is newer than 2.4. */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  const differs = left.findIndex((part, n) => part !== right[n]);
  if (differs === -1) return left.length - right.length;
  return left[differs] - (right[differs] ?? -1);
}

function readMachO(bytes) {
  const arch = { 0x01000007: 'x64', 0x0100000c: 'arm64' }[bytes.readUInt32LE(4)];
  const found = { platform: 'darwin', arch, needed: [], exported: [], isSigned: false };
  let at = 32;
  for (let n = 0; n < bytes.readUInt32LE(16); n += 1) {
    const [command, length] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
    if (length < 8) throw cutOff();
    hold(bytes, at, length);
    const isLibrary = command === 0xc || command === 0x80000018 || command === 0x8000001f;
    if (isLibrary) found.needed.push(text(bytes, at + bytes.readUInt32LE(at + 8)));
    else if (command === 0x19) hold(bytes, u64(bytes, at + 40), u64(bytes, at + 48));
    else if (command === 0x1d) {
      hold(bytes, bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12));
      found.isSigned = true;
    } else if (command === 0x2) found.exported = machSymbols(bytes, at);
    else if (command === 0x32) found.oldestSystem = machVersion(bytes.readUInt32LE(at + 12));
    else if (command === 0x24) found.oldestSystem = machVersion(bytes.readUInt32LE(at + 8));
    at += length;
  }
  return found;
}

function machVersion(packed) {
  return `${packed >>> 16}.${(packed >>> 8) & 0xff}`;
}

function machSymbols(bytes, at) {
  const [table, count, names] = [8, 12, 16].map((offset) => bytes.readUInt32LE(at + offset));
  const found = [];
  for (let entry = table; entry < table + count * 16; entry += 16) {
    const type = bytes[entry + 4];
    const [isDebugging, isPrivate, isExternal] = [type & 0xe0, type & 0x10, type & 0x01];
    const isDefined = (type & 0x0e) !== 0;
    if (isDebugging || isPrivate || !isExternal || !isDefined) continue;
    // Names from C begin with an underscore.
    found.push(text(bytes, names + bytes.readUInt32LE(entry)).slice(1));
  }
  return found;
}

function readPe(bytes) {
  const coff = bytes.readUInt32LE(0x3c) + 4;
  const arch = { 0x8664: 'x64', 0xaa64: 'arm64' }[bytes.readUInt16LE(coff)];
  const optional = coff + 20;
  const directories = optional + 112;
  const sections = optional + bytes.readUInt16LE(coff + 16);
  const count = bytes.readUInt16LE(coff + 2);
  for (let at = sections; at < sections + count * 40; at += 40) {
    hold(bytes, bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 16));
  }
  /** The place in the file of the bytes that the loader puts at this address. */
  const place = (address) => {
    for (let at = sections; at < sections + count * 40; at += 40) {
      const begin = bytes.readUInt32LE(at + 12);
      const size = bytes.readUInt32LE(at + 16);
      if (address >= begin && address < begin + size) {
        return bytes.readUInt32LE(at + 20) + address - begin;
      }
    }
    throw cutOff();
  };
  const directory = (n) => bytes.readUInt32LE(directories + n * 8);

  const exported = [];
  if (directory(0) !== 0) {
    const at = place(directory(0));
    const names = place(bytes.readUInt32LE(at + 32));
    for (let n = 0; n < bytes.readUInt32LE(at + 24); n += 1) {
      exported.push(text(bytes, place(bytes.readUInt32LE(names + n * 4))));
    }
  }
  const needed = [];
  // The descriptors of libraries that are loaded at the start, and of those that are loaded by
  // their first call.
  for (const [n, size, offset] of [
    [1, 20, 12],
    [13, 32, 4],
  ]) {
    if (directory(n) === 0) continue;
    for (let at = place(directory(n)); bytes.readUInt32LE(at + offset) !== 0; at += size) {
      needed.push(text(bytes, place(bytes.readUInt32LE(at + offset))).toLowerCase());
    }
  }
  return { platform: 'win32', arch, needed, exported, isSigned: false };
}
