// node scripts/release/prove.js --abi=linux-x64-musl -- docker run ... {folder} ... node
//
// Packs the binary in `.cache/release/addons`, installs it in an empty folder without Rust, and
// runs it through a failover, by this Node or by the given command. `{folder}` in the command is
// replaced by the empty folder.

import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';

import platform from '../../js/native/platform.cjs';
import { fileOf } from './addons.js';
import { cache } from './fetch.js';
import { installed, queryInEachWay, smoke } from './install.js';
import { layOut, packAll } from './packages.js';
import { startServers } from './servers.js';

const { values, positionals } = parseArgs({
  options: { abi: { type: 'string', default: platform.ownAbi() } },
  allowPositionals: true,
});
const { abi } = values;
const stage = path.join(cache, 'stage');
layOut(stage, { [abi]: fileOf(abi) });
const tarballs = path.join(cache, 'tarballs');
packAll(stage, tarballs);
const isOwn = abi === platform.ownAbi() && positionals.length === 0;
const project = await installed(tarballs, isOwn ? {} : { abi });
const servers = await startServers();
try {
  if (isOwn) queryInEachWay(project, servers.options);
  const own = positionals.length > 0 ? positionals : [process.execPath];
  const command = own.map((part) => part.replaceAll('{folder}', project.folder));
  console.log(await smoke({ ...project, command, servers, env: process.env }));
} finally {
  await servers.close();
  project.remove();
}
