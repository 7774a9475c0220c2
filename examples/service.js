// An HTTP service: it starts once its database is available, gives up queries whose clients have
// hung up, and ends in order on SIGTERM.

import { createServer } from 'node:http';
import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL, {
  applicationName: 'service',
  minIdle: 2,
  failFast: false,
});

async function answer(request, response) {
  const hungUp = new AbortController();
  response.on('close', () => hungUp.abort());
  try {
    const [{ now }] = await pool.query('SELECT now()', [], {
      signal: hungUp.signal,
      timeoutMs: 2000,
    });
    response.end(JSON.stringify({ now }));
  } catch (error) {
    if (hungUp.signal.aborted) return;
    // No host is available at the moment: the client may try again.
    response.statusCode = error.outcome === 'not-sent' ? 503 : 500;
    response.end(JSON.stringify({ code: error.code }));
  }
}

await pool.ready();
const server = createServer(answer);
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () =>
  console.log(`http://127.0.0.1:${server.address().port}`),
);

process.once('SIGTERM', async () => {
  // First end the requests, then the queries that they have made.
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeIdleConnections();
  });
  await pool.end({ timeoutMs: 5000 });
  console.log('ended');
});
