// A scripted server, for messages that no real PostgreSQL server sends. For each accepted
// connection it runs a script, an async function that reads the frontend's messages and sends
// bytes.

import { once } from 'node:events';
import { createServer } from 'node:net';

/** One backend message: a tag, and parts that are numbers of 32 bits, strings, or buffers. */
export function message(tag, ...parts) {
  const body = Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'number') return int32(part);
      return Buffer.from(part);
    }),
  );
  return Buffer.concat([Buffer.from(tag), int32(body.length + 4), body]);
}

export function int32(value) {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32BE(value | 0);
  return buffer;
}

export function int16(value) {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16BE(value & 0xffff);
  return buffer;
}

const text = (string) => `${string}\0`;

export const authenticationOk = message('R', 0);
export const parameterStatus = (name, value) => message('S', text(name), text(value));
const PROCESS = 4242;
export const backendKeyData = message('K', PROCESS, 2424);
export const readyForQuery = (status = 'I') => message('Z', status);
export const parseComplete = message('1');
export const bindComplete = message('2');
export const noData = message('n');
export const parameterDescription = (...oids) => message('t', int16(oids.length), ...oids);
export const commandComplete = (tag) => message('C', text(tag));
export const error = (fields) =>
  message('E', ...Object.entries(fields).map(([key, value]) => key + text(value)), '\0');
export const notice = (fields) =>
  message('N', ...Object.entries(fields).map(([key, value]) => key + text(value)), '\0');

/** Columns as [name, type oid]. */
export const rowDescription = (...columns) =>
  message(
    'T',
    int16(columns.length),
    ...columns.map(([name, oid]) =>
      Buffer.concat([
        Buffer.from(text(name)),
        int32(0),
        int16(0),
        int32(oid),
        int16(-1),
        int32(-1),
        int16(0),
      ]),
    ),
  );

/** Values as strings or null. */
export const dataRow = (...values) =>
  message(
    'D',
    int16(values.length),
    ...values.map((value) =>
      value === null
        ? int32(-1)
        : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
    ),
  );

/** The messages of a server of version 14 or newer after authentication. */
export const welcome = Buffer.concat([
  authenticationOk,
  parameterStatus('server_version', '15.0'),
  parameterStatus('in_hot_standby', 'off'),
  parameterStatus('default_transaction_read_only', 'off'),
  backendKeyData,
  readyForQuery(),
]);

/** The first answer to `SELECT one`, with the description of the statement. */
export const firstAnswer = (...rows) =>
  Buffer.concat([
    parseComplete,
    parameterDescription(),
    rowDescription(['one', 23]),
    bindComplete,
    ...rows,
    commandComplete(`SELECT ${rows.length}`),
    readyForQuery(),
  ]);

/** A frontend's connection, as the script sees it. */
class Frontend {
  #socket;
  #buffer = Buffer.alloc(0);
  #wake;
  #ended = false;

  constructor(socket) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data]);
      this.#wake?.();
    });
    const end = () => {
      this.#ended = true;
      this.#wake?.();
    };
    socket.on('close', end);
    socket.on('error', end);
  }

  send(...parts) {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(parts));
  }

  /** Resolves when the kernel has all bytes. */
  sendAndDrain(part) {
    return new Promise((resolve) => this.#socket.write(part, resolve));
  }

  end() {
    this.#socket.end();
  }

  reset() {
    this.#socket.resetAndDestroy();
  }

  get closed() {
    return this.#ended;
  }

  async #bytes(count) {
    while (this.#buffer.length < count) {
      if (this.#ended) throw new Error('the frontend has closed');
      await new Promise((resolve) => (this.#wake = resolve));
    }
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return taken;
  }

  /** The StartupMessage, which has no tag. */
  async startup() {
    const length = (await this.#bytes(4)).readInt32BE();
    return this.#bytes(length - 4);
  }

  async #next() {
    const header = await this.#bytes(5);
    const body = await this.#bytes(header.readInt32BE(1) - 4);
    return { tag: String.fromCharCode(header[0]), body };
  }

  /**
   * The next message: its tag and body. A session's first barrier also asks for the process ID.
   * That question is answered here, except for the ReadyForQuery.
   */
  async message() {
    const next = await this.#next();
    if (next.tag !== 'P' || !next.body.includes('pg_backend_pid()')) return next;
    await this.#next();
    await this.#next();
    this.send(parseComplete, bindComplete, dataRow(`${PROCESS}`), commandComplete('SELECT 1'));
    return this.#next();
  }

  /** Reads messages up to one with this tag. */
  async until(tag) {
    for (;;) {
      const next = await this.message();
      if (next.tag === tag) return next;
    }
  }

  /** Logs the frontend in, answers the barrier, and reads its first request. */
  async logIn() {
    await this.startup();
    this.send(welcome);
    await this.until('S');
    this.send(readyForQuery());
    await this.until('S');
  }
}

/**
 * Starts a server that runs `script` for each connection. An exception in it ends the connection.
 * @param {(frontend: Frontend, connection: number) => Promise<void>} script
 */
export async function scriptedBackend(script) {
  const sockets = new Set();
  let connections = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    script(new Frontend(socket), connections++).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  return {
    options: (extra) => ({
      hosts: [`127.0.0.1:${port}`],
      user: 'u',
      password: 'hunter2',
      database: 'd',
      poolSize: 1,
      ...extra,
    }),
    get connections() {
      return connections;
    },
    close() {
      sockets.forEach((socket) => socket.destroy());
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
