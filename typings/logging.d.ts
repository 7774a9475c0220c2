// What the pool's option `logger` is called with.

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
  /** The host that answered, or that it was sent to last; null if it was never sent. */
  host: string | null;
  /**
   * How much of `durationMs` passed before it was first sent: it waited for a connection, for a
   * failover, or for its turn on the connection of its transaction.
   */
  waitMs: number;
  /** How often it was sent to be run: more than once if a connection was lost, 0 if never. */
  attempts: number;
  /** Equal for all queries of one transaction. Each repetition by `retries` has another number. */
  transaction?: number;
  /** The pool's option `name`. */
  name?: string;
  /** The parameters as they were given, with the pool's option `logParameters`. */
  parameters?: unknown[];
}
