// A port whose SYNs are never answered, without any privilege.
//
// The kernel drops the SYN of a connection when the listener's queue of connections that were not
// yet accepted is full. Node accepts whenever its event loop turns, and turns a backlog of 0 into
// 511. So a worker thread listens with a backlog of 1 and then sleeps, its loop with it: it never
// accepts. Our own connections fill the queue; the next one's SYN goes unanswered.

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
      // Nothing else may keep the loop alive until the worker has ended.
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
    // After a stall of this thread the loop may not have delivered 'connect' yet.
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
