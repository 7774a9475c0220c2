// The test cluster's own sessions, by `pg`: an independent view of the data on the servers.

import pg from 'pg';

/** Values stay the text that the server has sent, so that no parser can hide an error. */
const asText = { getTypeParser: () => (value) => value };

/**
 * @typedef {{ user: string, password?: string, database: string }} Credentials
 */

/** Asks for the process ids of the sessions for which a condition on pg_stat_activity holds. */
export const othersWhere = (condition) =>
  `SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (${condition})`;

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
  /** @param {string} sql @returns {Promise<(string | null)[][]>} rows of the last statement */
  const query = async (sql) => {
    const result = await client.query({ text: sql, rowMode: 'array' });
    return Array.isArray(result) ? result.at(-1).rows : result.rows;
  };
  return {
    reported: { ...reported },
    query,
    /**
     * The process ids of the other sessions for which a condition on pg_stat_activity holds now.
     * Also within a transaction, in which the view is otherwise a snapshot.
     */
    async others(condition) {
      await query('SELECT pg_stat_clear_snapshot()');
      return (await query(othersWhere(condition))).flat();
    },
    /** Until `unlock`, no other session can read or write the table. */
    lock: (table) => query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`),
    unlock: () => query('ROLLBACK'),
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
