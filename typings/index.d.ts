/// <reference types="node" />

/**
 * A PostgreSQL connection pool that finds the primary of a cluster by itself and follows it through
 * failovers.
 */

import type { EventEmitter } from 'node:events';
import type { LookupAddress } from 'node:dns';

import type { HostStatus, PoolEvents, PoolStatus } from './status.js';

// What is not marked as exported is not.
export {};

/**
 * What a host must be fit for, in libpq's words (PostgreSQL manual, 34.1.2,
 * `target_session_attrs`).
 */
export type TargetSessionAttrs =
  'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby' | 'any';

/** Here and in the options of every call null says the same as undefined: nothing. */
export interface PoolOptions {
  /** A URI as libpq reads it. The other options override what it says. */
  connectionString?: string | null | undefined;
  /**
   * The hosts of the cluster, in any order: `'host'`, `'host:port'`, `'[v6]:port'`, the folder of a
   * Unix socket (`'/run/postgresql'`), or a socket in Linux's abstract namespace (`'@name'`). At
   * most 64. As one string they are separated by commas. Default: `'localhost'`.
   */
  hosts?: readonly string[] | string | null | undefined;
  /** One host; the same as `hosts` with one entry. */
  host?: string | null | undefined;
  /** For hosts that name no port of their own. Default: 5432. */
  port?: number | null | undefined;
  /** The role to log in as. Needed, here or in the connection string. */
  user?: string | null | undefined;
  /** For SCRAM-SHA-256, MD5 and password authentication. Never shown anywhere. */
  password?: string | null | undefined;
  /** Default: the same as `user`. */
  database?: string | null | undefined;
  /**
   * What a session must be fit for. In `'read-write'` and `'primary'` one host serves, in all other
   * modes every host that fits. `'prefer-standby'` takes standbys, and other hosts while there is
   * none; a standby that has not answered yet is waited for 250 ms, and connections move to one
   * that comes later. Default: `'read-write'`.
   */
  mode?: TargetSessionAttrs | null | undefined;
  /**
   * Where many hosts serve, which of them gets a query: any; the one where the fewest of this
   * pool's connections are at work; or the nearest by measured round trip, together with those at
   * most half as far again. No query waits while a connection to another host is idle. Default:
   * `'random'`.
   */
  loadBalance?: 'random' | 'least-connections' | 'nearest' | null | undefined;
  /**
   * `'query'` asks the server for its role in front of each request, and trusts nothing that was
   * reported: needed where a connection pooler stands in between. Servers before 14 are always
   * asked. With `'reported'` a host is asked from then on where its reports were contradicted: a
   * write was refused as read-only (`25006`), what it says of its timeline is another role's, or it
   * was said not to fit while no host served. Default: `'reported'`.
   */
  roleCheck?: 'reported' | 'query' | null | undefined;
  /**
   * Which queries may stand behind others on a connection once all are busy. `'reads'`: those whose
   * text is known to do nothing but read: a SELECT, VALUES, TABLE or SHOW that locks no rows, and
   * calls no function that is volatile or not one of the system's. Any other query has a connection
   * to itself, so that it waits behind no other query's lock. A read that a table's lock holds up
   * all the same is asked again on a free connection. `'all'`: writes too, where they have been
   * quick lately; one that then waits for a lock holds up those behind it for as long, and a
   * transaction that waits for one of them waits for ever. `'off'`: none. Default: `'reads'`.
   */
  pipelining?: 'reads' | 'all' | 'off' | null | undefined;
  /** The most connections, over all hosts. Default: 10. */
  poolSize?: number | null | undefined;
  /**
   * Free connections that are kept ready, opened at once and ahead of demand; at most `poolSize`.
   * While no host serves, one is looked for 30 s long, and again with the next query. Default: 0.
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
   * What the rows of one query may take in memory, in bytes as they come from the server. A longer
   * result fails with `HYPERION_RESULT_TOO_LARGE`, as does a row with 2^28 - 16 characters of text
   * or more, whatever this says; the connection goes on. Default: 1,073,741,824 (1 GiB).
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
   * Whether calls fail with `HYPERION_UNREACHABLE` once every host has refused an attempt outright
   * (`ECONNREFUSED`, `ENOENT`, `ENOTFOUND`), where no server has ever answered this pool. False
   * where servers start later than their clients: then calls wait, up to `acquireTimeoutMs`.
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
   * a transaction whose limit has passed, in milliseconds. Then the connection is closed, which
   * rolls back. Default: 1000.
   */
  cancelGraceMs?: number | null | undefined;
  /**
   * How often the hosts are asked while none serves, in milliseconds. Default: 25. On a new
   * session: once a second.
   */
  failoverProbeMs?: number | null | undefined;
  /**
   * A host that owes an answer and sends nothing for so long, in milliseconds, is asked on one more
   * connection. If that gets no answer within `connectTimeoutMs`, and another host serves, what was
   * in flight fails with `outcome: 'unknown'`. A long query on a host that lives is never harmed. A
   * late ROLLBACK is done by closing its connection. Default: 2000.
   */
  livenessCheckMs?: number | null | undefined;
  /** TCP keepalive. Default: true. */
  keepAlive?: boolean | null | undefined;
  /**
   * How long a connection is silent before the system probes it, and again every five seconds, in
   * milliseconds. Default: 10,000.
   */
  keepAliveDelayMs?: number | null | undefined;
  /**
   * How long sent bytes may stay unacknowledged before the system gives the connection up, in
   * milliseconds, where it has TCP_USER_TIMEOUT (Linux) or its relatives TCP_RXT_CONNDROPTIME
   * (macOS) and TCP_MAXRTMS (Windows). A host that acknowledges what it gets is never given up,
   * also where its server is at a long statement and takes nothing of what was written behind it. 0
   * leaves it to the system. Default: 30,000.
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
   * How long a transaction may be idle before it is rolled back and its connection taken back, with
   * a process warning that says where it began, in milliseconds; 0 is for ever. Where it is given,
   * the server is told too, with a second more, as `idle_in_transaction_session_timeout`. Default:
   * 300,000 here, and the server's own there.
   */
  idleInTransactionTimeoutMs?: number | null | undefined;
  /**
   * `search_path` of the sessions: a list as PostgreSQL writes it, or schema names, which are
   * quoted here.
   */
  searchPath?: string | readonly string[] | null | undefined;
  /**
   * More run-time parameters for the sessions, sent at startup. `default_transaction_read_only` is
   * refused: a session that sets it itself would write on a host that was fenced by it.
   */
  parameters?: Readonly<Record<string, string>> | null | undefined;
  /**
   * Whether a session that its user changed is reset (`DISCARD ALL`) before another caller has it:
   * after `pool.connect()` always, else where the statement or a report of the server shows it
   * (`SET`, `PREPARE`, temporary tables, session level advisory locks). Costs the next user no
   * round trip. Default: true.
   */
  resetOnRelease?: boolean | null | undefined;
  /** Whether the process may end by itself while only idle connections are open. Default: true. */
  allowExitOnIdle?: boolean | null | undefined;
  /**
   * Resolves host names, as `dns.lookup` does by default. Asked at every attempt, which tries 256
   * addresses at most.
   */
  lookup?: LookupFunction | null | undefined;
  /**
   * For development: errors of queries show the lines of the code that asked for them, also where
   * no function awaits the query. Each query pays some microseconds for it. Default: false.
   */
  longStackTraces?: boolean | null | undefined;
  /** What becomes of the types of the server. Default: as the table in the README says. */
  types?: TypeChoices | null | undefined;
}

/** Own code for one type. What it throws fails that query alone. */
export interface TypeCode {
  /**
   * For results: gets exactly the text that psql shows; NULL is null without it. Arrays of the type
   * give it each element. It is called while results are read, so it should be quick.
   */
  parse?: ((text: string) => unknown) | undefined;
  /**
   * For parameters of this type: gets every value but null and undefined, and returns the text that
   * PostgreSQL reads. Parameters that are arrays of the type give it each element that is no array
   * itself; choices for the array type (`_point`) get the whole. For an array of a type that users
   * made, and for a domain, it is to be chosen by the oid of that array or domain itself. It is
   * called when the query is made, or, on the first use of a statement in the pool, once the server
   * has told the types: then with copies of bytes, Dates, arrays, Maps, Sets and plain objects as
   * they were at the call, at any depth; an object of another class it gets itself. It runs in the
   * asynchronous context of the query's caller, as `parse` does. What it throws is the `cause` of a
   * `HYPERION_PARAMETER`.
   */
  serialize?: ((value: any) => string) | undefined;
}

/**
 * Choices about types. They hold for arrays of the types too. Those of a query stand over those of
 * its pool. Choices that say the same, with the same functions, are one: define functions once,
 * outside of the query.
 */
export interface TypeChoices {
  /** `'number'` refuses what is beyond 2^53, and never rounds. Default: `'bigint'`. */
  int8?: 'number' | 'bigint' | 'string' | TypeCode | undefined;
  /**
   * Of timestamptz, timestamp and date. A Date has milliseconds, so that the microseconds are cut
   * off; timestamp and date are taken as UTC; `infinity` is the number; what no Date can hold is
   * refused. As `TypeCode`, of timestamp alone. Default: `'string'`.
   */
  timestamp?: 'string' | 'date' | TypeCode | undefined;
  /** `'number'` rounds to the nearest. Default: `'string'`. */
  numeric?: 'string' | 'number' | TypeCode | undefined;
  /**
   * Of json and jsonb. `'text'` is what the server sends. As `TypeCode`, of json alone. Default:
   * `'parse'`.
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
 * moment in UTC. Arrays are arrays of PostgreSQL, and JSON where the parameter is json or jsonb, as
 * all other objects are. With a `serialize` of your own for its type (option `types`), a value may
 * be anything.
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
   * The type's name in `pg_type`, as it was when the pool first met it; of a domain that of the
   * type under it. `undefined` where the server did not tell.
   */
  readonly typeName: string | undefined;
  /** 0 where the column is none of a table. */
  readonly tableOid: number;
  readonly columnNumber: number;
  /** `atttypmod`; -1 where the type has none. */
  readonly modifier: number;
}

/** The rows, and what does not show when they are compared or printed. */
export type QueryResult<R = Row> = R[] & {
  /** As the server counted: rows returned or changed. `null` where the command counts none. */
  readonly rowCount: number | null;
  /** `'SELECT'`, `'INSERT'`, `'CREATE TABLE'` ... */
  readonly command: string;
  /** The columns, in order; all of them where names occur twice. */
  readonly fields: readonly Field[];
  /** The result itself: what users of `pg` and the libraries made for it write. */
  readonly rows: R[];
};

export interface QueryOptions {
  /**
   * The caller's word that the statement changes nothing, so that it may be sent again when its
   * connection breaks. Default: false.
   */
  readOnly?: boolean | null | undefined;
  /**
   * `'array'`: each row is an array, in the order of `fields`, duplicate names and all. Default:
   * `'object'`.
   */
  rowMode?: 'object' | 'array' | null | undefined;
  /** Over those of the pool. */
  types?: TypeChoices | null | undefined;
  /**
   * From the call to the answer, waiting for a connection included, in milliseconds. Then the query
   * is given up: taken back where it was not sent, else cancelled on the server. 0 lifts the pool's
   * `queryTimeoutMs`, which is the default. A COMMIT is never cancelled: its connection is closed,
   * and its outcome is unknown.
   */
  timeoutMs?: number | null | undefined;
  /** Gives the query up when it is aborted, in the same way. */
  signal?: AbortSignal | null | undefined;
  /**
   * `false`: no prepared statement is kept for it, good for a text that is not used again. Default:
   * true.
   */
  prepare?: boolean | null | undefined;
}

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

/** A part of a transaction that can be undone, for as long as the callback of `savepoint` runs. */
export interface Savepoint extends Queryable {
  /**
   * Runs the callback between SAVEPOINT and RELEASE, and resolves to what it resolves to. What it
   * throws is thrown again, after ROLLBACK TO, and the transaction goes on. Until its promise has
   * settled, anything around it refuses what it is asked.
   *
   * @throws {TransactionError} `HYPERION_SAVEPOINTS_OVERLAP`: another one is open, and nothing was
   *   sent
   */
  savepoint<T>(callback: (savepoint: Savepoint) => Promise<T> | T): Promise<T>;
  /** The same as `savepoint`. */
  transaction<T>(callback: (savepoint: Savepoint) => Promise<T> | T): Promise<T>;
}

/** One transaction, of use until its end. */
export interface Transaction extends Savepoint {
  /**
   * Ends it, for good or not at all.
   *
   * @throws {TransactionError} `HYPERION_TRANSACTION_ROLLED_BACK`: a statement in it had failed,
   *   which is the `cause`
   * @throws {TransactionError} `HYPERION_NOT_REPLICATED`: committed on the primary alone
   * @throws {ConnectionError} `outcome: 'unknown'`: the answer never came
   */
  commit(): Promise<void>;
  /**
   * Ends it without effect. Where this fails, the connection is closed, and the server rolls back.
   */
  rollback(): Promise<void>;
  /** Rolls back what is not finished: `await using tx = await pool.begin()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface BeginOptions {
  /** Default: the server's `default_transaction_isolation`. */
  isolation?:
    'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable' | null | undefined;
  /**
   * BEGIN READ ONLY. What is lost with its connection before anything of it was answered is sent
   * again. Default: false.
   */
  readOnly?: boolean | null | undefined;
  /** For `serializable` and `readOnly`: waits for a snapshot that can't fail. Default: false. */
  deferrable?: boolean | null | undefined;
  /**
   * From the call to the answer of COMMIT, waiting for a connection and all attempts included, in
   * milliseconds. Then what runs is cancelled on the server and the transaction is rolled back. A
   * COMMIT is never cancelled: its connection is closed, and its outcome is unknown. Default: none.
   */
  timeoutMs?: number | null | undefined;
  /** Ends the transaction when it is aborted, in the same way, at whatever it is. */
  signal?: AbortSignal | null | undefined;
}

export interface ConnectOptions {
  /**
   * How long to wait for a connection, in milliseconds, where that is less than `acquireTimeoutMs`.
   * Default: none.
   */
  timeoutMs?: number | null | undefined;
  /** Ends the wait when it is aborted. Once the connection is there, it does nothing. */
  signal?: AbortSignal | null | undefined;
}

export interface TransactionOptions extends BeginOptions {
  /**
   * How often the whole callback may be run again, in a new transaction and after a pause that
   * grows, where `isRetryable` says that it can help: serialization failures, deadlocks, lost
   * connections. Never where the answer to COMMIT was lost. Default: 0.
   */
  retries?: number | null | undefined;
}

interface Transactional {
  /**
   * A transaction, to be finished by `commit` or `rollback`. BEGIN travels with its first
   * statement.
   *
   * @throws {PoolTimeoutError} no connection within `acquireTimeoutMs`
   * @throws {QueryTimeoutError} `HYPERION_TRANSACTION_TIMEOUT`: none within `timeoutMs`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   */
  begin(options?: BeginOptions | null): Promise<Transaction>;
  /**
   * Runs the callback in a transaction, commits when it resolves, and resolves to what it resolves
   * to. What it throws is thrown again, after ROLLBACK. All its queries must be awaited.
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
   */
  transaction<T>(
    callback: (tx: Transaction) => Promise<T> | T,
    options?: TransactionOptions | null,
  ): Promise<T>;
}

/** A connection for session work: settings, advisory locks, temporary tables. */
export interface Connection extends Queryable, Transactional {
  /**
   * Waits for what runs, a `transaction(callback)` too unless that asks nothing for 5 s, rolls back
   * what is open still, and gives the connection back to the pool, reset. A second call gives the
   * same promise.
   *
   * @param destroy `true`, or the error that made it useless: the connection is closed at once
   *   instead, and what runs on it fails with `HYPERION_CONNECTION_LOST`. Default: false.
   */
  release(destroy?: boolean | Error | null): Promise<void>;
  /** `await using connection = await pool.connect()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface EndOptions {
  /**
   * How long to wait for what runs, in milliseconds. What is left then is cancelled on the server
   * and fails with `HYPERION_POOL_CLOSED`, what waits is refused, open transactions are rolled
   * back; a server that does not answer to that is given up after `cancelGraceMs`. Default: no
   * limit.
   */
  timeoutMs?: number | null | undefined;
  /** What becomes of queries that have no connection yet. Default: `'serve'`. */
  waiting?: 'serve' | 'refuse' | null | undefined;
}

export interface Pool extends EventEmitter<PoolEvents>, Queryable, Transactional {
  /**
   * A connection for its caller alone, until it is released. One that its holder lets go of is
   * taken back when that is collected as garbage, with a process warning that says where it was
   * taken.
   *
   * @throws {PoolTimeoutError} no connection within `acquireTimeoutMs`
   * @throws {QueryTimeoutError} `HYPERION_QUERY_TIMEOUT`: none within `timeoutMs`
   * @throws {AbortError} `HYPERION_ABORTED`: its signal was aborted; `cause` is the signal's reason
   */
  connect(options?: ConnectOptions | null): Promise<Connection>;
  status(): PoolStatus;
  /** Each host, in the order of the list, as the pool knows it at this moment. */
  cluster(): HostStatus[];
  /**
   * Takes another list of hosts, in the forms of the option `hosts`. Those that were there before
   * keep their connections; connections to hosts that are gone are closed, busy ones when their
   * callers are done. A pool that is ending finishes its work on the hosts that it has.
   *
   * @throws {ConfigurationError} the list is wrong, or `end` was called; the old list stays
   */
  setHosts(hosts: readonly string[] | string): void;
  /**
   * Resolves once a host serves and `minIdle` connections are open, at least one.
   *
   * @throws {PoolTimeoutError} not within `acquireTimeoutMs`; `hosts` says of each host why not
   * @throws {DatabaseError} no waiting helps: a wrong password, for one
   */
  ready(): Promise<void>;
  /**
   * Takes no new work, waits for what runs, serves or refuses what waits, and closes all
   * connections. A second call gives the same promise, whatever its options.
   */
  end(options?: EndOptions | null): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a pool; it connects when it is first asked.
 *
 * @throws {ConfigurationError} an option is wrong; the message names it, what was given and what is
 *   allowed
 */
export function createPool(options: PoolOptions): Pool;
/**
 * @param connectionString
 * `postgres://user:password@host1:5432,host2/database?target_session_attrs=read-write`
 */
export function createPool(
  connectionString: string,
  options?: Omit<PoolOptions, 'connectionString'> | null,
): Pool;

export * from './errors.js';
export * from './status.js';
