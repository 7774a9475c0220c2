/**
 * The options that say where the servers are, and who logs in.
 */

import type { URL } from 'node:url';

export interface ConnectionOptions {
  /**
   * As libpq reads it (PostgreSQL manual, 34.1.1): a URI (`postgres://user:password@h1:5432,h2/db`),
   * a list of keys (`host=h1,h2 user=app`), or a `URL`. Where several say the same, the first one of
   * these counts: an option, this string, the service that it or `PGSERVICE` names
   * (`~/.pg_service.conf`), a `PG*` variable of the environment, the default. Files are read once, by
   * `createPool`. A key of another client that means nothing here is ignored, with a process warning
   * (`HYPERION_IGNORED_SETTING`) that names it; an unknown one is a ConfigurationError.
   */
  connectionString?: string | URL | null | undefined;
  /**
   * `false`: the process's surroundings say nothing. Then neither `PG*` variables are read, nor the
   * usual files (`~/.pgpass`, `~/.pg_service.conf`), nor the name of the system's user. Files that a
   * connection string names are. Default: true, as libpq.
   */
  env?: boolean | null | undefined;
  /**
   * The hosts of the cluster, in any order: `'host'`, `'host:port'`, `'[v6]:port'`, the folder of a
   * Unix socket (`'/run/postgresql'`), or a socket in Linux's abstract namespace (`'@name'`). At
   * most 64. As one string they are separated by commas. A link-local address may have the number or
   * the name of its interface (`'[fe80::1%eth0]:5432'`). Default: `PGHOST` and `PGHOSTADDR`, else
   * `'localhost'`.
   */
  hosts?: readonly string[] | string | null | undefined;
  /** One host; the same as `hosts` with one entry. */
  host?: string | null | undefined;
  /** For hosts that name no port of their own. Default: `PGPORT`, else 5432. */
  port?: number | null | undefined;
  /** The role to log in as. Default: `PGUSER`, else the name of the system's user, as libpq. */
  user?: string | null | undefined;
  /**
   * For SCRAM-SHA-256, MD5 and password authentication. Never shown anywhere. Default: `PGPASSWORD`,
   * else the line of the password file that fits the host, the port, the database and the user
   * (`passfile` in the connection string, `PGPASSFILE`, `~/.pgpass`). A file that others may read is
   * ignored, with a process warning (`HYPERION_PASSFILE`).
   *
   * A function is asked for each login, once its host is connected, and may be async: for tokens that
   * expire (RDS IAM, Entra), or a vault. `host` is that of `cluster()`, with its port. If the function
   * fails, or gives no string, that attempt to log in fails with `HYPERION_PASSWORD`, and the pool tries
   * again for `acquireTimeoutMs`. `connectTimeoutMs` bounds its answer.
   */
  password?: string | ((login: { host: string }) => string | Promise<string>) | null | undefined;
  /**
   * The ways to log in that are accepted, as libpq's `require_auth` (PostgreSQL manual, 34.1.2): any
   * of `'scram-sha-256'`, `'md5'`, `'password'` and `'none'`, or what is excluded, each with a `!`. As
   * one string they are separated by commas. A server that wants another way is refused
   * (`HYPERION_AUTHENTICATION`), and so is one that asks for fewer than 4096 iterations of SCRAM.
   * Default: `require_auth` in the connection string, `PGREQUIREAUTH`, else any, with a process
   * warning (`HYPERION_WEAK_LOGIN`) of a weak one.
   */
  requireAuth?: readonly string[] | string | null | undefined;
  /** Default: `PGDATABASE`, else the same as `user`. */
  database?: string | null | undefined;
}
