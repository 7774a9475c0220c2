// The parent of all servers: a separate process, which ends the servers when the test run is over.
//
// A pipe connects it to the test run. However that run ends (normally, by an exception, Ctrl-C or
// SIGKILL), the kernel closes the pipe. Then the watchdog kills the processes that it has started,
// removes the folder with all data, and ends. It runs in a session of its own, so that a Ctrl-C in
// the terminal does not reach it. If the watchdog itself is killed, the next watchdog cleans up
// after it.

import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { dataParents, serverAccount, spawnOptions } from './account.js';
import { commandLine, freezeServer, isGone, killServer, send, thawServer } from './processes.js';

const FOLDER = /^hyperion-pg-(\d+)-\w{6}$/;
// Only the name of the file, since another checkout of the repository may run its tests on this
// machine as well.
const script = path.basename(fileURLToPath(import.meta.url));

/** @type {Map<string, { child: import('node:child_process').ChildProcess, dataFolder?: string }>} */
const running = new Map();
let folder;
let ending = false;

// The folder's name contains the watchdog's process id, so that another watchdog never takes it for
// a leftover. The servers can enter the folder, but only its owner can list it.
async function makeFolder() {
  folder = await mkdtemp(path.join(dataParents()[0], `hyperion-pg-${process.pid}-`));
  fs.chmodSync(folder, 0o711);
}

function launch(id, { program, args, dataFolder, stdio, environment }) {
  if (ending) throw new Error('the test run is over');
  const options = spawnOptions(serverAccount());
  const env = { ...options.env, ...environment };
  const child = spawn(program, args, { ...options, env, cwd: folder, stdio });
  running.set(id, { child, dataFolder });
  child.once('error', () => running.delete(id));
  child.once('close', () => {
    running.delete(id);
    if (dataFolder !== undefined) freeSharedMemory(dataFolder);
  });
  return child;
}

/**
 * A server that was killed leaves its System V segment behind, and the kernel has room for only
 * some thousand segments. The seventh line of postmaster.pid has the segment's key and id.
 */
function freeSharedMemory(dataFolder) {
  try {
    const lines = fs.readFileSync(path.join(dataFolder, 'postmaster.pid'), 'utf8').split('\n');
    const id = lines[6].trim().split(/\s+/)[1];
    execFileSync('ipcrm', ['-m', id], { stdio: 'ignore' });
  } catch {
    // A clean shutdown has removed both, or this machine has no ipcrm.
  }
}

const operations = {
  /** Starts a server. A separate message reports its end. */
  async start({ id, program, args, dataFolder, logFile, environment }) {
    const log = fs.openSync(logFile, 'a');
    try {
      const stdio = ['ignore', log, log];
      const child = launch(id, { program, args, dataFolder, stdio, environment });
      child.once('close', () => tell({ ended: id }));
      await spawned(child);
      return child.pid;
    } finally {
      fs.closeSync(log);
    }
  },

  /** Runs a program such as initdb to its end. */
  async run({ id, program, args, input = '' }) {
    const child = launch(id, { program, args, stdio: ['pipe', 'pipe', 'pipe'] });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.stdin.on('error', () => {});
    const closed = new Promise((resolve) => child.once('close', resolve));
    await spawned(child);
    child.stdin.end(input);
    const code = await closed;
    return { code, output: Buffer.concat(output).toString() };
  },

  signal({ id, signal }) {
    send(pidOf(id), signal);
  },
  freeze({ id }) {
    freezeServer(pidOf(id));
  },
  thaw({ id }) {
    thawServer(pidOf(id));
  },

  /** Signals a server to shut down, and waits until it has ended. */
  async stop({ id, signal }) {
    const { child } = running.get(id) ?? {};
    if (child === undefined) return;
    const closed = new Promise((resolve) => child.once('close', resolve));
    send(child.pid, signal);
    await closed;
  },

  /** Kills a server and waits until it is gone. */
  async kill({ id }) {
    const entry = running.get(id);
    if (entry !== undefined) await kill(entry.child);
  },
};

function pidOf(id) {
  const entry = running.get(id);
  if (entry === undefined) throw new Error(`${id} does not run`);
  return entry.child.pid;
}

function spawned(child) {
  return new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
}

async function kill(child) {
  if (child.pid === undefined) return;
  const closed = new Promise((resolve) => child.once('close', resolve));
  const children = killServer(child.pid);
  await closed;
  // A process that is dying slowly still accepts bytes from clients.
  while (!children.every(isGone)) await sleep(1);
}

function tell(message) {
  if (process.connected) process.send(message, () => {});
}

async function answer({ request, operation, parameters }) {
  try {
    tell({ request, result: await operations[operation](parameters) });
  } catch (error) {
    tell({ request, error: error.message });
  }
}

async function end() {
  if (ending) return;
  ending = true;
  await Promise.all([...running.values()].map(({ child }) => kill(child)));
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  process.exit();
}

/** Ends the servers and removes the folders of watchdogs that were killed. */
async function removeLeftovers() {
  for (const parent of dataParents()) {
    for (const name of fs.readdirSync(parent)) {
      const owner = FOLDER.exec(name)?.[1];
      if (owner === undefined || commandLine(Number(owner)).includes(script)) continue;
      try {
        await removeLeftover(path.join(parent, name));
      } catch {
        // Another watchdog is cleaning up the same folder at this moment.
      }
    }
  }
}

async function removeLeftover(leftover) {
  if (fs.statSync(leftover).uid !== process.getuid()) return;
  const files = fs.readdirSync(leftover, { recursive: true });
  for (const file of files.filter((name) => path.basename(name) === 'postmaster.pid')) {
    endLeftoverServer(path.join(leftover, path.dirname(file)));
  }
  await rm(leftover, { recursive: true, force: true, maxRetries: 5 });
}

// The process id may belong to another program by now. The command line shows that.
function endLeftoverServer(dataFolder) {
  const pid = Number.parseInt(fs.readFileSync(path.join(dataFolder, 'postmaster.pid'), 'utf8'), 10);
  if (pid > 1 && commandLine(pid).includes(dataFolder)) killServer(pid);
  freeSharedMemory(dataFolder);
}

process.on('disconnect', end);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, end);
await makeFolder();
process.on('message', answer);
tell({ folder });
if (!process.connected) await end();
await removeLeftovers();
