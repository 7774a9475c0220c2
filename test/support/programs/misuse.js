// Misuses a pool in the ways that programs do, in an order by a seed, and prints the pool's state
// afterwards. It is a separate process for two reasons: listeners that throw end in
// 'uncaughtException', and an open handle would keep the process from exiting.
//
// node test/support/programs/misuse.js '<options of createPool>' <queries> <seed>

import assert from 'node:assert/strict';
import process from 'node:process';

import { createPool } from '../../../js/index.mjs';
import { Random } from '../random.js';

const [options, queries, seed] = [
  process.argv[2],
  Number(process.argv[3]),
  Number(process.argv[4]),
];
const WORKERS = 60;

const random = new Random(seed);
const below = (n) => random.below(n);

const report = { asked: 0, answered: 0, failed: 0, thrown: 0, warnings: 0, codes: {} };
process.on('uncaughtException', (error) => {
  if (error.message !== 'a listener throws') throw error;
  report.thrown += 1;
});
process.on('warning', () => (report.warnings += 1));

const pool = createPool(JSON.parse(options));
pool.on('notice', () => {
  // A listener that calls back into the pool, and throws.
  void ask(pool);
  throw new Error('a listener throws');
});

/** One query with a known result, and every way in which it may fail. */
function ask(queryable, sql = 'SELECT $1::int AS n', more) {
  const n = below(1000);
  report.asked += 1;
  return queryable.query(sql, String(sql).includes('$1') ? [n] : undefined, more).then(
    (rows) => {
      report.answered += 1;
      if (sql.includes('AS n')) assert.deepEqual(rows, [{ n }]);
    },
    (error) => {
      report.failed += 1;
      report.codes[error.code] = (report.codes[error.code] ?? 0) + 1;
      assert.notEqual(error.code, 'HYPERION_INTERNAL', error.stack);
    },
  );
}

const ignore = (promise) => promise.then(undefined, () => {});
const kept = [];
/** Objects that will be used after their end. */
function keep(thing) {
  kept[below(100)] = thing;
}

const MISUSES = [
  () => ask(pool),
  () => ask(pool),
  () => ask(pool, 'SELECT broken'),
  () => ask(pool, "DO $$ BEGIN RAISE NOTICE 'heard' ; END $$"),
  () => ask(pool, 'SELECT 1; SELECT 2'),
  () => ask(pool, "SET application_name = 'mine'"),
  () => ask(pool, 42),
  () => ask(pool, 'SELECT $1::int AS n', { wrong: true }),
  // A parameter whose getter calls the pool.
  async () => {
    const params = [0];
    Object.defineProperty(params, 0, {
      get() {
        void ask(pool);
        throw new Error('a getter throws');
      },
    });
    report.asked += 1;
    await ignore(pool.query('SELECT $1::int AS n', params));
    report.failed += 1;
  },
  // Transactions: a correct one, failed ones, and one whose query is not awaited.
  () => ignore(pool.transaction((tx) => ask(tx))),
  () => ignore(pool.transaction((tx) => ask(tx, 'SELECT broken').then(() => ask(tx)))),
  () => ignore(pool.transaction((tx) => void ask(tx))),
  () =>
    ignore(
      pool.transaction(() => {
        throw new Error('a callback throws');
      }),
    ),
  () => ignore(pool.transaction((tx) => ask(tx, ['COMMIT', 'ROLLBACK', 'BEGIN'][below(3)]))),
  () =>
    ignore(
      pool.transaction((tx) =>
        Promise.all([
          tx.savepoint((sp) => ask(sp)),
          tx.savepoint((sp) => ask(sp, 'SELECT broken')),
        ]),
      ),
    ),
  // A transaction that never ends, ends twice, or continues after its end.
  async () => {
    const tx = await pool.begin();
    keep(tx);
    await ask(tx);
    switch (below(6)) {
      case 0:
        return;
      case 1:
        await ignore(tx.rollback());
        break;
      default:
        await ignore(tx.commit());
    }
    await Promise.all([ignore(tx.commit()), ignore(tx.rollback()), ask(tx)]);
  },
  async () => {
    const connection = await pool.connect();
    keep(connection);
    await ask(connection);
    void ask(connection, "SET work_mem = '1MB'");
    if (below(4) === 0) void ask(connection, 'BEGIN');
    if (below(4) === 0) void ignore(connection.begin());
    if (below(4) === 0) void ignore(connection.transaction((tx) => ask(tx)));
    // Released twice, and while queries are running.
    await Promise.all([connection.release(), connection.release(), ask(connection)]);
    await connection.release();
  },
  // Calls that are given up at any moment: by a shared signal, by `timeoutMs`, by both.
  async () => {
    const controller = new AbortController();
    const limits = {};
    if (below(3) > 0) limits.signal = controller.signal;
    if (below(3) > 0) limits.timeoutMs = 1 + below(6);
    const sleep = (on, more) => ask(on, 'SELECT pg_sleep(0.002)::text', more);
    setTimeout(() => controller.abort(), below(6));
    await Promise.all([
      sleep(pool, limits),
      ignore(pool.transaction((tx) => sleep(tx).then(() => ask(tx)), limits)),
      ignore(pool.transaction((tx) => Promise.all([sleep(tx), sleep(tx), ask(tx)]), limits)),
      ignore(pool.transaction((tx) => void sleep(tx), { ...limits, retries: 1 })),
      ignore(pool.begin(limits).then((tx) => (keep(tx), sleep(tx)))),
      ignore(
        pool.connect(limits).then(async (connection) => {
          await ignore(connection.transaction((tx) => sleep(tx), limits));
          await ask(connection);
          await connection.release();
        }),
      ),
    ]);
  },
  // A connection or transaction that has ended, or that another worker uses.
  async () => {
    const thing = kept[below(100)];
    if (thing === undefined) return;
    await ask(thing);
    await ignore(thing.rollback?.() ?? thing.release());
  },
];

async function work() {
  while (report.asked < queries) {
    const misuse = MISUSES[below(MISUSES.length)];
    // A pool timeout is a valid answer too.
    await misuse().catch((error) => assert.equal(error.name, 'PoolTimeoutError', error.stack));
  }
}
await Promise.all(Array.from({ length: WORKERS }, work));

// The pool takes back what was never finished, and every call settles.
kept.length = 0;
while (pool.status().inUse > 0 || report.answered + report.failed < report.asked) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
report.status = pool.status();
report.works = await pool.query("SELECT current_setting('work_mem') <> '1MB' AS clean");
await pool.end();
await ask(pool);
report.handles = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY|File/.test(name));
console.log(JSON.stringify(report));
