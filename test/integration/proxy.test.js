// Each mode of the fault proxy does to connections what its name says. A plain echo server stands
// behind the proxy.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startProxy } from '../support/cluster/proxy.js';
import { waitUntil } from '../support/wait-until.js';

/** How long nothing may arrive: long for loopback, short for a test run. */
const QUIET_MS = 100;

/** A connection that remembers what happened to it. */
class Client {
  received = '';
  events = [];

  constructor(proxy) {
    this.socket = net.connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true });
    this.socket.on('data', (chunk) => (this.received += chunk));
    this.socket.on('error', ({ code }) => this.events.push(code));
    for (const event of ['connect', 'end', 'close']) {
      this.socket.on(event, () => this.events.push(event));
    }
  }

  until(what, condition) {
    const seen = () => `${this.events} and ${this.received.length} bytes`;
    return waitUntil(what, () => condition(this)).catch(({ message }) =>
      assert.fail(`${message}; saw ${seen()}`),
    );
  }

  untilEvent(name) {
    return this.until(name, ({ events }) => events.includes(name));
  }

  /** Sends a text and waits until the server has sent it back. */
  async echo(text) {
    const want = this.received + text;
    this.socket.write(text);
    await this.until(`the echo of ${text}`, ({ received }) => received === want);
  }
}

describe('proxy', () => {
  let server;
  let serverReceived;
  let serverSockets;
  let proxy;
  let clients;

  before(async () => {
    server = net.createServer({ allowHalfOpen: true }, (socket) => {
      serverSockets.push(socket);
      socket.on('data', (chunk) => {
        serverReceived += chunk;
        socket.write(chunk);
      });
      socket.on('end', () => socket.end());
      socket.on('error', () => {});
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  });

  after(() => server.close());

  beforeEach(async () => {
    clients = [];
    serverSockets = [];
    serverReceived = '';
    proxy = await startProxy({ host: '127.0.0.1', port: server.address().port });
  });

  afterEach(async () => {
    for (const { socket } of clients) socket.destroy();
    for (const socket of serverSockets) socket.destroy();
    await proxy.close();
  });

  const connect = () => {
    const client = new Client(proxy);
    clients.push(client);
    return client;
  };

  it('passes bytes and the end of a stream, and counts connections', async () => {
    const client = connect();
    await client.echo('hello');
    assert.equal(proxy.connections, 1);
    client.socket.end('bye');
    await client.untilEvent('end');
    assert.equal(client.received, 'hellobye');
    await client.until('no connection', () => proxy.connections === 0);
    assert.deepEqual(client.events.slice(0, 2), ['connect', 'end']);
  });

  it('passes large streams whole', async () => {
    const client = connect();
    const size = 8 << 20;
    client.socket.write(Buffer.alloc(size, 'x'));
    await client.until('all bytes', ({ received }) => received.length === size);
  });

  it('delays each direction', async () => {
    await proxy.delay(50);
    const client = connect();
    const began = performance.now();
    await client.echo('a');
    // A lower bound holds on any machine, however slow. Timers may fire up to 1 ms early.
    assert.ok(performance.now() - began >= 98);
  });

  it('cuts open and new connections with a reset', async () => {
    const open = connect();
    await open.echo('a');
    await proxy.cut();
    await open.untilEvent('close');
    assert.ok(open.events.includes('ECONNRESET'), String(open.events));
    const late = connect();
    await late.untilEvent('close');
    assert.ok(late.events.includes('ECONNRESET'), String(late.events));
    await proxy.pass();
    await connect().echo('b');
  });

  it('is silent, and forwards what was held back when it passes again', async () => {
    const open = connect();
    await open.echo('a');
    await proxy.silent();
    open.socket.write('b');
    const late = connect();
    await late.untilEvent('connect');
    late.socket.write('c');
    await sleep(QUIET_MS);
    assert.equal(serverReceived, 'a');
    assert.deepEqual([open.received, late.received], ['a', '']);
    await proxy.pass();
    await open.until('the echo', ({ received }) => received === 'ab');
    await late.until('the echo', ({ received }) => received === 'c');
  });

  it('mutes the server alone', async () => {
    const client = connect();
    await client.echo('a');
    await proxy.mute();
    client.socket.write('b');
    await client.until('the server has it', () => serverReceived === 'ab');
    await sleep(QUIET_MS);
    assert.equal(client.received, 'a');
    await proxy.pass();
    await client.until('the echo', ({ received }) => received === 'ab');
  });

  it('swallows the SYN of new connections when black-holed, and holds open ones', async () => {
    const open = connect();
    await open.echo('a');
    await proxy.blackHole();
    open.socket.write('b');
    const late = connect();
    await sleep(QUIET_MS);
    assert.deepEqual(late.events, []);
    assert.ok(late.socket.connecting);
    assert.deepEqual([serverReceived, open.received, open.events], ['a', 'a', ['connect']]);
    await proxy.pass();
    await open.until('the echo', ({ received }) => received === 'ab');
    await connect().echo('c');
  });

  it('half-closes: the client reads an end, and is still heard', async () => {
    const client = connect();
    await client.echo('a');
    await proxy.halfClose();
    await client.untilEvent('end');
    client.socket.write('b');
    await client.until('the server has it', () => serverReceived === 'ab');
    assert.ok(!client.events.includes('close'));
  });

  it('throttles', async () => {
    await proxy.throttle(10_000);
    const client = connect();
    const began = performance.now();
    client.socket.write(Buffer.alloc(1500, 'x'));
    await client.until('all bytes', ({ received }) => received.length === 1500);
    assert.ok(performance.now() - began >= 100);
  });

  it('refuses new connections and leaves open ones', async () => {
    const open = connect();
    await open.echo('a');
    await proxy.refuse();
    const late = connect();
    await late.untilEvent('close');
    assert.ok(late.events.includes('ECONNREFUSED'), String(late.events));
    await open.echo('b');
    await proxy.pass();
    await connect().echo('c');
  });

  it('resets the client when the server resets', async () => {
    const client = connect();
    await client.echo('a');
    serverSockets[0].resetAndDestroy();
    await client.untilEvent('close');
    assert.ok(client.events.includes('ECONNRESET'), String(client.events));
    await client.until('no connection', () => proxy.connections === 0);
  });

  it('closes with connections in every mode', async () => {
    for (const mode of ['pass', 'silent', 'blackHole', 'refuse', 'halfClose']) {
      const one = await startProxy({ host: '127.0.0.1', port: server.address().port });
      const client = new Client(one);
      clients.push(client);
      await client.echo('a');
      await one[mode]();
      await one.close();
      assert.equal(one.connections, 0, mode);
      // Node does not read after the end of a stream, and so does not see a later reset.
      await client.untilEvent(mode === 'halfClose' ? 'end' : 'close');
    }
  });
});
