'use strict';

// What one host says of itself, asked by a pool of its own.

const { createPool } = require('../index.cjs');

const APPLICATION = 'hyperiondb-client';

/** What every role may ask, in PostgreSQL 13 and later. */
const FACTS = `
  SELECT pg_catalog.current_setting('server_version') AS version,
         pg_catalog.pg_is_in_recovery() AS is_standby,
         pg_catalog.current_setting('transaction_read_only') = 'on' AS is_read_only,
         (CASE WHEN pg_catalog.pg_is_in_recovery()
               THEN COALESCE(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
               ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text AS position,
         CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN NULL
              WHEN pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() THEN 0
              ELSE 1000 * extract(epoch FROM pg_catalog.clock_timestamp()
                                             - pg_catalog.pg_last_xact_replay_timestamp())
         END::float8 AS "lagMs"`;

/** What a server may refuse to tell. */
const TIMELINE = `
  SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
              THEN (SELECT GREATEST(c.timeline_id, (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver))
                      FROM pg_catalog.pg_control_checkpoint() AS c)
              ELSE ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(
                             pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
         END AS timeline`;

/** The hosts of a connection string, as errors name them. */
async function hostsOf(url) {
  const pool = createPool(url, { applicationName: APPLICATION });
  const hosts = pool.cluster().map(({ host }) => host);
  await pool.end({ timeoutMs: 0 });
  return hosts;
}

/** Asks one host again and again, on one connection. */
class HostProbe {
  #pool;
  host;

  constructor(url, host) {
    this.host = host;
    this.#pool = createPool(url, {
      hosts: [host],
      mode: 'any',
      poolSize: 1,
      acquireTimeoutMs: 3000,
      queryTimeoutMs: 3000,
      applicationName: APPLICATION,
    });
  }

  /** @returns what the host says, or `{ host, error }` */
  async look() {
    const { host } = this;
    try {
      const [facts] = await this.#pool.query(FACTS);
      const startedAt = performance.now();
      const rows = await this.#pool.query(TIMELINE).catch(() => [{ timeline: null }]);
      const roundTripMs = performance.now() - startedAt;
      const { is_standby: isStandby, is_read_only: isReadOnly, ...others } = facts;
      const role = isStandby ? 'standby' : isReadOnly ? 'read-only' : 'read-write';
      const [{ tls }] = this.#pool.cluster();
      const { timeline } = rows[0];
      return { host, role, ...others, timeline, roundTripMs, tls, error: null };
    } catch (error) {
      return { host, role: null, error: { code: error.code, message: reasonOf(error) } };
    }
  }

  close() {
    return this.#pool.end({ timeoutMs: 0 });
  }
}

/** The pool's error names its host in front, which stands beside it already. */
function reasonOf(error) {
  const [first] = error.hosts ?? [];
  return first?.lastError?.message ?? error.message;
}

module.exports = { APPLICATION, HostProbe, hostsOf, reasonOf };
