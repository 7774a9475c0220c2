// The process's warnings of this client.

import process from 'node:process';

/** The codes and texts of the client's own warnings while `task` runs. */
export async function warningsOf(task) {
  const warnings = [];
  const listen = ({ code, message }) => {
    if (code?.startsWith('HYPERION_')) warnings.push({ code, message });
  };
  process.on('warning', listen);
  try {
    await task();
    // A warning is emitted on the next tick.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('warning', listen);
  }
  return warnings;
}
