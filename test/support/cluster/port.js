// Free TCP ports on the loopback interface.

import { randomInt } from 'node:crypto';
import net from 'node:net';

// Not what `listen(0)` hands out: that comes from the range of ephemeral ports, and there a client
// that tries the port of a stopped server again and again is one day given that very port as its
// own, and is connected to itself; or some other client takes the port while the server is down,
// and it cannot start again. Linux has its ephemeral ports from 32768 up, others from 49152.
const FIRST = 12_000;
const LAST = 32_000;

/**
 * A port that nobody listens on at the moment. Another process may take it before it is used, so
 * whoever uses it must be ready to ask for another.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    if (await isFree(port)) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}
