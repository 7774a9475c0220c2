// Sessions of the test cluster itself, through `pg`: an independent view of the data on the
// servers.

import pg from 'pg';

/** Values stay the text that the server sent, so that no parser can hide an error. */
const asText = { getTypeParser: () => (value) => value };

/**
 * @typedef {{ user: string, password?: string, database: string }} Credentials
 */

/**
 * Opens a session. Settings that the server reported at login are in `session.reported`.
 * @param {{ host: string, port: number }} node
 * @param {Credentials} credentials
 * @param {{ timeoutMs?: number }} [options]
 */
export async function openSession(node, credentials, { timeoutMs = 10_000 } = {}) {
  const client = new pg.Client({
    host: node.host,
    port: node.port,
    ...credentials,
    ssl: false,
    types: asText,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: 60_000,
  });
  const reported = {};
  client.connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
    reported[parameterName] = parameterValue;
  });
  // If the server ends between two statements, the next statement fails.
  client.on('error', () => {});
  await client.connect();
  return {
    reported: { ...reported },
    /** @param {string} sql @returns {Promise<(string | null)[][]>} rows of the last statement */
    async query(sql) {
      const result = await client.query({ text: sql, rowMode: 'array' });
      return Array.isArray(result) ? result.at(-1).rows : result.rows;
    },
    close: () => client.end().catch(() => {}),
  };
}

/**
 * Runs one query in a session of its own.
 * @param {{ host: string, port: number }} node
 * @param {Credentials} credentials
 * @param {string} sql
 */
export async function queryOnce(node, credentials, sql) {
  const session = await openSession(node, credentials);
  try {
    return await session.query(sql);
  } finally {
    await session.close();
  }
}
