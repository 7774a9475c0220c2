// Makes the packages of a release: `hyperiondb-client`, and `hyperiondb-client-<abi>` for each
// binary.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

import platforms from '../../js/native/platform.cjs';
import { npm, root, run } from './fetch.js';
import { faults } from './gates.js';

/** The most bytes of the packed package without a binary. */
const LARGEST_MAIN = 175_000;
/** The files that the package without a binary may contain: no sources of the addon, no tests. */
const MAIN_FILES =
  /^(package\.json|README\.md|LICENSE|THIRD_PARTY_LICENSES|CHANGELOG\.md|docs\/(DEPLOYING|ERRORS|MIGRATING)\.md|js\/([\w-]+\/)?[\w-]+\.[cm]js|typings\/(package\.json|[\w-]+\.d\.m?ts))$/;

/** The fields of package.json that both kinds of packages have. */
const SHARED = [
  'version',
  'license',
  'homepage',
  'bugs',
  'repository',
  'engines',
  'preferUnplugged',
];

/** npm gives no provenance to a new package that does not say this. */
const PUBLISHING = { access: 'public' };

const read = () => JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const writeJson = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);

/**
 * Lays the packages out where `napi pre-publish` looks for them: the main one in `folder`, the
 * others in `npm/<abi>` below.
 * @param {Record<string, string>} addons the file of each platform's binary
 * @param {{ asBuiltHere?: boolean, isQuick?: boolean }} [options] those of `faults`
 */
export function layOut(folder, addons, options) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const about = read();
  for (const name of [...about.files, 'README.md', 'LICENSE']) {
    cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  }
  const documents = about.files.filter((name) => name.endsWith('.md'));
  for (const name of ['README.md', ...documents]) {
    const file = path.join(folder, name);
    writeFileSync(file, withAbsoluteLinks(readFileSync(file, 'utf8'), name, about));
  }
  const published = { ...about };
  // These are for the package's developers. Users have no use for them.
  delete published.scripts;
  delete published.devDependencies;
  const names = platforms.PUBLISHED.map((abi) => [`${about.name}-${abi}`, about.version]);
  writeJson(path.join(folder, 'package.json'), {
    ...published,
    publishConfig: PUBLISHING,
    // The repository does not have this: a lock file can't name packages that do not exist before
    // their release.
    optionalDependencies: Object.fromEntries(names),
  });
  for (const [abi, file] of Object.entries(addons)) layOutBinary(folder, about, abi, file, options);
}

/**
 * A document whose links lead to the repository as it is at the release: on npm and in node_modules
 * there is little else.
 */
export function withAbsoluteLinks(text, name, { version, homepage }) {
  const repository = homepage.replace(/#.*/, '');
  const raw = repository.replace('github.com', 'raw.githubusercontent.com');
  return text.replace(/(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)/g, (whole, image, label, to) => {
    const target = path.posix.join(path.posix.dirname(name), to);
    const at = image === '' ? `${repository}/blob/v${version}` : `${raw}/v${version}`;
    return `${image}${label}(${at}/${target})`;
  });
}

function layOutBinary(parent, about, abi, file, options) {
  const found = faults(file, abi, options);
  if (found.length > 0) throw new Error(`${path.basename(file)} ${found.join(', ')}`);
  const folder = path.join(parent, 'npm', abi);
  mkdirSync(folder, { recursive: true });
  const main = path.basename(file);
  copyFileSync(file, path.join(folder, main));
  for (const name of ['LICENSE', 'THIRD_PARTY_LICENSES']) {
    copyFileSync(path.join(root, name), path.join(folder, name));
  }
  writeJson(path.join(folder, 'package.json'), {
    ...aboutBinary(about, abi),
    // With this, js/native/loader.cjs can say how much of a truncated file is missing.
    binaryBytes: statSync(file).size,
  });
  const text =
    `# ${about.name}-${abi}\n\nThe binary of [${about.name}](https://www.npmjs.com/package/${about.name}) for ` +
    `${abi}. Install that package: it brings this one.\n`;
  writeFileSync(path.join(folder, 'README.md'), text);
}

/**
 * The package.json of a binary. npm installs it if the system, the processor and the C library
 * match.
 */
function aboutBinary(about, abi) {
  const [platform, arch, library] = abi.split('-');
  const libc = { gnu: 'glibc', musl: 'musl' }[library];
  const main = `hyperiondb-client.${abi}.node`;
  return {
    name: `${about.name}-${abi}`,
    description: `The binary of ${about.name} for ${abi}`,
    ...Object.fromEntries(SHARED.map((key) => [key, about[key]])),
    type: 'commonjs',
    main,
    files: [main, 'THIRD_PARTY_LICENSES'],
    os: [platform],
    cpu: [arch],
    ...(libc === undefined ? {} : { libc: [libc] }),
    publishConfig: PUBLISHING,
  };
}

/** @returns {{ name: string, file: string, size: number, files: string[] }} */
function pack(folder, destination) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination];
  const printed = JSON.parse(npm(args, { cwd: folder }));
  const [packed] = Array.isArray(printed) ? printed : Object.values(printed);
  const files = packed.files.map((file) => file.path).sort();
  const file = path.join(destination, packed.filename);
  if (!isPublic(file)) throw new Error(`${packed.name} does not say that it is public`);
  return { name: packed.name, file, size: packed.size, files };
}

/** Whether a packed package says that it is public. */
function isPublic(file) {
  const args = ['-xzOf', path.basename(file), 'package/package.json'];
  const { publishConfig } = JSON.parse(run('tar', args, { cwd: path.dirname(file) }));
  return publishConfig?.access === PUBLISHING.access;
}

/**
 * Packs the packages, and refuses files that must not be in one. The index beside the tarballs is
 * for registry.js.
 */
export function packAll(folder, destination) {
  rmSync(destination, { recursive: true, force: true });
  mkdirSync(destination, { recursive: true });
  const main = pack(folder, destination);
  const foreign = main.files.filter((name) => !MAIN_FILES.test(name));
  if (foreign.length > 0) throw new Error(`${main.name} holds ${foreign.join(', ')}`);
  if (main.size > LARGEST_MAIN) throw new Error(`${main.name} has ${main.size} bytes packed`);
  const packed = { main };
  for (const abi of platforms.PUBLISHED) {
    const own = path.join(folder, 'npm', abi);
    if (!existsSync(own)) continue;
    packed[abi] = pack(own, destination);
    const wanted = ['LICENSE', 'README.md', 'THIRD_PARTY_LICENSES', 'package.json'];
    const expected = [`hyperiondb-client.${abi}.node`, ...wanted].sort().join();
    const held = [...packed[abi].files].sort().join();
    if (held !== expected) throw new Error(`${packed[abi].name} holds ${held}`);
  }
  const about = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const index = { [main.name]: { file: path.basename(main.file), about } };
  for (const abi of platforms.PUBLISHED) {
    const file = packed[abi] === undefined ? undefined : path.basename(packed[abi].file);
    index[`${main.name}-${abi}`] = { file, about: aboutBinary(about, abi) };
  }
  writeJson(path.join(destination, 'index.json'), index);
  return packed;
}
