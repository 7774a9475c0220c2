/** The options of calls: of queries, transactions, connections and the end of a pool. */

import type { TypeChoices } from './index.js';

export interface QueryOptions {
  /**
   * Declares that the statement changes nothing, so that it may be sent again if its
   * connection is lost, or if its answer can't be read because a type in it was dropped.
   * Default: false.
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
   * The time from the call to the answer, waiting for a connection included, in milliseconds. Then
   * the query is given up: taken back if it was not sent, otherwise cancelled on the server. 0
   * lifts the pool's `queryTimeoutMs`, which is the default. A COMMIT is never cancelled: its
   * connection is closed, and its outcome is unknown.
   */
  timeoutMs?: number | null | undefined;
  /** Gives the query up when it is aborted, in the same way. */
  signal?: AbortSignal | null | undefined;
  /**
   * `false` keeps no prepared statement, which suits a text that is not used again. Default: true.
   */
  prepare?: boolean | null | undefined;
}

export interface BeginOptions {
  /** Default: the server's `default_transaction_isolation`. */
  isolation?:
    'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable' | null | undefined;
  /**
   * BEGIN READ ONLY. If its connection is lost before a first answer, it is sent again. Default:
   * false.
   */
  readOnly?: boolean | null | undefined;
  /** For `serializable` and `readOnly`: waits for a snapshot that can't fail. Default: false. */
  deferrable?: boolean | null | undefined;
  /**
   * The time from the call to the answer of COMMIT, in milliseconds, waiting for a connection and
   * all attempts included. After that the running statement is cancelled on the server and the
   * transaction is rolled back. A COMMIT is never cancelled: its connection is closed, and its
   * outcome is unknown. Default: none.
   */
  timeoutMs?: number | null | undefined;
  /** Ends the transaction in the same way when it is aborted, at any moment. */
  signal?: AbortSignal | null | undefined;
}

export interface ConnectOptions {
  /**
   * How long to wait for a connection, in milliseconds, if that is less than `acquireTimeoutMs`.
   * Default: none.
   */
  timeoutMs?: number | null | undefined;
  /** Ends the wait when it is aborted. Once the connection is there, it has no effect. */
  signal?: AbortSignal | null | undefined;
}

export interface TransactionOptions extends BeginOptions {
  /**
   * How often the whole callback may run again, in a new transaction and after a pause that grows,
   * if `isRetryable` says that it can help: after serialization failures, deadlocks and lost
   * connections. It never runs again if the answer to COMMIT was lost. Default: 0.
   */
  retries?: number | null | undefined;
}

export interface EndOptions {
  /**
   * How long to wait for running queries, in milliseconds. Queries that still run then are
   * cancelled on the server and fail with `HYPERION_POOL_CLOSED`, waiting ones are refused, and
   * open transactions are rolled back. A server that does not answer to that is given up after
   * `cancelGraceMs`. Default: no limit.
   */
  timeoutMs?: number | null | undefined;
  /** What becomes of queries that have no connection yet. Default: `'serve'`. */
  waiting?: 'serve' | 'refuse' | null | undefined;
}
