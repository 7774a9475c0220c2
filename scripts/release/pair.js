// A primary and its standby, run by pg_ctl alone, for systems on which the tests' own cluster does
// not run: Windows has no signals, and PostgreSQL there refuses administrators unless pg_ctl drops
// their rights.

import { appendFileSync, chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import path from 'node:path';

import {
  copyFolder,
  makePrivateFolder,
  serverAccount,
  spawnOptions,
  temporaryFolder,
} from '../../test/support/cluster/account.js';
import { findBinaries } from '../../test/support/cluster/binaries.js';
import { freePort } from '../../test/support/cluster/port.js';

export async function startPair() {
  const { folder: programs } = await findBinaries();
  const account = serverAccount();
  const parent = mkdtempSync(path.join(temporaryFolder(), 'hyperion-pair-'));
  const folder = path.join(parent, 'servers');
  const program = (name, args) => {
    const { env, ...owner } = spawnOptions(account);
    // On Windows no program starts without some of the system's own variables.
    const settings = process.platform === 'win32' ? process.env : env;
    // A server keeps the pipes of the pg_ctl that started it, so pg_ctl gets none.
    const options = { ...owner, env: settings, cwd: '/', stdio: 'ignore' };
    const { status, error } = spawnSync(path.join(programs, name), args, options);
    if (status !== 0) throw new Error(`${name} ${args[0]} failed: ${error?.message ?? status}`);
  };
  const at = (n) => path.join(folder, `node${n}`);
  const isRunning = (n) => existsSync(path.join(at(n), 'postmaster.pid'));
  const ports = [await freePort(), await freePort()];
  const control = (n, ...args) =>
    program('pg_ctl', [
      '-D',
      at(n),
      '-w',
      '-t',
      '120',
      '-l',
      path.join(folder, `log${n}`),
      ...args,
    ]);

  chmodSync(parent, 0o755);
  await makePrivateFolder(folder, account);
  program('initdb', ['-D', at(0), '-U', 'hyperion', '-A', 'trust', '-E', 'UTF8', '--no-sync']);
  const configure = (n, more) => {
    const lines = [
      `port = ${ports[n]}`,
      `listen_addresses = '127.0.0.1'`,
      `unix_socket_directories = ''`,
      `hot_standby = on`,
      ...more,
    ];
    appendFileSync(path.join(at(n), 'postgresql.conf'), `${lines.join('\n')}\n`);
  };
  await copyFolder(at(0), at(1), { owner: account });
  configure(0, [`synchronous_standby_names = '*'`]);
  configure(1, [`primary_conninfo = 'host=127.0.0.1 port=${ports[0]} user=hyperion'`]);
  writeFileSync(path.join(at(1), 'standby.signal'), '');
  const close = () => {
    for (const n of [0, 1]) {
      if (isRunning(n)) control(n, 'stop', '-m', 'immediate');
    }
    rmSync(parent, { recursive: true, force: true });
  };
  try {
    control(0, 'start');
    control(1, 'start');
  } catch (error) {
    close();
    throw error;
  }
  return {
    options: {
      hosts: ports.map((port) => `127.0.0.1:${port}`),
      user: 'hyperion',
      database: 'postgres',
    },
    failOver() {
      control(0, 'stop', '-m', 'immediate');
      control(1, 'promote');
    },
    close,
  };
}
