// Connection strings, and what is read beside them as libpq does: the environment, the service file
// and the password file.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';
import { pem, secure } from '../support/tls/index.js';
import { warningsOf } from '../support/warnings.js';

let cluster;
let node;
let folder;
let own;

before(async () => {
  cluster = await startCluster({ nodes: 1 });
  node = cluster.primary;
  folder = mkdtempSync(path.join(os.tmpdir(), 'hyperion-strings-'));
  // What the machine's own user has set would be read as well.
  own = Object.entries(process.env).filter(([name]) => name.startsWith('PG'));
  for (const [name] of own) delete process.env[name];
  process.env.PGPASSFILE = path.join(folder, 'nowhere');
});
after(async () => {
  delete process.env.PGPASSFILE;
  Object.assign(process.env, Object.fromEntries(own ?? []));
  rmSync(folder, { recursive: true, force: true });
  await cluster?.close();
});

/** Sets variables for one test. */
function setVariables(t, variables) {
  const before = Object.keys(variables).map((name) => [name, process.env[name]]);
  Object.assign(process.env, variables);
  t.after(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
}

function write(name, text, mode = 0o600) {
  const file = path.join(folder, name);
  writeFileSync(file, text, { mode });
  chmodSync(file, mode);
  return file;
}

const WHO = `SELECT current_user::text AS role, current_database()::text AS base,
             current_setting('application_name') AS app`;

function opened(t, ...given) {
  const pool = createPool(...given);
  t.after(() => pool.end());
  return pool;
}

async function ask(t, ...given) {
  const [row] = await opened(t, ...given).query(WHO);
  return row;
}

const quoted = (text) => `'${text.replace(/[\\']/g, '\\$&')}'`;
const keywords = (more = '') => {
  const { user, password, database } = cluster;
  return `host=127.0.0.1 port=${node.port} user=${user} password=${quoted(password)} dbname=${database} ${more}`;
};
const expected = (app = '') => ({ role: cluster.user, base: cluster.database, app });
const isHealthy = async (t, ...given) => assert.deepEqual(await ask(t, ...given), expected());

test('a list of keywords says the same as a URI', async (t) => {
  await isHealthy(t, keywords());
  await isHealthy(t, `\n${keywords(`connect_timeout=0`)}\n`);
  assert.deepEqual(await ask(t, keywords(`application_name='a b'`)), expected('a b'));
  assert.deepEqual(await ask(t, keywords(`fallback_application_name=f`)), expected('f'));
  const socket = keywords(`application_name=s host=${quoted(node.socketDir)}`);
  assert.deepEqual(await ask(t, socket), expected('s'));
  const options = { applicationName: 'of the option' };
  assert.deepEqual(
    await ask(t, keywords('application_name=s'), options),
    expected(options.applicationName),
  );
});

test('a URL is a connection string', async (t) => {
  const { user, password, database } = cluster;
  const url = new URL(`postgres://127.0.0.1:${node.port}/${database}?application_name=a%20b`);
  url.username = user;
  url.password = password;
  assert.deepEqual(await ask(t, url), expected('a b'));
  assert.deepEqual(await ask(t, { connectionString: url }), expected('a b'));
  assert.deepEqual(await ask(t, url, { applicationName: 'c' }), expected('c'));
});

test('the environment says what nothing else says', async (t) => {
  const { user, password, database } = cluster;
  setVariables(t, {
    PGHOST: '127.0.0.1',
    PGPORT: String(node.port),
    PGUSER: user,
    PGPASSWORD: password,
    PGDATABASE: database,
    PGAPPNAME: 'of env',
    PGOPTIONS: '-c geqo_threshold=7',
    PGTZ: 'Asia/Tokyo',
    PGCONNECT_TIMEOUT: '5',
    PGSSLMODE: 'disable',
  });
  assert.deepEqual(await ask(t, {}), expected('of env'));
  const settings = `SELECT current_setting('geqo_threshold') AS geqo, current_setting('TimeZone') AS zone`;
  const rows = await opened(t, {}).query(settings);
  assert.deepEqual(rows, [{ geqo: '7', zone: 'Asia/Tokyo' }]);
  assert.deepEqual(await ask(t, 'application_name=of-string'), expected('of-string'));
  await assert.rejects(opened(t, { database: 'nowhere' }).query('SELECT 1'), { code: '3D000' });
  assert.throws(() => createPool({ env: false }), {
    code: 'HYPERION_CONFIGURATION',
    message: /option 'user' is missing/,
  });
  assert.throws(() => createPool({ env: 'no' }), { message: /option 'env' must be true or false/ });
});

test('a service stands between the string and the environment', async (t) => {
  const { user, password, database } = cluster;
  const file = write(
    'service.conf',
    `# comment\n[other]\nport=1\n[app]\nhost=127.0.0.1\nport=${node.port}\nuser=${user}\npassword=${password}\n` +
      `dbname=${database}\napplication_name=of service\n`,
  );
  setVariables(t, { PGSERVICEFILE: file, PGAPPNAME: 'of env', PGPORT: '1' });
  assert.deepEqual(await ask(t, 'service=app'), expected('of service'));
  assert.deepEqual(await ask(t, 'postgres://?service=app&application_name=x'), expected('x'));
  assert.deepEqual(
    await ask(t, `service=app servicefile=${file}`, { env: false }),
    expected('of service'),
  );
  assert.throws(() => createPool('service=none'), { message: /service "none" is not defined/ });
  assert.throws(() => createPool('service=app', { env: false }), { message: /servicefile/ });
  setVariables(t, { PGSERVICE: 'app' });
  assert.deepEqual(await ask(t, {}), expected('of service'));
  setVariables(t, { PGSERVICEFILE: path.join(folder, 'nowhere') });
  assert.throws(() => createPool({}), {
    message: /the file of service 'app' can't be read: ENOENT/,
  });
  // The folder of all users is looked into where the user's file does not define it.
  write('pg_service.conf', `[of-system]\nuser=u\n`);
  setVariables(t, { PGSERVICEFILE: file, PGSYSCONFDIR: folder });
  await createPool('service=of-system').end();
});

test('a password file is matched by the name that the user has given', async (t) => {
  const { user, password, database } = cluster;
  const secret = password.replace(/[\\:]/g, '\\$&');
  const file = write(
    'pgpass',
    `# comment\nlocalhost:1:*:*:wrong\nlocalhost:${node.port}:${database}:${user}:${secret}\n*:*:*:other:wrong\n`,
  );
  setVariables(t, { PGPASSFILE: file });
  const where = (host) => `host=${host} port=${node.port} user=${user} dbname=${database}`;
  await isHealthy(t, where('localhost'));
  await isHealthy(t, `${where('localhost')} hostaddr=127.0.0.1`);
  await isHealthy(t, where('localhost'), { env: true });
  // The given password counts, and the address has no entry.
  await assert.rejects(opened(t, where('localhost'), { password: 'wrong' }).query('SELECT 1'), {
    code: '28P01',
  });
  for (const given of [[where('127.0.0.1')], [where('localhost'), { env: false }]]) {
    await assert.rejects(opened(t, ...given).query('SELECT 1'), {
      code: 'HYPERION_AUTHENTICATION',
    });
  }
  await isHealthy(t, `${where('localhost')} passfile=${quoted(file)}`, { env: false });
  // Hosts that come later have their entries as well.
  const pool = opened(t, `user=${user} dbname=${database} host=localhost port=1`);
  pool.setHosts([`localhost:${node.port}`]);
  assert.equal((await pool.query('SELECT 1 AS one'))[0].one, 1);
  assert.doesNotMatch(inspect(pool, { depth: 9, showHidden: true }), new RegExp(password));
});

test(
  'a password file that others may read is ignored, and said so',
  { skip: process.platform === 'win32' },
  async (t) => {
    const { user, password, database } = cluster;
    const secret = password.replace(/[\\:]/g, '\\$&');
    const text = `localhost:${node.port}:${database}:${user}:${secret}\n`;
    const open = `host=localhost port=${node.port} user=${user} dbname=${database}`;
    for (const [file, why] of [
      [write('open', text, 0o640), /others may read it: say chmod 600/],
      [folder, /no plain file/],
    ]) {
      setVariables(t, { PGPASSFILE: file });
      const warnings = await warningsOf(() =>
        assert.rejects(opened(t, open).query('SELECT 1'), { code: 'HYPERION_AUTHENTICATION' }),
      );
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ['HYPERION_PASSFILE'],
      );
      assert.match(warnings[0].message, why);
    }
  },
);

test('an address stands in for a name that nobody can look up', async (t) => {
  await secure(node);
  const { user, password, database } = cluster;
  const login = `port=${node.port} user=${user} password=${quoted(password)} dbname=${database}`;
  await isHealthy(t, `host=no-such-host.invalid hostaddr=127.0.0.1 ${login}`);
  await isHealthy(t, `hostaddr=127.0.0.1 ${login}`);
  // Certificates are for the name.
  const full = (host) => [
    `host=${host} hostaddr=127.0.0.1 ${login} sslmode=verify-full`,
    { ssl: { ca: pem('ca-ec.crt') } },
  ];
  await isHealthy(t, ...full('localhost'));
  await assert.rejects(opened(t, ...full('no-such-host.invalid')).query('SELECT 1'), {
    code: 'HYPERION_TLS',
  });
});

test('a link-local address is reached by the name of its interface', async (t) => {
  const all = Object.entries(os.networkInterfaces());
  const linkLocal = all
    .flatMap(([name, addresses]) => addresses.map((it) => ({ name, ...it })))
    .find(({ scopeid }) => scopeid > 0);
  if (linkLocal === undefined) return t.skip('no interface has a link-local address');
  const relay = createServer((socket) => {
    const server = connect(node.port, '127.0.0.1');
    socket.pipe(server).pipe(socket);
    for (const end of [socket, server])
      end.on('error', () => [socket, server].forEach((it) => it.destroy()));
  });
  const { address, name } = linkLocal;
  const host = `${address}%${name}`;
  await new Promise((resolve) => relay.listen(0, host, resolve));
  t.after(() => relay.close());
  const { port } = relay.address();
  const { user, password, database } = cluster;
  const login = `user=${user} password=${quoted(password)} dbname=${database} sslmode=disable`;
  await isHealthy(t, `host=${host} port=${port} ${login}`);
  await isHealthy(t, cluster.options({ hosts: [`[${host}]:${port}`], ssl: false }));
  const encoded = encodeURIComponent(password);
  await isHealthy(
    t,
    `postgres://${user}:${encoded}@[${address}%25${name}]:${port}/${database}?sslmode=disable`,
  );
  const nowhere = opened(t, `host=${address}%nowhere0 port=${port} ${login}`, {
    acquireTimeoutMs: 200,
  });
  await assert.rejects(nowhere.query('SELECT 1'), /no such network interface/);
});

test('what this client does not have is ignored by its name, once a pool', async (t) => {
  const warnings = await warningsOf(async () => {
    await isHealthy(t, keywords('reconnect=true load_balance_hosts=disable connection_limit=2'));
  });
  assert.deepEqual(
    new Set(warnings.map(({ code }) => code)),
    new Set(['HYPERION_IGNORED_SETTING']),
  );
  assert.deepEqual(
    warnings.map(({ message }) => message),
    [
      `'reconnect' in the connection string is ignored: it means nothing here`,
      `'load_balance_hosts' in the connection string is ignored: this client tries all hosts at once`,
    ],
  );
});

// Each is what somebody has reported of another client.
test('strings that other clients have trouble with', async (t) => {
  const { database } = cluster;
  const at = `127.0.0.1:${node.port}`;
  const setPassword = (password) =>
    cluster.query(node, `ALTER ROLE stranger PASSWORD '${password.replaceAll("'", "''")}'`);
  await cluster.query(node, `CREATE ROLE stranger LOGIN`);
  const as = (password, more = '') => `postgres://stranger:${password}@${at}/${database}${more}`;
  const works = async (text, role = 'stranger') => assert.equal((await ask(t, text)).role, role);
  const refused = (text, words) =>
    assert.throws(
      () => createPool(text),
      ({ code, message }) => {
        assert.equal(code, 'HYPERION_CONFIGURATION');
        assert.match(message, words);
        assert.doesNotMatch(message, /hunter2/);
        return true;
      },
    );

  // brianc/node-postgres#133: a percent sign in the password.
  await setPassword('50%off');
  await works(as('50%25off'));
  refused(as('hunter2%off'), /a '%' is not followed by two hexadecimal digits/);
  // porsager/postgres#399: a caret, which need not be encoded.
  await setPassword('pass^word');
  await works(as('pass^word'));
  await works(new URL(as('pass^word')));
  // vitaly-t/pg-promise#513, brianc/node-postgres#3557: a question mark, a colon and a dollar.
  await setPassword('pass?word:3$');
  await works(as('pass?word:3$'));
  // lukemurray/data-atom#53, brianc/node-postgres#3376: a slash, which must be encoded.
  await setPassword('po/op');
  await works(as('po%2Fop'));
  refused(as('hunter2/op'), /must be percent-encoded/);
  // vercel/vercel#2967: a hash.
  await setPassword('my*cool#password');
  await works(as('my*cool#password'));
  await works(as('my*cool%23password'));
  // danvk/pg-to-ts#20: an at sign, which must be encoded.
  refused(as('hunter2@mp'), /an '@' behind its user and password/);
  // iceddev/pg-connection-string#14: the folder of a socket in the query.
  await setPassword('simple');
  const folderOf = encodeURIComponent(node.socketDir);
  await works(
    `postgresql:///${database}?host=${folderOf}&port=${node.port}&user=stranger&password=simple`,
  );
  // jackc/pgx#2242: two servers whose sockets share a folder.
  await works(
    `host=${quoted(node.socketDir)} port=${node.port} user=stranger password=simple dbname=${database}`,
  );
  // brianc/node-postgres#475, #455 and porsager/postgres#964: PGPASSFILE, by the name of the host.
  setVariables(t, { PGPASSFILE: write('stranger', `127.0.0.1:*:*:stranger:simple\n`) });
  await works(`postgres://stranger@${at}/${database}`);
  await works({ hosts: [at], user: 'stranger', database });
  // amacneil/dbmate#623: several hosts, each with its port.
  await works(
    `postgresql://stranger@127.0.0.1:1,${at}/${database}?target_session_attrs=any&application_name=x`,
  );
  // heroku/heroku-buildpack-pgbouncer#167: a key of MySQL's.
  refused(as('simple', '?sslca=config/ca.pem'), /unknown key in the connection string "sslca"/);
});
