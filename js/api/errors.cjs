'use strict';

// The errors that users catch. The addon sends an error as JSON (`src/node/error_json.rs`). This
// file makes the error object, in the asynchronous stack of the caller.

const path = require('node:path');
const { types } = require('node:util');
const { THROWN_MARK } = require('../transfer/contract.cjs').thrown;

/** How much of the SQL text a stack shows, in UTF-16 units. */
const SHOWN_QUERY = 200;

/**
 * Whether a value is an Error, of this realm or of another: a test runner may load this package in
 * a context of its own.
 */
const isError = (value) => types.isNativeError(value) || value instanceof Error;

/** The base class of all errors of this package. */
class HyperionError extends Error {
  /**
   * `details` become own properties: `code`, `outcome`, `host`, the server's fields. `query` is the
   * SQL text. It is not enumerable, since loggers print enumerable properties, and SQL can contain
   * secrets. Two other properties are not enumerable either. `transactionFailed` says that the
   * server accepts no more statements in the transaction. `transactionOpen` says that the statement
   * has run in a transaction that is still open.
   */
  constructor(message, given) {
    // Without a prototype, a property of Object.prototype can't become a property of the error.
    const { cause, query, ...others } = { __proto__: null, ...given };
    const { transactionFailed, transactionOpen, ...details } = others;
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, details);
    for (const [name, value] of Object.entries({ query, transactionFailed, transactionOpen })) {
      if (value === undefined) continue;
      const property = { __proto__: null, value, writable: true, configurable: true };
      Object.defineProperty(this, name, property);
    }
  }

  static {
    named(this, 'HyperionError');
  }
}

/**
 * The name is a property of the prototype, as with JavaScript's own errors. So the stack shows the
 * name, and the own properties do not.
 */
function named(constructor, name) {
  Object.defineProperty(constructor.prototype, 'name', {
    value: name,
    writable: true,
    configurable: true,
  });
}

/**
 * Lets the end of an `await using` block call the method `name`, if the runtime has such blocks.
 */
function disposable(constructor, name) {
  if (Symbol.asyncDispose === undefined) return;
  Object.defineProperty(constructor.prototype, Symbol.asyncDispose, {
    async value() {
      await this[name]();
    },
    writable: true,
    configurable: true,
  });
}

function declare(name) {
  const constructor = { [name]: class extends HyperionError {} }[name];
  named(constructor, name);
  return constructor;
}

const classes = {
  __proto__: null,
  HyperionError,
  DatabaseError: declare('DatabaseError'),
  ConnectionError: declare('ConnectionError'),
  PoolTimeoutError: declare('PoolTimeoutError'),
  QueryTimeoutError: declare('QueryTimeoutError'),
  AbortError: declare('AbortError'),
  ConfigurationError: declare('ConfigurationError'),
  ProtocolError: declare('ProtocolError'),
  TransactionError: declare('TransactionError'),
  InternalError: declare('InternalError'),
};
// The platform's name for such errors: `AbortSignal.timeout` aborts with an error of this name.
named(classes.QueryTimeoutError, 'TimeoutError');
classes.TimeoutError = classes.QueryTimeoutError;

/** Builds the error that `json` describes. */
function fromJson(json, query) {
  let record;
  try {
    record = JSON.parse(json);
  } catch (cause) {
    return new classes.InternalError(`the addon failed: ${json}`, {
      code: 'HYPERION_INTERNAL',
      cause,
      query,
    });
  }
  return fromRecord(record, query);
}

function fromRecord(record, query) {
  const { class: name, message, cause, ...details } = { __proto__: null, ...record };
  // An error of the operating system is a plain Error, like Node's own.
  if (name === 'SystemError') return Object.assign(new Error(message), details);
  const constructor = classes[name] ?? classes.InternalError;
  if (details.hosts !== undefined) details.hosts = details.hosts.map(withCause);
  return new constructor(message, { ...details, cause: causeOf(cause), query });
}

/**
 * A cause has no stack of its own. Its error is made at the same time, and shows the place in its
 * own stack. Many calls may fail because of one cause, so a stack for each would be costly.
 */
function causeOf(record) {
  if (record === undefined) return undefined;
  const limit = Error.stackTraceLimit;
  Reflect.set(Error, 'stackTraceLimit', 0);
  const error = fromRecord(record);
  Reflect.set(Error, 'stackTraceLimit', limit);
  error.stack = `${error.name}: ${error.message}`;
  return error;
}

const withCause = ({ cause, ...host }) =>
  cause === undefined ? host : { ...host, cause: causeOf(cause) };

/**
 * The error for an exception of a call into the addon. The addon makes its exceptions in Node's
 * main realm, even if this package is loaded in another realm.
 */
function fromThrown(thrown, query) {
  const isOurs = types.isNativeError(thrown) && thrown.code === THROWN_MARK;
  // Any other exception comes from the caller's own code (a getter, a `toJSON`).
  return isOurs ? fromJson(thrown.message, query) : thrown;
}

/**
 * For an error whose statement has run, but whose answer could not be read. Its transaction has
 * been rolled back meanwhile, so nothing of it is committed.
 */
function settleOutcome(thrown) {
  if (isError(thrown) && thrown.transactionOpen === true && thrown.outcome === 'unknown') {
    Reflect.set(thrown, 'outcome', 'not-committed');
  }
}

/**
 * A statement failed before COMMIT. Its error is the cause, and decides whether a retry can help.
 */
const ROLLED_BACK = 'HYPERION_TRANSACTION_ROLLED_BACK';

/** More levels than any error of this package has. */
const MOST_CAUSES = 10;

/**
 * Errors after which the same call may succeed on a retry. Of class 08, only lost connections are
 * listed (functions such as dblink report them too). A refusal (08004), a protocol violation such
 * as a wrong number of parameters (08P01) and an unknown outcome (08007) are not listed.
 */
const TRANSIENT = new Set([
  ...['08000', '08001', '08003', '08006'],
  ...['40001', '40P01', '55P03', '25006'],
  ...['57P01', '57P02', '57P03', '57P05', '53000', '53200', '53300'],
  ...['HYPERION_CONNECTION_LOST', 'HYPERION_CONNECT_TIMEOUT', 'HYPERION_UNFIT_HOST'],
  ...['HYPERION_POOL_TIMEOUT', 'HYPERION_NO_PRIMARY', 'HYPERION_SPLIT_BRAIN', 'HYPERION_NO_HOST'],
  ...['HYPERION_UNREACHABLE', 'HYPERION_QUEUE_FULL', 'HYPERION_UNRESOLVED_TYPES'],
]);

/** The hints of errors after which the pool prepares the statement again (`src/pool/stale.rs`). */
const STALE_PLANS = [
  'the statement was prepared before its tables or types changed',
  'the session has dropped its prepared statements',
  "the types of the statement's parameters were described earlier",
];

/**
 * Whether a table has changed since the statement was prepared. In that case the pool prepares the
 * statement again. The code and the routine show it, since servers translate their messages.
 */
function isStalePlan({ code, routine, hint }) {
  const hasHint = typeof hint === 'string' && STALE_PLANS.some((text) => hint.startsWith(text));
  return hasHint || (code === '0A000' && routine === 'RevalidateCachedQuery');
}

/** Errors that a retry does not solve, although their code is in TRANSIENT. */
const lasting = new WeakSet();

/** In a transaction that its user declared read-only, a retry of the write is refused again. */
function explainRefusal(error, isDeclaredReadOnly) {
  if (isDeclaredReadOnly && error.code === '25006') lasting.add(error);
}

/**
 * Whether a retry can help and can do no harm: the failed call certainly had no effect, and its
 * reason is transient. If the error is the caller's own, its `cause` counts.
 */
function isRetryable(error) {
  return passing(error) !== undefined;
}

/** Whether a retry can help because the pool prepares the statement again. */
function isStale(error) {
  const found = passing(error);
  return found !== undefined && isStalePlan(found);
}

/** The error with the transient reason. Undefined if a retry may do harm or can't help. */
function passing(error) {
  let from = error;
  for (let depth = 0; depth < MOST_CAUSES && isError(from); depth += 1) {
    if (from.outcome === 'unknown' || lasting.has(from)) return undefined;
    if (typeof from.code === 'string' && from.code !== ROLLED_BACK) {
      if (TRANSIENT.has(from.code) || isStalePlan(from)) return from;
      if (from instanceof HyperionError) return undefined;
    }
    from = from.cause;
  }
  return undefined;
}

/** The error of a call whose signal was aborted before the call. `what` names the call. */
function aborted(signal, what, query) {
  const details = { code: 'HYPERION_ABORTED', outcome: 'not-sent', cause: signal.reason, query };
  return new classes.AbortError(`${what} was aborted: its signal was aborted before`, details);
}

/** Gives the error of an aborted call the reason, which only the signal knows. */
function explain(error, signal) {
  if (!(error instanceof classes.AbortError)) return;
  let value;
  try {
    value = signal.reason;
  } catch (thrown) {
    // The error still says which call was aborted, and with which outcome.
    value = thrown;
  }
  const property = { __proto__: null, value, writable: true, configurable: true };
  Object.defineProperty(error, 'cause', property);
}

function configurationError(message) {
  return new classes.ConfigurationError(message, { code: 'HYPERION_CONFIGURATION' });
}

/** The same words as in `src/config/refusal.rs`. `subject` names the option and its call. */
function wrongOption(subject, allowed, given) {
  return configurationError(`${subject} must be ${allowed}, not ${shown(given)}`);
}

/** Longer texts, in UTF-16 units, are cut. */
const SHOWN = 64;

function shown(value) {
  switch (typeof value) {
    case 'string':
      if (value.includes('-----BEGIN')) return 'a text in PEM (not shown: it may hold a key)';
      return JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}...` : value);
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? 'an array' : 'an object';
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    default:
      return String(value);
  }
}

/**
 * Makes the stack of an error of this package begin at the frame that called or awaits `method`. V8
 * records ten frames, and this package's frames would tell the user nothing. V8 looks for `method`
 * among the running functions, and then among the functions that await them. If it does not find
 * `method`, no frame is left. When this package awaits a callback of the caller's, and the caller
 * awaits this package, this package's frames between the two are dropped.
 */
function withStackFrom(method, error) {
  if (error instanceof HyperionError && Object.isExtensible(error)) {
    Error.captureStackTrace(error, method);
    try {
      dropOwnFrames(error);
    } catch {
      // Near the end of the stack, further calls are impossible.
    }
  }
  return error;
}

function dropOwnFrames(error) {
  const { stack } = error;
  if (typeof stack !== 'string' || !isOwnFrame(stack)) return;
  const [head, ...frames] = stack.split('\n    at ');
  error.stack = [head, ...frames.filter((frame) => !isOwnFrame(frame))].join('\n    at ');
}

/**
 * The rejected promise for an exception of the method `name` of `Class`. `self` is the object on
 * which the user called the method. If the user called the method without its object, as in `const
 * { query } = pool`, the exception is a TypeError about a private field.
 */
function rejection(self, Class, name, thrown) {
  const error = self instanceof Class ? thrown : detached(Class.name.toLowerCase(), name);
  return Promise.reject(withStackFrom(Class.prototype[name], error));
}

function detached(object, name) {
  const message = `${name}() was called without its ${object}: write ${object}.${name}(), or bind it`;
  const error = configurationError(message);
  error.outcome = 'not-sent';
  return error;
}

/** Where the user called `method`, as an object with a `stack`. */
function callSiteOf(method) {
  const callSite = {};
  Error.captureStackTrace(callSite, method);
  return callSite;
}

/** The most frames of this package that the stack of a call can have. */
const OWN_FRAMES = 6;

/** Where a query was called, for `longStackTraces`. V8 makes the text when `stack` is read. */
function longCallSite() {
  const callSite = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = limit + OWN_FRAMES;
  Error.captureStackTrace(callSite, longCallSite);
  Error.stackTraceLimit = limit;
  return callSite;
}

/**
 * The folder of this package's JavaScript. Undefined in a bundle, which has this file and the
 * user's code in one folder.
 */
const OWN_FOLDER =
  typeof __dirname === 'string' && __dirname.endsWith(path.join('js', 'api'))
    ? path.dirname(__dirname)
    : undefined;

/**
 * Whether a line of a stack is a frame of this package. In a bundle, no frame is recognised as one.
 */
const isOwnFrame = (frame) => OWN_FOLDER !== undefined && frame.includes(OWN_FOLDER);

/**
 * If no function of the caller's awaits the promise, the stack has no line of the caller's. Then
 * the beginning of the SQL text takes its place. So the error shows its query if it ends the
 * process, or if a `catch` callback logs it.
 */
function withTrace(error, callSite) {
  if (!(error instanceof HyperionError) || typeof error.query !== 'string') return error;
  if (callSite !== null) {
    const [head] = String(error.stack).split('\n    at ', 1);
    const asked = callSite.stack.split('\n    at ').slice(1);
    error.stack = [head, ...asked.filter((frame) => !isOwnFrame(frame))].join('\n    at ');
    return error;
  }
  const frames = String(error.stack).split('\n    at ').slice(1);
  if (frames.some((frame) => !isOwnFrame(frame))) return error;
  const text = error.query.slice(0, SHOWN_QUERY).replaceAll(/\s+/g, ' ').trim();
  const more = error.query.length > SHOWN_QUERY ? ' ...' : '';
  error.stack += `\n    at query (${text}${more})`;
  return error;
}

/**
 * Rejects the promise of `resolve` with the error that `make` returns. The stack of the error shows
 * the functions that await the promise.
 *
 * V8 adds the awaiting functions to the stack of an error only if the error is made in a reaction
 * of the promise that they await. So the promise is resolved with a second promise, whose reaction
 * makes the error. `open` is called after `resolve`, so that the two promises are linked when the
 * error is made. A successful query pays nothing for this. An `async` function or a `.then` around
 * each query would cost 100 to 170 ns. `callSite` is the place of the call, or null
 * (`longCallSite`).
 */
function rejectWithin(resolve, make, callSite = null) {
  let open;
  const gate = new Promise((opened) => {
    open = opened;
  });
  const reaction = () => {
    throw withTrace(withStackFrom(reaction, make()), callSite);
  };
  resolve(gate.then(reaction));
  open();
}

module.exports = {
  classes,
  aborted,
  callSiteOf,
  longCallSite,
  configurationError,
  disposable,
  explain,
  explainRefusal,
  fromJson,
  fromThrown,
  isError,
  isRetryable,
  isStale,
  rejection,
  settleOutcome,
  rejectWithin,
  withStackFrom,
  wrongOption,
};
