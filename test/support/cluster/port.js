// Free TCP ports on the loopback interface.

import { randomInt } from 'node:crypto';
import net from 'node:net';

// Not a port from `listen(0)`, which is in the ephemeral range. If a client keeps trying such a
// port of a stopped server, the kernel may give it that very port as its own, and then the client
// is connected to itself. Or another client takes the port while the server is down, and the server
// can't start again. Linux has its ephemeral ports from 32768 up, other systems from 49152.
const FIRST = 12_000;
const LAST = 32_000;

/**
 * A port that has no listener at the moment. Another process may take it before the caller does, so
 * the caller must be ready to ask for another port.
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
