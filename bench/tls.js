// npm run bench -- --tls: what TLS costs this client, beside its own plain text and beside `pg` and
// `postgres` over TLS. Part of npm run bench.

import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { startCluster } from '../test/support/cluster/index.js';
import { pem, secure } from '../test/support/tls/index.js';
import { machine } from './machine.js';
import { figure, printTable, runMeasure, summary } from './rounds.js';
import { chooseServer } from './server.js';
import { SETUP, WORKS } from './works.js';

const LOGINS = fileURLToPath(new URL('logins.js', import.meta.url));

const PLAIN = 'hyperiondb, plain';
const CLIENTS = ['hyperiondb', 'pg', 'postgres'];

/** A figure of one work, compared with that of another client, and the project's bound for it. */
const PROMISES = [
  ['CPU, 1 at a time, TLS / plain', 'one-by-one', 'cpuPerQuery', PLAIN, 'at most 1.15'],
  ['CPU, 200 at a time, TLS / plain', 'saturated', 'cpuPerQuery', PLAIN, 'at most 1.6'],
  ['CPU, 1 at a time / pg', 'one-by-one', 'cpuPerQuery', 'pg', 'at most 0.85'],
  ['CPU, 200 at a time / pg', 'saturated', 'cpuPerQuery', 'pg', 'at most 0.15'],
  ['CPU, 1000 rows x 10 / pg', 'mixed-thousand', 'cpuPerQuery', 'pg', 'at most 0.25'],
  ['CPU, a login / pg', 'logins', 'cpuPerLogin', 'pg', 'at most 0.35'],
];

function printLogins(rows) {
  console.log('\n### Logins over TLS\n');
  console.log('| client | CPU µs/login | CPU ms of the longest turn, 20 at once |');
  console.log('|---|---:|---:|');
  for (const [name, { cpuPerLogin, hold }] of Object.entries(rows)) {
    console.log(`| ${name} | ${figure(cpuPerLogin, 0)} | ${figure(hold, 1)} |`);
  }
}

function printRatios(results) {
  console.log('\n| ratio over TLS | this run |\n|---|---:|');
  for (const [title, work, key, other, bound] of PROMISES) {
    const ratio = results[work].hyperiondb[key] / results[work][other][key];
    console.log(`| ${title} (${bound}) | ${figure(ratio, 2)} |`);
  }
  const { hold } = results.logins.hyperiondb;
  console.log(`| CPU ms of the longest turn, 20 logins at once (at most 3) | ${figure(hold, 1)} |`);
}

/** @param {{ seconds: string, rounds: string }} options */
export async function benchTls({ seconds, rounds }) {
  const cluster = await startCluster({ nodes: 1, ...chooseServer() });
  try {
    await secure(cluster.primary);
    await cluster.query(cluster.primary, SETUP);
    const { host, port } = cluster.primary;
    const { user, password, database } = cluster;
    const plain = { host, port, user, password, database };
    const encrypted = { ...plain, ssl: { ca: pem('ca-ec.crt') } };
    console.log(`\n${machine()}\nTLS on loopback, verified in full, P-256`);
    const lanes = [
      [PLAIN, 'hyperiondb', plain],
      ...CLIENTS.map((client) => [client, client, encrypted]),
    ];
    const results = {};
    const collect = (work, round) => {
      const lists = {};
      for (let n = 0; n < Number(rounds); n++) {
        for (const lane of lanes) (lists[lane[0]] ??= []).push(round(lane));
      }
      const entries = Object.entries(lists).map(([name, list]) => [name, summary(list)]);
      results[work] = Object.fromEntries(entries);
    };
    for (const work of ['one-by-one', 'saturated', 'mixed-thousand']) {
      collect(work, ([, client, connection]) =>
        runMeasure(process.execPath, [client, work, seconds, JSON.stringify(connection)]),
      );
      printTable(`${WORKS[work].title}, over TLS`, results[work]);
    }
    collect('logins', ([, client, connection]) =>
      runMeasure(process.execPath, [client, JSON.stringify(connection)], LOGINS),
    );
    printLogins(results.logins);
    printRatios(results);
  } finally {
    await cluster.close();
  }
}
