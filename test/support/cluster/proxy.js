// A TCP proxy before a server, with the faults of a network.
//
// Two things are not possible from user space. The kernel acknowledges the bytes that a client
// sends to a silent or black-holed connection, until its buffers are full. And the proxy accepts a
// connection before it connects to the server, so a server that refuses looks like a server that
// accepts and resets (use `refuse` instead).

import net from 'node:net';
import { startBlackHole } from './blackhole.js';
import { Link } from './link.js';

/**
 * @typedef {object} Options
 * @property {string} [host] where it listens; 127.0.0.1
 * @property {number} [port] a free one
 * @property {Hook} [fromClient] gets all bytes of the clients
 * @property {Hook} [fromServer] gets all bytes of the server
 */

/**
 * Gets bytes on their way, and returns the bytes to forward, or null. It may also write to
 * `link.client` and `link.server` itself, then or later.
 * @callback Hook
 * @param {Buffer} chunk
 * @param {Link} link
 * @returns {Buffer | null}
 */

/**
 * @param {{ host: string, port: number }} server where connections are forwarded to
 * @param {Options} [options]
 * @returns {Promise<Proxy>}
 */
export async function startProxy({ host, port }, options) {
  const proxy = new Proxy({ host, port }, options);
  await proxy.pass();
  return proxy;
}

/**
 * Each mode applies to open connections at once, and to new ones when its promise has resolved.
 */
export class Proxy {
  host;
  port;
  /** How many connections were accepted so far. */
  accepted = 0;
  /** How often a client spoke after the server had spoken. */
  roundTrips = 0;

  #server;
  #hooks;
  #hasServerSpoken = true;
  /** @type {Set<Link>} */
  #links = new Set();
  /** @type {net.Server | undefined} */
  #listener;
  /** @type {{ close(): Promise<void> } | undefined} */
  #blackHole;
  #mode = { name: 'pass' };
  #switching = Promise.resolve();

  /** @param {{ host: string, port: number }} server @param {Options} [options] */
  constructor(server, { host = '127.0.0.1', port = 0, fromClient, fromServer } = {}) {
    this.#server = server;
    this.host = host;
    this.port = port;
    this.#hooks = { fromClient, fromServer };
  }

  get address() {
    const host = this.host.includes(':') ? `[${this.host}]` : this.host;
    return `${host}:${this.port}`;
  }

  /** How many connections are open. */
  get connections() {
    return this.#links.size;
  }

  /** The name of the mode it is in. */
  get mode() {
    return this.#mode.name;
  }

  /** Forwards all bytes, including those that were held back. */
  pass() {
    return this.#enter({ name: 'pass' });
  }

  /** Forwards all bytes, with this delay in each direction. @param {number} ms */
  delay(ms) {
    return this.#enter({ name: 'delay', delayMs: ms });
  }

  /**
   * Forwards this many bytes a second in each direction of each connection. @param {number}
   * bytesPerSecond
   */
  throttle(bytesPerSecond) {
    return this.#enter({ name: 'throttle', bytesPerSecond });
  }

  /** Resets all connections, and every new one as soon as it is accepted. */
  cut() {
    return this.#enter({ name: 'cut' });
  }

  /** Accepts connections but forwards nothing, so that the server looks frozen. */
  silent() {
    return this.#enter({ name: 'silent' });
  }

  /** Forwards the client's bytes, and holds back the server's. */
  mute() {
    return this.#enter({ name: 'mute' });
  }

  /**
   * Leaves the SYN of new connections unanswered, and forwards nothing on open ones. While one
   * listener replaces the other, new connections are refused for a moment.
   */
  blackHole() {
    return this.#enter({ name: 'blackHole' });
  }

  /** Sends clients a FIN, and still forwards their bytes. */
  halfClose() {
    return this.#enter({ name: 'halfClose' });
  }

  /** Refuses new connections. Open connections continue. To end these too, call `cut()` first. */
  refuse() {
    return this.#enter({ name: 'refuse' });
  }

  /** Forwards new connections to another server, as a load balancer does. Open connections stay. */
  leadTo({ host, port }) {
    this.#server = { host, port };
  }

  /** Resets all connections and stops listening. */
  close() {
    for (const link of this.#links) link.reset();
    this.#mode = { name: 'refuse' };
    return this.#switchListener();
  }

  #enter(mode) {
    this.#mode = mode;
    for (const link of this.#links) link.enter(mode);
    return this.#switchListener();
  }

  // The switches run one after the other. Each one establishes the latest mode.
  #switchListener() {
    this.#switching = this.#switching.then(async () => {
      const { name } = this.#mode;
      if (name !== 'blackHole') await this.#closeBlackHole();
      if (name === 'blackHole' || name === 'refuse') await this.#closeListener();
      if (name === 'blackHole') this.#blackHole ??= await startBlackHole(this);
      else if (name !== 'refuse') this.#listener ??= await this.#listen();
    });
    return this.#switching;
  }

  async #closeBlackHole() {
    const blackHole = this.#blackHole;
    this.#blackHole = undefined;
    await blackHole?.close();
  }

  async #closeListener() {
    const listener = this.#listener;
    this.#listener = undefined;
    // Not awaited, since the callback waits for all connections. The port is free at once.
    listener?.close();
  }

  async #listen() {
    const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#accept(client),
    );
    await new Promise((resolve, reject) => {
      listener.once('error', reject);
      listener.listen({ host: this.host, port: this.port, exclusive: true }, resolve);
    });
    this.port = listener.address().port;
    return listener;
  }

  #accept(client) {
    this.accepted += 1;
    const { fromClient, fromServer } = this.#hooks;
    const link = new Link(client, this.#server, {
      fromClient: (chunk) => {
        if (this.#hasServerSpoken) this.roundTrips += 1;
        this.#hasServerSpoken = false;
        return fromClient === undefined ? chunk : fromClient(chunk, link);
      },
      fromServer: (chunk) => {
        this.#hasServerSpoken = true;
        return fromServer === undefined ? chunk : fromServer(chunk, link);
      },
      whenClosed: () => this.#links.delete(link),
    });
    this.#links.add(link);
    link.enter(this.#mode);
  }
}
