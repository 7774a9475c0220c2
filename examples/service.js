// An HTTP service: it starts once its database is available, says whether it is well, gives up
// queries whose clients have hung up, and ends in order on SIGTERM.

import { createServer } from 'node:http';
import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const pool = createPool(process.env.DATABASE_URL, {
  applicationName: 'service',
  minIdle: 2,
  failFast: false,
});

let isEnding = false;

/** For an orchestrator: asks the database nothing, so that it can be called often. */
function tellHealth(response) {
  const hosts = pool.cluster().filter(({ serves }) => serves);
  const { waiting } = pool.status();
  const isWell = !isEnding && hosts.length > 0;
  response.statusCode = isWell ? 200 : 503;
  response.end(JSON.stringify({ isWell, hosts: hosts.map(({ host }) => host), waiting }));
}

async function answer(request, response) {
  if (request.url === '/health') return tellHealth(response);
  if (request.url === '/metrics') {
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    return response.end(pool.prometheus());
  }
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
  isEnding = true;
  // First end the requests, then the queries that they have made.
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeIdleConnections();
  });
  await pool.end({ timeoutMs: 5000 });
  console.log('ended');
});
