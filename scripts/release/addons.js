// Builds the addons of a release, each for its own platform and for the oldest systems on which
// Node runs.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { withSources } from '../sources.js';
import { cache, debian, root, run, Unavailable, withLists, zig } from './fetch.js';
import { faults } from './gates.js';

/** The folder of binaries that are to be packed. */
const addonFolder = path.join(cache, 'addons');
/** The folder of binaries that are only for a test. */
const quickFolder = path.join(cache, 'quick');
/** Settings that build an equivalent binary in a fourth of the time. */
const QUICK = {
  CARGO_PROFILE_RELEASE_LTO: 'off',
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
  CARGO_PROFILE_RELEASE_OPT_LEVEL: '1',
};

/**
 * rustc's triple of each platform, and its linker: `zig`, with the oldest glibc to support, or the
 * machine's own.
 */
const TARGETS = {
  'linux-x64-gnu': { triple: 'x86_64-unknown-linux-gnu', zig: 'x86_64-unknown-linux-gnu.2.17' },
  'linux-arm64-gnu': { triple: 'aarch64-unknown-linux-gnu', zig: 'aarch64-unknown-linux-gnu.2.17' },
  'linux-x64-musl': { triple: 'x86_64-unknown-linux-musl', zig: 'x86_64-unknown-linux-musl' },
  'linux-arm64-musl': { triple: 'aarch64-unknown-linux-musl', zig: 'aarch64-unknown-linux-musl' },
  'darwin-x64': { triple: 'x86_64-apple-darwin', env: { MACOSX_DEPLOYMENT_TARGET: '11.0' } },
  'darwin-arm64': { triple: 'aarch64-apple-darwin', env: { MACOSX_DEPLOYMENT_TARGET: '11.0' } },
  // Node does not bring the C library of Microsoft's compiler, so it is linked in.
  'win32-x64-msvc': { triple: 'x86_64-pc-windows-msvc', flags: '-Ctarget-feature=+crt-static' },
};

export const fileOf = (abi, { isQuick = false } = {}) =>
  path.join(isQuick ? quickFolder : addonFolder, `hyperiondb-client.${abi}.node`);

/**
 * @param {string} abi
 * @param {{ isQuick?: boolean }} [options] `isQuick`: for a test
 * @throws {Unavailable} if this machine can't build it
 */
export function buildAddon(abi, { isQuick = false } = {}) {
  const { triple, zig: linked, flags, env = {} } = TARGETS[abi];
  const system = { linux: 'linux', darwin: 'darwin', win32: 'win32' }[abi.split('-')[0]];
  if (system !== process.platform) {
    throw new Unavailable(`${abi} is built on ${system}: its system's libraries are not here`);
  }
  const library = standardLibrary(triple);
  const target = path.join(isQuick ? quickFolder : cache, 'target');
  const settings = {
    ...process.env,
    ...(isQuick ? QUICK : {}),
    CARGO_TARGET_DIR: target,
    // In the environment this replaces the flags of .cargo/config.toml.
    ...(abi.endsWith('musl')
      ? { RUSTFLAGS: '-Ctarget-feature=-crt-static -Cllvm-args=-inline-threshold=100' }
      : {}),
    ...(flags === undefined ? {} : { RUSTFLAGS: flags }),
    ...env,
    ...library.env,
  };
  if (linked !== undefined) {
    const { bin, zig: program } = zig();
    settings.CARGO_ZIGBUILD_ZIG_PATH = program;
    settings.PATH = `${bin}${path.delimiter}${process.env.PATH}`;
  }
  const command = linked === undefined ? 'build' : 'zigbuild';
  const args = [command, '--release', '--locked', '--lib', '--target', linked ?? triple];
  if (isQuick) args.push('--quiet');
  withSources((said) => {
    const { status, error } = spawnSync('cargo', [...args, ...library.flags], {
      cwd: root,
      stdio: 'inherit',
      env: { ...settings, ...said },
    });
    if (status !== 0) throw new Error(`failed: cargo ${args.join(' ')} ${error?.message ?? ''}`);
  });
  const built = path.join(target, triple, 'release');
  const [file] = readdirSync(built).filter((name) =>
    /hyperiondb_client\.(so|dylib|dll)$/.test(name),
  );
  const copy = fileOf(abi, { isQuick });
  mkdirSync(path.dirname(copy), { recursive: true });
  copyFileSync(path.join(built, file), copy);
}

/**
 * Rust's standard library for the platform: as rustup brings it, or built from rustup's or
 * Debian's sources.
 */
function standardLibrary(triple) {
  const libraries = run('rustc', ['--print', 'target-libdir', '--target', triple]).trim();
  if (isFilled(libraries)) return { flags: [], env: {} };
  const fromSources = ['-Zbuild-std=std,panic_unwind'];
  const sysroot = run('rustc', ['--print', 'sysroot']).trim();
  if (existsSync(path.join(sysroot, 'lib/rustlib/src/rust/library/Cargo.lock'))) {
    return { flags: fromSources, env: { RUSTC_BOOTSTRAP: '1' } };
  }
  const remedy = `rustup has no standard library of ${triple} here (rustup target add ${triple})`;
  if (!existsSync('/usr/bin/apt-get') || process.arch !== 'x64') throw new Unavailable(remedy);
  try {
    return { flags: fromSources, env: { RUSTC_BOOTSTRAP: '1', RUSTC: debianCompiler() } };
  } catch (error) {
    throw new Unavailable(`${remedy}, and Debian's sources: ${error.message}`);
  }
}

function isFilled(folder) {
  return existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('libstd-'));
}

/** A compiler with the sources of its standard library, which rustup may not have. */
function debianCompiler() {
  const packages = ['rustc-web', 'rust-web-src', 'libstd-rust-web-dev'];
  const about = withLists(() => run('apt-cache', ['depends', ...packages]));
  const libraries = [...about.matchAll(/Depends: (libstd-rust-web-[\d.]+)$/gm)].map(
    ([, name]) => name,
  );
  const standard = [...new Set(libraries)];
  const llvm = run('apt-cache', ['depends', ...standard]).match(/Depends: (libllvm\d+)/)?.[1];
  const all = [...packages, ...standard, ...(llvm === undefined ? [] : [llvm])];
  const folder = debian('rust', all);
  const program = path.join(folder, 'rustc');
  if (existsSync(program)) return program;
  const lib = path.join(folder, 'usr/lib');
  const script = `#!/bin/sh\nLD_LIBRARY_PATH=${lib}/x86_64-linux-gnu exec ${folder}/usr/bin/rustc "$@"\n`;
  writeFileSync(program, script, { mode: 0o755 });
  return program;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const abi of process.argv.slice(2)) {
    buildAddon(abi);
    const found = faults(fileOf(abi), abi);
    if (found.length > 0) throw new Error(`${fileOf(abi)} ${found.join(', ')}`);
  }
}
