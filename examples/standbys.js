// Writes on the primary, reads on the standbys: two pools over the same hosts.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

const primary = createPool(process.env.DATABASE_URL);
const standbys = createPool(process.env.DATABASE_URL, {
  mode: 'prefer-standby',
  loadBalance: 'least-connections',
});
primary.on('primary', ({ host, previous }) => {
  if (previous !== null) console.log(`failover: ${previous} -> ${host}`);
});
primary.on('fence', ({ host, role }) => console.log(`${host} is ${role}`));

const IS_STANDBY = 'SELECT pg_is_in_recovery() AS standby';
console.log('primary pool', await primary.query(IS_STANDBY));
console.log('standby pool', await standbys.query(IS_STANDBY));

// A standby lacks the changes that it has not replayed yet. To see your own write, read on the
// primary, or ask a standby whether it has replayed that write.
const [{ lsn }] = await primary.query('SELECT pg_current_wal_insert_lsn()::text AS lsn');
const CATCHES_UP = 'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done';
const isThere = async () => (await standbys.query(CATCHES_UP, [lsn]))[0].done !== false;
while (!(await isThere())) await new Promise((resolve) => setTimeout(resolve, 10));

const serving = standbys.cluster().filter(({ serves }) => serves);
console.log(serving.length > 0 && serving.every(({ state }) => state === 'up'));

await Promise.all([primary.end(), standbys.end()]);
