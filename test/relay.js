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
