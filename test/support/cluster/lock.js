// A lock between processes.

import fs from 'node:fs';

import { waitUntil } from '../wait-until.js';

/**
 * Runs `work` while no other process holds the lock. Making a folder is atomic on every system. The
 * process id in the folder shows whether the holder is still alive.
 * @template T
 * @param {string} folder is made and removed
 * @param {() => Promise<T>} work
 * @param {{ timeoutMs?: number }} [options]
 * @returns {Promise<T>}
 */
export async function withLock(folder, work, { timeoutMs = 300_000 } = {}) {
  await waitUntil(`the lock ${folder}`, () => take(folder), { timeoutMs, intervalMs: 50 });
  try {
    return await work();
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function take(folder) {
  try {
    fs.mkdirSync(folder);
    fs.writeFileSync(`${folder}/${process.pid}`, '');
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  if (isAbandoned(folder)) removeAbandoned(folder);
  return false;
}

// Another process may have done the same, and have taken the lock meanwhile. So the renamed folder
// is checked again, and put back if it is a new one.
function removeAbandoned(folder) {
  const aside = `${folder}.${process.pid}`;
  try {
    fs.renameSync(folder, aside);
    if (isAbandoned(aside)) fs.rmSync(aside, { recursive: true, force: true });
    else fs.renameSync(aside, folder);
  } catch {
    // Another process was faster.
  }
}

function isAbandoned(folder) {
  try {
    const [holder] = fs.readdirSync(folder);
    if (holder === undefined) return Date.now() - fs.statSync(folder).mtimeMs > 5000;
    process.kill(Number(holder), 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}
