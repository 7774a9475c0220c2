// Measures when a node first accepts a write: a session in a thread of its own tries every
// millisecond.

import { parentPort, Worker, workerData } from 'node:worker_threads';

import { openSession } from '../../test/support/cluster/session.js';

/** Must be started before the node is promoted. */
export async function watchFirstWrite(node, credentials) {
  const { host, port } = node;
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { watcher: { node: { host, port }, credentials } },
  });
  const messages = [];
  let wake = () => {};
  worker.on('message', (message) => {
    messages.push(message);
    wake();
  });
  const failed = new Promise((_, reject) => worker.once('error', reject));
  const next = async () => {
    while (messages.length === 0) {
      await Promise.race([new Promise((resolve) => (wake = resolve)), failed]);
    }
    return messages.shift();
  };
  await next();
  return {
    /** When the node first accepted a write, in ms of the clock that all processes share. */
    firstWrite: next,
    close: () => worker.terminate(),
  };
}

async function watch({ node, credentials }) {
  const session = await openSession(node, credentials);
  parentPort.postMessage('ready');
  for (;;) {
    const taken = await session
      .query("INSERT INTO failover (key) VALUES ('watcher')")
      .then(() => Number(process.hrtime.bigint()) / 1e6)
      .catch((error) => {
        if (error.code !== '25006') throw error;
      });
    if (taken !== undefined) {
      parentPort.postMessage(taken);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await session.close();
}

if (workerData?.watcher) await watch(workerData.watcher);
