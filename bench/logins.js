// Measures how much CPU a login costs one client, and how long twenty logins at once hold the loop, in
// a process of its own. Prints one line of JSON. Usage: node bench/logins.js <client> <connection as JSON>

import process from 'node:process';

import { CLIENTS } from './clients.js';

const [name, connectionJson] = process.argv.slice(2);
const connection = JSON.parse(connectionJson);

const LOGINS = 60;
const AT_ONCE = 20;
/** So long that no connection is free for a second query. */
const SLEEP = "SELECT $1::int AS id, 'a name'::text AS name FROM pg_sleep(0.5)";

async function login() {
  const client = await CLIENTS[name](connection, 1);
  await client.query('SELECT $1::int AS id', 1);
  await client.close();
}

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** The most CPU, in ms, that one turn of the loop takes until `work` is done. */
async function longestHold(work) {
  let longest = 0;
  let last = cpuMs();
  let isOver = false;
  const tick = () => {
    const now = cpuMs();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(tick);
  };
  setImmediate(tick);
  await work();
  isOver = true;
  return longest;
}

for (let n = 0; n < 10; n++) await login();
const before = process.cpuUsage();
for (let n = 0; n < LOGINS; n++) await login();
const { user, system } = process.cpuUsage(before);

const hold = await longestHold(async () => {
  const client = await CLIENTS[name](connection, AT_ONCE);
  await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => client.query(SLEEP, n)));
  await client.close();
});
console.log(JSON.stringify({ cpuPerLogin: (user + system) / LOGINS, hold }));
