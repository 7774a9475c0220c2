// Waits for a condition, up to a deadline.

import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Calls `condition` again and again until it returns a truthy value, and returns that value.
 * @template T
 * @param {string} what the condition, in the words of the error
 * @param {() => T | Promise<T>} condition
 * @param {{ timeoutMs?: number, intervalMs?: number }} [options]
 * @returns {Promise<NonNullable<T>>}
 */
export async function waitUntil(what, condition, { timeoutMs = 60_000, intervalMs = 10 } = {}) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await sleep(intervalMs);
  }
}
