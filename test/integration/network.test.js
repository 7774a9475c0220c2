// Network faults at every moment of a connection's life, on real servers.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import process from 'node:process';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startBlackHole } from '../support/cluster/blackhole.js';
import { startCluster } from '../support/cluster/index.js';
import { openPool } from '../support/pools.js';
import { int32, scriptedBackend } from '../support/scripted/backend.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
before(async () => {
  cluster = await startCluster({ nodes: 3, maxConnections: 200 });
  await cluster.query(cluster.primary, 'CREATE TABLE cut (key int)');
  await cluster.waitForReplication();
});
after(() => cluster?.close());

const onLinux = { skip: process.platform !== 'linux' && '/proc is Linux' };
/** Far longer than a test may take, so that a test fails if it waits for this timeout. */
const NEVER_MS = 600_000;

/** Forwards to the primary, and resets a connection after this many more bytes from the server. */
async function startCutter() {
  const cutter = { left: Infinity };
  const proxy = await cluster.proxy(cluster.primary, {
    fromServer(chunk, link) {
      if (chunk.length < cutter.left) {
        cutter.left -= chunk.length;
        return chunk;
      }
      const rest = chunk.subarray(0, cutter.left);
      // Only the first connection that comes so far is cut.
      cutter.left = Infinity;
      link.client.write(rest, () => link.reset());
      return null;
    },
  });
  cutter.address = proxy.address;
  cutter.close = () => proxy.close();
  return cutter;
}

/**
 * Runs `work` for each number of bytes at the same time, each with its own cutter and a pool of one
 * connection behind it.
 */
async function forEachCut(t, cuts, work) {
  const one = async (bytes) => {
    const cutter = await startCutter();
    t.after(() => cutter.close());
    const pool = createPool(
      cluster.options({ hosts: [cutter.address], poolSize: 1, acquireTimeoutMs: 30_000 }),
    );
    try {
      await work(pool, cutter, bytes);
    } finally {
      await pool.end();
    }
  };
  await Promise.all(cuts.map(one));
}

const upTo = (end, step) => Array.from({ length: Math.ceil(end / step) }, (_, n) => n * step);

const countOf = async (key) => {
  const [[count]] = await cluster.query(
    cluster.primary,
    `SELECT count(*) FROM cut WHERE key = ${key}`,
  );
  return Number(count);
};

test(
  'no host answers a SYN: the error comes at the deadline and says so of each',
  onLinux,
  async (t) => {
    const proxies = await Promise.all(cluster.nodes.map((node) => cluster.proxy(node)));
    t.after(() => Promise.all(proxies.map((proxy) => proxy.close())));
    for (const proxy of proxies) await proxy.blackHole();
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const base = descriptors();
    const options = {
      hosts: proxies.map(({ address }) => address),
      connectTimeoutMs: 100,
      acquireTimeoutMs: 400,
    };
    const pool = createPool(cluster.options(options));
    await assert.rejects(pool.query('SELECT 1'), (error) => {
      assert.equal(error.code, 'HYPERION_NO_PRIMARY');
      assert.equal(error.outcome, 'not-sent');
      assert.deepEqual(
        error.hosts.map(({ host }) => host),
        proxies.map(({ address }) => address),
      );
      for (const { why } of error.hosts) assert.match(why, /within 100 ms/);
      return true;
    });
    await pool.end();
    await waitUntil('no descriptor is left', () => descriptors() <= base);
  },
);

test('those who lose the race are closed', async (t) => {
  const standbys = cluster.nodes.filter((node) => node !== cluster.primary);
  const proxies = await Promise.all(standbys.map((node) => cluster.proxy(node)));
  t.after(() => Promise.all(proxies.map((proxy) => proxy.close())));
  // Still logging in when the primary serves.
  await proxies[1].delay(200);
  const hosts = [...proxies.map(({ address }) => address), cluster.primary.address];
  const pool = createPool(cluster.options({ hosts }));
  await pool.query('SELECT 1');
  const isOver = () => proxies.every(({ accepted, connections }) => accepted > 0 && !connections);
  await waitUntil('no session on a standby', isOver);
  await pool.end();
});

test('a login that is reset at any byte is tried again', async (t) => {
  await forEachCut(t, upTo(500, 9), async (pool, cutter, bytes) => {
    cutter.left = bytes;
    assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }], `cut after ${bytes}`);
  });
});

test('an answer that is reset at any byte is unknown, and the write is done at most once', async (t) => {
  let unknown = 0;
  await forEachCut(t, upTo(150, 2), async (pool, cutter, bytes) => {
    const sql = 'INSERT INTO cut VALUES ($1)';
    await pool.query(sql, [-1]);
    cutter.left = bytes;
    const outcome = await pool.query(sql, [bytes]).then(
      () => 'done',
      (error) => {
        assert.equal(error.name, 'ConnectionError');
        assert.equal(error.code, '40003');
        return error.outcome;
      },
    );
    cutter.left = Infinity;
    const count = await countOf(bytes);
    if (outcome === 'done') assert.equal(count, 1, `cut after ${bytes}`);
    else assert.ok(outcome === 'unknown' && count <= 1, `cut after ${bytes}: ${outcome}, ${count}`);
    unknown += outcome === 'unknown' ? 1 : 0;
    assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }], 'the next query works');
  });
  // An answer is longer than ten bytes and shorter than the longest cut. Before PostgreSQL 14 it
  // also reports the role.
  assert.ok(unknown > 10 && unknown < 150, `${unknown} unknown`);
});

test('a transaction whose connection is reset before COMMIT is not committed', async (t) => {
  await forEachCut(t, upTo(40, 4), async (pool, cutter, bytes) => {
    const key = 1000 + bytes;
    const transaction = pool.transaction(async (tx) => {
      await tx.query('INSERT INTO cut VALUES ($1)', [key]);
      cutter.left = 0;
      await tx.query('SELECT $1::int', [bytes]);
    });
    await assert.rejects(transaction, { name: 'ConnectionError', outcome: 'not-committed' });
    assert.equal(await countOf(key), 0);
  });
});

test('a COMMIT whose answer is reset at any byte is unknown', async (t) => {
  await forEachCut(t, upTo(40, 1), async (pool, cutter, bytes) => {
    const key = 2000 + bytes;
    const outcome = await pool
      .transaction(async (tx) => {
        await tx.query('INSERT INTO cut VALUES ($1)', [key]);
        cutter.left = bytes;
      })
      .then(
        () => 'done',
        (error) => `${error.code} ${error.outcome}`,
      );
    // The server had the whole request, and nothing prevented it.
    await waitUntil(`${key} is committed`, async () => (await countOf(key)) === 1);
    assert.match(outcome, /^(done|40003 unknown)$/);
    if (bytes === 0) assert.equal(outcome, '40003 unknown');
  });
});

test('an idle connection that the server ends is not used again', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const pool = createPool(cluster.options({ hosts: [proxy.address], poolSize: 1 }));
  await pool.query('SELECT 1');
  await proxy.halfClose();
  await waitUntil('the pool has closed its side too', () => proxy.connections === 0);
  await proxy.pass();
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('idle connections that something in between ends are no suspicion of their host', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  for (const mode of ['read-write', 'any']) {
    const hosts = [proxy.address, ...cluster.nodes.slice(1).map(({ address }) => address)];
    const pool = openPool(t, cluster.options({ hosts, mode, poolSize: 6 }));
    await Promise.all(Array.from({ length: 20 }, () => pool.query('SELECT pg_sleep(0.02)')));
    const is = ({ host }) => host === proxy.address;
    const told = [];
    pool.on('host', (event) => is(event) && told.push(event.state));
    const { accepted } = proxy;
    const ended = [proxy.halfClose(), proxy.pass()];
    await Promise.all(ended);
    await waitUntil('the pool has asked the host anew', () => proxy.accepted > accepted);
    await pool.query('SELECT 1');
    assert.deepEqual([mode, told], [mode, []]);
    assert.equal(pool.cluster().find(is).state, 'up');
    assert.equal(pool.cluster().find(is).lastError, null);
    // The pool reports that the host is gone. A second login may be under way when the proxy closes:
    // then the host is suspected, and asked again once calls want connections.
    await waitUntil('it has a session', () => pool.cluster().find(is).connections.open > 0);
    await proxy.close();
    const ask = () => pool.query('SELECT pg_sleep(0.01)', [], { timeoutMs: 200 }).catch(() => {});
    await waitUntil('that is told', async () => {
      await Promise.all(Array.from({ length: 12 }, ask));
      return told.includes('down');
    });
    await proxy.pass();
  }
});

test('a host that is gone without a word: the query’s deadline ends it, and its connection', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const pool = openPool(
    t,
    cluster.options({ hosts: [proxy.address], poolSize: 1, cancelGraceMs: 50 }),
  );
  const gone = { name: 'TimeoutError', outcome: 'unknown', host: proxy.address };
  const next = async () => {
    await waitUntil('its connection is closed', () => pool.status().size === 0);
    await proxy.pass();
    assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  };
  await pool.query('SELECT 1');
  // An idle connection: the next request leaves this machine and arrives nowhere.
  await proxy.blackHole();
  await assert.rejects(pool.query('SELECT 2', [], { timeoutMs: 100 }), gone);
  await next();
  // A request in flight: the server runs it once the lock is free, and its answer never arrives.
  const holder = await cluster.openSession(cluster.primary);
  await holder.query('SELECT pg_advisory_lock(3)');
  const sql = 'INSERT INTO cut SELECT 3000 FROM pg_advisory_xact_lock(3)';
  const ended = assert.rejects(pool.query(sql, [], { timeoutMs: 2000 }), gone);
  await cluster.waitForSession("wait_event = 'advisory'");
  await proxy.blackHole();
  await holder.close();
  await ended;
  await next();
  assert.equal(await countOf(3000), 1);
});

test('a host that is gone without a word is left for the promoted one, busy or idle', async (t) => {
  const own = await startCluster({ nodes: 2 });
  t.after(() => own.close());
  const [old, standby] = own.nodes;
  await own.query(old, 'CREATE TABLE cut (key int)');
  await own.waitForReplication();
  const proxy = await own.proxy(old);
  const hosts = [proxy.address, standby.address];
  const times = { livenessCheckMs: 100, connectTimeoutMs: 500, acquireTimeoutMs: 60_000 };
  const pool = openPool(t, own.options({ hosts, poolSize: 3, ...times }));
  await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_sleep(0.05)::text')));
  assert.equal(pool.status().size, 3);
  const busy = pool.query('INSERT INTO cut SELECT 1 FROM pg_sleep(60)');
  const unknown = { name: 'ConnectionError', code: '40003', outcome: 'unknown', host: hosts[0] };
  const lost = assert.rejects(busy, unknown);
  await own.waitForSession("query LIKE 'INSERT INTO cut SELECT 1 %'", old);
  await proxy.blackHole();
  // Sent to the silent host it may have run, unless the pool has noticed the silence of the busy
  // connection before. Then the call waits for the promoted host.
  const write = pool.query('INSERT INTO cut VALUES (2)').then(
    () => [['2']],
    (error) => {
      const { name, code, outcome, host } = error;
      assert.deepEqual({ name, code, outcome, host }, unknown);
      return [];
    },
  );
  const read = pool.query("SELECT current_setting('port')::int AS port", [], { readOnly: true });
  await own.promote(standby);
  const [written] = await Promise.all([write, lost]);
  assert.deepEqual(await read, [{ port: standby.port }]);
  const [{ connections }] = pool.cluster();
  assert.deepEqual(connections, { open: 0, busy: 0 });
  assert.equal((await pool.query('INSERT INTO cut VALUES (3)')).rowCount, 1);
  const keys = await own.query(standby, 'SELECT key FROM cut ORDER BY key');
  assert.deepEqual(keys, [...written, ['3']]);
});

test('a host that says four of the five bytes of a header costs nothing but its attempt', async (t) => {
  const backend = await scriptedBackend(async (frontend) => {
    await frontend.startup();
    frontend.send(Buffer.from('R'), int32(8).subarray(0, 3));
    await frontend.message();
  });
  t.after(() => backend.close());
  const hosts = [...backend.options().hosts, cluster.primary.address];
  const pool = createPool(cluster.options({ hosts, connectTimeoutMs: NEVER_MS }));
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('a slow primary is no dead one', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const pool = createPool(
    cluster.options({
      hosts: [proxy.address, cluster.nodes[1].address],
      connectTimeoutMs: 10_000,
    }),
  );
  const events = [];
  for (const name of ['primary', 'fence', 'rival']) pool.on(name, () => events.push(name));
  await proxy.delay(100);
  const rows = await Promise.all([1, 2, 3, 4].map((n) => pool.query('SELECT $1::int AS n', [n])));
  assert.deepEqual(rows.flat(), [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }]);
  await proxy.throttle(100_000);
  const [{ text }] = await pool.query("SELECT repeat('x', 20000) AS text");
  assert.equal(text.length, 20_000);
  assert.deepEqual(events, ['primary']);
  await pool.end();
});

test('a name that is never resolved, and an address that is black-holed, stop nobody', async (t) => {
  const { port } = cluster.primary;
  const hole = await startBlackHole({ host: '127.0.0.2', port });
  t.after(() => hole.close());
  const lookup = (hostname, _options, callback) => {
    if (hostname === 'silent.example') return;
    callback(null, [
      { address: '127.0.0.2', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ]);
  };
  const hosts = ['silent.example', 'db.example'];
  const pool = createPool(cluster.options({ hosts, port, lookup, connectTimeoutMs: NEVER_MS }));
  assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
  await pool.end();
});

test('a host that is listed twice is no second primary', async () => {
  const { port } = cluster.primary;
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  const pool = createPool(cluster.options({ hosts, poolSize: 4 }));
  const one = () => pool.query('SELECT 1 AS one');
  assert.deepEqual((await Promise.all([1, 2, 3, 4].map(one))).flat(), Array(4).fill({ one: 1 }));
  assert.ok(pool.status().size <= 4);
  await pool.end();
});

test('a standby that flaps is no concern of a pool that has its primary', async (t) => {
  const proxy = await cluster.proxy(cluster.nodes.find((node) => node !== cluster.primary));
  t.after(() => proxy.close());
  const pool = createPool(cluster.options({ hosts: [proxy.address, cluster.primary.address] }));
  await pool.query('SELECT 1');
  await waitUntil('the race is over', () => proxy.accepted > 0 && proxy.connections === 0);
  const { accepted } = proxy;
  for (let flap = 0; flap < 20; flap++) {
    await proxy[flap % 2 === 0 ? 'cut' : 'pass']();
    await pool.query('SELECT 1');
  }
  assert.equal(proxy.accepted, accepted);
  await pool.end();
});

test('a primary that flaps is come back to each time, and not run over', async (t) => {
  const proxy = await cluster.proxy(cluster.primary);
  t.after(() => proxy.close());
  const hosts = [proxy.address, cluster.nodes[1].address];
  const pool = openPool(t, cluster.options({ hosts, poolSize: 10, acquireTimeoutMs: 60_000 }));
  const read = () => pool.query('SELECT 1', [], { readOnly: true });
  await read();
  const { accepted } = proxy;
  const began = performance.now();
  const flaps = 5;
  for (let flap = 0; flap < flaps; flap++) {
    await proxy.cut();
    const waiting = Array.from({ length: 50 }, read);
    const before = proxy.accepted;
    await waitUntil('some attempts', () => proxy.accepted > before + 2);
    await proxy.pass();
    await Promise.all(waiting);
  }
  // The pool opens its connections once after each flap, and the shortest backoff is 25 ms.
  const most = flaps * 12 + (performance.now() - began) / 25;
  assert.ok(proxy.accepted - accepted <= most, `${proxy.accepted - accepted} of ${most}`);
});

test('all hosts are down, then one is back: who waited is served, and nothing ran them over', async (t) => {
  const own = await startCluster({ nodes: 1 });
  t.after(() => own.close());
  const proxy = await own.proxy(own.primary);
  const options = { hosts: [proxy.address], poolSize: 20, acquireTimeoutMs: 60_000 };
  const pool = createPool(own.options(options));
  await pool.query('SELECT 1');
  await own.crash(own.primary);
  const { accepted } = proxy;
  const began = performance.now();
  // The pool may still write the first one to the dead server's connection.
  const ask = () => pool.query('SELECT 1 AS one', [], { readOnly: true });
  const waiting = Array.from({ length: 100 }, ask);
  // The proxy accepts and resets, so it counts each attempt.
  await waitUntil('some attempts', () => proxy.accepted > accepted + 5);
  const attempts = proxy.accepted - accepted;
  // The shortest backoff is 25 ms.
  const most = 2 + (performance.now() - began) / 25;
  assert.ok(attempts <= most, `${attempts} attempts, where ${most} are many`);
  await own.start(own.primary);
  const rows = (await Promise.all(waiting)).flat();
  assert.deepEqual(rows, Array(100).fill({ one: 1 }));
  await pool.end();
});

test('a frozen host does not keep a new pool from the promoted one', async () => {
  const frozen = cluster.primary;
  await cluster.freeze(frozen);
  const promoted = await cluster.failover();
  const pool = createPool(cluster.options({ connectTimeoutMs: NEVER_MS }));
  const [{ port }] = await pool.query("SELECT current_setting('port')::int AS port");
  assert.equal(port, promoted.port);
  await pool.end();
  await cluster.crash(frozen);
  await cluster.rejoin(frozen);
});
