/**
 * The errors that a caller catches, and what they tell of the work that failed.
 */

/**
 * What is known of the work that failed: it never reached the server, it had no effect, or this is
 * not known. The first two are safe to try again.
 */
export type Outcome = 'not-sent' | 'not-committed' | 'unknown';

/**
 * Whether trying again can help and can do no harm: what failed certainly had no effect, and why it
 * failed passes. Looks through other errors by their `cause`.
 *
 * @example
 * try {
 *   await pool.query('INSERT INTO mails (id) VALUES ($1)', [7]);
 * } catch (error) {
 *   if (!isRetryable(error)) throw error;
 * }
 */
export function isRetryable(error: unknown): boolean;

export class HyperionError extends Error {
  /** The SQLSTATE where the server sent one, else `HYPERION_...`. */
  readonly code: string;
  readonly outcome?: Outcome;
  /** The host that it came from. */
  readonly host?: string;
  /** The SQL text, never the parameters. Not enumerable, so that loggers don't print it. */
  readonly query?: string;
  /**
   * Its transaction has failed with it, and takes no statement before a rollback. Not enumerable.
   */
  readonly transactionFailed?: true;
  /**
   * Its statement has run, its answer could not be read, and its transaction is still open: nothing
   * is committed before COMMIT. Not enumerable. Where the transaction is rolled back for this error,
   * `outcome` is `'not-committed'` from then on.
   */
  readonly transactionOpen?: true;
  /** A ROLLBACK that failed after this had been thrown in a transaction. */
  readonly suppressed?: unknown;
}
/** The server refused (PostgreSQL manual, 55.8). */
export class DatabaseError extends HyperionError {
  readonly severity: string;
  readonly detail?: string;
  readonly hint?: string;
  /** In characters, from 1, into the SQL text. */
  readonly position?: number;
  readonly internalPosition?: number;
  readonly internalQuery?: string;
  readonly where?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly dataType?: string;
  readonly constraint?: string;
  readonly file?: string;
  readonly line?: number;
  readonly routine?: string;
}
/** What the system said of a connect or a look-up that failed, as Node's own errors do. */
export interface SystemErrorCause extends Error {
  /** `'ECONNREFUSED'`, `'ENOTFOUND'` ... */
  readonly code: string;
  /** Below zero, as in Node's own errors. */
  readonly errno?: number;
  readonly syscall: string;
  /** An IP address, or the path of a Unix socket. */
  readonly address?: string;
  readonly port?: number;
  /** What was looked up. */
  readonly hostname?: string;
}
/** What a host had to say last. */
export interface HostReport {
  readonly host: string;
  readonly why: string;
  /** What the system or the server said, where it did. */
  readonly cause?: SystemErrorCause | DatabaseError;
}
/**
 * A connection could not be made, or was lost. `code` is `'40003'` where a statement may have been
 * applied. Where a connect failed, `cause` is a `SystemErrorCause`.
 */
export class ConnectionError extends HyperionError {
  /** Of `HYPERION_UNREACHABLE`: what each host had to say last. */
  readonly hosts?: readonly HostReport[];
}
/** No connection could be had in time. */
export class PoolTimeoutError extends HyperionError {
  /** What each host had to say last. */
  readonly hosts?: readonly HostReport[];
}
/** A time limit of the caller was over. Its `name` is `'TimeoutError'`, as the platform's own. */
export class QueryTimeoutError extends HyperionError {}
export { QueryTimeoutError as TimeoutError };
/**
 * The signal of a query, a transaction or a wait for a connection was aborted. `cause` is the
 * signal's reason.
 */
export class AbortError extends HyperionError {}
/** An option or an argument is wrong. */
export class ConfigurationError extends HyperionError {}
/** The server sent bytes that are no PostgreSQL protocol. */
export class ProtocolError extends HyperionError {}
/** A transaction did not commit, or was used wrongly. */
export class TransactionError extends HyperionError {}
/** A defect in this package. */
export class InternalError extends HyperionError {}
