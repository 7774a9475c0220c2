// The tasks of an installed package on each platform. This runs in an empty project. When it prints
// `ready`, its caller lets the primary crash. HYPERION_SMOKE has the options of the pool. It needs
// nothing except the package.

const assert = require('node:assert/strict');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { Worker } = require('node:worker_threads');

// Found from the project, wherever this file lies.
const entry = require.resolve('hyperiondb-client', { paths: [process.cwd()] });
const { createPool } = require(entry);
const options = {
  acquireTimeoutMs: 60_000,
  poolSize: 6,
  ...JSON.parse(process.env.HYPERION_SMOKE),
};

async function basics(pool) {
  await pool.ready();
  const [row] = await pool.query(
    'SELECT $1::int AS a, $2::text AS b, $3::bytea AS c, $4::int8 AS d, $5::jsonb AS e, now() AS f',
    [7, 'Grüße', Buffer.from([0, 255]), 2n ** 60n, { x: [1, null] }],
  );
  const { a, b, c, d, e } = row;
  assert.deepEqual({ a, b, d, e }, { a: 7, b: 'Grüße', d: 2n ** 60n, e: { x: [1, null] } });
  assert.deepEqual([...c], [0, 255]);
  const many = Array.from({ length: 1000 }, (_, n) => pool.query('SELECT $1::int AS n', [n]));
  (await Promise.all(many)).forEach((rows, n) => assert.equal(rows[0].n, n));
  const rows = await pool.query('SELECT n, repeat($1, 20) AS t FROM generate_series(1, 50000) n', [
    'x',
  ]);
  assert.equal(rows.length, 50_000);
  const long = 'y'.repeat(4_000_000);
  assert.equal((await pool.query('SELECT $1::text AS t', [long]))[0].t, long);
}

async function failures(pool) {
  await assert.rejects(pool.query('SELECT nothing FROM nowhere'), { code: '42P01' });
  const late = pool.query('SELECT pg_sleep(60)::text', [], { timeoutMs: 50 });
  await assert.rejects(late, { name: 'TimeoutError' });
  const controller = new AbortController();
  const aborted = pool.query('SELECT pg_sleep(60)::text', [], { signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(aborted, { name: 'AbortError' });
  const refused = createPool({ ...options, hosts: ['127.0.0.1:1'] });
  await assert.rejects(refused.query('SELECT 1'), { code: 'HYPERION_UNREACHABLE' });
  await refused.end();
}

async function transactions(pool) {
  await pool.query('DROP TABLE IF EXISTS smoke; CREATE TABLE smoke (id int PRIMARY KEY)');
  await pool.transaction((tx) => tx.query('INSERT INTO smoke VALUES (-1)'));
  const undone = pool.transaction(async (tx) => {
    await tx.query('INSERT INTO smoke VALUES (-2)');
    throw new RangeError('undone');
  });
  await assert.rejects(undone, RangeError);
  assert.deepEqual(await pool.query('SELECT id FROM smoke'), [{ id: -1 }]);
}

/** Workers that end in the middle of their work must not affect the rest. */
async function workers() {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const pool = require(workerData.entry).createPool(workerData.options);
    pool.query('SELECT 1').then(() => parentPort.postMessage('busy'));
    for (let n = 0; n < 3; n += 1) pool.query('SELECT pg_sleep(60)::text').catch(() => {});`;
  for (let n = 0; n < 3; n += 1) {
    const worker = new Worker(source, { eval: true, workerData: { entry, options } });
    const failed = new Promise((_, reject) => worker.once('error', reject));
    await Promise.race([new Promise((resolve) => worker.once('message', resolve)), failed]);
    await worker.terminate();
  }
}

/**
 * Writes until the new primary has accepted 50 rows. Every acknowledged row must be there then.
 */
async function failover(pool) {
  const acknowledged = [];
  const unknown = [];
  let next = 0;
  let behind = 0;
  let isBehind = false;
  pool.on('primary', ({ previous }) => {
    if (previous !== null && previous !== undefined) isBehind = true;
  });
  const writer = async () => {
    while (behind < 50) {
      const id = next;
      next += 1;
      try {
        await pool.query('INSERT INTO smoke VALUES ($1)', [id]);
        acknowledged.push(id);
        if (isBehind) behind += 1;
      } catch (error) {
        if (error.outcome !== 'unknown') throw error;
        unknown.push(id);
      }
      await sleep(5);
    }
  };
  const writing = Promise.all([writer(), writer(), writer(), writer()]);
  setTimeout(() => console.log('ready'), 100);
  await writing;
  const kept = new Set((await pool.query('SELECT id FROM smoke')).map(({ id }) => id));
  const lost = acknowledged.filter((id) => !kept.has(id));
  assert.deepEqual(lost, [], 'what was acknowledged is there');
  return { acknowledged: acknowledged.length, unknown: unknown.length };
}

async function main() {
  const pool = createPool(options);
  await basics(pool);
  await failures(pool);
  await transactions(pool);
  await workers();
  const seen = await failover(pool);
  assert.ok(pool.cluster().some(({ serves }) => serves));
  await pool.end();
  console.log(JSON.stringify({ ...seen, from: path.basename(path.dirname(path.dirname(entry))) }));
}

// Nothing here ends the process, since it has to end by itself.
main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
