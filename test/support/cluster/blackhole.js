// A port whose SYNs are never answered. No privilege is needed.
//
// When a listener's queue of connections that were not accepted yet is full, the kernel drops
// further SYNs. Node accepts connections whenever its event loop turns, and turns a backlog of 0
// into 511. So a worker thread listens with a backlog of 1 and then sleeps together with its loop,
// so that it never accepts. This module's own connections fill the queue, and the SYN of the next
// connection is not answered.

import net from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

/** A loopback connection that takes longer than this will never be established. */
const CONNECT_MS = 50;

/**
 * @param {{ host: string, port: number }} address free at the moment
 * @returns {Promise<{ close(): Promise<void> }>}
 */
export async function startBlackHole({ host, port }) {
  const wake = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { blackHole: { host, port, wake } },
    execArgv: [],
  });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  await new Promise((resolve, reject) => {
    worker.once('message', (error) => (error ? reject(new Error(error)) : resolve()));
    worker.once('error', reject);
  });
  worker.unref();
  const fillers = await fillQueue({ host, port });
  return {
    async close() {
      // The worker must keep the loop alive until it has ended.
      worker.ref();
      Atomics.store(wake, 0, 1);
      Atomics.notify(wake, 0);
      await ended;
      for (const filler of fillers) filler.destroy();
    },
  };
}

async function fillQueue(address) {
  const fillers = [];
  for (;;) {
    const filler = net.connect(address);
    filler.on('error', () => {});
    filler.unref();
    fillers.push(filler);
    const deadline = performance.now() + CONNECT_MS;
    while (filler.connecting && performance.now() < deadline) await sleep(2);
    // After this thread has stalled, the loop may not have delivered 'connect' yet.
    await turn();
    await turn();
    if (filler.connecting) return fillers;
  }
}

function listenAndSleep({ host, port, wake }) {
  const server = net.createServer();
  server.once('error', ({ message }) => parentPort.postMessage(message));
  server.listen({ host, port, backlog: 1, exclusive: true }, () => {
    parentPort.postMessage(null);
    Atomics.wait(wake, 0, 0);
    // The kernel resets the connections in the queue.
    process.exit();
  });
}

if (!isMainThread && workerData?.blackHole) listenAndSleep(workerData.blackHole);
