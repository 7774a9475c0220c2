// Signals for a whole PostgreSQL server: the postmaster and all its children.
//
// Each child of a postmaster leads a session and process group of its own, so no signal to a group
// reaches all of them. They are found by their parent.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

/**
 * The children of a process.
 * @param {number} pid
 * @returns {number[]}
 */
export function childrenOf(pid) {
  try {
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return children.split(' ').filter(Boolean).map(Number);
  } catch {
    // This is not Linux, or the kernel lacks that file, or there is no such process. ps can tell.
  }
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child);
}

/**
 * The ids of all processes of this machine.
 * @returns {number[]}
 */
export function processIds() {
  const isLinux = fs.existsSync('/proc/self/cmdline');
  const names = isLinux
    ? fs.readdirSync('/proc')
    : execFileSync('ps', ['-A', '-o', 'pid='], { encoding: 'utf8' }).split(/\s+/);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/**
 * The command line of a process, or '' if there is none (it is gone, or it is a zombie).
 * @param {number} pid
 * @returns {string}
 */
export function commandLine(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch (error) {
    if (fs.existsSync('/proc/self/cmdline')) return '';
    if (error.code !== 'ENOENT') throw error;
  }
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'args='], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

/**
 * Sends a signal. A process that has ended is not an error.
 * @param {number} pid
 * @param {NodeJS.Signals} signal
 */
export function send(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/**
 * Whether a process has ended, or is a zombie. In both cases its sockets are closed.
 * @param {number} pid
 * @returns {boolean}
 */
export function isGone(pid) {
  let state;
  if (fs.existsSync('/proc/self/stat')) {
    try {
      // The name before the state may contain any character, even parentheses.
      state = /\) (\w)[^)]*$/.exec(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
    } catch {
      return true;
    }
  } else {
    try {
      state = execFileSync('ps', ['-p', String(pid), '-o', 'stat='], { encoding: 'utf8' })[0];
    } catch {
      return true;
    }
  }
  return state === 'Z' || state === 'X';
}

/**
 * Sends a signal to all children of a stopped process. Repeats this until there is no new child,
 * because the process may have been forking when it was stopped.
 * @returns {Set<number>} the processes that got the signal
 */
function sendToChildren(pid, signal) {
  const reached = new Set();
  for (;;) {
    const missed = childrenOf(pid).filter((child) => !reached.has(child));
    if (missed.length === 0) return reached;
    for (const child of missed) {
      send(child, signal);
      reached.add(child);
    }
  }
}

/**
 * Stops all processes of a server (SIGSTOP). The kernel continues to accept connections and to
 * acknowledge bytes for them.
 * @param {number} postmaster
 */
export function freezeServer(postmaster) {
  send(postmaster, 'SIGSTOP');
  sendToChildren(postmaster, 'SIGSTOP');
}

/** @param {number} postmaster */
export function thawServer(postmaster) {
  sendToChildren(postmaster, 'SIGCONT');
  send(postmaster, 'SIGCONT');
}

/**
 * Kills all processes of a server. The postmaster is stopped first, since otherwise it could start
 * new children, or tell clients that it lost a child.
 * @param {number} postmaster
 * @returns {number[]} those of its children that may outlive it for a moment
 */
export function killServer(postmaster) {
  send(postmaster, 'SIGSTOP');
  const children = sendToChildren(postmaster, 'SIGKILL');
  send(postmaster, 'SIGKILL');
  return [...children];
}
