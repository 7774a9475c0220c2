// Each operation of the test cluster does what its name says, on real servers.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makePrivateFolder, serverAccount } from '../support/cluster/account.js';
import { findBinaries } from '../support/cluster/binaries.js';
import { startGuard } from '../support/cluster/guard.js';
import { externalCluster, startCluster } from '../support/cluster/index.js';
import { parseHosts } from '../support/cluster/external.js';
import { withLock } from '../support/cluster/lock.js';
import { ClusterNode } from '../support/cluster/node.js';
import { commandLine, processIds } from '../support/cluster/processes.js';
import { prepareTemplate } from '../support/cluster/template.js';
import { waitUntil } from '../support/wait-until.js';

const index = new URL('../support/cluster/index.js', import.meta.url).href;
const cli = fileURLToPath(new URL('../support/cluster/cli.js', import.meta.url));

const READ_ONLY = { code: '25006' };

/** Process ids of postmasters whose command line names this folder. */
function serversIn(folder) {
  return processIds().filter((pid) => commandLine(pid).includes(`-D ${folder}`));
}

function canConnect(node) {
  return new Promise((resolve) => {
    const socket = net.connect(node.port, node.host);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => resolve(true));
    socket.once('close', () => socket.destroy());
    socket.end();
  });
}

describe('a cluster of three with a synchronous quorum', () => {
  /** @type {Awaited<ReturnType<typeof startCluster>>} */
  let cluster;
  let n1, n2, n3;

  before(async () => {
    cluster = await startCluster({ synchronous: 1, settings: { application_name: "it's" } });
    [n1, n2, n3] = cluster.nodes;
    await cluster.query(n1, 'CREATE TABLE item (id int)');
  });
  after(() => cluster.close());

  const insert = (node, id) => cluster.query(node, `INSERT INTO item VALUES (${id})`);
  const items = async (node) =>
    (await cluster.query(node, 'SELECT id FROM item ORDER BY id')).flat().map(Number);
  const isInRecovery = async (node) =>
    (await cluster.query(node, 'SELECT pg_is_in_recovery()'))[0][0] === 't';

  it('has a primary and standbys that stream from it in a quorum', async () => {
    assert.equal(cluster.primary, n1);
    assert.deepEqual(await Promise.all(cluster.nodes.map(isInRecovery)), [false, true, true]);
    const rows = await cluster.query(
      n1,
      'SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1',
    );
    assert.deepEqual(rows, [
      ['n2', 'quorum'],
      ['n3', 'quorum'],
    ]);
    assert.deepEqual(await cluster.query(n1, 'SHOW synchronous_standby_names'), [['ANY 1 (*)']]);
  });

  it('names what createPool needs', () => {
    assert.deepEqual(cluster.options({ max: 3 }), {
      hosts: cluster.nodes.map(({ port }) => `127.0.0.1:${port}`),
      user: 'hyperion',
      password: cluster.password,
      database: 'hyperion',
      max: 3,
    });
    assert.ok(fs.existsSync(`${n1.socketDir}/.s.PGSQL.${n1.port}`));
  });

  it('passes settings on', async () => {
    assert.deepEqual(await cluster.query(n2, 'SHOW max_connections'), [['60']]);
    const sql = "SELECT reset_val FROM pg_settings WHERE name = 'application_name'";
    assert.deepEqual(await cluster.query(n2, sql), [["it's"]]);
  });

  it('waits for replication', async () => {
    await insert(n1, 1);
    await cluster.waitForReplication();
    assert.deepEqual(await Promise.all(cluster.nodes.map(items)), [[1], [1], [1]]);
  });

  it('fences and unfences', async () => {
    await cluster.fence(n1);
    await assert.rejects(insert(n1, 2), READ_ONLY);
    await cluster.fence(n1);
    await cluster.unfence(n1);
    await insert(n1, 2);
  });

  it('has ended all older transactions behind the barrier of a fence', async () => {
    const session = await cluster.openSession(n1);
    await session.query('BEGIN; INSERT INTO item VALUES (99)');
    await cluster.fence(n1, { graceMs: 50 });
    await assert.rejects(session.query('COMMIT'));
    await session.close();
    assert.deepEqual(await items(n1), [1, 2]);
    await cluster.unfence(n1);
  });

  it('leaves them alone without the barrier', async () => {
    const session = await cluster.openSession(n1);
    await session.query('BEGIN; INSERT INTO item VALUES (3)');
    await cluster.fence(n1, { barrier: false });
    await session.query('COMMIT');
    await session.close();
    await cluster.unfence(n1);
    assert.deepEqual(await items(n1), [1, 2, 3]);
  });

  it('freezes and thaws all processes of a server', async () => {
    const session = await cluster.openSession(n1);
    await cluster.freeze(n1);
    assert.equal(n1.state, 'frozen');
    let isAnswered = false;
    const answer = session.query('SELECT 1').then((rows) => {
      isAnswered = true;
      return rows;
    });
    // The kernel still accepts. A running server would answer within these round trips.
    assert.ok(await canConnect(n1));
    for (let i = 0; i < 5; i++) await cluster.query(n2, 'SELECT 1');
    assert.equal(isAnswered, false);
    await cluster.thaw(n1);
    assert.deepEqual(await answer, [['1']]);
    await session.close();
  });

  it('restarts and stops', async () => {
    await cluster.restart(n3);
    assert.ok(await isInRecovery(n3));
    await cluster.stop(n3);
    assert.equal(n3.state, 'stopped');
    assert.equal(await canConnect(n3), false);
    await cluster.start(n3);
    await cluster.waitForReplication();
  });

  it('fails over after a crash, and the old primary rejoins', async () => {
    await cluster.crash(n1);
    assert.equal(n1.state, 'crashed');
    assert.deepEqual(serversIn(n1.dataFolder), []);
    const primary = await cluster.failover();
    assert.equal(cluster.primary, primary);
    assert.notEqual(primary, n1);
    // It commits only if the other standby follows the new primary.
    await insert(primary, 4);
    await cluster.rejoin(n1);
    await cluster.waitForReplication();
    assert.deepEqual(await Promise.all(cluster.nodes.map(items)), Array(3).fill([1, 2, 3, 4]));
    await assert.rejects(insert(n1, 5), READ_ONLY);
  });

  it('promotes beside a running primary, whose own writes are lost when it rejoins', async () => {
    const old = cluster.primary;
    await cluster.fence(old);
    await cluster.promote(n1);
    assert.equal(await isInRecovery(old), false);
    await insert(n1, 5);
    // Its last standby is gone, so a synchronous commit would wait forever.
    const session = await cluster.openSession(old);
    await session.query('SET default_transaction_read_only = off');
    await session.query('SET synchronous_commit = local');
    await session.query('INSERT INTO item VALUES (-1)');
    await session.close();
    await cluster.rejoin(old);
    await cluster.waitForReplication();
    assert.deepEqual(await items(old), [1, 2, 3, 4, 5]);
    await cluster.promote(old);
    await insert(old, 6);
  });

  it('exchanges the roles of the primary and a standby', async () => {
    const old = cluster.primary;
    // The previous test has left a second primary.
    await cluster.rejoin(n1);
    const [chosen] = await cluster.runningStandbys();
    const session = await cluster.openSession(old);
    await session.query('BEGIN; INSERT INTO item VALUES (-2)');
    assert.equal(await cluster.switchover(chosen, { graceMs: 50 }), chosen);
    await assert.rejects(session.query('COMMIT'));
    await session.close();
    assert.ok(await isInRecovery(old));
    const [[setting]] = await cluster.query(old, 'SHOW default_transaction_read_only');
    assert.equal(setting, 'off', 'the fence is gone with the role');
    await insert(chosen, 7);
    await cluster.waitForReplication();
    assert.deepEqual(await items(old), [1, 2, 3, 4, 5, 6, 7]);
    await cluster.switchover(old);
    assert.equal(cluster.primary, old);
  });

  it('refuses a switchover to a node that could not take over, and changes nothing', async () => {
    const standby = cluster.nodes.find((node) => node !== cluster.primary);
    await cluster.freeze(standby);
    await assert.rejects(cluster.switchover(standby), /n\d: it is no running standby/);
    await assert.rejects(cluster.switchover(cluster.primary), /no running standby/);
    await cluster.thaw(standby);
    await insert(cluster.primary, 8);
  });

  it('puts a proxy in front of a node', async () => {
    const proxy = await cluster.proxy(cluster.primary);
    const session = await cluster.openSession({ host: proxy.host, port: proxy.port });
    assert.deepEqual(await session.query('SELECT 1'), [['1']]);
    await proxy.cut();
    await assert.rejects(session.query('SELECT 1'));
    await session.close();
  });

  it('closes, also twice, and leaves nothing', async () => {
    const { dataFolder, socketDir } = n1;
    await Promise.all([cluster.close(), cluster.close()]);
    assert.deepEqual(serversIn(dataFolder), []);
    assert.ok(!fs.existsSync(socketDir));
  });
});

describe('a node whose port was taken meanwhile', () => {
  it('starts on another one, and only then is its port fixed', async () => {
    const [guard, binaries] = await Promise.all([startGuard(), findBinaries()]);
    const template = await prepareTemplate(guard, binaries, 'trust');
    const folder = `${guard.folder}/port`;
    await makePrivateFolder(folder, serverAccount());
    const node = new ClusterNode({ name: 'n1', folder, guard, binaries });
    await node.create(template.dataFolder, 'trust');
    const taker = net.createServer().listen(node.port, node.host);
    await once(taker, 'listening');
    const taken = node.port;
    await node.configure({});
    await node.start();
    assert.notEqual(node.port, taken);
    taker.close();
    await node.stop();

    const again = net.createServer().listen(node.port, node.host);
    await once(again, 'listening');
    await assert.rejects(node.start(), /could not bind/);
    again.close();
    await node.start();
    await node.crash();
  });
});

describe('rejoin', () => {
  const debian = '/usr/lib/postgresql/15/bin';
  const hasRewind = fs.existsSync(`${debian}/pg_rewind`);
  it('uses pg_rewind where there is one', { skip: !hasRewind }, async () => {
    const cluster = await startCluster({ nodes: 2, binaries: debian });
    const [n1, n2] = cluster.nodes;
    await cluster.query(n1, 'CREATE TABLE item (id int)');
    await cluster.waitForReplication();
    await cluster.stop(n2, 'immediate');
    await cluster.query(n1, 'INSERT INTO item VALUES (-1)');
    await cluster.crash(n1);
    await cluster.start(n2);
    await cluster.promote(n2);
    await cluster.query(n2, 'INSERT INTO item VALUES (1)');
    await cluster.rejoin(n1);
    await cluster.waitForReplication();
    assert.deepEqual(await cluster.query(n1, 'SELECT id FROM item'), [['1']]);
    assert.equal(cluster.lastRejoin, 'rewind');
    await cluster.close();
  });
});

describe('authentication', () => {
  for (const auth of ['md5', 'password', 'trust']) {
    it(auth, async () => {
      const cluster = await startCluster({ nodes: 2, auth });
      assert.deepEqual(await cluster.query(cluster.primary, 'SELECT current_user'), [['hyperion']]);
      const [[rule]] = await cluster.query(
        cluster.primary,
        'SELECT DISTINCT auth_method FROM pg_hba_file_rules',
      );
      assert.equal(rule, auth);
      await cluster.close();
    });
  }
});

describe('the watchdog', () => {
  const program = `
    import { startCluster } from '${index}';
    const cluster = await startCluster({ nodes: 2 });
    const { socketDir } = cluster.nodes[0];
    console.log(JSON.stringify({ folder: socketDir.slice(0, socketDir.lastIndexOf('/')) }));
    setInterval(() => {}, 1000);`;

  async function startRunner() {
    const args = ['--input-type=module', '-e', program];
    const runner = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(runner.stdout, 'data');
    const { folder } = JSON.parse(line);
    assert.equal(serversIn(folder).length, 2);
    return { runner, folder };
  }

  const untilGone = async (folder) => {
    await waitUntil('no folder', () => !fs.existsSync(folder));
    assert.deepEqual(serversIn(folder), []);
  };

  for (const signal of ['SIGKILL', 'SIGINT']) {
    it(`ends the servers and removes their data after a ${signal} of the test run`, async () => {
      const { runner, folder } = await startRunner();
      runner.kill(signal);
      await untilGone(folder);
    });
  }

  it('is cleaned up behind by the next one when it is killed itself', async () => {
    const { runner, folder } = await startRunner();
    const watchdog = Number(/hyperion-pg-(\d+)-/.exec(folder)[1]);
    assert.match(commandLine(watchdog), /watchdog\.js/);
    process.kill(watchdog, 'SIGKILL');
    await waitUntil('the watchdog is gone', () => commandLine(watchdog) === '');
    assert.equal(serversIn(folder).length, 2);
    runner.kill('SIGKILL');
    const next = await startRunner();
    await untilGone(folder);
    next.runner.kill('SIGKILL');
    await untilGone(next.folder);
  });
});

describe('the command line', () => {
  it('takes commands and ends with its input', async () => {
    const child = spawn(process.execPath, [cli, 'start', '--nodes', '2', '--set', 'work_mem=1MB'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.end(
      'query n1 SHOW work_mem\nfence n1\nunfence n1\ncrash n1\npromote n2\nrejoin n1\nswitchover\nswitchover n2\nstatus\nno\n',
    );
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    const [code] = await once(child, 'close');
    assert.equal(code, 0, output);
    assert.match(output, /^1MB$/m);
    assert.match(output, /^n1 \S+ standby running$/m);
    assert.match(output, /^n2 \S+ primary running$/m);
    assert.match(output, /no such command: no/);
    assert.equal(output.match(/^failed/gm).length, 1, output);
  });
});

describe('an external cluster', () => {
  it('reads lists of hosts', () => {
    assert.deepEqual(parseHosts('a:1, b ,[::1]:3,[fe80::1]', 5432), [
      { host: 'a', port: 1 },
      { host: 'b', port: 5432 },
      { host: '::1', port: 3 },
      { host: 'fe80::1', port: 5432 },
    ]);
    assert.throws(() => parseHosts('a:1,', 5432), /not a host/);
  });

  it('finds the primary, and stops and starts nodes through a command', async () => {
    const local = await startCluster({ nodes: 2 });
    const [n1, n2] = local.nodes;
    await local.crash(n1);
    await local.promote(n2);
    await local.rejoin(n1);
    const control = fs.mkdtempSync(`${fs.realpathSync('/tmp')}/hyperion-ctl-`);
    const env = {
      HYPERION_HOSTS: local.hosts().join(),
      HYPERION_USER: local.user,
      HYPERION_PASSWORD: local.password,
      HYPERION_DATABASE: local.database,
      HYPERION_CTL: `printf '%s\\n' > ${control}/said`,
    };
    const cluster = await externalCluster(env);
    assert.equal(cluster.primary.port, n2.port);
    assert.deepEqual(cluster.options(), local.options());
    await cluster.crash(cluster.nodes[0]);
    assert.equal(fs.readFileSync(`${control}/said`, 'utf8'), `crash\n${n1.address}\n`);
    assert.equal(cluster.nodes[0].state, 'crashed');
    await cluster.close();
    assert.deepEqual(await local.query(n1, 'SELECT 1'), [['1']], 'it goes on');

    const failing = await externalCluster({ ...env, HYPERION_CTL: 'false' });
    await assert.rejects(failing.stop(failing.nodes[0]), /ended with 1/);
    fs.rmSync(control, { recursive: true });
    await local.close();
  });
});

describe('the lock', () => {
  it('is taken by one at a time, and from a holder that died', async () => {
    const folder = `${fs.realpathSync('/tmp')}/hyperion-lock-${process.pid}`;
    const dead = spawnSync('true').pid;
    fs.mkdirSync(folder);
    fs.writeFileSync(`${folder}/${dead}`, '');
    let inside = 0;
    const work = () =>
      withLock(folder, async () => {
        assert.equal(++inside, 1);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
      });
    await Promise.all([work(), work(), work()]);
    assert.ok(!fs.existsSync(folder));
  });
});
