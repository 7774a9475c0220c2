// Every method of authentication that this client knows, against servers that ask for it.

import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { startCluster } from '../support/cluster/index.js';

for (const auth of ['trust', 'password', 'md5', 'scram-sha-256']) {
  test(`${auth} over TCP and a Unix socket`, async (t) => {
    const cluster = await startCluster({ nodes: 1, auth });
    t.after(() => cluster.close());
    const { primary } = cluster;
    const socket = { hosts: [primary.socketDir], port: primary.port };
    for (const where of [{}, socket]) {
      const pool = createPool(cluster.options(where));
      const rows = await pool.query('SELECT current_user::text AS user');
      assert.deepEqual(rows, [{ user: cluster.user }]);
      assert.doesNotMatch(
        inspect(pool, { depth: 9, showHidden: true }),
        new RegExp(cluster.password),
      );
      await pool.end();
    }
    if (auth === 'trust') return;
    for (const password of ['wrong', undefined]) {
      const pool = createPool(cluster.options({ password }));
      await assert.rejects(pool.query('SELECT 1'), (error) => {
        assert.equal(error.code, password ? '28P01' : 'HYPERION_AUTHENTICATION');
        assert.doesNotMatch(inspect(error), new RegExp(cluster.password));
        return true;
      });
      await pool.end();
    }
  });
}

test('a connection string says the same as options', async (t) => {
  const cluster = await startCluster({ nodes: 1 });
  t.after(() => cluster.close());
  const { user, password, database } = cluster;
  const string = `postgres://${user}:${encodeURIComponent(password)}@${cluster.hosts()[0]}/${database}`;
  const pool = createPool(`${string}?target_session_attrs=read-write&application_name=a%20b`);
  const rows = await pool.query("SELECT current_setting('application_name') AS name");
  assert.deepEqual(rows, [{ name: 'a b' }]);
  await pool.end();
  const missing = createPool(string, { database: 'nowhere' });
  await assert.rejects(missing.query('SELECT 1'), { code: '3D000' });
  await missing.end();

  // Waiting does not help against these errors, so the pool does not wait.
  const wrong = [
    [{ parameters: { no_such_thing: '1' } }, '42704'],
    [{ parameters: { statement_timeout: 'abc' } }, '22023'],
    [{ parameters: { TimeZone: 'Nowhere/Land' } }, '22023'],
    [{ parameters: { options: 'project=x' } }, '42601'],
  ];
  for (const [options, code] of wrong) {
    const pool = createPool(string, { acquireTimeoutMs: 600_000, ...options });
    for (const ask of [() => pool.query('SELECT 1'), () => pool.ready()]) {
      await assert.rejects(ask(), (error) => {
        assert.equal(error.code, code, error.message);
        assert.match(error.hint, /option 'parameters'/);
        return true;
      });
    }
    await pool.end();
  }
});
