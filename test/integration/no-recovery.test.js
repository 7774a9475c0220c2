// Servers that have neither `pg_is_in_recovery()` nor the other functions that the pool calls for
// itself.

import assert from 'node:assert/strict';
import test from 'node:test';
import { openPool } from '../support/pools.js';

import {
  authenticationOk,
  commandComplete,
  dataRow,
  error,
  readyForQuery,
  rowDescription,
  scriptedBackend,
} from '../support/scripted/backend.js';

/**
 * Answers SHOW with `setting`, refuses all other questions of the pool with `code`, and answers all
 * queries of callers.
 */
async function startServer({ code, setting }) {
  const asked = [];
  const server = await scriptedBackend(async (frontend) => {
    await frontend.startup();
    frontend.send(authenticationOk, readyForQuery());
    for (;;) {
      const { tag, body } = await frontend.message();
      if (tag !== 'Q') {
        if (tag === 'X') return frontend.end();
        continue;
      }
      const text = body.subarray(0, -1).toString();
      asked.push(text);
      const row = (value) => [
        rowDescription(['v', 25]),
        dataRow(value),
        commandComplete('SELECT 1'),
      ];
      const refusal = () => [error({ S: 'ERROR', V: 'ERROR', C: code, M: 'no such thing' })];
      const isOwn = /pg_is_in_recovery/.test(text);
      const answer = text.startsWith('SHOW') && setting !== null ? row(setting) : null;
      frontend.send(
        ...(answer ?? (isOwn || text.startsWith('SHOW') ? refusal() : row('1'))),
        readyForQuery(),
      );
    }
  });
  return { server, asked };
}

for (const code of ['42883', '42P01', '42501', '0A000', '42601']) {
  for (const [mode, setting, role] of [
    ...[
      ['any', 'off', 'read-write'],
      ['any', 'on', 'read-only'],
    ],
    ...[
      ['read-write', 'off', 'read-write'],
      ['read-only', 'on', 'read-only'],
    ],
  ]) {
    test(`${mode} serves where the role is refused by ${code} and SHOW says ${setting}`, async (t) => {
      const { server, asked } = await startServer({ code, setting });
      const pool = openPool(t, server.options({ mode }));
      t.after(() => server.close());
      await pool.ready();
      assert.equal(pool.cluster()[0].role, role);
      const full = asked.filter((text) => text.includes("THEN 'standby'"));
      assert.equal(full.length, 1, 'it is asked once');
      assert.equal(asked[1], 'SHOW transaction_read_only');
    });
  }
}

test('what tells no standby from a fenced primary makes no primary', async (t) => {
  const { server } = await startServer({ code: '42883', setting: 'on' });
  const pool = openPool(t, server.options({ mode: 'primary', acquireTimeoutMs: 100 }));
  t.after(() => server.close());
  await assert.rejects(pool.ready(), { code: 'HYPERION_NO_PRIMARY' });
});

test('a server that refuses both is told of, and asked no more than once by a session', async (t) => {
  const { server, asked } = await startServer({ code: '42883', setting: null });
  const pool = openPool(t, server.options({ mode: 'any', acquireTimeoutMs: 300 }));
  t.after(() => server.close());
  await assert.rejects(pool.ready(), (thrown) => {
    assert.equal(thrown.hosts[0].cause.code, '42883');
    return true;
  });
  assert.ok(asked.length <= 2 * server.connections);
});
