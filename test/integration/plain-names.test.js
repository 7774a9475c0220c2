// The names by which the pool takes a statement for a plain read (`src/connection/statement`),
// against the catalogs of a real server.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { clusterAndPool } from '../support/pools.js';

const { pool } = await clusterAndPool({ nodes: 1 }, { poolSize: 1 });

const file = new URL('../../src/connection/statement/plain_names.rs', import.meta.url);
const source = readFileSync(file, 'utf8');

/** The names of a table of that file. */
function table(name) {
  const [, names] = new RegExp(`const ${name}: &str = "\\\\\\n([^"]*)"`).exec(source);
  return names.trim().split(/\s+/);
}

test('no function that counts as plain is volatile in any overload, in any schema', async () => {
  const names = table('FUNCTIONS');
  const sql = `SELECT oid::regprocedure::text AS function FROM pg_proc
                WHERE provolatile = 'v' AND proname = ANY ($1) ORDER BY 1`;
  assert.deepEqual(await pool.query(sql, [names]), []);
  // The question does find what is volatile.
  const volatile = ['nextval', 'pg_advisory_lock', 'pg_try_advisory_lock', 'lo_create', 'setval'];
  const found = await pool.query(sql, [volatile]);
  assert.deepEqual(
    [...new Set(found.map((row) => row.function.replace(/\(.*/, '')))].toSorted(),
    volatile.toSorted(),
  );
  assert.deepEqual(
    names.filter((name) => volatile.includes(name)),
    [],
  );
});

test('every function that counts as plain is one of the system, and so no user’s own', async () => {
  const sql = `SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (
                 SELECT FROM pg_proc WHERE proname = name
                    AND pronamespace = 'pg_catalog'::regnamespace)`;
  assert.deepEqual(await pool.query(sql, [table('FUNCTIONS')]), []);
});

test('no operator that counts as plain calls a volatile function', async () => {
  const sql = `SELECT oid::regoperator::text AS operator FROM pg_operator
                WHERE oprname = ANY ($1) AND oprcode <> 0
                  AND (SELECT provolatile FROM pg_proc p WHERE p.oid = oprcode) = 'v'`;
  assert.deepEqual(await pool.query(sql, [table('OPERATORS')]), []);
});

test('each type that counts as plain is one of the system, or a word of the grammar', async () => {
  const sql = `SELECT name FROM unnest($1::text[]) AS name
                WHERE NOT EXISTS (SELECT FROM pg_type WHERE typname = name AND typrelid = 0
                                     AND typnamespace = 'pg_catalog'::regnamespace)
                  AND NOT EXISTS (SELECT FROM pg_get_keywords() WHERE word = name)`;
  assert.deepEqual(await pool.query(sql, [table('TYPES')]), []);
});
