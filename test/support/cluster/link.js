// One connection through the proxy: two sockets, and a stream of bytes in each direction.

import net from 'node:net';

/**
 * @typedef {object} Mode
 * @property {string} name
 * @property {number} [delayMs]
 * @property {number} [bytesPerSecond]
 */

/** How often a throttled direction may send. */
const THROTTLE_MS = 10;

/** The bytes of one direction. They wait in a queue until the mode lets them pass. */
class Direction {
  /** @type {{ chunk: Buffer | null, due: number }[]} null is the end of the stream */
  #queue = [];
  #timer;
  #mode;
  #isHeld = false;
  #credit = 0;
  #creditAt = 0;

  /**
   * @param {net.Socket} from
   * @param {net.Socket} to
   * @param {(chunk: Buffer) => Buffer | null} hook returns what is forwarded
   */
  constructor(from, to, hook) {
    this.from = from;
    this.to = to;
    from.on('data', (chunk) => {
      const forwarded = hook(chunk);
      if (forwarded !== null && forwarded.length > 0) this.#take(forwarded);
    });
    from.on('end', () => this.#take(null));
    to.on('drain', () => this.#resume());
  }

  /** @param {Mode} mode @param {boolean} isHeld */
  enter(mode, isHeld) {
    this.#mode = mode;
    this.#isHeld = isHeld;
    this.#credit = 0;
    this.#creditAt = performance.now();
    this.#resume();
    this.#pump();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #take(chunk) {
    this.#queue.push({ chunk, due: performance.now() + (this.#mode.delayMs ?? 0) });
    this.#pump();
    this.#resume();
  }

  // The sender learns through TCP that its bytes do not move, as in a real network.
  #resume() {
    const queued = this.#queue.reduce((sum, { chunk }) => sum + (chunk?.length ?? 0), 0);
    const isFull = queued > 1 << 20 || (this.#mode.delayMs === undefined && queued > 1 << 16);
    if (this.#isHeld || isFull || this.to.writableNeedDrain) this.from.pause();
    else this.from.resume();
  }

  #pump() {
    clearTimeout(this.#timer);
    while (!this.#isHeld && this.#queue.length > 0) {
      const wait = this.#mode.bytesPerSecond ? this.#waitForCredit() : this.#waitForDue();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.#pump(), wait);
        return;
      }
      this.#sendNext();
    }
    this.#resume();
  }

  #waitForDue() {
    // Bytes that arrived in an earlier mode wait at most as long as the present mode says.
    const due = this.#mode.delayMs === undefined ? 0 : this.#queue[0].due;
    return Math.max(0, due - performance.now());
  }

  #waitForCredit() {
    const now = performance.now();
    const rate = this.#mode.bytesPerSecond / 1000;
    // Old unused credit is lost, since a slow network sends no burst after a pause.
    const most = Math.max(1, rate * 2 * THROTTLE_MS);
    this.#credit = Math.min(most, this.#credit + (now - this.#creditAt) * rate);
    this.#creditAt = now;
    return this.#credit >= 1 ? 0 : Math.max(THROTTLE_MS, (1 - this.#credit) / rate);
  }

  #sendNext() {
    const head = this.#queue[0];
    if (head.chunk === null) {
      this.#queue.shift();
      this.to.end();
      return;
    }
    let chunk = head.chunk;
    if (this.#mode.bytesPerSecond) {
      chunk = chunk.subarray(0, Math.floor(this.#credit));
      this.#credit -= chunk.length;
    }
    if (chunk.length === head.chunk.length) this.#queue.shift();
    else head.chunk = head.chunk.subarray(chunk.length);
    if (this.to.writable) this.to.write(chunk);
  }
}

export class Link {
  client;
  server;
  #isClosed = false;
  #target;
  #whenClosed;
  #up;
  #down;

  /**
   * @param {net.Socket} client
   * @param {{ host: string, port: number }} target is connected to as soon as a mode forwards
   * @param {object} hooks
   * @param {(chunk: Buffer) => Buffer | null} hooks.fromClient returns what is forwarded
   * @param {(chunk: Buffer) => Buffer | null} hooks.fromServer
   * @param {() => void} hooks.whenClosed
   */
  constructor(client, target, { fromClient, fromServer, whenClosed }) {
    this.client = client;
    this.server = new net.Socket({ allowHalfOpen: true });
    this.#target = target;
    this.#whenClosed = whenClosed;
    this.#up = new Direction(client, this.server, fromClient);
    this.#down = new Direction(this.server, client, fromServer);
    for (const [socket, other] of [
      [client, this.server],
      [this.server, client],
    ]) {
      // A reset on one side is a reset on the other.
      socket.on('error', () => this.reset());
      socket.on('close', () => {
        if (other.destroyed || other.pending) this.#close();
      });
    }
  }

  /** @param {Mode} mode */
  enter(mode) {
    if (this.#isClosed) return;
    if (mode.name === 'cut') {
      this.reset();
      return;
    }
    const isHeld = mode.name === 'silent' || mode.name === 'blackHole';
    if (!isHeld) this.#connect();
    this.#up.enter(mode, isHeld);
    this.#down.enter(mode, isHeld || mode.name === 'mute');
    if (mode.name === 'halfClose') this.client.end();
  }

  // A connection that was accepted in a silent mode reaches the server when that mode ends.
  #connect() {
    if (this.#target === undefined) return;
    this.server.connect({ ...this.#target, noDelay: true });
    this.#target = undefined;
  }

  /** Ends both sides with RST. */
  reset() {
    if (this.#isClosed) return;
    this.#settle();
    reset(this.client);
    reset(this.server);
  }

  #close() {
    if (this.#isClosed) return;
    this.#settle();
    this.client.destroySoon();
    if (this.server.pending) this.server.destroy();
    else this.server.destroySoon();
  }

  #settle() {
    this.#isClosed = true;
    this.#up.stop();
    this.#down.stop();
    this.#whenClosed();
  }
}

// libuv does not reset a socket that has already sent its end, and Node leaves it open then. After
// a close, the kernel answers further bytes with a reset.
function reset(socket) {
  if (socket.writableEnded || socket.pending) socket.destroy();
  else socket.resetAndDestroy();
}
