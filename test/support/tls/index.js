// Servers with TLS, for tests: certificates of every kind, and proxies that stand in between.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('certificates.sh', import.meta.url));

let folder;

/** The path of a file that certificates.sh makes. */
export function certificate(name) {
  if (folder === undefined) {
    folder = mkdtempSync(path.join(tmpdir(), 'hyperiondb-tls-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    execFileSync('sh', [SCRIPT, folder], { stdio: 'ignore' });
  }
  return path.join(folder, name);
}

export const pem = (name) => readFileSync(certificate(name), 'utf8');

/** HYPERION_TLS=1: all clusters of the tests have TLS, and their pools ask for it. */
export const WITH_TLS = process.env.HYPERION_TLS === '1';

/** Gives a server a certificate, before it starts or reads its settings again. */
export async function certify(node, { name = 'server', ca = 'ca-ec', settings = {} } = {}) {
  await node.write('server.crt', pem(`${name}.crt`));
  await node.write('server.key', pem(`${name}.key`));
  await node.write('ca.crt', pem(`${ca}.crt`));
  await node.configure({
    ssl: 'on',
    ssl_cert_file: 'server.crt',
    ssl_key_file: 'server.key',
    ssl_ca_file: 'ca.crt',
    ...settings,
  });
}

/** The lines of pg_hba.conf for users over TCP; superusers of the tests come by the socket. */
const RULES = {
  any: (auth) => `host all all 127.0.0.1/32 ${auth}`,
  hostssl: (auth) => `hostssl all all 127.0.0.1/32 ${auth}`,
  hostnossl: (auth) => `hostnossl all all 127.0.0.1/32 ${auth}`,
};

/**
 * Gives a running server a certificate, and says who may come in.
 * @param {object} node
 * @param {{ name?: string, ca?: string, rule?: 'any' | 'hostssl' | 'hostnossl', auth?: string,
 *   settings?: object }} [options] `name` is that of a certificate
 */
export async function secure(node, options = {}) {
  const { rule = 'any', auth = 'scram-sha-256' } = options;
  const lines = [`local all all ${auth === 'cert' ? 'trust' : auth}`, RULES[rule](auth)];
  const ours = 'local replication all trust\nhost replication all 127.0.0.1/32 trust';
  await node.write('pg_hba.conf', `${lines.join('\n')}\n${ours}\n`);
  // What an earlier call has set stays in force otherwise.
  const settings = { ssl_max_protocol_version: '', ...options.settings };
  await certify(node, { ...options, settings });
  await node.reload();
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/**
 * A proxy in front of a server. `handle(client, index)` gets each new connection, and
 * `connections` has the first bytes of each.
 */
async function listen(t, handle) {
  const sockets = new Set();
  const server = net.createServer((client) => {
    sockets.add(client);
    client.on('error', () => {});
    handle(client);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server.address().port;
}

/** Passes everything on, and notes how each connection began. */
export async function watch(t, port) {
  const began = [];
  const own = await listen(t, (client) => {
    const server = net.connect(port, '127.0.0.1');
    server.on('error', () => client.destroy());
    client.once('data', (bytes) => began.push(bytes));
    client.pipe(server).pipe(client);
    client.on('close', () => server.destroy());
  });
  return { port: own, began, isEncrypted: (bytes) => SSL_REQUEST.equals(bytes.subarray(0, 8)) };
}

/**
 * Passes on so many bytes of one direction, and ends the connection then. `passed` has how many
 * bytes of either direction each connection has passed on.
 * @param {object} t
 * @param {number} port
 * @param {object} cut
 * @param {'client' | 'server'} cut.from whose bytes are counted
 * @param {number} cut.after how many of them are passed on
 * @param {'end' | 'reset' | 'stall'} cut.how what follows
 * @param {number} [cut.connections] how many connections are cut; by default all
 */
export async function cutting(t, port, { from, after, how, connections = Infinity }) {
  const passed = [];
  const own = await listen(t, (client) => {
    const counts = { client: 0, server: 0 };
    const isCut = passed.push(counts) <= connections;
    const server = net.connect(port, '127.0.0.1');
    const finish = () => {
      server.destroy();
      if (how === 'reset') client.resetAndDestroy();
      else client.end();
    };
    const pass = (name, source, target) => {
      source.on('data', (bytes) => {
        const left = isCut && name === from ? after - counts[name] : Infinity;
        const part = bytes.subarray(0, left);
        counts[name] += part.length;
        if (bytes.length < left) return target.write(part);
        source.pause();
        target.write(part, how === 'stall' ? undefined : finish);
      });
    };
    pass('client', client, server);
    pass('server', server, client);
    server.on('error', () => client.destroy());
    server.on('close', () => how !== 'stall' && client.end());
    client.on('close', () => server.destroy());
    if (isCut && after === 0) {
      server.pause();
      if (how !== 'stall') finish();
    }
  });
  return { port: own, passed };
}

/** Answers the request for TLS as `answer(socket, count)` says. */
export function answering(t, answer) {
  let count = 0;
  return listen(t, (client) => client.once('data', () => answer(client, (count += 1))));
}

/** Answers by a certificate of its own, and passes on over TLS what it reads. */
export function interceptor(t, port, name) {
  return listen(t, (client) => {
    client.once('data', () => {
      const server = net.connect(port, '127.0.0.1', () => server.write(SSL_REQUEST));
      server.once('data', () => {
        client.write('S');
        const near = new tls.TLSSocket(client, {
          isServer: true,
          cert: pem(`${name}.crt`),
          key: pem(`${name}.key`),
        });
        const far = tls.connect({ socket: server, rejectUnauthorized: false });
        for (const socket of [near, far]) socket.on('error', () => client.destroy());
        near.pipe(far).pipe(near);
      });
    });
  });
}
