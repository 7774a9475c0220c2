// A relay in front of a server.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** Counts how often the client speaks after the server has spoken; `rewrite` may put other words into its mouth. */
export async function countingRelay({ host, port }, rewrite = (chunk) => chunk) {
  let serverSpoke = true;
  const relay = { roundTrips: 0 };
  const sockets = new Set();
  const listener = createServer((client) => {
    const server = connect({ host, port });
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    client.on('data', (chunk) => {
      if (serverSpoke) relay.roundTrips += 1;
      serverSpoke = false;
      server.write(rewrite(chunk));
    });
    server.on('data', () => (serverSpoke = true));
    client.on('end', () => server.end());
    server.pipe(client);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  relay.address = `127.0.0.1:${listener.address().port}`;
  relay.close = () => {
    sockets.forEach((socket) => socket.destroy());
    listener.close();
  };
  return relay;
}

/** An address that leads to a server, and counts who comes. */
export async function startAddress(t, host, port, server) {
  const sockets = new Set();
  const address = { server, accepted: 0 };
  const listener = createServer((client) => {
    address.accepted += 1;
    const behind = connect(address.server.port, address.server.host);
    const ends = [client, behind];
    for (const [socket, other] of [ends, ends.toReversed()]) {
      sockets.add(socket.on('error', () => other.destroy()).on('close', () => other.destroy()));
    }
    client.pipe(behind).pipe(client);
  });
  listener.listen(port, host);
  await once(listener, 'listening');
  t.after(() => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  });
  address.port = listener.address().port;
  return address;
}
