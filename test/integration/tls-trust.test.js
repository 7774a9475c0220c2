// Which servers are trusted: CAs, their limits and dates, and lists of what was revoked. What is
// refused here, Node and libpq refuse as well.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import process from 'node:process';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { certificate, pem, secure } from '../support/tls/index.js';
import { waitUntil } from '../support/wait-until.js';

let cluster;
let node;

before(async () => {
  cluster = await startCluster({ nodes: 1 });
  node = cluster.primary;
});
after(() => cluster?.close());

/** The version of TLS of a session, or the error of its first query. */
async function ask(ssl) {
  const options = { hosts: [`localhost:${node.port}`], ssl, poolSize: 1 };
  const pool = createPool(cluster.options(options));
  try {
    const sql = 'SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
    return (await pool.query(sql))[0].version;
  } catch (error) {
    return error;
  } finally {
    await pool.end();
  }
}

const pems = (...names) => names.map((name) => pem(name));

/** Checks rows of `[ca, crl, end]`; the end is words of the error, or true. */
async function checkAll(name, rows) {
  await secure(node, { name });
  // A reload takes its time.
  await waitUntil(`the server shows ${name}`, async () => {
    const error = await ask({ ca: pem('stranger.crt') });
    return error.message.includes(rows.shows);
  });
  for (const [ca, crl, end] of rows.ends) {
    const ssl = { ca: pems(...ca), ...(crl.length > 0 && { crl: pems(...crl) }) };
    const got = await ask(ssl);
    const shown = `${name} ${ca} ${crl}: ${got}`;
    if (end === true) assert.equal(got, 'TLSv1.3', shown);
    else {
      assert.equal(got.code, 'HYPERION_TLS', shown);
      assert.match(got.message, end, shown);
    }
  }
}

test('a certificate that is no CA is trusted itself, and nothing that it signs', async () => {
  await checkAll('forged', {
    shows: 'pinned',
    ends: [
      [['ca-pinned.crt'], [], /'hyperiondb test pinned'/],
      [['ca-pinned.crt', 'ca-ec.crt'], [], /'hyperiondb test pinned'/],
      [['forged.crt'], [], true],
    ],
  });
});

test('a CA whose time is over is trusted no longer', async () => {
  await checkAll('late', {
    shows: 'CA past',
    ends: [
      [['ca-past.crt'], [], /whose own certificate, as it was given, has expired/],
      [['ca-past.crt', 'ca-ec.crt'], [], /CERT_HAS_EXPIRED/],
    ],
  });
});

test('the limits of a CA hold for a common name as well', async () => {
  await checkAll('limited', {
    shows: 'CA limited',
    ends: [[['ca-limited.crt'], [], /ERR_TLS_CERT_ALTNAME_INVALID/]],
  });
});

test('each CA of a chain must have a list, and of several the newest counts', async () => {
  await checkAll('revoked', {
    shows: 'CA ec',
    ends: [
      [['ca-ec.crt'], ['ec.crl'], /CERT_REVOKED/],
      [['ca-ec.crt'], ['ec-old.crl', 'ec.crl'], /CERT_REVOKED/],
      [['ca-ec.crt'], ['ec.crl', 'ec-old.crl'], /CERT_REVOKED/],
      [['ca-ec.crt'], ['other.crl'], /UNABLE_TO_GET_CRL/],
      [['ca-ec.crt'], ['ec-to-come.crl'], /UNABLE_TO_GET_CRL/],
      [['ca-ec.crt'], ['ec-old.crl'], true],
      [['ca-ec.crt'], [], true],
    ],
  });
  await checkAll('chained', {
    shows: 'CA ec',
    ends: [
      [['ca-ec.crt'], ['ec.crl'], /UNABLE_TO_GET_CRL/],
      [['ca-ec.crt'], ['between.crl'], /UNABLE_TO_GET_CRL/],
      [['ca-ec.crt'], ['ec.crl', 'between.crl'], true],
      [['ca-ec.crt'], ['ec-between.crl', 'between.crl'], /CERT_REVOKED/],
      // A CA that stands in the list beside its own is none of the last ones.
      [['ca-between.crt', 'ca-ec.crt'], ['ec-between.crl', 'between.crl'], /CERT_REVOKED/],
      [['ca-between.crt', 'ca-ec.crt'], [], true],
      [['ca-between.crt'], [], true],
    ],
  });
});

test('true trusts what Node trusts, with the CAs of NODE_EXTRA_CA_CERTS', async () => {
  await secure(node);
  const options = cluster.options({ hosts: [`localhost:${node.port}`], ssl: true });
  const program = `
    const { createPool } = require(process.argv[1]);
    const pool = createPool(JSON.parse(process.argv[2]));
    pool.query('SELECT 1').then(() => 'ok', ({ code }) => code).then((end) => {
      console.log(end);
      return pool.end();
    });`;
  const index = new URL('../../js/index.cjs', import.meta.url).pathname;
  const end = (file) =>
    execFileSync(process.execPath, ['-e', program, index, JSON.stringify(options)], {
      encoding: 'utf8',
      env: { ...process.env, NODE_EXTRA_CA_CERTS: file },
    }).trim();
  await waitUntil('the server shows its certificate', () => end(certificate('ca-ec.crt')) === 'ok');
  assert.equal(end(certificate('ca-other.crt')), 'HYPERION_TLS');
});
