// The command line: `npx hyperiondb-client`.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Terminal, table } from '../../js/cli/terminal.cjs';
import { onOwnNodes, startCluster } from '../support/cluster/index.js';
import { waitUntil } from '../support/wait-until.js';

const PROGRAM = fileURLToPath(new URL('../../js/cli/main.cjs', import.meta.url));

let cluster;
let url;
before(async () => {
  if (onOwnNodes.skip) return;
  cluster = await startCluster({ nodes: 2 });
  url = urlOf(cluster, cluster.nodes);
});
after(() => cluster?.close());

function urlOf({ user, password, database }, nodes) {
  return `postgres://${user}:${password}@${nodes.map(({ address }) => address)}/${database}`;
}

/** Runs the program, and returns what it printed and its exit code. */
function run(args, environment = {}) {
  const env = { ...process.env, DATABASE_URL: '', ...environment };
  if (env.DATABASE_URL === '') delete env.DATABASE_URL;
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { env, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error?.code ?? 0, out, err }),
    );
  });
}

test('status shows each host with its role, and how far it is', onOwnNodes, async () => {
  const { code, out, err } = await run(['status', url]);
  assert.deepEqual([code, err], [0, '']);
  const [head, first, second] = out.split('\n');
  assert.match(head, /^HOST +ROLE +VERSION +TIMELINE +POSITION +LAG +ROUND TRIP +TLS$/);
  const role = (node) => (node === cluster.primary ? 'read-write' : 'standby');
  [first, second].forEach((line, n) => {
    const node = cluster.nodes[n];
    const facts =
      /^(\S+) +(\S+) +\d+\.?\d* +1 +[0-9A-F]+\/[0-9A-F]+ +(-|\d+ ms) +\d+\.\d ms +no$/.exec(line);
    assert.deepEqual(facts?.slice(1, 3), [node.address, role(node)], line);
  });
  assert.equal(out.includes('\u001b'), false, 'no colours where there is no terminal');
});

test('status as JSON, from DATABASE_URL', onOwnNodes, async () => {
  const { code, out } = await run(['status', '--json'], { DATABASE_URL: url });
  assert.equal(code, 0);
  const { hosts } = JSON.parse(out);
  assert.deepEqual(
    hosts.map(({ host }) => host),
    cluster.nodes.map(({ address }) => address),
  );
  const [primary] = hosts.filter(({ role }) => role === 'read-write');
  assert.equal(primary.host, cluster.primary.address);
  assert.equal(primary.timeline, 1);
  assert.equal(primary.error, null);
});

test(
  'a host that does not answer is said, and so is the lack of a primary',
  onOwnNodes,
  async () => {
    const gone = '127.0.0.1:1';
    const lame = await run(['status', urlOf(cluster, [...cluster.nodes, { address: gone }])]);
    assert.equal(lame.code, 1);
    assert.match(lame.out, /127\.0\.0\.1:1: .*ECONNREFUSED/);
    assert.match(lame.out, /not every host answers/);
    const standby = cluster.nodes.filter((node) => node !== cluster.primary);
    const none = await run(['status', urlOf(cluster, standby)]);
    assert.equal(none.code, 1);
    assert.match(none.out, /no host takes writes/);
  },
);

test('status --watch goes on until Ctrl-C', onOwnNodes, async () => {
  const child = spawn(process.execPath, [PROGRAM, 'status', '--watch', '--json', url]);
  let out = '';
  child.stdout.on('data', (part) => (out += part));
  await waitUntil('it has looked twice', () => out.split('\n').length > 2);
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  assert.equal(code, 0);
  const lines = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.ok(lines.every(({ hosts }) => hosts.length === 2));
});

test(
  'check goes through the steps of a pool, and says where its queries go',
  onOwnNodes,
  async () => {
    const { code, out } = await run(['check', url]);
    assert.equal(code, 0);
    for (const step of ['reach', 'log in', 'role']) {
      assert.equal(out.split(`✓ ${step}`).length, 3, `${step}:\n${out}`);
    }
    assert.match(out, new RegExp(`A pool serves: .* ${cluster.primary.address} \\(read-write\\)`));
  },
);

test('check stops at the step that fails, and says why', onOwnNodes, async () => {
  const wrong = url.replace(cluster.password, 'wrong');
  const { code, out } = await run(['check', wrong]);
  assert.equal(code, 1);
  assert.match(out, /✗ log in .*password authentication failed/);
  assert.equal(out.includes('role'), false);
  const { code: json, out: document } = await run([
    'check',
    '--json',
    'postgres://u@no.such.invalid/d',
  ]);
  assert.equal(json, 1);
  const { hosts, pool } = JSON.parse(document);
  assert.deepEqual(
    hosts[0].steps.map(({ step, ok }) => [step, ok]),
    [['name', false]],
  );
  assert.equal(pool.ok, false);
});

test('bench measures', onOwnNodes, async () => {
  const { code, out } = await run(['bench', '--json', '--seconds', '1', '--connections', '2', url]);
  assert.equal(code, 0);
  const { results } = JSON.parse(out);
  assert.deepEqual(
    results.map(({ title }) => title),
    ['1 connection, 1 at a time', '2 connections, 40 at a time'],
  );
  for (const { queriesPerSecond, p50Ms, p99Ms, maxMs } of results) {
    assert.ok(queriesPerSecond > 0 && p50Ms > 0 && p50Ms <= p99Ms && p99Ms <= maxMs);
  }
});

test('failover-test says what has come of each write', onOwnNodes, async (t) => {
  const own = await startCluster({ nodes: 2 });
  t.after(() => own.close());
  const child = spawn(process.execPath, [
    PROGRAM,
    'failover-test',
    '--json',
    urlOf(own, own.nodes),
  ]);
  let out = '';
  child.stdout.on('data', (part) => (out += part));
  const [old, next] = [own.primary, own.nodes.find((node) => node !== own.primary)];
  const isThere = `SELECT count(*) FROM hyperiondb_failover_test`;
  const grows = (node) => async () => {
    const rows = await own.query(node, isThere).catch(() => [[0]]);
    return Number(rows[0][0]) > 20;
  };
  await waitUntil('it writes', grows(old));
  await own.stop(old, 'fast');
  await own.promote(next);
  const [[before]] = await own.query(next, isThere);
  const isOn = async () => Number((await own.query(next, isThere))[0][0]) > Number(before) + 20;
  await waitUntil('it writes on the other host', isOn);
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  const result = JSON.parse(out);
  assert.deepEqual([result.doubled, result.wrong], [0, 0]);
  assert.equal(result.acknowledged + result.refused + result.unknown, result.written);
  assert.equal(result.moves.length, 1);
  assert.deepEqual([result.moves[0].previous, result.moves[0].host], [old.address, next.address]);
  assert.equal(code, result.lost === 0 ? 0 : 1);
  const left = "SELECT count(*) FROM pg_class WHERE relname = 'hyperiondb_failover_test'";
  assert.deepEqual(await own.query(next, left), [['0']], 'its table is gone');
});

const MISUNDERSTOOD = {
  'an unknown command': [['nonsense'], /no command 'nonsense'/],
  'an unknown option': [['status', '--nonsense', 'postgres://u@h/d'], /--nonsense/],
  'an option of another command': [
    ['status', '--seconds', '1', 'postgres://u@h/d'],
    /no option --seconds/,
  ],
  'a number that is none': [
    ['bench', '--seconds', 'x', 'postgres://u@h/d'],
    /--seconds is a whole number/,
  ],
  'no connection string': [['status'], /DATABASE_URL/],
  'one argument too many': [['status', 'postgres://u@h/d', 'more'], /one argument too many/],
  'a connection string of something else': [['status', 'mysql://h'], /must begin with/],
};

for (const [what, [args, says]] of Object.entries(MISUNDERSTOOD)) {
  test(`${what} ends with 2`, async () => {
    const { code, out, err } = await run(args);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, says);
  });
}

test('--help and --version', async () => {
  const help = await run(['--help']);
  assert.equal(help.code, 0);
  for (const command of ['status', 'check', 'bench', 'failover-test']) {
    assert.ok(help.out.includes(`  ${command} `), command);
  }
  assert.match((await run(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
  assert.equal((await run([])).code, 2);
});

/** A terminal of so many columns, and what is written to it. */
function fakeTerminal(columns) {
  const written = [];
  const stream = { isTTY: true, columns, write: (text) => written.push(text) };
  return { terminal: new Terminal(stream, stream), written };
}

test('a table that is wider than the terminal becomes some lines for each row', () => {
  const rows = [
    ['HOST', 'ROLE', 'VERSION'],
    ['h1:5432', 'read-write', '15.18'],
    ['h2:5432', 'error'],
  ];
  const wide = 'HOST     ROLE        VERSION\nh1:5432  read-write  15.18\nh2:5432  error';
  assert.equal(table(rows, undefined, 28), wide);
  const narrow = 'h1:5432\n  role read-write\n  version 15.18\nh2:5432\n  role error';
  assert.equal(table(rows, undefined, 27), narrow);
});

test('what is drawn anew takes the place of all rows that it had, long lines too', () => {
  const { terminal, written } = fakeTerminal(10);
  terminal.redraw(`${terminal.paint('red', 'x'.repeat(10))}\n${'y'.repeat(11)}`);
  terminal.redraw('z');
  assert.ok(written.includes('\u001b[3A\u001b[0J'), JSON.stringify(written));
});

test('a bar of progress keeps to its line, and is gone before anything else is printed', () => {
  for (const columns of [10, 40, 100]) {
    const { terminal, written } = fakeTerminal(columns);
    terminal.progress('10 connections', 0.5);
    const [bar] = written;
    assert.ok(bar.slice('\r\u001b[2K'.length).length < columns, bar);
    terminal.print('done');
    assert.deepEqual(written.slice(1), ['\r\u001b[2K', 'done\n']);
  }
});
