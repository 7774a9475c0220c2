/// <reference types="node" />

/**
 * A PostgreSQL connection pool that finds the primary of a cluster by itself and follows it through
 * failovers.
 */

import type { EventEmitter } from 'node:events';
import type { LookupAddress } from 'node:dns';
import type { URL } from 'node:url';

import type {
  BeginOptions,
  ConnectOptions,
  EndOptions,
  QueryOptions,
  TransactionOptions,
} from './call-options.js';
import type { ConnectionOptions } from './connection-options.js';
import type { QueryEvent } from './logging.js';
import type { HostStatus, PoolEvents, PoolStatus } from './status.js';
import type { SslFunction, SslMode, SslOptions } from './tls.js';

// Without this, TypeScript would export every declaration of this file.
export {};

/**
 * What a host must be fit for, in libpq's words (PostgreSQL manual, 34.1.2,
 * `target_session_attrs`).
 */
export type TargetSessionAttrs =
  'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby' | 'any';

/**
 * Here and in the options of every call, `null` means the same as `undefined`: the option is not
 * set.
 */
export interface PoolOptions extends ConnectionOptions {
  /**
   * Which hosts a session may be on. In `'read-write'` and `'primary'` one host serves, in all
   * other modes every host that fits. `'prefer-standby'` takes standbys, and other hosts while
   * there is no standby. It waits 250 ms for a standby that has not answered, and moves connections
   * to one that comes later. Default: `'read-write'`.
   */
  mode?: TargetSessionAttrs | null | undefined;
  /**
   * Which host gets a query, in the modes in which several serve: any of them; the one where the
   * fewest of this pool's connections are in use; or the nearest by measured round trip, and those
   * with a round trip of at most half as much again. No query waits while a connection to another
   * host is idle. Default: `'random'`.
   */
  loadBalance?: 'random' | 'least-connections' | 'nearest' | null | undefined;
  /**
   * `'query'` asks the server for its role in front of each request, and trusts no report of it:
   * needed behind a connection pooler. Servers before PostgreSQL 14 are always asked. With
   * `'reported'` the pool asks a host only once something has contradicted its reports: a write was
   * refused as read-only (`25006`), its timeline is that of another role, or it was said not to fit
   * while no host served. Default: `'reported'`.
   */
  roleCheck?: 'reported' | 'query' | null | undefined;
  /**
   * Which queries may be written behind others on a connection once all are busy. `'reads'`:
   * queries whose text is known to do nothing but read: a SELECT, VALUES, TABLE or SHOW that locks
   * no rows, and calls only functions of the system's that are not volatile. Every other query has
   * a connection to itself, so that it waits for no other caller's lock. A read that waits for a
   * table's lock is asked again on a free connection. `'all'`: writes too, if they have been quick
   * lately. A write that then waits for a lock holds up the queries behind it for as long, and a
   * transaction that waits for one of them waits for ever. `'off'`: no query. Default: `'reads'`.
   */
  pipelining?: 'reads' | 'all' | 'off' | null | undefined;
  /** The most connections, over all hosts. Default: 10. */
  poolSize?: number | null | undefined;
  /**
   * Free connections that are kept ready, opened at once and ahead of demand; at most `poolSize`.
   * While no host serves, the pool looks for a host for 30 s, and again with the next query.
   * Default: 0.
   */
  minIdle?: number | null | undefined;
  /**
   * How long a connection beyond `minIdle` may be free before it is closed, in milliseconds; 0 is
   * for ever. Default: 30,000.
   */
  idleTimeoutMs?: number | null | undefined;
  /**
   * How long a connection is used, in milliseconds, less up to a tenth at random, so that not all
   * are replaced at once; 0 is for ever. Work is never interrupted. Default: 3,600,000.
   */
  maxLifetimeMs?: number | null | undefined;
  /**
   * How many queries, transactions or checkouts a connection is used for; 0 is any number. Default:
   * 0.
   */
  maxUses?: number | null | undefined;
  /** The most queries that wait for a connection at once. Default: 1,000,000. */
  maxQueue?: number | null | undefined;
  /**
   * How much memory the rows of one query may take, in bytes as they come from the server. A longer
   * result fails with `HYPERION_RESULT_TOO_LARGE`, and the connection goes on. So does a row with
   * `2^28 - 16` characters of text or more, whatever this option says. Default: 1,073,741,824 (1
   * GiB).
   */
  maxResultBytes?: number | null | undefined;
  /** For one attempt at one host, login included, in milliseconds. Default: 2000. */
  connectTimeoutMs?: number | null | undefined;
  /**
   * How long a query waits for a connection, through a failover too, in milliseconds. Default:
   * 5000.
   */
  acquireTimeoutMs?: number | null | undefined;
  /**
   * Whether calls fail with `HYPERION_UNREACHABLE` if no server has ever answered this pool and
   * every host has refused an attempt outright (`ECONNREFUSED`, `ENOENT`, `ENOTFOUND`). Set it to
   * false if servers start later than their clients: calls then wait, up to `acquireTimeoutMs`.
   * Default: true.
   */
  failFast?: boolean | null | undefined;
  /**
   * The `timeoutMs` of queries that have none of their own, in milliseconds. 0 is no limit.
   * Default: 0.
   */
  queryTimeoutMs?: number | null | undefined;
  /**
   * How long the server may take to answer a query that it was asked to cancel, or the ROLLBACK of
   * a transaction whose limit has passed, in milliseconds. After that the connection is closed,
   * which rolls back. Default: 1000.
   */
  cancelGraceMs?: number | null | undefined;
  /**
   * How often hosts are asked while none serves, in milliseconds; once a second on a new session.
   * Default: 25.
   */
  failoverProbeMs?: number | null | undefined;
  /**
   * If a host owes an answer and sends nothing for so many milliseconds, the pool asks it on one
   * more connection. (A primary among several hosts is asked long before. That ends no call unless
   * another host proves a later timeline.) If that gets no answer within `connectTimeoutMs`, and another host serves,
   * requests in flight fail with `outcome: 'unknown'`. A long query on a living host is never
   * harmed. A late ROLLBACK is done by closing its connection. Default: 2000.
   */
  livenessCheckMs?: number | null | undefined;
  /**
   * TLS. `true` or an object verify the server in full, as in Node; the words mean what libpq's
   * `sslmode` means. Default: `'prefer'` for hosts that are not this machine.
   */
  ssl?: boolean | SslMode | SslOptions | SslFunction | null | undefined;
  /** Whether a login by SCRAM is tied to the server's certificate. Default: `'prefer'`. */
  channelBinding?: 'disable' | 'prefer' | 'require' | null | undefined;
  /** TCP keepalive. Default: true. */
  keepAlive?: boolean | null | undefined;
  /**
   * How long a connection is silent before the system probes it, and again every five seconds, in
   * milliseconds. Default: 10,000.
   */
  keepAliveDelayMs?: number | null | undefined;
  /**
   * How long sent bytes may stay unacknowledged before the system gives the connection up, in
   * milliseconds. By TCP_USER_TIMEOUT (Linux), TCP_RXT_CONNDROPTIME (macOS) or TCP_MAXRTMS
   * (Windows). A host that acknowledges is never given up, even while its server runs a long
   * statement and reads nothing. 0 leaves it to the system. Default: 30,000.
   */
  tcpUserTimeoutMs?: number | null | undefined;
  /**
   * Statements kept prepared on each connection. 0 behind a transaction-mode pooler that does not
   * keep them itself. Default: 256.
   */
  statementCacheSize?: number | null | undefined;
  /** `application_name` of the sessions. */
  applicationName?: string | null | undefined;
  /** `statement_timeout` of the sessions, in milliseconds; 0 is none. Default: the server's. */
  statementTimeoutMs?: number | null | undefined;
  /** `lock_timeout` of the sessions, in milliseconds; 0 is none. Default: the server's. */
  lockTimeoutMs?: number | null | undefined;
  /**
   * How long a transaction may be idle, in milliseconds, before it is rolled back and its
   * connection taken back. A process warning says where it began. 0 is for ever. If the option is
   * given, the server gets it too, with a second more, as `idle_in_transaction_session_timeout`.
   * Default: 300,000; the server keeps its own.
   */
  idleInTransactionTimeoutMs?: number | null | undefined;
  /**
   * `search_path` of the sessions: a list as PostgreSQL writes it, or schema names, which are
   * quoted here.
   */
  searchPath?: string | readonly string[] | null | undefined;
  /**
   * More run-time parameters for the sessions, sent at startup. `default_transaction_read_only` is
   * refused: a session that sets it itself would write on a fenced host.
   */
  parameters?: Readonly<Record<string, string>> | null | undefined;
  /**
   * Whether a session that its user changed is reset (`DISCARD ALL`) before another caller has it:
   * always after `pool.connect()`, otherwise if the statement or a report of the server shows a
   * change (`SET`, `PREPARE`, temporary tables, session level advisory locks). It costs the next
   * caller no round trip. Default: true.
   */
  resetOnRelease?: boolean | null | undefined;
  /** Whether the process may end by itself while only idle connections are open. Default: true. */
  allowExitOnIdle?: boolean | null | undefined;
  /**
   * Resolves host names; by default `dns.lookup`. Called for each attempt, which tries at most 256
   * addresses.
   */
  lookup?: LookupFunction | null | undefined;
  /**
   * For development: errors of queries show the lines of the code that asked for the query, even if
   * no function awaits it. Each query pays some microseconds for this. Default: false.
   */
  longStackTraces?: boolean | null | undefined;
  /**
   * Called once for each query that has ended, in the asynchronous context of its caller, once the
   * answers of that turn of the loop have reached their callers. What it throws, or rejects with,
   * is ignored. Default: none, and then nothing is measured.
   */
  logger?: ((event: QueryEvent) => void) | null | undefined;
  /** Whether `logger` gets the parameters, which may be secret. Default: false. */
  logParameters?: boolean | null | undefined;
  /** `logger` gets only what failed or took at least so long, in milliseconds. Default: 0 (all). */
  slowQueryMs?: number | null | undefined;
  /** The name of the pool in its `logger`'s events and in its tracing channels. Default: none. */
  name?: string | null | undefined;
  /** How values of the types are converted. Default: as the table in the README says. */
  types?: TypeChoices | null | undefined;
}

/** Your own code for one type. An error that it throws fails that query alone. */
export interface TypeCode {
  /**
   * For results: gets exactly the text that psql shows. NULL becomes null without a call. For
   * arrays of the type it gets each element. It is called while results are read, so it should be
   * quick.
   */
  parse?: ((text: string) => unknown) | undefined;
  /**
   * For parameters of this type: gets every value except null and undefined, and returns the text
   * that PostgreSQL reads. If the parameter is an array of the type, it gets each element that is
   * not an array itself; a choice for the array type (`_point`) gets the whole array. For an array
   * of a user's type, and for a domain, choose it by the oid of that array or domain. It is called
   * when the query is made; on the first use of a statement in the pool, when the server has
   * described the types. It then gets copies of bytes, Dates, arrays, Maps, Sets and plain objects
   * as they were at the call, at any depth, and an object of any other class itself. It runs in the
   * asynchronous context of the query's caller, as `parse` does. Its error is the `cause` of a
   * `HYPERION_PARAMETER`.
   */
  serialize?: ((value: any) => string) | undefined;
}

/**
 * Choices about types. They hold for arrays of the types too. The choices of a query override those
 * of its pool. Choices with the same content and the same functions count as one: define functions
 * once, outside of the query.
 */
export interface TypeChoices {
  /** `'number'` refuses what is beyond 2^53, and never rounds. Default: `'bigint'`. */
  int8?: 'number' | 'bigint' | 'string' | TypeCode | undefined;
  /**
   * For timestamptz, timestamp and date. A Date has milliseconds, so the microseconds are cut off.
   * timestamp and date are taken as UTC. `infinity` is the number. A value that no Date can hold is
   * refused. A `TypeCode` is for timestamp alone. Default: `'string'`.
   */
  timestamp?: 'string' | 'date' | TypeCode | undefined;
  /** `'number'` rounds to the nearest number. Default: `'string'`. */
  numeric?: 'string' | 'number' | TypeCode | undefined;
  /**
   * For json and jsonb. `'text'` is the text from the server. A `TypeCode` is for json alone.
   * Default: `'parse'`.
   */
  json?: 'parse' | 'text' | TypeCode | undefined;
  /** By oid, or by the name that `pg_type` has for a built-in type: `'timestamptz'`, `'_int4'`. */
  [type: string]: string | TypeCode | undefined;
}

export type LookupFunction = (
  hostname: string,
  options: { all: true },
  callback: (error: Error | null, addresses: string | LookupAddress[]) => void,
) => void;

/**
 * What can be sent as the value of `$1`, `$2` ... `undefined` is NULL, bytes are bytea, a Date is a
 * moment in UTC. Arrays are arrays of PostgreSQL, or JSON if the parameter is json or jsonb, as all
 * other objects are. With a `serialize` of your own for its type (option `types`), a value may be
 * anything.
 */
export type Param =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Date
  | ArrayBufferView
  | ArrayBufferLike
  | object;

/** A row, keyed by column name. */
export type Row = Record<string, unknown>;

export interface Field {
  readonly name: string;
  /** The oid of the type in `pg_type`. */
  readonly typeOid: number;
  /**
   * The type's name in `pg_type`, as it was when the pool first met the type; for a domain, the
   * name of the type under it. `undefined` if no server has described the type.
   */
  readonly typeName: string | undefined;
  /** 0 if the column does not belong to a table. */
  readonly tableOid: number;
  readonly columnNumber: number;
  /** `atttypmod`; -1 if the type has none. */
  readonly modifier: number;
}

/** The rows as an array, with properties that do not show when it is compared or printed. */
export type QueryResult<R = Row> = R[] & {
  /**
   * The rows that were returned or changed, as the server counted them. `null` if the command
   * counts none.
   */
  readonly rowCount: number | null;
  /** `'SELECT'`, `'INSERT'`, `'CREATE TABLE'` ... */
  readonly command: string;
  /** The columns, in order, including columns whose names occur twice. */
  readonly fields: readonly Field[];
  /** The result itself, for users of `pg` and of the libraries that were made for it. */
  readonly rows: R[];
};

interface Queryable {
  /**
   * Runs one statement, or several without parameters; those resolve to an array of results:
   * `(await pool.query('...; ...')) as unknown as QueryResult[]`.
   *
   * @throws {DatabaseError} the server refused
   * @throws {ConnectionError} the connection was lost; `outcome` says whether the statement may
   *   have run
   * @throws {PoolTimeoutError} no connection within `acquireTimeoutMs`
   * @throws {QueryTimeoutError} `HYPERION_QUERY_TIMEOUT`: it was not done within `timeoutMs`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   * @throws {ConfigurationError} an argument can't be sent: `HYPERION_PARAMETER` names the
   *   parameter, and its type where that is known
   * @throws {TransactionError} the transaction is finished
   * @param params what each `$1`, `$2` ... is: `Param` has what can be sent, and anything else is
   *   refused before it is sent
   *
   * @example
   * const rows = await pool.query('SELECT id, name FROM guests WHERE id = ANY($1)', [[1, 2]]);
   * for (const { id, name } of rows) console.log(id, name);
   */
  query<R extends unknown[] = unknown[]>(
    sql: string,
    params: readonly unknown[] | null | undefined,
    options: QueryOptions & { rowMode: 'array' },
  ): Promise<QueryResult<R>>;
  query<R = Row>(
    sql: string,
    params?: readonly unknown[] | null,
    options?: QueryOptions | null,
  ): Promise<QueryResult<R>>;
}

/**
 * A part of a transaction that can be undone. It can be used while the callback of `savepoint`
 * runs.
 */
export interface Savepoint extends Queryable {
  /**
   * Runs the callback between SAVEPOINT and RELEASE, and resolves to what the callback resolves to.
   * Its error is thrown again, after ROLLBACK TO, and the transaction goes on. Until the promise
   * has settled, everything around it refuses queries.
   *
   * @throws {TransactionError} `HYPERION_SAVEPOINTS_OVERLAP`: another savepoint is open, and
   *   nothing was sent
   *
   * @example
   * await tx.savepoint((part) => part.query('INSERT INTO mails (id) VALUES ($1)', [7])).catch(report);
   */
  savepoint<T>(callback: (savepoint: Savepoint) => Promise<T> | T): Promise<T>;
  /** The same as `savepoint`. */
  transaction<T>(callback: (savepoint: Savepoint) => Promise<T> | T): Promise<T>;
}

/** One transaction. It can be used until its end. */
export interface Transaction extends Savepoint {
  /**
   * Commits the transaction.
   *
   * @throws {TransactionError} `HYPERION_TRANSACTION_ROLLED_BACK`: a statement in it had failed,
   *   which is the `cause`
   * @throws {TransactionError} `HYPERION_TRANSACTION_OVER`: a statement in it had ended it
   * @throws {TransactionError} `HYPERION_NOT_REPLICATED`: committed on the primary alone
   * @throws {ConnectionError} `outcome: 'unknown'`: the answer never came
   */
  commit(): Promise<void>;
  /**
   * Rolls the transaction back. If this fails, the connection is closed, and the server rolls back.
   *
   * @throws {TransactionError} `HYPERION_TRANSACTION_OVER`: a statement in it may have committed it
   */
  rollback(): Promise<void>;
  /** Rolls back a transaction that is not finished: `await using tx = await pool.begin()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface Transactional {
  /**
   * A transaction, to be finished by `commit` or `rollback`. BEGIN travels with its first
   * statement.
   *
   * @throws {PoolTimeoutError} no connection within `acquireTimeoutMs`
   * @throws {QueryTimeoutError} `HYPERION_TRANSACTION_TIMEOUT`: none within `timeoutMs`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   *
   * @example
   * const tx = await pool.begin({ isolation: 'repeatable read' });
   * try {
   *   await tx.query('UPDATE accounts SET balance = balance - 1 WHERE id = $1', [1]);
   *   await tx.commit();
   * } catch (error) {
   *   await tx.rollback();
   *   throw error;
   * }
   */
  begin(options?: BeginOptions | null): Promise<Transaction>;
  /**
   * Runs the callback in a transaction, commits when it resolves, and resolves to what it resolves
   * to. Its error is thrown again, after ROLLBACK. The callback has to await all of its queries.
   *
   * @throws {TransactionError} `HYPERION_TRANSACTION_ROLLED_BACK`: a statement had failed and the
   *   callback went on, so that the server answered COMMIT with ROLLBACK; `cause` is that
   *   statement's error
   * @throws {TransactionError} `HYPERION_QUERY_NOT_AWAITED`: a query was still running when the
   *   callback was done
   * @throws {QueryTimeoutError} `HYPERION_TRANSACTION_TIMEOUT`: not done within `timeoutMs` or
   *   `transaction_timeout`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   * @throws {ConnectionError} `outcome: 'unknown'`: the answer to COMMIT never came
   *
   * @example
   * const id = await pool.transaction(
   *   async (tx) => {
   *     const [order] = await tx.query('INSERT INTO orders (customer) VALUES (42) RETURNING id');
   *     return order.id;
   *   },
   *   { retries: 5 },
   * );
   */
  transaction<T>(
    callback: (tx: Transaction) => Promise<T> | T,
    options?: TransactionOptions | null,
  ): Promise<T>;
}

/** A connection for session work: settings, advisory locks, temporary tables. */
export interface Connection extends Queryable, Transactional {
  /**
   * Waits for running queries, and for a `transaction(callback)` unless that asks nothing for 5 s.
   * Rolls back an open transaction, and gives the connection back to the pool, reset. A second call
   * gives the same promise.
   *
   * @param destroy `true`, or the error that made the connection useless: the connection is closed
   *   at once instead, and running queries fail with `HYPERION_CONNECTION_LOST`. Default: false.
   */
  release(destroy?: boolean | Error | null): Promise<void>;
  /** `await using connection = await pool.connect()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface Pool extends EventEmitter<PoolEvents>, Queryable, Transactional {
  /**
   * A connection for its caller alone, until it is released. A connection that its caller forgets
   * to release is taken back when it is collected as garbage, and a process warning says where it
   * was taken.
   *
   * @throws {PoolTimeoutError} no connection within `acquireTimeoutMs`
   * @throws {QueryTimeoutError} `HYPERION_QUERY_TIMEOUT`: none within `timeoutMs`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   *
   * @example
   * const connection = await pool.connect();
   * try {
   *   await connection.query('SELECT pg_advisory_lock(1)');
   * } finally {
   *   await connection.release();
   * }
   */
  connect(options?: ConnectOptions | null): Promise<Connection>;
  status(): PoolStatus;
  /**
   * `status()` and `cluster()` in Prometheus' text format (version 0.0.4), for a handler of
   * `/metrics`. Times are in seconds. The label `pool` is the option `name`, or else the database.
   * The metrics of further pools of the process come in the same families, as the format wants it:
   * give those pools names of their own.
   *
   * @example
   * response.setHeader('content-type', 'text/plain; version=0.0.4');
   * response.end(pool.prometheus());
   */
  prometheus(...others: Pool[]): string;
  /** Each host, in the order of the list, as the pool knows it at this moment. */
  cluster(): HostStatus[];
  /**
   * Takes another list of hosts, in the forms of the option `hosts`. Hosts that stay in the list
   * keep their connections. Connections to hosts that are gone are closed, busy ones when their
   * callers are done. A pool that is ending finishes its work on the hosts that it has.
   *
   * @throws {ConfigurationError} the list is wrong, or `end` was called; the old list stays
   *
   * @example
   * pool.setHosts(['h2', 'h3', 'h4']);
   */
  setHosts(hosts: readonly string[] | string): void;
  /**
   * Resolves once a host serves and `minIdle` connections are open, at least one.
   *
   * @throws {PoolTimeoutError} not within `acquireTimeoutMs`; `hosts` says why not, host by host
   * @throws {DatabaseError} no waiting helps: a wrong password, for one
   *
   * @example
   * await pool.ready();
   * server.listen(3000);
   */
  ready(): Promise<void>;
  /**
   * Takes no new work, waits for running queries, serves or refuses the waiting ones, and closes
   * all connections. A second call gives the same promise, whatever its options.
   *
   * @example
   * process.once('SIGTERM', () => pool.end({ timeoutMs: 5000 }));
   */
  end(options?: EndOptions | null): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a pool, which connects when it is first used.
 *
 * @throws {ConfigurationError} an option is wrong; the message names it, what was given and what is
 *   allowed
 *
 * @example
 * const pool = createPool({ hosts: ['h1', 'h2', 'h3'], user: 'app', database: 'shop', ssl: true });
 */
export function createPool(options: PoolOptions): Pool;
/**
 * @param connectionString the option of that name:
 * `postgres://user:password@host1:5432,host2/database?target_session_attrs=read-write`
 */
export function createPool(
  connectionString: string | URL,
  options?: Omit<PoolOptions, 'connectionString'> | null,
): Pool;

export * from './call-options.js';
export * from './connection-options.js';
export * from './errors.js';
export * from './logging.js';
export * from './status.js';
export * from './tls.js';
