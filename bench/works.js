// The works on which every client is measured: the query, the number of connections, and the number
// of queries at a time.

/** The rows of the table that all works read. */
export const TABLE_ROWS = 10_000;
/** The rows of the table that has a column of each common type. */
const MIXED_ROWS = 20_000;

/** Creates and fills the tables. */
export const SETUP = `
  DROP TABLE IF EXISTS bench;
  CREATE TABLE bench (id int PRIMARY KEY, small int NOT NULL, ratio float8 NOT NULL,
                      name text NOT NULL, note text NOT NULL);
  INSERT INTO bench SELECT i, i % 100, i / 7.0, 'name of row ' || i, repeat('note ', 4) || i
    FROM generate_series(1, ${TABLE_ROWS}) i;
  ANALYZE bench;
  DROP TABLE IF EXISTS bench_written;
  CREATE TABLE bench_written (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 50);
  INSERT INTO bench_written SELECT i, 0 FROM generate_series(1, ${TABLE_ROWS}) i;
  ANALYZE bench_written;
  DROP TABLE IF EXISTS bench_mixed;
  CREATE TABLE bench_mixed (id int PRIMARY KEY, account int8 NOT NULL, name text NOT NULL, note text NOT NULL,
                            done bool NOT NULL, ratio float8 NOT NULL, price numeric(12, 2) NOT NULL,
                            made timestamptz NOT NULL, tags jsonb NOT NULL, key uuid NOT NULL);
  INSERT INTO bench_mixed
    SELECT i, 7000000000 + i, 'name of row ' || i, repeat('note ', 4) || i, i % 3 = 0, i / 7.0, i * 1.17,
           '2026-01-01 12:00:00.123456+00'::timestamptz + i * interval '61 seconds',
           jsonb_build_object('kind', i % 10, 'words', jsonb_build_array('a', 'b' || i)), md5(i::text)::uuid
      FROM generate_series(1, ${MIXED_ROWS}) i;
  ANALYZE bench_mixed;`;

// The server does next to nothing for this query, so that the clients are measured. On two cores a
// look-up in a table keeps the server busy for three quarters of the time, with every client.
const ONE_ROW = "SELECT $1::int AS id, 'a name'::text AS name";
const WRITTEN = 'UPDATE bench_written SET n = n + 1 WHERE id = $1';
const REFUSED = 'SELECT $1::int / 0 AS id';
const THOUSAND_ROWS = 'SELECT id, small, ratio, name, note FROM bench WHERE id <= $1';
const MIXED = 'SELECT * FROM bench_mixed WHERE id <= $1';

/**
 * @typedef {object} Work
 * @property {string} title
 * @property {number} connections
 * @property {number} concurrency how many queries are in flight at once
 * @property {string} sql with one integer parameter
 * @property {number} parameters the parameter runs from 1 to this number
 * @property {number} [fixed] the parameter, if it is always the same
 * @property {object} [options] options for this client's pool
 * @property {number} [rows] how many rows each query returns
 * @property {string} [refusal] the SQLSTATE with which the server refuses each query
 * @property {number} [stackTraceLimit] `Error.stackTraceLimit`, if not V8's default
 */

/** @type {Record<string, Work>} */
export const WORKS = {
  'one-by-one': {
    title: '1 connection, 1 at a time',
    connections: 1,
    concurrency: 1,
    sql: ONE_ROW,
    parameters: TABLE_ROWS,
    rows: 1,
  },
  'ten-by-ten': {
    title: '10 connections, 10 at a time',
    connections: 10,
    concurrency: 10,
    sql: ONE_ROW,
    parameters: TABLE_ROWS,
    rows: 1,
  },
  saturated: {
    title: '10 connections, 200 reads at a time',
    connections: 10,
    concurrency: 200,
    sql: ONE_ROW,
    parameters: TABLE_ROWS,
    rows: 1,
  },
  'saturated-logged': {
    title: 'the same, with a `logger`',
    connections: 10,
    concurrency: 200,
    sql: ONE_ROW,
    parameters: TABLE_ROWS,
    rows: 1,
    options: { logger() {} },
  },
  // Each query has a connection to itself.
  written: {
    title: '10 connections, 200 writes at a time',
    connections: 10,
    concurrency: 200,
    sql: WRITTEN,
    parameters: TABLE_ROWS,
  },
  'written-shared': {
    title: "the same, with pipelining: 'all'",
    connections: 10,
    concurrency: 200,
    sql: WRITTEN,
    parameters: TABLE_ROWS,
    options: { pipelining: 'all' },
  },
  'thousand-rows': {
    title: '1000 rows x 5 columns (2 text)',
    connections: 1,
    concurrency: 1,
    sql: THOUSAND_ROWS,
    parameters: TABLE_ROWS,
    fixed: 1000,
    rows: 1000,
  },
  'mixed-one': {
    title: '1 row x 10 columns of mixed types',
    connections: 1,
    concurrency: 1,
    sql: MIXED,
    parameters: MIXED_ROWS,
    fixed: 1,
    rows: 1,
  },
  'mixed-thousand': {
    title: '1000 rows x 10 columns of mixed types',
    connections: 1,
    concurrency: 1,
    sql: MIXED,
    parameters: MIXED_ROWS,
    fixed: 1000,
    rows: 1000,
  },
  'mixed-many': {
    title: '20000 rows x 10 columns of mixed types',
    connections: 1,
    concurrency: 1,
    sql: MIXED,
    parameters: MIXED_ROWS,
    fixed: MIXED_ROWS,
    rows: MIXED_ROWS,
  },
  // The cost of an error whose stack shows the caller's line, and of one without a stack.
  refused: {
    title: '10 connections, 10 at a time, all refused',
    connections: 10,
    concurrency: 10,
    sql: REFUSED,
    parameters: TABLE_ROWS,
    refusal: '22012',
  },
  'refused-without-stacks': {
    title: 'the same, with Error.stackTraceLimit = 0',
    connections: 10,
    concurrency: 10,
    sql: REFUSED,
    parameters: TABLE_ROWS,
    refusal: '22012',
    stackTraceLimit: 0,
  },
};
