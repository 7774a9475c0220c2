// The pool as users see it.

'use strict';

const dns = require('node:dns');
const { EventEmitter } = require('node:events');

const { classes, errorFrom, errorFromThrown } = require('./errors.cjs');
const { Records } = require('./records.cjs');
const { Statements } = require('./statements.cjs');
const { FLAG, runTransaction } = require('./transaction.cjs');

function wrongArgument(message) {
  return new classes.ConfigurationError({
    code: 'HYPERION_ARGUMENT',
    message,
    outcome: 'not-sent',
  });
}

class Pool extends EventEmitter {
  #native;
  #handle;
  #records;
  #statements;
  #lookup;
  #flushing = false;
  #ended;

  constructor(native, json, { lookup = dns.lookup }) {
    super();
    this.#native = native;
    this.#lookup = lookup;
    this.#records = new Records(
      (event) => this.#emit(event),
      (token, host) => this.#resolve(token, host),
    );
    let created;
    try {
      created = native.createPool(json, (text) => this.#deliver(text));
    } catch (thrown) {
      throw errorFromThrown(thrown);
    }
    this.#handle = created.handle;
    this.#records.attach(created);
    this.#statements = new Statements(
      (sql) => native.statement(created.handle, sql),
      (number) => native.forget(created.handle, number),
    );
  }

  query(sql, params, options) {
    return this.#run(sql, params, 0, options?.readOnly === true ? FLAG.readOnly : 0);
  }

  transaction(callback) {
    if (typeof callback !== 'function') {
      return Promise.reject(wrongArgument('pool.transaction takes a function'));
    }
    const run = (sql, params, lease, flags) => this.#run(sql, params, lease, flags);
    const discard = (lease) => {
      this.#native.release(this.#handle, lease, true);
      this.#flushSoon();
    };
    return runTransaction(run, discard, callback);
  }

  status() {
    return JSON.parse(this.#native.status(this.#handle));
  }

  end() {
    this.#ended ??= new Promise((resolve, reject) => {
      const request = this.#records.begin(
        () => resolve(),
        (report) => reject(errorFrom(report)),
      );
      this.#native.end(this.#handle, request);
      this.#flushSoon();
    });
    return this.#ended;
  }

  #run(sql, params, lease, flags) {
    if (typeof sql !== 'string') {
      return Promise.reject(
        wrongArgument(`the first argument must be the SQL text, not ${kind(sql)}`),
      );
    }
    if (params !== undefined && params !== null && !Array.isArray(params)) {
      return Promise.reject(wrongArgument(`the parameters must be an array, not ${kind(params)}`));
    }
    const answer = new Promise((resolve, reject) => {
      const request = this.#records.begin(resolve, reject);
      try {
        const statement = this.#statements.number(sql);
        this.#native.query(this.#handle, request, lease, statement, params ?? undefined, flags);
      } catch (thrown) {
        this.#records.withdraw(request);
        throw errorFromThrown(thrown, sql);
      }
      this.#flushSoon();
    });
    // The error is made in a reaction to the answer: there V8 knows who awaits it, and the stack shows
    // the caller although the work was native.
    return answer.then(undefined, (report) => {
      throw report instanceof Error ? report : errorFrom(report, sql);
    });
  }

  /** All that is asked in one turn of the loop goes out together. */
  #flushSoon() {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#native.flush(this.#handle);
    });
  }

  #deliver(text) {
    while (this.#records.read(text)) text = this.#native.drain(this.#handle);
  }

  #emit({ type, ...event }) {
    // A listener that throws must not stop the records behind it.
    process.nextTick(() => this.emit(type, event));
  }

  #resolve(token, host) {
    const done = (error, addresses = []) => {
      const list = Array.isArray(addresses) ? addresses : [addresses];
      const joined = list.map((entry) => entry?.address ?? entry).join(',');
      this.#native.resolved(this.#handle, token, joined, error ? String(error.message) : undefined);
      this.#flushSoon();
    };
    process.nextTick(() => this.#lookup(host, { all: true }, done));
  }
}

if (Symbol.asyncDispose) {
  Object.defineProperty(Pool.prototype, Symbol.asyncDispose, {
    value: function asyncDispose() {
      return this.end();
    },
  });
}

function kind(value) {
  if (value === null) return 'null';
  return typeof value === 'object' ? 'an object' : typeof value;
}

module.exports = { Pool };
