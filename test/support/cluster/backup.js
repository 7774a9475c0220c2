// Prepares a deposed primary to follow the new one: by pg_rewind, or by a fresh copy of the data.

import path from 'node:path';
import { copyFolder, serverAccount } from './account.js';
import { openSession } from './session.js';

// pg_basebackup leaves these out as well. They belong to the running server, or are created at its
// next start.
const EMPTIED = new Set([
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
  'pg_wal',
]);
const LEFT_OUT = new Set(['postmaster.pid', 'postmaster.opts', 'backup_label', 'pg_internal.init']);

function isLeftOut(relative) {
  const [first, ...rest] = relative.split(path.sep);
  if (EMPTIED.has(first) && rest.length > 0)
    return relative !== path.join('pg_wal', 'archive_status');
  return LEFT_OUT.has(path.basename(relative)) || relative.includes('pgsql_tmp');
}

/**
 * Copies the data of a running server between the start and the stop of a backup. The WAL is not
 * copied: the standby streams it from the primary, which keeps enough WAL (wal_keep_size).
 * @param {import('./node.js').ClusterNode} primary
 * @param {import('./session.js').Credentials} credentials
 * @param {import('./node.js').ClusterNode} node must not run; its data are lost
 */
export async function copyRunningServer(primary, credentials, node) {
  await node.removeData();
  const session = await openSession(primary, credentials);
  try {
    const [[version]] = await session.query('SHOW server_version_num');
    // The functions were renamed in 15, which removed exclusive backups.
    const isRenamed = Number(version) >= 150_000;
    await session.query(
      isRenamed
        ? "SELECT pg_backup_start('copy', true)"
        : "SELECT pg_start_backup('copy', true, false)",
    );
    const owner = serverAccount();
    await copyFolder(primary.dataFolder, node.dataFolder, { owner, leaveOut: isLeftOut });
    const [[label]] = await session.query(
      isRenamed
        ? 'SELECT labelfile FROM pg_backup_stop(false)'
        : 'SELECT labelfile FROM pg_stop_backup(false, false)',
    );
    // Without this file the copy would start its recovery from the wrong place, and be corrupt.
    await node.write('backup_label', label);
  } finally {
    await session.close();
  }
}

/**
 * Rewinds a deposed primary's data to the point where the new primary's history diverged.
 * @param {import('./guard.js').Guard} guard
 * @param {import('./binaries.js').Binaries} binaries
 * @param {import('./node.js').ClusterNode} node must not run
 * @param {import('./node.js').ClusterNode} primary
 * @param {import('./session.js').Credentials} credentials
 */
export async function rewind(guard, binaries, node, primary, credentials) {
  const session = await openSession(primary, credentials);
  // pg_rewind reads the new timeline from the control file, into which a checkpoint writes it.
  await session.query('CHECKPOINT').finally(() => session.close());
  const { user, password } = credentials;
  const source = `host=${primary.host} port=${primary.port} user=${user} password=${password}`;
  await guard.run(path.join(binaries.folder, 'pg_rewind'), [
    ...['--target-pgdata', node.dataFolder, '--no-sync'],
    ...['--source-server', `${source} dbname=postgres`],
  ]);
}
