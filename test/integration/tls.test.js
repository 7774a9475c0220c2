// TLS as libpq's sslmode and Node's `ssl` ask for it, against real servers.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createPrivateKey } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { answering, certificate, interceptor, pem, secure, watch } from '../support/tls/index.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
let node;

before(async () => {
  cluster = await startCluster({ nodes: 1 });
  node = cluster.primary;
  await secure(node);
});
after(() => cluster?.close());

const HOW = `SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()`;
const major = () => Number(process.env.HYPERION_PG_VERSION ?? 15);

/** Every name leads to this machine. */
const lookup = (_name, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]);

const optionsOf = (more) => {
  const hosts = [`localhost:${node.port}`];
  return cluster.options({ hosts, lookup, poolSize: 1, ...more });
};

/** Whether a session of such a pool is encrypted, or the error of its first query. */
async function ask(more) {
  const pool = createPool(optionsOf(more));
  try {
    const [{ ssl }] = await pool.query(HOW);
    return ssl;
  } catch (error) {
    assert.doesNotMatch(inspect(error), /PRIVATE KEY/);
    assert.doesNotMatch(inspect(error), new RegExp(cluster.password));
    return error;
  } finally {
    await pool.end();
  }
}

async function isRefused(more, code, words) {
  const error = await ask(more);
  assert.ok(error instanceof Error, `${inspect(more)}: ${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(`${error.message} ${error.hint}`, words);
}

const uri = (query, host = 'localhost') => ({
  connectionString: `postgres://${host}:${node.port}/?${query}`,
  hosts: undefined,
});

test('each mode with each server ends as in libpq, and an error says what to write', async () => {
  const ca = `sslrootcert=${certificate('ca-ec.crt')}`;
  const modes = ['disable', 'prefer', 'require', `verify-ca&${ca}`, `verify-full&${ca}`];
  const refusedAsPlain = ['28000', /ssl: true/];
  const refusedAsTls = ['28000', /ssl: false/];
  const noTls = ['HYPERION_TLS', /ssl = off/];
  const table = [
    [{ rule: 'any' }, [false, true, true, true, true]],
    [{ rule: 'hostssl' }, [refusedAsPlain, true, true, true, true]],
    [{ rule: 'hostnossl' }, [false, ...Array(4).fill(refusedAsTls)]],
    [{ settings: { ssl: 'off' } }, [false, false, noTls, noTls, noTls]],
  ];
  for (const [server, ends] of table) {
    await secure(node, server);
    for (const [place, mode] of modes.entries()) {
      const end = ends[place];
      const options = uri(`sslmode=${mode}`);
      if (Array.isArray(end)) await isRefused(options, ...end);
      else assert.equal(await ask(options), end, `${inspect(server)} ${mode}`);
    }
  }
  await secure(node);
});

test('nothing said means TLS, but not within this machine', async () => {
  assert.equal(await ask({}), false);
  assert.equal(await ask({ hosts: [node.socketDir], port: node.port, ssl: 'require' }), false);
  for (const ssl of ['prefer', 'require', { rejectUnauthorized: false }]) {
    assert.equal(await ask({ ssl }), true);
  }
  assert.equal(await ask(uri('sslmode=no-verify')), true);
});

test('the name is verified as Node does it', async () => {
  const ssl = { ca: pem('ca-ec.crt') };
  const at = (host, more) => ({ hosts: [`${host}:${node.port}`], ssl: { ...ssl, ...more } });
  for (const host of ['localhost', '127.0.0.1', 'localhost.']) {
    assert.equal(await ask(at(host)), true, host);
  }
  await isRefused(at('db.example.com'), 'HYPERION_TLS', /is for localhost, 127\.0\.0\.1/);
  // A hoster's string must not take the check of the name away.
  for (const word of ['sslmode=require', 'sslmode=prefer', 'ssl=true']) {
    await isRefused({ ...uri(word, 'db.example.com'), ssl }, 'HYPERION_TLS', /is for localhost/);
    const unverified = { ...ssl, rejectUnauthorized: false };
    if (word === 'ssl=true') continue;
    assert.equal(await ask({ ...uri(word, 'db.example.com'), ssl: unverified }), true, word);
  }
  assert.equal(await ask(at('db.example.com', { servername: 'localhost' })), true);
  assert.equal(
    await ask(uri(`sslmode=verify-ca&sslrootcert=${certificate('ca-ec.crt')}`, 'db.example.com')),
    true,
  );
  await secure(node, { name: 'elsewhere' });
  assert.equal(await ask(at('db.example.com')), true);
  assert.equal(await ask(at('any.example.org')), true);
  await isRefused(at('two.labels.example.org'), 'HYPERION_TLS', /ERR_TLS_CERT_ALTNAME_INVALID/);
  await secure(node);
});

test('certificates that Node takes are taken, and others are refused with advice', async () => {
  const ends = [
    ['v1', 'ca-rsa.crt', true],
    ['self', 'self.crt', true],
    ['cn', 'ca-ec.crt', true],
    ['chained', 'ca-ec.crt', true],
    ['pss', 'ca-rsa.crt', true],
    ['sha512', 'ca-rsa.crt', true],
    ['ed25519', 'ca-ed.crt', true],
    ['server', 'ca-other.crt', /issued by 'hyperiondb test CA ec'.*as 'ca'/],
    ['self', 'ca-ec.crt', /DEPTH_ZERO_SELF_SIGNED_CERT/],
    ['chained', 'ca-other.crt', /UNABLE_TO_GET_ISSUER_CERT_LOCALLY/],
    // By openssl's `-days -1` it ends before it begins.
    ['expired', 'ca-ec.crt', /CERT_HAS_EXPIRED|InvalidCertValidity/],
  ];
  for (const [name, ca, end] of ends) {
    await secure(node, { name });
    const options = { ssl: { ca: pem(ca) } };
    if (end === true) assert.equal(await ask(options), true, name);
    else await isRefused(options, 'HYPERION_TLS', end);
    // Its login can be bound to nothing, and whoever stands in between could show the same.
    const channelBinding = name === 'ed25519' ? 'disable' : 'prefer';
    assert.equal(await ask({ ssl: 'require', channelBinding }), true, name);
  }
  await secure(node);
  await isRefused({ ssl: true }, 'HYPERION_TLS', /give its CA as ssl: \{ ca \}/);
  const crl = { ca: pem('ca-ec.crt'), crl: pem('ec.crl') };
  assert.equal(await ask({ ssl: crl }), true);
  await secure(node, { name: 'revoked' });
  await isRefused({ ssl: crl }, 'HYPERION_TLS', /CERT_REVOKED/);
  await secure(node);
});

test('a login is bound to the certificate, and may have to be', async () => {
  for (const name of ['server', 'rsa', 'sha512', 'pss']) {
    await secure(node, { name });
    for (const channelBinding of ['disable', 'prefer', 'require']) {
      assert.equal(await ask({ ssl: 'require', channelBinding }), true, name);
    }
  }
  const needed = { channelBinding: 'require' };
  assert.equal(await ask(needed), true, 'TLS within this machine, too');
  await secure(node, { name: 'ed25519' });
  await isRefused({ ssl: 'require' }, 'HYPERION_AUTHENTICATION', /channelBinding: 'disable'/);
  assert.equal(await ask({ ssl: { ca: pem('ca-ed.crt') } }), true);
  await isRefused({ ssl: 'require', ...needed }, 'HYPERION_AUTHENTICATION', /Ed25519/);
  await secure(node, { auth: 'trust' });
  await isRefused({ ssl: 'require', ...needed }, 'HYPERION_AUTHENTICATION', /scram-sha-256/);
  await secure(node, { settings: { ssl: 'off' } });
  await isRefused(needed, 'HYPERION_AUTHENTICATION', /not encrypted/);
  await secure(node);
});

test('someone in between is found out', async (t) => {
  // With the certificate of another CA, and all else passed on.
  const port = await interceptor(t, node.port, 'stranger');
  const between = (more) => ({ hosts: [`localhost:${port}`], ...more });
  await isRefused(between({ ssl: { ca: pem('ca-ec.crt') } }), 'HYPERION_TLS', /test CA other/);
  for (const channelBinding of ['prefer', 'require']) {
    await isRefused(between({ ssl: 'require', channelBinding }), '28000', /stands in between/);
  }
  // libpq's `require` alone, without channel binding, finds nothing out.
  assert.equal(await ask(between({ ssl: 'require', channelBinding: 'disable' })), true);
});

test('a client shows its certificate, whose key may have any form', async () => {
  await secure(node, { rule: 'hostssl', auth: 'cert' });
  const ssl = { ca: pem('ca-ec.crt'), cert: pem('client.crt') };
  const encrypted = pem('client.encrypted.key');
  const keys = [
    { key: pem('client.key') },
    { key: pem('client.sec1.key') },
    { key: readFileSync(certificate('client.der')) },
    { key: createPrivateKey(pem('client.key')) },
    { key: encrypted, passphrase: 'open' },
    { key: [pem('client.key')], cert: [Buffer.from(pem('client.crt'))] },
  ];
  for (const key of keys) assert.equal(await ask({ ssl: { ...ssl, ...key } }), true, inspect(key));
  await isRefused({ ssl: { ca: ssl.ca } }, '28000', /'cert' and 'key' in option 'ssl'/);

  const files = [
    `sslrootcert=${certificate('ca-ec.crt')}`,
    `sslcert=${certificate('client.crt')}`,
    `sslkey=${certificate('client.encrypted.key')}`,
    'sslmode=verify-full',
  ];
  assert.equal(await ask(uri([...files, 'sslpassword=open'].join('&'))), true);
  await isRefused(
    uri([...files, 'sslpassword=open', 'sslcertmode=disable'].join('&')),
    '28000',
    /cert/,
  );

  // In TLS 1.3 the server refuses it behind the handshake.
  const stranger = { ...ssl, cert: pem('stranger.crt'), key: pem('stranger.key') };
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    await isRefused({ ssl: { ...stranger, maxVersion } }, 'HYPERION_TLS', /ssl_ca_file/);
  }

  const wrong = [
    [{ ...ssl, key: encrypted, passphrase: 'shut' }, /the passphrase is wrong|can be read/],
    [{ ...ssl, key: encrypted }, /passphrase/],
    [
      { ...ssl, key: encrypted, passphrase: 77123477 },
      /string or Buffer, not a value of type number/,
    ],
    [{ ...ssl, key: encrypted, passphrase: { text: 'open' } }, /of type object/],
    [{ ...ssl, key: encrypted, passphrase: ['open'] }, /not an array/],
    [{ servername: pem('client.key') }, /servername/],
    [{ minVersion: pem('client.key') }, /not shown/],
    [pem('client.key'), /not shown/],
    [{ ...ssl, key: pem('stranger.key') }, /KEY_VALUES_MISMATCH/],
    [ssl, /its key/],
    [{ ...ssl, key: 'rubbish' }, /no private key/],
    [{ ...ssl, key: 5 }, /a string, Buffer or KeyObject/],
    [{ ca: 'rubbish' }, /no certificate in PEM/],
    [{ ca: [] }, /no certificate in PEM/],
    [{ ca: 5 }, /a string or Buffer/],
    [{ pfx: Buffer.alloc(1) }, /openssl pkcs12/],
    [{ checkServerIdentity: () => {} }, /verify-ca/],
    [{ rejectUnauthorised: false }, /did you mean 'rejectUnauthorized'/],
    [{ minVersion: 'TLSv1' }, /broken/],
    ['on', /one of disable, prefer/],
  ];
  for (const [option, words] of wrong) {
    const { code, message } = await Promise.resolve()
      .then(() => createPool(optionsOf({ ssl: option })))
      .then(assert.fail, (error) => error);
    assert.equal(code, 'HYPERION_CONFIGURATION');
    assert.match(message, words);
    assert.doesNotMatch(message, /BEGIN .*KEY/);
  }
  await secure(node);
});

test('options that contradict each other are refused', () => {
  const wrong = [
    [uri('sslmode=disable'), { ssl: true }, /different things/],
    [uri('sslmode=verify-full'), { ssl: { rejectUnauthorized: false } }, /give one of them/],
    [uri('sslmode=no-verify'), { ssl: { rejectUnauthorized: true } }, /give one of them/],
    [uri(`sslmode=require&sslkey=${encodeURIComponent(pem('client.key'))}`), {}, /a file's path/],
    [uri('sslmode=disable&sslcert=/x'), {}, /turns TLS off|can't be read/],
    [uri('sslmode=verify-ca'), {}, /needs a CA/],
    [uri('sslmode=require&sslrootcert=system'), {}, /needs sslmode=verify-full/],
    [uri('sslnegotiation=direct'), {}, /needs sslmode=require/],
    [uri('sslmode=disable&channel_binding=require'), {}, /needs TLS/],
    [uri('sslrootcert=/nowhere'), {}, /'sslrootcert' can't be read: ENOENT/],
    [uri('sslcompression=1'), {}, /CRIME/],
  ];
  for (const [string, more, words] of wrong) {
    assert.throws(() => createPool(optionsOf({ ...string, ...more })), {
      code: 'HYPERION_CONFIGURATION',
      message: words,
    });
  }
});

test('versions and direct TLS', async () => {
  const versionOf = async (more) => {
    const pool = createPool(optionsOf(more));
    try {
      return (await pool.query(HOW))[0].version;
    } finally {
      await pool.end();
    }
  };
  assert.equal(await versionOf({ ssl: 'require' }), 'TLSv1.3');
  const ca = pem('ca-ec.crt');
  assert.equal(await versionOf({ ssl: { ca, maxVersion: 'TLSv1.2' } }), 'TLSv1.2');
  assert.equal(await versionOf(uri('sslmode=require&ssl_max_protocol_version=TLSv1.2')), 'TLSv1.2');
  await secure(node, { settings: { ssl_max_protocol_version: 'TLSv1.2' } });
  assert.equal(await versionOf({ ssl: 'require' }), 'TLSv1.2');
  await isRefused({ ssl: { ca, minVersion: 'TLSv1.3' } }, 'HYPERION_TLS', /versions of TLS/);
  await secure(node);
  const direct = { ssl: { ca, negotiation: 'direct' }, acquireTimeoutMs: 1000 };
  if (major() >= 17) assert.equal(await versionOf(direct), 'TLSv1.3');
  else assert.match(inspect(await ask(direct)), /PostgreSQL 17 or newer/);
});

test('cancel requests are encrypted as their session is', async (t) => {
  const { port, began, isEncrypted } = await watch(t, node.port);
  const negotiations = major() >= 17 ? ['postgres', 'direct'] : ['postgres'];
  for (const negotiation of negotiations) {
    began.length = 0;
    const ssl = { ca: pem('ca-ec.crt'), negotiation };
    const pool = createPool(optionsOf({ hosts: [`localhost:${port}`], ssl }));
    await pool.query('SELECT 1');
    const cancelled = pool.query('SELECT pg_sleep(60)', [], { timeoutMs: 100 });
    await assert.rejects(cancelled, { code: 'HYPERION_QUERY_TIMEOUT', outcome: 'not-committed' });
    assert.equal((await pool.query(HOW))[0].ssl, true, 'the session goes on');
    await pool.end();
    assert.equal(began.length, 2);
    const isTls = negotiation === 'direct' ? (bytes) => bytes[0] === 22 : isEncrypted;
    assert.ok(began.every(isTls), inspect(began));
  }
});

test('cluster() says how a host was spoken to', async () => {
  const seen = async (more) => {
    const pool = createPool(optionsOf(more));
    await pool.query('SELECT 1');
    const [{ tls }] = pool.cluster();
    await pool.end();
    return tls;
  };
  assert.equal(await seen({}), null);
  const { protocol, cipher, verified } = await seen({ ssl: { ca: pem('ca-ec.crt') } });
  assert.deepEqual([protocol, verified], ['TLSv1.3', 'full']);
  assert.match(cipher, /^TLS_AES_/);
  assert.equal((await seen({ ssl: 'require' })).verified, 'none');
});

test('a balancer whose server is away ends no wait where TLS was had', async (t) => {
  const handshakeFailure = Buffer.from([21, 3, 3, 0, 2, 2, 40]);
  const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
  let refused = 0;
  let isAway = true;
  const port = await answering(t, (client) => {
    if (isAway) {
      refused += 1;
      client.write('S');
      client.once('data', () => client.end(handshakeFailure));
      return;
    }
    const server = connect(node.port, '127.0.0.1', () => server.write(sslRequest));
    for (const socket of [client, server]) socket.on('error', () => server.destroy());
    client.pipe(server).pipe(client);
  });
  const more = { hosts: [`localhost:${port}`], ssl: { ca: pem('ca-ec.crt') } };
  await isRefused(more, 'HYPERION_TLS', /ssl_ciphers/);
  isAway = false;
  const pool = createPool(optionsOf({ ...more, acquireTimeoutMs: 30_000 }));
  const [{ pid }] = await pool.query('SELECT pg_backend_pid() AS pid');
  [isAway, refused] = [true, 0];
  await cluster.query(node, `SELECT pg_terminate_backend(${pid})`);
  const waiting = pool.query('SELECT 1 AS one');
  await waitUntil('the balancer has refused', () => refused > 1);
  isAway = false;
  assert.equal((await waiting)[0].one, 1);
  await pool.end();
});

test('where TLS was had, plain text is refused', async (t) => {
  const plain = await answering(t, (socket) => socket.write('N'));
  await isRefused({ hosts: [`h:${plain}`], ssl: 'require' }, 'HYPERION_TLS', /ssl = off/);
  // Someone in between lets a connection through, or says that the server has no TLS.
  let strips = false;
  let stripped = 0;
  const port = await answering(t, (client) => {
    if (strips) {
      stripped += 1;
      return client.write('N');
    }
    const server = connect(node.port, '127.0.0.1', () => {
      server.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
      client.pipe(server).pipe(client);
    });
    server.on('error', () => {});
  });
  const hosts = [`h:${port}`];
  const more = { hosts, ssl: 'prefer', maxUses: 1, acquireTimeoutMs: 60_000 };
  const pool = createPool(optionsOf(more));
  t.after(() => pool.end({ timeoutMs: 0 }));
  assert.equal((await pool.query(HOW))[0].ssl, true);
  strips = true;
  const waits = pool.query(HOW);
  await waitUntil('some attempts were told so', () => stripped >= 3);
  assert.match(pool.cluster()[0].lastError.message, /had TLS with it before/);
  strips = false;
  assert.equal((await waits)[0].ssl, true, 'a query waits for the server itself');
});

test('answers that are no PostgreSQL server’s end the attempt', async (t) => {
  const check = async (answer, words, connectTimeoutMs = 60_000) => {
    const port = await answering(t, answer);
    const more = { hosts: [`h:${port}`], ssl: 'require', acquireTimeoutMs: 2000 };
    const error = await ask({ ...more, connectTimeoutMs });
    assert.match(inspect(error), words);
  };
  await check((socket) => socket.write('E'), /answered the request for TLS.*with an error/s);
  await check((socket) => socket.write('HTTP/1.1 400'), /in the clear|not that of a PostgreSQL/);
  await check((socket) => socket.write('SS'), /in the clear behind the answer/);
  await check((socket) => socket.end(), /closed the connection in answer/);
  await check((socket) => socket.end('S'), /closed the connection in the TLS handshake/);
  await check((socket) => socket.write('S', () => socket.resetAndDestroy()), /ECONNRESET|closed/);
  await check(() => {}, /no answer within 200 ms/, 200);
  await check((socket) => socket.write('S'), /no answer within 200 ms/, 200);
});

test('everything passes that passes in the clear', async () => {
  const pool = createPool(optionsOf({ ssl: 'require', poolSize: 3 }));
  const rows = await pool.query("SELECT g, repeat('x', 100) AS t FROM generate_series(1, 50000) g");
  assert.equal(rows.length, 50_000);
  assert.deepEqual(rows.at(-1), { g: 50_000, t: 'x'.repeat(100) });
  for (const length of [1, 8191, 16_383, 16_384, 16_385, 65_536, 3_000_000]) {
    const text = 'y'.repeat(length);
    assert.deepEqual(await pool.query('SELECT $1::text AS t', [text]), [{ t: text }]);
  }
  const many = Array.from({ length: 2000 }, (_, n) => pool.query('SELECT $1::int AS n', [n]));
  assert.deepEqual(
    (await Promise.all(many)).map(([{ n }]) => n),
    Array.from({ length: 2000 }, (_, n) => n),
  );
  await pool.transaction(async (tx) => {
    await tx.query('CREATE TEMP TABLE kept (n int)');
    await tx.query('INSERT INTO kept SELECT generate_series(1, 1000)');
    assert.deepEqual(await tx.query('SELECT count(*)::int AS n FROM kept'), [{ n: 1000 }]);
  });
  await pool.end();
});

test('a certificate that is exchanged counts for new sessions alone', async () => {
  const ssl = { ca: pem('ca-ec.crt') };
  const pool = createPool(optionsOf({ ssl, poolSize: 2, acquireTimeoutMs: 500 }));
  const one = await pool.connect();
  await one.query('SELECT 1');
  await secure(node, { name: 'rsa' });
  await waitUntil('the new certificate is shown', async () => (await ask({ ssl })) !== true);
  assert.equal((await one.query(HOW))[0].ssl, true);
  await assert.rejects(pool.connect(), /hyperiondb test CA rsa/);
  await secure(node);
  await waitUntil('the old certificate is back', async () => (await ask({ ssl })) === true);
  const two = await pool.connect();
  assert.equal((await two.query(HOW))[0].ssl, true);
  await Promise.all([one.release(), two.release()]);
  await pool.end();
});
