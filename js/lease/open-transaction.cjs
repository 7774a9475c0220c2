'use strict';

// One transaction between BEGIN and its end. The addon sends BEGIN before the first statement. A
// transaction without any statement ends without a round trip.
//
// Savepoints are a stack, in the server as in this file. A query for a savepoint that is not the
// innermost would still run inside the innermost savepoint, and would be undone with it, although
// its caller got a successful answer. So such a query is refused at once.

const { COMMIT, END, HURRIED, BEGIN_READ_ONLY } = require('../transfer/contract.cjs').queryFlags;
const { classes, isError, settleOutcome, withStackFrom } = require('../api/errors.cjs');
const { defineHidden } = require('./lease.cjs');
const {
  endedAroundError,
  finishedScopeError,
  notAwaitedError,
  openSavepointError,
  overlapError,
  releasedError,
  rolledBackError,
} = require('./transaction-errors.cjs');

/** The transaction itself or one of its savepoints. A view sends its queries as part of a scope. */
class Scope {
  isInTransaction = true;
  #open;
  /** The scope around this scope. Null for the transaction itself. */
  outer;
  depth;
  name;
  /**
   * The scope takes no more queries, because its callback is done or the scope around it has ended.
   */
  isOver = false;
  /**
   * The view that the callback uses. It is kept while the callback runs, so that it is not
   * garbage-collected.
   */
  view = null;
  /** The error that makes it impossible to keep the scope: failed work inside it was not undone. */
  brokenBy = null;

  constructor(open, outer, depth) {
    this.#open = open;
    this.outer = outer;
    this.depth = depth;
    this.name = `hyperion_${depth}`;
  }

  /** Throws if the scope does not take a query now. */
  check(sql) {
    this.#open.check(this, sql);
  }

  completed(command, earlier) {
    this.#open.completed(command, earlier);
  }

  failedUnknown() {
    this.#open.failedUnknown();
  }

  explain(error) {
    return this.#open.explain(error);
  }
}

class OpenTransaction {
  #lease;
  #flags;
  /** RELEASE, or 0 on a connection that its user keeps. */
  #release;
  #deadline;
  /** How many queries were sent on the lease before the transaction. */
  #askedBefore;
  #isCommitting = false;
  /**
   * The transaction was given up during a COMMIT, or after its user had sent a COMMIT as a
   * statement.
   */
  #isUnknown = false;
  /**
   * The scope in which the next query runs. A savepoint stays the innermost scope until the server
   * has ended it.
   */
  #innermost;
  /** Whether the user has called `rollback`. */
  #isWanted = false;
  /** The addon's error for a ROLLBACK after a statement that may have committed, or null. */
  #committedBefore = null;
  /** The error because of which the transaction was rolled back instead of committed. */
  #refusal = null;
  /** Settles when the server has answered COMMIT or ROLLBACK. */
  #ended = null;
  /** Resolves when nothing more of the transaction will be sent. Never rejects. */
  #closed = null;
  /** The same function as the lease's. It stays when the lease's is reset. */
  #replaceError = null;

  isOpen = true;
  /** Whether nothing more of the transaction will be sent. */
  isClosed = false;
  /** The scope of the transaction itself. */
  root = new Scope(this, null, 0);
  /** The COMMIT of `commit` may have taken effect although it failed. */
  #commitMayStand = false;
  /**
   * A statement of the user's has committed the work before it, or may have, and the server may be
   * in a transaction again: COMMIT AND CHAIN, or `COMMIT; BEGIN` in one text.
   */
  #hasCommitted = false;

  constructor(lease, flags, release, deadline) {
    this.#lease = lease;
    this.#flags = flags;
    this.#release = release;
    this.#deadline = deadline;
    this.#askedBefore = lease.asked;
    this.#innermost = this.root;
    lease.begins();
    lease.isReadOnly = (flags & BEGIN_READ_ONLY) !== 0;
    lease.deadline = deadline;
    if (deadline !== null) deadline.onPassed = () => this.#giveUp();
  }

  /**
   * Whether the work of the callback may be committed although the call failed. A retry could then
   * do the work twice.
   */
  get mayStand() {
    return this.#commitMayStand || this.#hasCommitted;
  }

  /**
   * Called for each answered command of the user's. `earlier` has the results of the commands
   * before it in the same text, or is null. If one of them is a ROLLBACK, code that runs after it
   * can commit.
   */
  completed(command, earlier) {
    const isOutside = () => earlier?.some((result) => result.command === 'ROLLBACK') === true;
    if (COMMITS.has(command) || (RUNS_CODE.has(command) && isOutside())) this.#hasCommitted = true;
  }

  /** Called for each error of the user's statements with the outcome 'unknown'. */
  failedUnknown() {
    this.#hasCommitted = true;
  }

  /** The error that the user gets for an error of a statement. */
  explain(error) {
    return this.#hasCommitted ? withUnknownOutcome(error) : error;
  }

  /** Throws if `scope` is over, or if a savepoint inside it is open. */
  check(scope, sql) {
    if (scope.isOver) throw finishedScopeError(sql);
    if (!this.isOpen) throw this.#finishedError(sql);
    if (scope !== this.#innermost) throw overlapError(sql);
  }

  /** `scope` is the scope of the view whose method was called. */
  query(scope, sql, params, options) {
    this.check(scope, sql);
    return this.#lease.query(sql, params, options, this.#flags, scope);
  }

  /** The stack of an error begins at the function that awaits `method`. */
  async commit(method = this.commit) {
    if (!this.isOpen) throw withStackFrom(method, await this.#over('COMMIT'));
    // COMMIT would keep only a part of work that belongs together.
    if (this.root.brokenBy !== null || this.#innermost !== this.root) {
      this.#lease.locate();
      this.#refusal =
        this.root.brokenBy ?? this.#withHost(withStackFrom(method, openSavepointError()));
      await this.#rollBack();
      throw this.explain(this.#refusal);
    }
    this.#isCommitting = true;
    try {
      this.#confirm(await this.#close(this.#commit()));
    } catch (error) {
      throw withStackFrom(method, error);
    }
  }

  /**
   * ROLLBACK is the server's answer to the COMMIT of a transaction in which a statement has failed.
   */
  #confirm({ command }) {
    if (command === 'ROLLBACK') throw this.explain(rolledBackError(this.#lease.failure));
  }

  /**
   * Called for the user. If the callback of a transaction calls it, the transaction has not failed.
   */
  async rollback() {
    if (!this.isOpen) throw withStackFrom(this.rollback, await this.#over('ROLLBACK'));
    this.#isWanted = true;
    try {
      await this.#rollBack();
      if (this.#committedBefore !== null) throw this.explain(this.#committedBefore);
    } catch (error) {
      throw withStackFrom(this.rollback, error);
    }
  }

  #rollBack() {
    return this.#close(this.#rollback());
  }

  /** Rolls back an open transaction, or waits for a COMMIT or ROLLBACK that is in flight. */
  async leave() {
    if (!this.isOpen) return void (await this.#ended?.catch(() => {}));
    this.#isWanted = true;
    await this.#rollBack();
  }

  /**
   * Called when the connection is released. Rolls back an open transaction even though its user has
   * not asked for it.
   */
  async abandon() {
    if (this.isOpen) await this.#rollBack().catch(() => {});
    await this.whenClosed();
  }

  /**
   * Resolves when nothing more of the transaction will be sent. Only then may another transaction
   * begin on the connection.
   */
  async whenClosed() {
    await this.#closed;
  }

  /**
   * The result of the callback, unless the deadline passes first. If the callback has sent a
   * COMMIT, which the pool never cancels, the answer to the COMMIT decides. The stack of the
   * deadline's error begins at the function that awaits `method`.
   */
  async hear(running, method) {
    const deadline = this.#deadline;
    if (deadline === null) return running;
    try {
      return await deadline.bound(running, 'not-committed', method);
    } catch (error) {
      if (!deadline.hasPassed) throw error;
      if (this.#isCommitting) {
        await this.#ended;
        return running;
      }
      await this.#ended?.catch(() => {});
      if (this.#isUnknown) throw this.#withHost(withStackFrom(method, deadline.error('unknown')));
      throw error?.code === deadline.code ? this.#withHost(error) : error;
    }
  }

  /**
   * Called after the callback threw. The caller gets the callback's exception, whatever the result
   * of the rollback.
   */
  async rollBackBecause(thrown) {
    try {
      if (this.isOpen) {
        await this.#rollBack();
        if (!this.mayStand) settleOutcome(thrown);
      } else {
        await this.#ended;
      }
    } catch (error) {
      if (error !== thrown) suppress(thrown, error);
    }
  }

  /**
   * Called when the callback is done: commits, unless the callback has left queries or savepoints
   * open. The callback may have called `commit()` without awaiting it. The stack of an error begins
   * at the function that awaits `method`.
   */
  async finish(method) {
    if (!this.isOpen) {
      if (this.#isCommitting) this.#confirm(await this.#ended);
      else if (!this.#isWanted)
        throw this.#refusal ?? this.#withHost(withStackFrom(method, releasedError()));
      return;
    }
    const { running, lastQuery } = this.#lease;
    if (running > 0) {
      const error = withStackFrom(method, notAwaitedError(running, lastQuery));
      await this.#lease.idle();
      this.#withHost(error);
      await this.rollBackBecause(error);
      throw error;
    }
    await this.commit(method);
  }

  /**
   * Runs the callback in a savepoint inside `outer`. The caller has called `check` before. `make`
   * makes the view of the savepoint for the callback.
   */
  async savepoint(outer, callback, make) {
    const scope = new Scope(this, outer, outer.depth + 1);
    this.#innermost = scope;
    // Not awaited here: if SAVEPOINT fails, the queries after it fail for the same reason.
    const opened = this.#tryTo(`SAVEPOINT ${scope.name}`);
    try {
      scope.view = make(scope);
      const value = await callback(scope.view);
      await this.#keep(scope, opened);
      return value;
    } catch (thrown) {
      await this.#undo(scope, opened, thrown);
      throw thrown;
    } finally {
      scope.isOver = true;
      // The scope around it may have ended before.
      if (this.#innermost === scope) this.#innermost = outer;
    }
  }

  /**
   * Called when the callback is done. The stack of an error begins at the function that awaits
   * `savepoint`.
   */
  async #keep(scope, opened) {
    if (scope.isOver) throw withStackFrom(this.savepoint, endedAroundError());
    if (!this.isOpen)
      throw withStackFrom(this.savepoint, this.#finishedError(`RELEASE SAVEPOINT ${scope.name}`));
    if (this.#innermost !== scope) {
      throw this.#withHost(withStackFrom(this.savepoint, overlapError(undefined, 'not-committed')));
    }
    if (scope.brokenBy !== null) throw scope.brokenBy;
    scope.isOver = true;
    const released = this.#tryTo(`RELEASE SAVEPOINT ${scope.name}`);
    // If SAVEPOINT failed, RELEASE failed for the same reason.
    const error = (await opened) ?? (await released);
    await released;
    if (error !== null) throw withStackFrom(this.savepoint, error);
  }

  /** Undoes the work of a callback that has failed. The scope around it continues. */
  async #undo(scope, opened, thrown) {
    // The scope around this savepoint, or the transaction, has ended and has undone it.
    if (!this.#holds(scope)) return;
    scope.isOver = true;
    const unopened = await opened;
    if (!this.isOpen) return;
    if (unopened !== null) {
      // If the transaction had failed before, the server refused all statements of the callback,
      // and there is nothing to undo. Otherwise the statements ran outside a savepoint.
      if (unopened.transactionFailed !== true) scope.outer.brokenBy ??= unopened;
      return;
    }
    // Savepoints that the callback has left open end with it.
    for (let inner = this.#innermost; inner !== scope; inner = inner.outer) inner.isOver = true;
    this.#innermost = scope;
    const undone = this.#tryTo(`ROLLBACK TO SAVEPOINT ${scope.name}`);
    const released = this.#tryTo(`RELEASE SAVEPOINT ${scope.name}`);
    const error = (await undone) ?? (await released);
    await released;
    if (error === null || !this.isOpen) return;
    // The scope around it can't be kept any more. Ending that scope undoes both.
    scope.outer.brokenBy ??= error;
    suppress(thrown, error);
  }

  /** Whether the savepoint is still open: neither it nor a scope around it has ended. */
  #holds(scope) {
    if (!this.isOpen) return false;
    for (let open = this.#innermost; open !== null; open = open.outer) {
      if (open === scope) return true;
    }
    return false;
  }

  /**
   * Resolves to the error, or to null. So callers can await several of these promises, and no
   * rejection stays unhandled.
   */
  async #tryTo(sql) {
    try {
      await this.#lease.query(sql, undefined, undefined, this.#flags);
      return null;
    } catch (error) {
      return this.explain(error);
    }
  }

  async #commit() {
    this.#commitMayStand = true;
    try {
      const answer = await this.#end('COMMIT', COMMIT);
      this.#commitMayStand = answer.command !== 'ROLLBACK';
      return answer;
    } catch (error) {
      this.#commitMayStand = error.outcome === 'unknown';
      // A connection that its user keeps must not stay in a failed transaction.
      if (this.#release === 0) await this.#rollback().catch(() => {});
      if (error.code === OVER && this.#lease.failure !== error) {
        defineHidden(error, 'cause', this.#lease.failure);
      }
      throw this.explain(error);
    }
  }

  async #rollback() {
    try {
      // After the deadline, the server gets little time for the rollback.
      await this.#end('ROLLBACK', this.#deadline?.hasPassed ? HURRIED : 0);
    } catch (error) {
      if (error.code === OVER) {
        this.#commitMayStand = true;
        this.#isUnknown = true;
        this.#committedBefore = error;
        return;
      }
      this.#lease.release(true);
      // Ending the pool has rolled the transaction back.
      if (error.code === POOL_CLOSED && error.outcome === 'not-committed') return;
      throw error;
    }
  }

  #end(sql, flags) {
    return this.#lease.query(sql, undefined, undefined, this.#flags | END | this.#release | flags);
  }

  /**
   * The request of `ended` also releases the connection, unless its user keeps the connection.
   */
  #close(ended) {
    this.isOpen = false;
    this.#ended = ended;
    const closed = this.#afterEnd(ended);
    if (this.#release === 0) this.#closed = closed.then(nothing, nothing);
    return closed;
  }

  async #afterEnd(ended) {
    try {
      return await ended;
    } finally {
      this.#deadline?.clear();
      if (this.#release !== 0) this.#lease.ended();
      // On a connection that its user keeps, later queries do not belong to the transaction.
      else this.#leaveLease();
      this.isClosed = true;
    }
  }

  /** Adds the host to an error of this package, if the host is known. */
  #withHost(error) {
    const host = this.#lease.locate();
    if (host !== undefined && Object.isExtensible(error)) error.host ??= host;
    return error;
  }

  #leaveLease() {
    this.#lease.replaceError = null;
    this.#lease.isReadOnly = false;
  }

  /**
   * Called when the deadline has passed: cancels the running query and rolls back. A COMMIT is not
   * cancelled. Returns the SQL text of the running query.
   */
  #giveUp() {
    const deadline = this.#deadline;
    this.#lease.locate();
    this.#isUnknown ||= this.#hasCommitted;
    this.#replaceError = (cause) => {
      const { code, outcome, query, host = this.#lease.host } = cause;
      // Also true for a COMMIT that the user sent as a statement.
      this.#isUnknown ||= outcome === 'unknown';
      if (this.#isUnknown) return deadline.error('unknown', { query, host });
      if (code === OVER && query === 'ROLLBACK') return cause;
      if (!this.#isCommitting) return deadline.error('not-committed', { query, host });
      // The server has answered the COMMIT nevertheless, or the pool has never sent it.
      return code === GIVEN_UP ? deadline.error('not-committed', { query, host }) : cause;
    };
    this.#lease.replaceError = this.#replaceError;
    const { running, asked, lastQuery } = this.#lease;
    // Calls that the user made before the transaction continue.
    const isAtWork = running > 0 && asked > this.#askedBefore;
    if (isAtWork) this.#lease.cancel();
    if (this.isOpen) this.#rollBack().catch(nothing);
    return isAtWork ? lastQuery : undefined;
  }

  /** After the deadline, a caller that ends the transaction can rely on the rollback. */
  async #over(query) {
    if (this.#replaceError !== null) await this.leave();
    return this.#finishedError(query);
  }

  #finishedError(query) {
    const replaceError = this.#replaceError;
    const message = 'the transaction is finished: use the pool, or a new one';
    const error = new classes.TransactionError(message, {
      code: 'HYPERION_TRANSACTION_FINISHED',
      outcome: 'not-sent',
      query,
    });
    return replaceError === null || this.#isCommitting ? error : replaceError(error);
  }
}

/** The addon's code for a query that was canceled with its transaction. */
const GIVEN_UP = 'HYPERION_ABORTED';

const POOL_CLOSED = 'HYPERION_POOL_CLOSED';

/** The command tags of statements that commit the earlier work of the transaction. */
const COMMITS = new Set(['COMMIT', 'PREPARE TRANSACTION']);
/** The command tags of statements that run code, which can commit outside a transaction block. */
const RUNS_CODE = new Set(['CALL', 'DO']);

/**
 * The error of a call whose work may be committed, in whole or in part, whatever the result of its
 * last statement.
 */
function withUnknownOutcome(error) {
  if (error instanceof classes.HyperionError && Object.isExtensible(error)) {
    error.outcome = 'unknown';
  }
  return error;
}

/**
 * A statement has ended the transaction, so the server is no longer in it. A ROLLBACK gets this
 * error only if the work of the transaction may be committed.
 */
const OVER = 'HYPERION_TRANSACTION_OVER';

/** Attaches an error to the exception that the caller gets. */
function suppress(thrown, error) {
  if (isError(thrown) && Object.isExtensible(thrown)) defineHidden(thrown, 'suppressed', error);
}

const nothing = () => {};

module.exports = { OpenTransaction, withUnknownOutcome };
