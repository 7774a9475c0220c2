// What the pool's option `logger` is called with, and what its channels publish.

import type { Pool } from './index.js';
import type { PoolEvents } from './status.js';

/** One query that has ended, for the pool's option `logger`. */
export interface QueryEvent {
  /**
   * The SQL text. `BEGIN`, `COMMIT`, `ROLLBACK` and the statements of savepoints have events of
   * their own. What a caller gave in place of a string stands here as it is.
   */
  sql: string;
  /**
   * From the call to its answer, in milliseconds. `BEGIN` goes in the flight of the transaction's
   * first query, so its event has only the wait for the connection.
   */
  durationMs: number;
  /** As `rowCount` of the result. Absent if the query failed or had several results. */
  rowCount?: number;
  /**
   * The error that the caller gets: a HyperionError, or what code of the caller's own has thrown
   * while the query was made. Absent if the query succeeded.
   */
  error?: Error;
  /** The command that ended it: `ROLLBACK` for a COMMIT of a failed transaction. */
  command?: string;
  /** The host that answered, or that it was sent to last; null if nothing of it was ever sent. */
  host: string | null;
  /**
   * How much of `durationMs` passed before it was first sent: it waited for a connection, for a
   * failover, or for its turn on the connection of its transaction.
   */
  waitMs: number;
  /**
   * How often it was handed to a connection to be run: more than once if a connection was lost, or
   * if types had changed; 0 if never. One that was withdrawn before its bytes left counts.
   */
  attempts: number;
  /**
   * Equal for all queries of one transaction, and different from those of any other in the process.
   * Each repetition by `retries` has another number. Transactions that are begun by a statement on
   * a connection have none.
   */
  transaction?: number;
  /** The pool's option `name`. */
  name?: string;
  /** A shallow copy of the parameters, with the pool's option `logParameters`. */
  parameters?: unknown[];
}

/** What the tracing channel `hyperiondb-client:query` publishes. */
export interface QueryContext {
  sql: string;
  /** Operations and tables, and no constants: `SELECT users orders`. */
  summary: string;
  /** The text with `?` in place of its constants, and without comments. Made when it is read. */
  readonly sanitizedSql: string;
  database: string;
  name: string | undefined;
  transaction: number | undefined;
  /** From here on, once the query has ended. As in `QueryEvent`. */
  host: string | null;
  durationMs: number;
  waitMs: number;
  attempts: number;
  rowCount: number | undefined;
  command: string | undefined;
  /** `code` and `outcome` of the error. */
  code: string | undefined;
  outcome: 'not-sent' | 'not-committed' | 'unknown' | undefined;
  /** The rows. Set by Node.js. */
  result?: unknown;
  /** Set by Node.js. */
  error?: unknown;
}

/** What the tracing channel `hyperiondb-client:transaction` publishes for all attempts. */
export interface TransactionContext {
  database: string;
  name?: string;
  attempts: number;
  result?: unknown;
  error?: unknown;
}

/**
 * What the channel `hyperiondb-client:connect` publishes: the event `connect` of any pool. It runs in
 * the asynchronous context in which the pool was made, since no query has a session to itself.
 */
export type ConnectMessage = PoolEvents['connect'][0] & PoolOfMessage;

/** What the channel `hyperiondb-client:failover` publishes when a host takes over from another. */
export type FailoverMessage = PoolEvents['primary'][0] & PoolOfMessage;

interface PoolOfMessage {
  pool: Pool;
  database: string;
  /** The pool's option `name`. */
  name: string | undefined;
}

/** What the tracing channel `hyperiondb-client:acquire` publishes. */
export interface AcquireContext {
  what: 'transaction' | 'connection';
  database: string;
  name?: string;
  error?: unknown;
}
