// A `serialize` of the user's: which types it is told, and where its values are sent.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createPool } from '../../js/index.mjs';
import { clusterFor } from '../support/cluster/index.js';

let cluster;
let admin;
before(async () => {
  cluster = await clusterFor({ nodes: 1 });
  admin = createPool(cluster.options({ poolSize: 1 }));
});
after(async () => {
  await admin?.end();
  await cluster?.close();
});

test('the first use reads arrays of domains as each later one, whatever style the session has', async (t) => {
  await admin.query(`
    CREATE DOMAIN part AS float8;
    CREATE DOMAIN moment AS timestamptz;
    CREATE DOMAIN length AS interval;
    CREATE TABLE parts (id int, parts part[], moments moment[], lengths length[]);
    INSERT INTO parts
      VALUES (1, ARRAY[0.1::float8 + 0.2], '{2024-02-03 04:05:06+00}', '{1 day 02:00}')`);
  t.after(() => admin.query('DROP TABLE parts; DROP DOMAIN part, moment, length'));
  const row = {
    parts: [0.30000000000000004],
    moments: ['2024-02-03T04:05:06Z'],
    lengths: ['1 day 02:00:00'],
  };
  for (const parameters of [
    { extra_float_digits: '0' },
    { DateStyle: 'German' },
    { DateStyle: 'SQL, DMY' },
    { IntervalStyle: 'iso_8601' },
  ]) {
    const types = { int4: { serialize: String } };
    for (const sql of [
      'SELECT parts, moments, lengths FROM parts WHERE id = $1',
      `INSERT INTO parts SELECT $1 + 1, parts, moments, lengths FROM parts WHERE id = 1
       RETURNING parts, moments, lengths`,
    ]) {
      const pool = createPool(cluster.options({ poolSize: 1, parameters, types }));
      t.after(() => pool.end());
      for (let use = 0; use < 3; use++) {
        assert.deepEqual(await pool.query(sql, [1]), [row], `${JSON.stringify(parameters)} ${sql}`);
      }
    }
  }
});
