// The command line: `node test/support/cluster/cli.js start --nodes 3 --version 16 --synchronous
// 1`.
//
// Keeps a cluster running, and executes commands from standard input, one per line. Ctrl-C or the
// end of the input ends the cluster.

import process from 'node:process';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { EMBEDDED_VERSIONS } from './binaries.js';
import { startCluster } from './index.js';

const USAGE = `usage: node test/support/cluster/cli.js start [options]
  --nodes N          how many nodes (3)
  --version V        PostgreSQL ${Object.keys(EMBEDDED_VERSIONS).join(', ')} (15)
  --binaries FOLDER  installed programs, instead of a version
  --synchronous K    quorum of synchronous standbys: ANY K (*) (0)
  --auth METHOD      scram-sha-256, md5, password or trust (scram-sha-256)
  --set NAME=VALUE   a setting for all nodes; may be repeated
  --max-connections N  (60)`;

const HELP = `  stop NODE [smart|fast|immediate]   start NODE    restart NODE
  crash NODE      kill all its processes
  freeze NODE     stop all its processes; thaw NODE lets them go on
  promote NODE    failover promotes the most advanced standby
  switchover [NODE]   fence the primary, promote a standby that has all, rejoin the old primary
  rejoin NODE     make it a standby of the present primary
  fence NODE      make it read-only; unfence NODE ends that
  wait            until the standbys have replayed all
  query NODE SQL  log NODE    status    help    quit`;

/** Commands that take a node and call the cluster's method of that name. */
const NODE_COMMANDS = new Set([
  ...['stop', 'start', 'restart', 'crash', 'freeze', 'thaw'],
  ...['promote', 'rejoin', 'fence', 'unfence'],
]);

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      nodes: { type: 'string' },
      version: { type: 'string' },
      binaries: { type: 'string' },
      synchronous: { type: 'string' },
      auth: { type: 'string' },
      set: { type: 'string', multiple: true, default: [] },
      'max-connections': { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help || positionals.length !== 1 || positionals[0] !== 'start') {
    console.log(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  const number = (text) => (text === undefined ? undefined : Number(text));
  const { version, binaries, auth } = values;
  return {
    version,
    binaries,
    auth,
    nodes: number(values.nodes),
    synchronous: number(values.synchronous),
    maxConnections: number(values['max-connections']),
    settings: Object.fromEntries(values.set.map(splitSetting)),
  };
}

function splitSetting(text) {
  const at = text.indexOf('=');
  if (at < 1) throw new Error(`--set takes NAME=VALUE, not "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function printSettings(cluster) {
  const { user, password, database } = cluster;
  console.log(`PostgreSQL ${cluster.binaries.version}, the primary is ${cluster.primary.name}`);
  console.log(`HYPERION_HOSTS=${cluster.hosts().join()}`);
  console.log(
    `HYPERION_USER=${user}\nHYPERION_PASSWORD=${password}\nHYPERION_DATABASE=${database}`,
  );
  const list = cluster.hosts().join();
  console.log(
    `postgresql://${user}:${password}@${list}/${database}?target_session_attrs=read-write`,
  );
  console.log('Type "help" for commands.');
}

function findNode(cluster, name) {
  const node = cluster.nodes.find((one) => one.name === name || one.address === name);
  if (node === undefined) throw new Error(`no such node: ${name ?? '(none named)'}`);
  return node;
}

async function perform(cluster, line) {
  const [command, ...words] = line.trim().split(/\s+/);
  if (NODE_COMMANDS.has(command)) {
    const [name, mode] = words;
    await cluster[command](findNode(cluster, name), mode);
    return;
  }
  switch (command) {
    case '':
      return;
    case 'failover':
      console.log(`${(await cluster.failover()).name} is the primary`);
      return;
    case 'switchover': {
      const node = words[0] === undefined ? undefined : findNode(cluster, words[0]);
      console.log(`${(await cluster.switchover(node)).name} is the primary`);
      return;
    }
    case 'wait':
      await cluster.waitForReplication();
      return;
    case 'query': {
      const sql = words.slice(1).join(' ');
      for (const row of await cluster.query(findNode(cluster, words[0]), sql)) {
        console.log(row.map((cell) => cell ?? 'NULL').join(' | '));
      }
      return;
    }
    case 'log':
      console.log(findNode(cluster, words[0]).log());
      return;
    case 'status':
      for (const node of cluster.nodes) {
        const role = node.isStandby ? 'standby' : 'primary';
        console.log(`${node.name} ${node.address} ${role} ${node.state}`);
      }
      return;
    case 'help':
      console.log(HELP);
      return;
    default:
      throw new Error(`no such command: ${command} (try "help")`);
  }
}

async function main() {
  const cluster = await startCluster(readOptions());
  printSettings(cluster);
  const input = readline.createInterface({ input: process.stdin });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => input.close());
  for await (const line of input) {
    if (line.trim() === 'quit') break;
    try {
      await perform(cluster, line);
      console.log('done');
    } catch (error) {
      console.log(`failed: ${error.message}`);
    }
  }
  await cluster.close();
}

try {
  await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
