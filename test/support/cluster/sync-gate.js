// A proxy that holds back the bytes after the first Sync or Query of a flight, as a slow network
// does with a long statement. The server has answered the first part when it gets the second.

import { startProxy } from './proxy.js';

/** Messages that the server answers with ReadyForQuery. */
const SYNC = 'S'.charCodeAt(0);
const QUERY = 'Q'.charCodeAt(0);

/** @param {{ host: string, port: number }} server */
export async function startSyncGate(server) {
  /** Resolves the promise of `hold`. */
  let isHeld = null;
  const held = [];

  function fromClient(chunk, link) {
    const isHolding = held.some((other) => other.link === link);
    const end = isHolding ? 0 : isHeld === null ? chunk.length : endOfSync(chunk);
    if (end < chunk.length) {
      held.push({ link, rest: chunk.subarray(end) });
      isHeld?.();
      isHeld = null;
    }
    return chunk.subarray(0, end);
  }

  const proxy = await startProxy(server, { fromClient });
  return {
    address: proxy.address,
    /** Holds back the next flight that has bytes after a Sync. Resolves when it does. */
    hold: () => new Promise((resolve) => (isHeld = resolve)),
    /** Forwards the held bytes. */
    pass() {
      isHeld = null;
      for (const { link, rest } of held.splice(0)) link.server.write(rest);
    },
    close: () => proxy.close(),
  };
}

/** Where the first flight of a chunk ends, or the chunk's length if no flight ends in it. */
function endOfSync(chunk) {
  for (let at = 0; at + 5 <= chunk.length;) {
    const kind = chunk[at];
    at += 1 + chunk.readUInt32BE(at + 1);
    if ((kind === SYNC || kind === QUERY) && at < chunk.length) return at;
  }
  return chunk.length;
}
