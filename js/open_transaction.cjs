'use strict';

// What happens between BEGIN and the end of one transaction. The addon sends BEGIN in front of the first
// statement; a transaction of which the server knows nothing ends without asking it.

const { COMMIT, END, BEGIN_READ_ONLY } = require('./channel.cjs');
const { classes, isError, seenFrom } = require('./errors.cjs');
const { hidden } = require('./lease.cjs');

class OpenTransaction {
  #lease;
  #flags;
  /** RELEASE, or 0 where the connection stays its user's. */
  #release;
  #limit;
  #isCommitting = false;
  /** It was given up in the middle of a COMMIT, or behind one that its user wrote as a statement. */
  #isUnknown = false;
  /** Names of the savepoints that are open, the innermost last. */
  #savepoints = [];
  /** Why it must not be committed any more. */
  #doom = null;
  /** Settles when the server has said how it ended. */
  #ended = null;
  /** As the lease's, for as long as anybody asks. */
  #verdict = null;

  isOpen = true;
  /** What the callback did may stand, although it failed behind that: running it again could do it twice. */
  mayStand = false;

  constructor(lease, flags, release, limit) {
    this.#lease = lease;
    this.#flags = flags;
    this.#release = release;
    this.#limit = limit;
    lease.failure = null;
    lease.verdict = null;
    lease.isReadOnly = (flags & BEGIN_READ_ONLY) !== 0;
    lease.limit = limit;
    if (limit !== null) limit.onPassed = () => this.#giveUp();
  }

  /** Throws where `sql` comes too late. */
  check(sql) {
    if (!this.isOpen) throw this.#finished(sql);
  }

  query(sql, params, options) {
    this.check(sql);
    return this.#lease.query(sql, params, options, this.#flags);
  }

  /** Stacks begin at whoever awaits `method`. */
  async commit(method = this.commit) {
    if (!this.isOpen) throw seenFrom(method, await this.#over('COMMIT'));
    // Half of what belongs together would be committed.
    if (this.#doom !== null || this.#savepoints.length > 0) {
      this.#lease.locate();
      await this.rollback();
      throw (this.#doom ??= this.#placed(seenFrom(method, savepointIsOpen())));
    }
    this.#isCommitting = true;
    try {
      this.#confirm(await this.#close(this.#commit()));
    } catch (error) {
      throw seenFrom(method, error);
    }
  }

  /** So the server answers the COMMIT of a transaction in which a statement has failed. */
  #confirm({ command }) {
    if (command === 'ROLLBACK') throw rolledBack(this.#lease.failure);
  }

  async rollback() {
    if (!this.isOpen) throw seenFrom(this.rollback, await this.#over('ROLLBACK'));
    try {
      await this.#close(this.#rollback());
    } catch (error) {
      throw seenFrom(this.rollback, error);
    }
  }

  /** Rolls back what is not finished, and waits for what is being finished. */
  async leave() {
    if (this.isOpen) await this.rollback();
    else await this.#ended?.catch(() => {});
  }

  /**
   * What the callback comes to, unless the limit passes before that. A COMMIT of its own, which is never cancelled, has
   * the last word. The stack of the limit's error begins at whoever awaits `method`.
   */
  async hear(running, method) {
    const limit = this.#limit;
    if (limit === null) return running;
    try {
      return await limit.bound(running, 'not-committed', method);
    } catch (error) {
      if (!limit.isOver) throw error;
      if (this.#isCommitting) {
        await this.#ended;
        return running;
      }
      await this.#ended?.catch(() => {});
      if (this.#isUnknown) throw this.#placed(seenFrom(method, limit.error('unknown')));
      throw error?.code === limit.code ? this.#placed(error) : error;
    }
  }

  /** After its user's code threw: what was thrown stays what the caller gets. */
  async rollBackBecause(thrown) {
    try {
      await (this.isOpen ? this.rollback() : this.#ended);
    } catch (error) {
      if (error !== thrown) suppress(thrown, error);
    }
  }

  /**
   * The callback is done: commits, unless it left something undone. Its own `commit()` it may not have waited for. Stacks
   * begin at whoever awaits `method`.
   */
  async finish(method) {
    if (!this.isOpen) {
      if (this.#isCommitting) this.#confirm(await this.#ended);
      return;
    }
    const { running, lastQuery } = this.#lease;
    if (running > 0) {
      const error = seenFrom(method, notAwaited(running, lastQuery));
      await this.#lease.idle();
      this.#placed(error);
      await this.rollBackBecause(error);
      throw error;
    }
    await this.commit(method);
  }

  /** `make` gives the callback its own view of this transaction. */
  async savepoint(callback, make) {
    const name = `hyperion_${this.#savepoints.length + 1}`;
    const { failure } = this.#lease;
    this.#savepoints.push(name);
    const scope = make();
    try {
      // Nobody waits for it: what is sent behind it fails where it has failed.
      this.query(`SAVEPOINT ${name}`).catch(() => {});
      const value = await callback(scope.view);
      scope.close();
      this.#leave(name);
      await this.#keep(name);
      return value;
    } catch (thrown) {
      scope.close();
      await this.#undo(name, failure, thrown);
      throw thrown;
    }
  }

  async #undo(name, failure, thrown) {
    if (!this.isOpen || this.#doom !== null) return;
    try {
      this.#leave(name);
      const undone = this.query(`ROLLBACK TO SAVEPOINT ${name}`);
      await Promise.all([undone, this.query(`RELEASE SAVEPOINT ${name}`)]);
      this.#lease.failure = failure;
    } catch (error) {
      this.#doom ??= error;
      suppress(thrown, error);
    }
  }

  /** Its caller is whoever awaits `savepoint`. */
  async #keep(name) {
    try {
      await this.query(`RELEASE SAVEPOINT ${name}`);
    } catch (error) {
      throw seenFrom(this.savepoint, error);
    }
  }

  /** Savepoints are a stack: one that is left from its middle takes those above it along. */
  #leave(name) {
    if (!this.#savepoints.includes(name)) return;
    const top = this.#savepoints.at(-1);
    this.#savepoints = this.#savepoints.filter((open) => open !== name);
    if (top !== name) {
      this.#doom ??= this.#placed(seenFrom(this.savepoint, overlapping()));
      throw this.#doom;
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
        hidden(error, 'cause', this.#lease.failure);
      }
      throw error;
    }
  }

  async #rollback() {
    try {
      await this.#end('ROLLBACK', 0);
    } catch (error) {
      if (error.code === OVER) {
        this.mayStand = true;
        this.#isUnknown = true;
        return;
      }
      this.#lease.release(true);
      throw error;
    }
  }

  #end(sql, flags) {
    return this.#lease.query(sql, undefined, undefined, this.#flags | END | this.#release | flags);
  }

  /** What ends the transaction gives the connection back, unless that stays its user's. */
  async #close(ended) {
    this.isOpen = false;
    this.#ended = ended;
    try {
      return await ended;
    } finally {
      this.#limit?.clear();
      if (this.#release !== 0) this.#lease.ended();
      // What comes next on a connection that its user keeps is none of the transaction's.
      else this.#leaveLease();
    }
  }

  /** An error of our own says where it was, if that is known by now. */
  #placed(error) {
    const host = this.#lease.locate();
    if (host !== undefined && Object.isExtensible(error)) error.host ??= host;
    return error;
  }

  #leaveLease() {
    this.#lease.verdict = null;
    this.#lease.isReadOnly = false;
  }

  /**
   * The limit has passed: what runs is cancelled, and the server rolls back. A COMMIT is not cancelled. Returns what
   * was being run.
   */
  #giveUp() {
    const limit = this.#limit;
    this.#lease.locate();
    this.#verdict = (cause) => {
      const { code, outcome, query, host = this.#lease.host } = cause;
      // A COMMIT that the caller wrote as a statement, too.
      this.#isUnknown ||= outcome === 'unknown';
      if (this.#isUnknown) return limit.error('unknown', { query, host });
      if (code === OVER && query === 'ROLLBACK') return cause;
      if (!this.#isCommitting) return limit.error('not-committed', { query, host });
      // The answer came all the same, or COMMIT was never sent.
      return code === GIVEN_UP ? limit.error('not-committed', { query, host }) : cause;
    };
    this.#lease.verdict = this.#verdict;
    const { running, lastQuery } = this.#lease;
    if (running > 0) this.#lease.cancel();
    if (this.isOpen) this.rollback().catch(() => {});
    return running > 0 ? lastQuery : undefined;
  }

  /** Whoever ends a transaction that was given up may rely on its being rolled back. */
  async #over(query) {
    if (this.#verdict !== null) await this.leave();
    return this.#finished(query);
  }

  #finished(query) {
    const verdict = this.#verdict;
    const message = 'the transaction is finished: use the pool, or a new one';
    const error = new classes.TransactionError(message, {
      code: 'HYPERION_TRANSACTION_FINISHED',
      outcome: 'not-sent',
      query,
    });
    return verdict === null || this.#isCommitting ? error : verdict(error);
  }
}

/** What the addon says of a query that was given up with its transaction. */
const GIVEN_UP = 'HYPERION_ABORTED';

/** The server is in no transaction any more: a statement has ended this one, and how, nobody has looked at. */
const OVER = 'HYPERION_TRANSACTION_OVER';

/** What was thrown first stays what is thrown. */
function suppress(thrown, error) {
  if (isError(thrown) && Object.isExtensible(thrown)) hidden(thrown, 'suppressed', error);
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

function overlapping() {
  const message =
    'savepoints of one transaction overlap: a savepoint ended while one that was opened later was ' +
    'open still; run them one after the other, or one inside of the other';
  return new classes.TransactionError(message, {
    code: 'HYPERION_SAVEPOINTS_OVERLAP',
    outcome: 'not-committed',
  });
}

module.exports = { OpenTransaction };
