// One client under a steady load, in a process of its own. Some writers each begin a write every
// few milliseconds. It sends when each write was acknowledged, on the monotonic clock that all
// processes share. Usage: fork(writer.js, [client, pools, writers, everyMs, connection as JSON]).
// It ends when it gets 'stop'.

import process from 'node:process';

import { CLIENTS } from './clients.js';

const [name, pools, writers, everyMs, connectionJson] = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint()) / 1e6;

let isStopped = false;
let unknown = 0;

/** Writes until it is stopped, and keeps the time of each acknowledgement. */
async function write(client, lane, times) {
  for (let n = 0; !isStopped; n++) {
    const next = now() + Number(everyMs);
    try {
      await client.write(`${name}-${lane}-${n}`);
      times.push(now());
    } catch {
      unknown += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - now())));
  }
}

async function start(pool) {
  const client = await CLIENTS[name](JSON.parse(connectionJson), Number(writers));
  const times = [];
  const lanes = Array.from({ length: Number(writers) }, (_, n) =>
    write(client, `${pool}.${n}`, times),
  );
  return { client, times, lanes };
}

const running = await Promise.all(Array.from({ length: Number(pools) }, (_, n) => start(n)));

process.on('message', async (message) => {
  if (message === 'count') {
    process.send({ counts: running.map(({ times }) => times.length) });
    return;
  }
  isStopped = true;
  // Writes that hang on a silent host are not waited for.
  process.send({ times: running.map(({ times }) => times), unknown }, () => process.exit());
});
process.send('ready');
