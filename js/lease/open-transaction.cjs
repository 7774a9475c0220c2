'use strict';

// What happens between BEGIN and the end of one transaction. The addon sends BEGIN in front of the
// first statement; a transaction of which the server knows nothing ends without asking it.
//
// Savepoints are a stack, for the server as for us. What is asked of any but the innermost would
// run inside of that one, and be undone with it although its own caller was told that it is done:
// it is refused at once.

const { COMMIT, END, HURRIED, BEGIN_READ_ONLY } = require('../transfer/contract.cjs').queryFlags;
const { classes, isError, withStackFrom } = require('../api/errors.cjs');
const { defineHidden } = require('./lease.cjs');

/** What one view asks for: the transaction itself, or a savepoint. */
class Scope {
  /** What it is inside of. */
  outer;
  depth;
  name;
  /** It takes no more: its callback is done, or what is around it has ended. */
  isOver = false;
  /**
   * What its callback has, as long as that runs: it keeps the transaction from being taken for
   * garbage.
   */
  view = null;
  /** Why it can't be kept: what has failed inside of it was not undone. */
  spoiled = null;

  constructor(outer, depth) {
    this.outer = outer;
    this.depth = depth;
    this.name = `hyperion_${depth}`;
  }
}

class OpenTransaction {
  #lease;
  #flags;
  /** RELEASE, or 0 where the connection stays its user's. */
  #release;
  #deadline;
  #isCommitting = false;
  /**
   * It was given up in the middle of a COMMIT, or behind one that its user wrote as a statement.
   */
  #isUnknown = false;
  /**
   * Where all that was asked last runs. A savepoint is the innermost until the server has ended it.
   */
  #innermost;
  /** Whether its caller has asked for the rollback. */
  #isWanted = false;
  /** Why it was rolled back in place of a COMMIT. */
  #refusal = null;
  /** Settles when the server has said how it ended. */
  #ended = null;
  /** Settles when nothing of it is to be sent any more. Never rejects. */
  #closed = null;
  /** As the lease's, for as long as anybody asks. */
  #replaceError = null;

  isOpen = true;
  /** Nothing of it is to be sent any more. */
  isClosed = false;
  /** What its own view asks is part of. */
  root = new Scope(null, 0);
  /**
   * What the callback did may stand, although it failed behind that: running it again could do it
   * twice.
   */
  mayStand = false;

  constructor(lease, flags, release, deadline) {
    this.#lease = lease;
    this.#flags = flags;
    this.#release = release;
    this.#deadline = deadline;
    this.#innermost = this.root;
    lease.begins();
    lease.isReadOnly = (flags & BEGIN_READ_ONLY) !== 0;
    lease.deadline = deadline;
    if (deadline !== null) deadline.onPassed = () => this.#giveUp();
  }

  /** Throws where `sql` comes too late, or while what `scope` has opened is open. */
  check(scope, sql) {
    if (scope.isOver) throw left(sql);
    if (!this.isOpen) throw this.#finished(sql);
    if (scope !== this.#innermost) throw overlapping(sql);
  }

  /** `scope`: whose view asks. */
  query(scope, sql, params, options) {
    this.check(scope, sql);
    return this.#lease.query(sql, params, options, this.#flags);
  }

  /** Stacks begin at the function that awaits `method`. */
  async commit(method = this.commit) {
    if (!this.isOpen) throw withStackFrom(method, await this.#over('COMMIT'));
    // Half of what belongs together would be committed.
    if (this.root.spoiled !== null || this.#innermost !== this.root) {
      this.#lease.locate();
      this.#refusal = this.root.spoiled ?? this.#withHost(withStackFrom(method, savepointIsOpen()));
      await this.#rollBack();
      throw this.#refusal;
    }
    this.#isCommitting = true;
    try {
      this.#confirm(await this.#close(this.#commit()));
    } catch (error) {
      throw withStackFrom(method, error);
    }
  }

  /** So the server answers the COMMIT of a transaction in which a statement has failed. */
  #confirm({ command }) {
    if (command === 'ROLLBACK') throw rolledBack(this.#lease.failure);
  }

  /** Its caller wants it: a transaction whose callback has asked for that has not failed. */
  async rollback() {
    if (!this.isOpen) throw withStackFrom(this.rollback, await this.#over('ROLLBACK'));
    this.#isWanted = true;
    try {
      await this.#rollBack();
    } catch (error) {
      throw withStackFrom(this.rollback, error);
    }
  }

  #rollBack() {
    return this.#close(this.#rollback());
  }

  /** Rolls back what is not finished, and waits for what is being finished. */
  async leave() {
    if (this.isOpen) await this.rollback();
    else await this.#ended?.catch(() => {});
  }

  /**
   * Its connection is released. Unfinished work is rolled back, although the code that works in it
   * has not asked for that.
   */
  async abandon() {
    if (this.isOpen) await this.#rollBack().catch(() => {});
    await this.whenClosed();
  }

  /**
   * Resolves when nothing of it is to be sent any more: only then another one may begin on the
   * connection.
   */
  async whenClosed() {
    await this.#closed;
  }

  /**
   * The result of the callback, unless the deadline passes before. If the callback has sent a COMMIT,
   * which is never cancelled, the answer to the COMMIT decides. The stack of the deadline's error
   * begins at the function that awaits `method`.
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

  /** After its user's code threw: what was thrown stays what the caller gets. */
  async rollBackBecause(thrown) {
    try {
      await (this.isOpen ? this.#rollBack() : this.#ended);
    } catch (error) {
      if (error !== thrown) suppress(thrown, error);
    }
  }

  /**
   * The callback is done: commits, unless the callback left something undone. It may not have
   * waited for its own `commit()`. Stacks begin at the function that awaits `method`.
   */
  async finish(method) {
    if (!this.isOpen) {
      if (this.#isCommitting) this.#confirm(await this.#ended);
      else if (!this.#isWanted)
        throw this.#refusal ?? this.#withHost(withStackFrom(method, taken()));
      return;
    }
    const { running, lastQuery } = this.#lease;
    if (running > 0) {
      const error = withStackFrom(method, notAwaited(running, lastQuery));
      await this.#lease.idle();
      this.#withHost(error);
      await this.rollBackBecause(error);
      throw error;
    }
    await this.commit(method);
  }

  /**
   * Runs the callback in a savepoint inside of `outer`, for which `check` has been asked. `make`
   * gives the callback its own view of this transaction.
   */
  async savepoint(outer, callback, make) {
    const scope = new Scope(outer, outer.depth + 1);
    this.#innermost = scope;
    // No caller waits for it: what is sent behind it fails where it has failed.
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
      // Unless the one around it has ended before.
      if (this.#innermost === scope) this.#innermost = outer;
    }
  }

  /** The callback is done. Stacks begin at the function that awaits `savepoint`. */
  async #keep(scope, opened) {
    if (scope.isOver) throw withStackFrom(this.savepoint, lost());
    if (!this.isOpen)
      throw withStackFrom(this.savepoint, this.#finished(`RELEASE SAVEPOINT ${scope.name}`));
    if (this.#innermost !== scope) {
      throw this.#withHost(withStackFrom(this.savepoint, overlapping(undefined, 'not-committed')));
    }
    if (scope.spoiled !== null) throw scope.spoiled;
    scope.isOver = true;
    const released = this.#tryTo(`RELEASE SAVEPOINT ${scope.name}`);
    // The reason why it was not opened is also why it can't be released.
    const error = (await opened) ?? (await released);
    await released;
    if (error !== null) throw withStackFrom(this.savepoint, error);
  }

  /** What has failed inside is undone, and what is around it goes on. */
  async #undo(scope, opened, thrown) {
    // The one around it has ended, and has undone it; or the transaction has.
    if (!this.#holds(scope)) return;
    scope.isOver = true;
    const unopened = await opened;
    if (!this.isOpen) return;
    if (unopened !== null) {
      // Where the transaction had failed before, all of it was refused: there is nothing to undo.
      // Else it ran outside.
      if (unopened.transactionFailed !== true) scope.outer.spoiled ??= unopened;
      return;
    }
    // Those that it has left open go with it.
    for (let inner = this.#innermost; inner !== scope; inner = inner.outer) inner.isOver = true;
    this.#innermost = scope;
    const undone = this.#tryTo(`ROLLBACK TO SAVEPOINT ${scope.name}`);
    const released = this.#tryTo(`RELEASE SAVEPOINT ${scope.name}`);
    const error = (await undone) ?? (await released);
    await released;
    if (error === null || !this.isOpen) return;
    // What is around it can't be kept any more: whoever ends that undoes both.
    scope.outer.spoiled ??= error;
    suppress(thrown, error);
  }

  /** Whether the savepoint has not been ended, by itself or by what is around it. */
  #holds(scope) {
    if (!this.isOpen) return false;
    for (let open = this.#innermost; open !== null; open = open.outer) {
      if (open === scope) return true;
    }
    return false;
  }

  /**
   * Resolves to the error, or to null: what follows waits for all of them, and leaves none unheard.
   */
  async #tryTo(sql) {
    try {
      await this.#lease.query(sql, undefined, undefined, this.#flags);
      return null;
    } catch (error) {
      return error;
    }
  }

  async #commit() {
    this.mayStand = true;
    try {
      const answer = await this.#end('COMMIT', COMMIT);
      this.mayStand = answer.command !== 'ROLLBACK';
      return answer;
    } catch (error) {
      this.mayStand = error.outcome === 'unknown' || error.code === OVER;
      // Where the connection stays its user's, it must not stay in a failed transaction.
      if (this.#release === 0) await this.#rollback().catch(() => {});
      if (error.code === OVER && this.#lease.failure !== error) {
        defineHidden(error, 'cause', this.#lease.failure);
      }
      throw error;
    }
  }

  async #rollback() {
    try {
      // Behind the deadline the server has little time for it.
      await this.#end('ROLLBACK', this.#deadline?.hasPassed ? HURRIED : 0);
    } catch (error) {
      if (error.code === OVER) {
        this.mayStand = true;
        this.#isUnknown = true;
        return;
      }
      this.#lease.release(true);
      // It was rolled back with the pool's end.
      if (error.code === POOL_CLOSED && error.outcome === 'not-committed') return;
      throw error;
    }
  }

  #end(sql, flags) {
    return this.#lease.query(sql, undefined, undefined, this.#flags | END | this.#release | flags);
  }

  /** What ends the transaction gives the connection back, unless that stays its user's. */
  #close(ended) {
    this.isOpen = false;
    this.#ended = ended;
    const closed = this.#settle(ended);
    if (this.#release === 0) this.#closed = closed.then(nothing, nothing);
    return closed;
  }

  async #settle(ended) {
    try {
      return await ended;
    } finally {
      this.#deadline?.clear();
      if (this.#release !== 0) this.#lease.ended();
      // What comes next on a connection that its user keeps is none of the transaction's.
      else this.#leaveLease();
      this.isClosed = true;
    }
  }

  /** An error of our own says where it was, if that is known by now. */
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
   * The deadline has passed: the running call is cancelled, and the server rolls back. A COMMIT is not
   * cancelled. Returns what was being run.
   */
  #giveUp() {
    const deadline = this.#deadline;
    this.#lease.locate();
    this.#replaceError = (cause) => {
      const { code, outcome, query, host = this.#lease.host } = cause;
      // A COMMIT that the caller wrote as a statement, too.
      this.#isUnknown ||= outcome === 'unknown';
      if (this.#isUnknown) return deadline.error('unknown', { query, host });
      if (code === OVER && query === 'ROLLBACK') return cause;
      if (!this.#isCommitting) return deadline.error('not-committed', { query, host });
      // The answer came all the same, or COMMIT was never sent.
      return code === GIVEN_UP ? deadline.error('not-committed', { query, host }) : cause;
    };
    this.#lease.replaceError = this.#replaceError;
    const { running, lastQuery } = this.#lease;
    if (running > 0) this.#lease.cancel();
    if (this.isOpen) this.#rollBack().catch(nothing);
    return running > 0 ? lastQuery : undefined;
  }

  /** A caller that ends a transaction that was given up may rely on its being rolled back. */
  async #over(query) {
    if (this.#replaceError !== null) await this.leave();
    return this.#finished(query);
  }

  #finished(query) {
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

/** What the addon says of a query that was given up with its transaction. */
const GIVEN_UP = 'HYPERION_ABORTED';

const POOL_CLOSED = 'HYPERION_POOL_CLOSED';

/**
 * The server is in no transaction any more. A statement has ended this one, and how it ended is not
 * known.
 */
const OVER = 'HYPERION_TRANSACTION_OVER';

/** What was thrown first stays what is thrown. */
function suppress(thrown, error) {
  if (isError(thrown) && Object.isExtensible(thrown)) defineHidden(thrown, 'suppressed', error);
}

function rolledBack(failure) {
  const message = 'the transaction was rolled back: a statement in it had failed before COMMIT';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_ROLLED_BACK',
    outcome: 'not-committed',
    host: failure?.host,
    query: 'COMMIT',
    cause: failure ?? undefined,
  });
}

function notAwaited(count, query) {
  const queries = count === 1 ? 'a query was' : `${count} queries were`;
  const message =
    `the transaction was rolled back: ${queries} still running when its callback was done; ` +
    'await all of them, so that none can fail unheard';
  return new classes.TransactionError(message, {
    code: 'HYPERION_QUERY_NOT_AWAITED',
    outcome: 'not-committed',
    query,
  });
}

function savepointIsOpen() {
  const message =
    'the transaction was rolled back: a savepoint was still open when it was to be committed; await its end before';
  return new classes.TransactionError(message, {
    code: 'HYPERION_QUERY_NOT_AWAITED',
    outcome: 'not-committed',
  });
}

/** Asked in the wrong order, or ended so. */
function overlapping(query, outcome = 'not-sent') {
  const message =
    outcome === 'not-sent'
      ? 'a savepoint is open: what is asked outside of it meanwhile would be undone with it; await its end before, ' +
        'run savepoints one after the other, and use the query() of the innermost one'
      : 'the savepoint was undone: one that was opened inside of it was open still when its callback was done; ' +
        'await its end before';
  return new classes.TransactionError(message, {
    code: 'HYPERION_SAVEPOINTS_OVERLAP',
    outcome,
    query,
  });
}

function left(query) {
  const message = 'the savepoint is finished: use the transaction';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_FINISHED',
    outcome: 'not-sent',
    query,
  });
}

/** Of a savepoint that was undone with the one around it. */
function lost() {
  const message =
    'the savepoint was undone with the one around it, which ended before: await its end there';
  return new classes.TransactionError(message, {
    code: 'HYPERION_SAVEPOINTS_OVERLAP',
    outcome: 'not-committed',
  });
}

/** Of a transaction that was rolled back, and not by its callback. */
function taken() {
  const message =
    'the transaction was rolled back before its callback was done, because its connection was released: await the ' +
    'transaction before, and do not await release() inside of its callback';
  return new classes.TransactionError(message, {
    code: 'HYPERION_TRANSACTION_FINISHED',
    outcome: 'not-committed',
  });
}

const nothing = () => {};

module.exports = { OpenTransaction };
