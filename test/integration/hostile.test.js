// Bytes that no PostgreSQL server sends. Each case ends in one typed error, closes that connection,
// and harms no other query.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import * as b from '../support/scripted/backend.js';

const { message, scriptedBackend } = b;

/**
 * A pool on a server whose first connection runs the script, and whose later connections behave.
 */
async function withHostile(t, script, extra) {
  const backend = await scriptedBackend(async (frontend, connection) => {
    if (connection === 0) return script(frontend);
    await frontend.logIn();
    frontend.send(b.firstAnswer(b.dataRow('1')));
  });
  const pool = createPool(backend.options(extra));
  t.after(async () => {
    await pool.end();
    await backend.close();
  });
  return { pool, backend };
}

/**
 * The server answers the first request with `bytes`. The query fails with a ProtocolError, and the
 * next one succeeds.
 */
function answering(name, ...bytes) {
  test(name, async (t) => {
    const { pool } = await withHostile(t, async (frontend) => {
      await frontend.logIn();
      frontend.send(...bytes);
    });
    await assert.rejects(pool.query('SELECT one'), (error) => {
      assert.equal(error.name, 'ProtocolError');
      assert.equal(error.code, 'HYPERION_PROTOCOL');
      assert.equal(error.outcome, 'unknown');
      return true;
    });
    // Another text, so that no description remains from the broken answer.
    assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
  });
}

const described = [
  b.parseComplete,
  b.parameterDescription(),
  b.rowDescription(['one', 23]),
  b.bindComplete,
];

for (const length of [0, 1, 2, 3, -1, -2147483648]) {
  answering(`a length field of ${length}`, Buffer.from('D'), b.int32(length));
}
answering('a message longer than its type may be', Buffer.from('Z'), b.int32(30_001));
answering('a message longer than any may be', Buffer.from('D'), b.int32(0x7fffffff));
answering('a row with more fields than columns', ...described, b.dataRow('1', '2'));
answering('a row with fewer fields than columns', ...described, b.dataRow());
answering('a row before its description', b.parseComplete, b.dataRow('1'));
answering('a field of length -2', ...described, message('D', b.int16(1), -2));
answering('a field past the end', ...described, message('D', b.int16(1), 5, 'abc'));
answering('bytes left over in a row', ...described, message('D', b.int16(1), 1, '1x'));
answering('an unknown tag', message('?'));
answering('BindComplete without Bind', b.bindComplete);
answering('a second AuthenticationOk', b.authenticationOk);
answering('CopyData without CopyOut', ...described, message('d', 'x'));
answering('CopyDone without CopyOut', ...described, message('c'));
answering(
  'a second CopyBoth in the first one',
  ...described,
  message('W', '\0', b.int16(0)),
  message('W', '\0', b.int16(0)),
);
answering(
  'a second CopyOut in the first one',
  ...described,
  message('H', '\0', b.int16(0)),
  message('H', '\0', b.int16(0)),
);
answering(
  'CommandComplete before CopyDone',
  ...described,
  message('H', '\0', b.int16(0)),
  b.commandComplete('COPY 0'),
);
answering('a status that does not exist', ...described, b.readyForQuery('X'));
answering('ReadyForQuery before the request is done', b.parseComplete, b.readyForQuery());
answering('ReadyForQuery of a wrong length', message('Z', 'I\0'));
test('a value that is none fails its query, and the connection goes on', async (t) => {
  const { pool, backend } = await withHostile(t, async (frontend) => {
    await frontend.logIn();
    frontend.send(...described, b.dataRow('x'), b.commandComplete('SELECT 1'), b.readyForQuery());
    await frontend.until('S');
    await frontend.until('S');
    frontend.send(b.readyForQuery(), b.firstAnswer(b.dataRow('1')));
  });
  await assert.rejects(pool.query('SELECT one'), { name: 'ProtocolError' });
  assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
  assert.equal(backend.connections, 1);
});

const typeColumns = ['oid', 'typname', 'base', 'element', 'typdelim', 'element_base'].map(
  (name) => [name, 25],
);
/** The result of a read that the pool sends again, because its type is gone. */
const SENT_AGAIN = 1;
/** Answers to the question for a user-made type, and the value that the caller gets. */
const TOLD = {
  'a refusal': [[b.error({ S: 'ERROR', C: '42501', M: 'no' })], '{a}'],
  'no row': [[b.rowDescription(...typeColumns), b.commandComplete('SELECT 0')], SENT_AGAIN],
  'rows of another form, and more than were asked for': [
    [
      b.rowDescription(...typeColumns),
      ...[
        ['x'],
        ['x', 'y', 'z', 'v', '', 'w', ''],
        ['16400', 'l', 'x', '25', ',', '25', ''],
        ['16401', 'other', '16401', '25', ',', '25', ''],
        ['16400', 'l', '9'],
      ],
    ].map((part) => (Array.isArray(part) ? b.dataRow(...part) : part)),
    SENT_AGAIN,
  ],
  'an array of itself': [[b.dataRow('16400', 'loop', '16400', '16400', ',', '16400', 'x')], ['a']],
  nothing: [null, null],
};
for (const [name, [told, value]] of Object.entries(TOLD)) {
  test(`a type is asked for, and the answer is ${name}`, async (t) => {
    const script = async (frontend) => {
      await frontend.logIn();
      const row = [b.dataRow('{a}'), b.commandComplete('SELECT 1'), b.readyForQuery()];
      const [parse, parameters, , bind] = described;
      frontend.send(parse, parameters, b.rowDescription(['one', 16_400]), bind, ...row);
      // The question for the database, which this server does not answer, and the question for the
      // type.
      await frontend.until('Q');
      await frontend.until('Q');
      if (told === null) return;
      frontend.send(b.readyForQuery(), ...told, b.readyForQuery());
      for (let read = 0; read < (value === SENT_AGAIN ? 2 : 1); read++) {
        await frontend.until('S');
        await frontend.until('S');
        frontend.send(b.readyForQuery(), b.firstAnswer(b.dataRow('1')));
      }
    };
    const { pool } = await withHostile(t, script, { connectTimeoutMs: 200, livenessCheckMs: 100 });
    if (told === null) {
      // Whether it is an array would be a guess: it is asked again, as long as its caller waits.
      const limited = pool.query('SELECT one', [], { timeoutMs: 1000, readOnly: true });
      await assert.rejects(limited, { code: 'HYPERION_QUERY_TIMEOUT', outcome: 'not-committed' });
      return await pool.end({ timeoutMs: 1 });
    }
    assert.deepEqual(await pool.query('SELECT one'), [{ one: value }]);
    assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
  });
}

test('a CopyIn in answer to a query is refused, and the connection goes on', async (t) => {
  const script = async (frontend) => {
    await frontend.logIn();
    const copyIn = message('G', '\0', b.int16(0));
    frontend.send(b.parseComplete, b.parameterDescription(), b.noData, b.bindComplete, copyIn);
    await frontend.until('f');
    await frontend.until('S');
    frontend.send(b.error({ S: 'ERROR', C: '57014', M: 'no' }), b.readyForQuery());
    await frontend.until('S');
    await frontend.until('S');
    frontend.send(b.readyForQuery(), b.firstAnswer(b.dataRow('1')));
  };
  const { pool, backend } = await withHostile(t, script, { resetOnRelease: false });
  await assert.rejects(pool.query('SELECT one'), {
    ...{ name: 'ConfigurationError', code: 'HYPERION_COPY', outcome: 'not-committed' },
  });
  assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
  assert.equal(backend.connections, 1);
});

test('a CopyBoth in answer to a query is ended, and the connection goes on', async (t) => {
  const copyBoth = b.message('W', '\0', b.int16(0));
  const done = [b.message('c'), b.commandComplete('START_REPLICATION'), b.readyForQuery()];
  const failed = [b.error({ S: 'ERROR', C: '55000', M: 'no' }), b.readyForQuery()];
  for (const [answer, outcome] of [
    [done, 'unknown'],
    [failed, 'not-committed'],
  ]) {
    const script = async (frontend) => {
      await frontend.logIn();
      frontend.send(b.parseComplete, b.parameterDescription(), b.noData, b.bindComplete, copyBoth);
      frontend.send(b.message('d', 'k'), b.message('d', 'w'.repeat(100_000)));
      // A CopyFail would end a replication session.
      await frontend.until('c');
      await frontend.until('S');
      frontend.send(b.message('d', 'k'), ...answer);
      await frontend.until('S');
      await frontend.until('S');
      frontend.send(b.readyForQuery(), b.firstAnswer(b.dataRow('1')));
    };
    const { pool, backend } = await withHostile(t, script, { resetOnRelease: false });
    await assert.rejects(pool.query('SELECT one'), {
      ...{ name: 'ConfigurationError', code: 'HYPERION_REPLICATION', outcome },
    });
    assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
    assert.equal(backend.connections, 1);
  }
});

test('a broken header during login', async (t) => {
  const { pool } = await withHostile(t, async (frontend) => {
    await frontend.startup();
    frontend.send(Buffer.from('R'), b.int32(3));
  });
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
});

test('an answer in segments of one byte is read like a whole one', async (t) => {
  const { pool } = await withHostile(t, async (frontend) => {
    await frontend.startup();
    for (const byte of b.welcome) await frontend.sendAndDrain(Buffer.from([byte]));
    await frontend.until('S');
    await frontend.until('S');
    const answer = Buffer.concat([
      b.readyForQuery(),
      b.firstAnswer(b.dataRow('7'), b.dataRow(null)),
    ]);
    for (const byte of answer) await frontend.sendAndDrain(Buffer.from([byte]));
  });
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 7 }, { one: null }]);
});

test('an answer that is cut anywhere is an unknown outcome', async (t) => {
  const answer = b.firstAnswer(b.dataRow('1'));
  let cut = 0;
  const backend = await scriptedBackend(async (frontend) => {
    await frontend.logIn();
    if (cut >= answer.length) return frontend.send(answer);
    await frontend.sendAndDrain(answer.subarray(0, cut));
    cut += 1;
    frontend.end();
  });
  const pool = createPool(backend.options());
  t.after(async () => {
    await pool.end();
    await backend.close();
  });
  for (let n = 0; n < answer.length; n++) {
    // Another text each time, so that no description remains from an answer that was cut off.
    const query = pool.query(`SELECT ${n}`);
    await assert.rejects(query, { code: '40003', outcome: 'unknown' });
  }
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
});

test('endless notices do not stop anybody else, nor the deadline', async (t) => {
  const flood = Buffer.concat(
    Array(200).fill(b.notice({ S: 'NOTICE', C: '00000', M: 'x'.repeat(200) })),
  );
  const { pool } = await withHostile(
    t,
    async (frontend) => {
      await frontend.startup();
      frontend.send(b.authenticationOk);
      while (!frontend.closed) await frontend.sendAndDrain(flood);
    },
    { connectTimeoutMs: 300 },
  );
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
  clearInterval(timer);
  assert.ok(turns > 10, 'the loop went on turning');
});

const refused = (name, expected, script) =>
  test(name, async (t) => {
    const backend = await scriptedBackend(script);
    const pool = createPool(backend.options({ acquireTimeoutMs: 400 }));
    t.after(async () => {
      await pool.end();
      await backend.close();
    });
    await assert.rejects(pool.query('SELECT one'), (error) => {
      assert.equal(error.outcome, 'not-sent');
      assert.match(error.message, expected);
      assert.doesNotMatch(error.stack, /hunter2/);
      return true;
    });
  });

refused('authentication that goes in circles', /no writable primary.*MD5/, async (frontend) => {
  await frontend.startup();
  const md5 = message('R', 5, 'salt');
  frontend.send(md5);
  await frontend.message();
  frontend.send(md5);
});

for (const iterations of ['0', '-1', '2147483648', '99999999999']) {
  refused(`SCRAM with ${iterations} iterations`, /iteration/i, async (frontend) => {
    await frontend.startup();
    frontend.send(message('R', 10, 'SCRAM-SHA-256\0\0'));
    const { body } = await frontend.message();
    const nonce = /r=([^,]*)/.exec(body.toString())[1];
    frontend.send(message('R', 11, `r=${nonce}more,s=c2FsdA==,i=${iterations}`));
  });
}

refused('SCRAM with a nonce that is not ours', /nonce/, async (frontend) => {
  await frontend.startup();
  frontend.send(message('R', 10, 'SCRAM-SHA-256\0\0'));
  await frontend.message();
  frontend.send(message('R', 11, 'r=another,s=c2FsdA==,i=4096'));
});

refused('SCRAM that skips the proof of the server', /AuthenticationOk/, async (frontend) => {
  await frontend.startup();
  frontend.send(message('R', 10, 'SCRAM-SHA-256\0\0'));
  const { body } = await frontend.message();
  const nonce = /r=([^,]*)/.exec(body.toString())[1];
  frontend.send(message('R', 11, `r=${nonce}more,s=c2FsdA==,i=4096`));
  await frontend.message();
  frontend.send(b.welcome);
});

test('an error without fields, and one with a megabyte of text', async (t) => {
  const { pool } = await withHostile(t, async (frontend) => {
    await frontend.logIn();
    frontend.send(message('E', '\0'), b.readyForQuery());
    await frontend.until('S');
    await frontend.until('S');
    const long = b.error({ S: 'ERROR', V: 'ERROR', C: '22000', M: 'é'.repeat(500_000) });
    frontend.send(b.readyForQuery(), long, b.readyForQuery());
  });
  await assert.rejects(pool.query('SELECT one'), { name: 'DatabaseError', code: 'XX000' });
  await assert.rejects(pool.query('SELECT one'), (error) => {
    assert.equal(error.code, '22000');
    assert.ok(error.message.length <= 8192);
    return true;
  });
});

test('a count beyond 64 bits is no count', async (t) => {
  const { pool } = await withHostile(t, async (frontend) => {
    await frontend.logIn();
    frontend.send(
      b.parseComplete,
      b.parameterDescription(),
      b.noData,
      b.bindComplete,
      b.commandComplete('INSERT 0 99999999999999999999'),
      b.readyForQuery(),
    );
  });
  const result = await pool.query('SELECT one');
  assert.equal(result.rowCount, null);
  assert.equal(result.command, 'INSERT');
});

test('ReadyForQuery that nobody asked for ends the connection, and harms no query', async (t) => {
  const { pool, backend } = await withHostile(t, async (frontend) => {
    await frontend.logIn();
    frontend.send(b.firstAnswer(b.dataRow('1')), b.readyForQuery());
  });
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
  assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
  assert.equal(backend.connections, 2);
});

test('a login of one byte at a time has one deadline', async (t) => {
  const { pool, backend } = await withHostile(
    t,
    async (frontend) => {
      await frontend.startup();
      for (const byte of b.welcome) {
        if (frontend.closed) return;
        await frontend.sendAndDrain(Buffer.from([byte]));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    { connectTimeoutMs: 200 },
  );
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
  assert.equal(backend.connections, 2);
});

test('an answer of one byte at a time does not outlive its limit', async (t) => {
  const { pool } = await withHostile(
    t,
    async (frontend) => {
      await frontend.logIn();
      while (!frontend.closed) {
        await frontend.sendAndDrain(b.notice({ S: 'NOTICE', C: '00000', M: 'x' }));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    { queryTimeoutMs: 200, cancelGraceMs: 100 },
  );
  await assert.rejects(pool.query('SELECT one'), {
    code: 'HYPERION_QUERY_TIMEOUT',
    outcome: 'unknown',
  });
  assert.deepEqual(await pool.query('SELECT one again'), [{ one: 1 }]);
});

test('a million rows of no columns and 65,535 columns are too much', async (t) => {
  const rows = Buffer.concat(Array(1_000_000).fill(b.dataRow()));
  const field = b.rowDescription(['c', 23]).subarray(7);
  const wide = message('T', b.int16(65_535), Buffer.concat(Array(65_535).fill(field)));
  const { pool } = await withHostile(
    t,
    async (frontend) => {
      await frontend.logIn();
      const start = [b.parseComplete, b.parameterDescription()];
      frontend.send(...start, b.rowDescription(), b.bindComplete, rows);
      frontend.send(b.commandComplete('SELECT 1000000'), b.readyForQuery());
      await frontend.until('S');
      await frontend.until('S');
      frontend.send(b.readyForQuery(), ...start, wide, b.bindComplete);
      frontend.send(b.commandComplete('SELECT 0'), b.readyForQuery());
    },
    { maxResultBytes: 1 << 20 },
  );
  const tooLarge = { code: 'HYPERION_RESULT_TOO_LARGE', outcome: 'unknown' };
  await assert.rejects(pool.query('SELECT one'), tooLarge);
  await assert.rejects(pool.query('SELECT two'), tooLarge);
});

test('57P01 in front of the answer to the barrier: the request was never looked at', async (t) => {
  const { pool, backend } = await withHostile(t, async (frontend) => {
    await frontend.startup();
    frontend.send(b.welcome);
    await frontend.until('S');
    await frontend.until('S');
    const terminated = { C: '57P01', M: 'terminating connection', R: 'ProcessInterrupts' };
    frontend.send(b.error({ S: 'FATAL', V: 'FATAL', ...terminated }));
    frontend.end();
  });
  assert.deepEqual(await pool.query('SELECT one'), [{ one: 1 }]);
  assert.equal(backend.connections, 2);
});

test('a commit that was not waited for is not a success', async (t) => {
  const { pool } = await withHostile(t, async (frontend) => {
    await frontend.logIn();
    frontend.send(
      b.parseComplete,
      b.parameterDescription(),
      b.noData,
      b.bindComplete,
      b.commandComplete('INSERT 0 1'),
      b.notice({
        S: 'WARNING',
        V: 'WARNING',
        C: '01000',
        M: 'canceling the wait',
        R: 'SyncRepWaitForLSN',
      }),
      b.readyForQuery(),
    );
  });
  await assert.rejects(pool.query('INSERT'), {
    name: 'TransactionError',
    code: 'HYPERION_NOT_REPLICATED',
    outcome: 'unknown',
  });
});
