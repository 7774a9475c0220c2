// Chooses the server with which the clients are measured.

import process from 'node:process';

import { findInstalled } from '../test/support/cluster/binaries.js';

/**
 * Options for `startCluster`. Unless the caller chooses a server, this takes the system's own, as
 * in production. The tests prefer npm's package, which is built for every Linux, and takes a tenth
 * more CPU for a small query.
 */
export function chooseServer() {
  if (process.env.PG_BIN || process.env.HYPERION_PG_VERSION) return {};
  const installed = findInstalled();
  return installed === undefined ? {} : { binaries: installed.folder };
}
