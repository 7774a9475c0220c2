// The clients in a failover, each behind the same two calls: write a key, close. `write` resolves
// when the key is acknowledged, and rejects when it is unknown whether it was written.
//
// This client gets only the hosts. The two others get what an application would write around them:
// a loop that looks for the primary and tries again. Both loops write a key again if its answer was
// lost, as most such loops do. So a key may be in the table twice.

/** How long the loops wait between two attempts. */
const RETRY_MS = 50;
const pause = () => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

export const INSERT = 'INSERT INTO failover (key) VALUES ($1)';

/**
 * @typedef {object} Connection
 * @property {string[]} hosts `host:port`
 * @property {string} user
 * @property {string} password
 * @property {string} database
 *
 * @typedef {object} Client
 * @property {(key: string) => Promise<unknown>} write
 * @property {() => Promise<void>} close
 */

/** @type {Record<string, (connection: Connection, size: number) => Promise<Client>>} */
export const CLIENTS = {
  async hyperiondb(connection, size) {
    const { createPool } = await import('../../js/index.mjs');
    const pool = createPool({ ...connection, poolSize: size, acquireTimeoutMs: 60_000 });
    return { write: (key) => pool.query(INSERT, [key]), close: () => pool.end() };
  },

  async pg(connection, size) {
    const { default: pg } = await import('pg');
    return retrying(new PgFollower(pg, connection, size));
  },

  // postgres knows a list of hosts and `target_session_attrs` itself. Its 'read-write' looks only
  // at default_transaction_read_only, and stays with a standby. 'primary' finds the primary.
  async postgres({ hosts, user, password, database }, size) {
    const { default: postgres } = await import('postgres');
    const sql = postgres(`postgres://${hosts.join()}/${database}`, {
      ...{ user, password, max: size, connect_timeout: 2, backoff: RETRY_MS / 1000 },
      target_session_attrs: 'primary',
      onnotice() {},
    });
    return retrying({
      write: (key) => sql.unsafe(INSERT, [key], { prepare: true }),
      close: () => sql.end({ timeout: 1 }),
    });
  },
};

function retrying(client) {
  const write = async (key) => {
    for (;;) {
      try {
        return await client.write(key);
      } catch {
        await pause();
      }
    }
  };
  return { write, close: () => client.close() };
}

/**
 * One pool of `pg` for the primary. When a write fails, it looks for the primary among all hosts.
 */
class PgFollower {
  #pg;
  #connection;
  #size;
  #pool = null;
  #search = null;

  constructor(pg, connection, size) {
    this.#pg = pg;
    this.#connection = connection;
    this.#size = size;
  }

  async write(key) {
    const pool = this.#pool ?? (await (this.#search ??= this.#find()));
    try {
      await pool.query({ name: 'insert', text: INSERT, values: [key] });
    } catch (error) {
      if (this.#pool === pool) {
        this.#pool = null;
        pool.end().catch(() => {});
      }
      throw error;
    }
  }

  // Tries all hosts side by side. The first one that accepts writes is the primary.
  async #find() {
    try {
      this.#pool = await Promise.any(this.#connection.hosts.map((host) => this.#open(host)));
      return this.#pool;
    } finally {
      this.#search = null;
    }
  }

  async #open(address) {
    const { user, password, database } = this.#connection;
    const [host, port] = address.split(':');
    const pool = new this.#pg.Pool({
      ...{ host, port: Number(port), user, password, database, max: this.#size },
      connectionTimeoutMillis: 2000,
    });
    // The next write finds an idle session that has ended.
    pool.on('error', () => {});
    try {
      const { rows } = await pool.query('SHOW transaction_read_only');
      if (rows[0].transaction_read_only === 'on') throw new Error(`${address} takes no writes`);
      return pool;
    } catch (error) {
      pool.end().catch(() => {});
      throw error;
    }
  }

  async close() {
    await this.#pool?.end();
  }
}
