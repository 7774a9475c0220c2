// npm run bench: measures this client, `pg`, `postgres`, Bun's own client and pgbench on the same
// server, in one run.
//
// Each client has a process of its own and a turn in every round, so that a disturbance of the
// machine affects all of them. The median of the rounds is printed. Compare ratios within one run,
// and not different runs.

import process from 'node:process';
import { parseArgs } from 'node:util';

import { startCluster } from '../test/support/cluster/index.js';
import { findBun } from './bun.js';
import { CLIENTS } from './clients.js';
import { benchFirstQuery } from './first-query.js';
import { machine } from './machine.js';
import { findPgbench, runPgbench } from './pgbench.js';
import { figure, printTable, runMeasure, summary } from './rounds.js';
import { chooseServer } from './server.js';
import { benchTls } from './tls.js';
import { SETUP, WORKS } from './works.js';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    work: { type: 'string', multiple: true },
    client: { type: 'string', multiple: true },
    // Measures what TLS costs, and nothing else.
    tls: { type: 'boolean', default: false },
  },
});

/** One round of one client on one work. */
const measure = (client, work, connection) =>
  runMeasure(client === 'bun' ? bun.program : process.execPath, [
    ...[client, work, options.seconds],
    JSON.stringify(connection),
  ]);

/**
 * The project's promises: a figure of one work compared with that of another client, and a bound
 * for their ratio.
 */
const PROMISES = [
  ['p50, 1 at a time / pgbench average', 'one-by-one', 'p50', 'pgbench', 'average', 'at most 1.15'],
  ['p50, 1 at a time / pg', 'one-by-one', 'p50', 'pg', 'p50', 'below 1'],
  ['CPU, 1 at a time / pg', 'one-by-one', 'cpuPerQuery', 'pg', 'cpuPerQuery', 'at most 0.5'],
  ['CPU, 10 at a time / pg', 'ten-by-ten', 'cpuPerQuery', 'pg', 'cpuPerQuery', 'at most 0.5'],
  ['CPU, 200 at a time / pg', 'saturated', 'cpuPerQuery', 'pg', 'cpuPerQuery', 'at most 0.5'],
  [
    'queries/s, 200 at a time / pg',
    'saturated',
    'queriesPerSecond',
    'pg',
    'queriesPerSecond',
    'at least 5',
  ],
  ['CPU, 1000 rows x 5 / pg', 'thousand-rows', 'cpuPerQuery', 'pg', 'cpuPerQuery', 'at most 0.4'],
  ...[
    ['1000 rows x 10', 'mixed-thousand'],
    ['20000 rows x 10', 'mixed-many'],
  ].flatMap(([title, work]) => [
    [`CPU, ${title} / pg`, work, 'cpuPerQuery', 'pg', 'cpuPerQuery', 'at most 0.25'],
    [`CPU, ${title} / postgres`, work, 'cpuPerQuery', 'postgres', 'cpuPerQuery', 'at most 0.2'],
  ]),
];

function printRatios(results) {
  const rows = PROMISES.map(([title, work, own, other, theirs, bound]) => {
    const ratio = results[work]?.hyperiondb?.[own] / results[work]?.[other]?.[theirs];
    return [`${title} (${bound})`, ratio];
  }).filter(([, ratio]) => !Number.isNaN(ratio));
  if (rows.length === 0) return;
  console.log('\n| ratio | this run |\n|---|---:|');
  for (const [name, value] of rows) console.log(`| ${name} | ${figure(value, 2)} |`);
}

const bun = await findBun();

async function benchWorks() {
  const cluster = await startCluster({ nodes: 1, ...chooseServer() });
  try {
    const { host, port } = cluster.primary;
    const { user, password, database } = cluster;
    const connection = { host, port, user, password, database };
    await cluster.query(cluster.primary, SETUP);
    const [[version]] = await cluster.query(cluster.primary, 'SHOW server_version');
    console.log(`${machine()}\nPostgreSQL ${version} on loopback`);

    const pgbench = findPgbench();
    if (!pgbench)
      console.log('pgbench is not installed (Debian: postgresql-contrib or postgresql).');
    const works = options.work ?? Object.keys(WORKS);
    if (bun.missing !== undefined) console.log(bun.missing);
    const clients = (options.client ?? Object.keys(CLIENTS)).filter(
      (client) => client !== 'bun' || bun.missing === undefined,
    );
    const results = {};
    for (const work of works) {
      const rounds = {};
      const add = (name, round) => (rounds[name] ??= []).push(round);
      for (let round = 0; round < Number(options.rounds); round++) {
        for (const client of clients) add(client, measure(client, work, connection));
        // pgbench has at most one query in flight on each connection, and ends with the first one
        // that the server refuses.
        const { connections, concurrency, refusal } = WORKS[work];
        if (pgbench && concurrency <= connections && refusal === undefined) {
          add('pgbench', runPgbench(pgbench, connection, work, Number(options.seconds)));
        }
      }
      results[work] = Object.fromEntries(
        Object.entries(rounds).map(([name, list]) => [name, summary(list)]),
      );
      printTable(WORKS[work].title, results[work]);
    }
    printRatios(results);
  } finally {
    await cluster.close();
  }
}

if (!options.tls) await benchWorks();
if (!options.work && !options.tls) await benchFirstQuery();
if (!options.work) await benchTls(options);
