// A proxy that holds back what a client sends behind the first Sync or Query of a flight, as a slow
// network does with a long statement: the server has answered the one when it gets the other.

import net from 'node:net';

/** Messages that are answered by a ReadyForQuery. */
const SYNC = 'S'.charCodeAt(0);
const QUERY = 'Q'.charCodeAt(0);

/** @param {{ host: string, port: number }} server */
export async function startSyncGate({ host, port }) {
  const gate = new SyncGate({ host, port });
  await gate.listen();
  return gate;
}

class SyncGate {
  #server;
  #listener;
  #sockets = new Set();
  /** Called with nothing when a flight is held. */
  #isHeld = null;
  #held = [];

  constructor(server) {
    this.#server = server;
    this.#listener = net.createServer((client) => this.#accept(client));
  }

  listen() {
    return new Promise((resolve) => this.#listener.listen(0, '127.0.0.1', resolve));
  }

  get address() {
    return `127.0.0.1:${this.#listener.address().port}`;
  }

  /** Holds back the next flight that has something behind a Sync. Resolves when it does. */
  hold() {
    return new Promise((resolve) => (this.#isHeld = resolve));
  }

  /** Lets go of what was held. */
  pass() {
    this.#isHeld = null;
    for (const { to, chunk } of this.#held.splice(0)) to.write(chunk);
  }

  close() {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#listener.close(resolve));
  }

  #accept(client) {
    const server = net.connect({ ...this.#server, noDelay: true });
    client.setNoDelay(true);
    client.on('data', (chunk) => this.#forward(server, chunk));
    server.on('data', (chunk) => client.write(chunk));
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }

  #forward(to, chunk) {
    const isHolding = this.#held.some((held) => held.to === to);
    const end = isHolding ? 0 : this.#isHeld === null ? chunk.length : endOfSync(chunk);
    if (end > 0) to.write(chunk.subarray(0, end));
    if (end === chunk.length) return;
    this.#held.push({ to, chunk: chunk.subarray(end) });
    this.#isHeld?.();
    this.#isHeld = null;
  }
}

/** Where the first flight of a chunk ends that begins with a message; all of it where none does. */
function endOfSync(chunk) {
  for (let at = 0; at + 5 <= chunk.length;) {
    const kind = chunk[at];
    at += 1 + chunk.readUInt32BE(at + 1);
    if ((kind === SYNC || kind === QUERY) && at < chunk.length) return at;
  }
  return chunk.length;
}
