// The measured clients, each behind the same three calls: run a query, see its rows, close. Each is
// used as its own documentation recommends for repeated queries: with prepared statements. The
// benchmark awaits the client's own promise, so that no client pays for a layer of the benchmark.

/**
 * @typedef {object} Client
 * @property {(sql: string, parameter: number) => PromiseLike<any>} query
 * @property {(answer: any) => unknown[]} rows
 * @property {() => Promise<void>} close
 * @property {(error: any) => string} [sqlState] for a client whose errors have no SQLSTATE in
 * `code`
 */

/**
 * @callback Open
 * @param {Record<string, any>} connection
 * @param {number} size
 * @param {object} [options]
 * @returns {Promise<Client>}
 */
/** @type {Record<string, Open>} */
export const CLIENTS = {
  async hyperiondb(connection, size, options) {
    const { createPool } = await import('../js/index.mjs');
    const pool = createPool({
      hosts: [`${connection.host}:${connection.port}`],
      user: connection.user,
      password: connection.password,
      database: connection.database,
      ssl: connection.ssl,
      poolSize: size,
      ...options,
    });
    return {
      query: (sql, parameter) => pool.query(sql, [parameter]),
      rows: (answer) => answer,
      close: () => pool.end(),
    };
  },

  async pg(connection, size) {
    const { default: pg } = await import('pg');
    const pool = new pg.Pool({ ...connection, max: size });
    const names = new Map();
    const query = (sql, parameter) => {
      let name = names.get(sql);
      if (name === undefined) names.set(sql, (name = `bench${names.size}`));
      return pool.query({ name, text: sql, values: [parameter] });
    };
    return { query, rows: (answer) => answer.rows, close: () => pool.end() };
  },

  async postgres(connection, size) {
    const { default: postgres } = await import('postgres');
    const sql = postgres({ ...connection, username: connection.user, max: size });
    return {
      query: (text, parameter) => sql.unsafe(text, [parameter], { prepare: true }),
      rows: (answer) => answer,
      close: () => sql.end(),
    };
  },

  /** Bun's own client, in Bun (`bun.js`). It prepares each text that has parameters. */
  async bun(connection, size) {
    const { SQL } = await import('bun');
    const { user: username, ...rest } = connection;
    const sql = new SQL({ ...rest, adapter: 'postgres', username, max: size });
    return {
      query: (text, parameter) => sql.unsafe(text, [parameter]),
      rows: (answer) => answer,
      close: () => sql.end(),
      sqlState: (error) => error.errno,
    };
  },
};
