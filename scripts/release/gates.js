// The requirements for each binary of a release: it is small, runs on old systems, has one export,
// and needs nothing else to be installed.

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { builtFrom, sourcesHash } from '../sources.js';
import { compareVersions, readBinary, Unreadable } from './binary.js';

/**
 * The most bytes of a binary. On Linux x64 the addon has 2.4 million without TLS, and TLS (rustls,
 * ring and webpki) brings 1.4 million. Built as small as it can be (`opt-level = "s"` for
 * everything) it would still have 3.5 million.
 */
export const LARGEST_ADDON = 3_900_000;
/** The same of a binary for a test, whose compiler takes no time to make it small. */
const LARGEST_QUICK_ADDON = 5_000_000;
/** The least bytes of a complete addon. A smaller one is a placeholder. */
const SMALLEST_ADDON = 500_000;

/** The glibc of Red Hat 7. Node 20 itself needs 2.28. */
const GLIBC_FLOOR = '2.17';
/** Big Sur, which is also Node's oldest version for Apple silicon. */
const MACOS_FLOOR = '11.0';

const GLIBC = /^(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|libm\.so\.6|librt\.so\.1|ld-linux-.*)$/;
const MACOS = /^\/(usr\/lib|System\/Library\/Frameworks)\//;
/** Libraries of Windows itself. The C library of a compiler (vcruntime140.dll) is none. */
const WINDOWS = new RegExp(
  '^(kernel32|ntdll|ws2_32|userenv|advapi32|bcrypt|bcryptprimitives|crypt32|secur32|synchronization|ucrtbase|' +
    'api-ms-win-core-.*|api-ms-win-crt-.*)\\.dll$',
);

/**
 * @param {{ asBuiltHere?: boolean, isQuick?: boolean, sources?: string }} [options]
 *   `asBuiltHere`: the file need not run on old systems; `isQuick`: it is for a test
 * @returns {string[]} the reasons not to release the file as the addon of this platform
 */
export function faults(file, abi, options = {}) {
  const { asBuiltHere = false, isQuick = false, sources = sourcesHash() } = options;
  if (!existsSync(file)) return ['is not there'];
  const bytes = readFileSync(file);
  if (bytes.length < SMALLEST_ADDON) return [`is a placeholder of ${bytes.length} bytes`];
  let binary;
  try {
    binary = readBinary(bytes);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return [error.message];
  }
  const [platform, arch, library] = abi.split('-');
  const found = [];
  const expect = (isRight, what) => {
    if (!isRight) found.push(what);
  };
  expect(
    path.basename(file) === `hyperiondb-client.${abi}.node`,
    `is called ${path.basename(file)}`,
  );
  expect(binary.platform === platform, `is for ${binary.platform}`);
  expect(binary.arch === arch, `is for ${binary.arch}`);
  const most = isQuick ? LARGEST_QUICK_ADDON : LARGEST_ADDON;
  expect(bytes.length <= most, `has ${bytes.length} bytes, more than ${most}`);
  expect(builtFrom(bytes) === sources, `${saidSources(builtFrom(bytes))}: build it anew`);
  const { exported } = binary;
  expect(
    exported.length === 1 && exported[0] === 'napi_register_module_v1',
    `exports ${exported.slice(0, 10).join(', ') || 'nothing'}`,
  );
  if (asBuiltHere) return found;
  const foreign = binary.needed.filter((name) => !allowed(platform, library, name));
  expect(foreign.length === 0, `needs ${foreign.join(', ')}`);
  if (library === 'gnu') {
    const { glibc } = binary;
    expect(glibc !== undefined, 'needs no glibc');
    const isOld = glibc === undefined || compareVersions(glibc, GLIBC_FLOOR) <= 0;
    expect(isOld, `needs glibc ${glibc}, newer than ${GLIBC_FLOOR}`);
  }
  if (platform === 'darwin') {
    const { oldestSystem = '99.0', isSigned } = binary;
    const isOld = compareVersions(oldestSystem, MACOS_FLOOR) <= 0;
    expect(isOld, `needs macOS ${oldestSystem}, newer than ${MACOS_FLOOR}`);
    // Apple silicon ends a process that loads code without a signature.
    expect(isSigned || arch === 'x64', 'has no signature');
  }
  return found;
}

function saidSources(hash) {
  if (hash === undefined) return 'does not say what it was built from';
  return `was built from other sources (${hash.slice(0, 12)}) than those that are here`;
}

function allowed(platform, library, name) {
  if (platform === 'darwin') return MACOS.test(name);
  if (platform === 'win32') return WINDOWS.test(name);
  return library === 'musl' ? name === 'libc.so' : GLIBC.test(name);
}
