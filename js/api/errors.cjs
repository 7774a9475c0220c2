'use strict';

// The errors that users catch. The addon sends an error as JSON (`src/node` writes what
// `base::Error` holds); it becomes an object here, in the caller's own asynchronous stack.

const path = require('node:path');
const { types } = require('node:util');
const { THROWN_MARK } = require('../transfer/contract.cjs').thrown;

/** How much of the SQL text a stack shows, in characters. */
const SHOWN_QUERY = 200;

/**
 * Whether it is an Error of this realm or another one: a test runner may load this package in a
 * context of its own.
 */
const isError = (value) => types.isNativeError(value) || value instanceof Error;

/** Above all errors of this package. */
class HyperionError extends Error {
  /**
   * `details` become own properties: `code`, `outcome`, `host`, the server's fields. `query` is the
   * SQL text. It is not enumerable, since loggers print enumerable properties, and SQL can hold
   * secrets. `transactionFailed`, not enumerable either, says that its transaction takes no more
   * statements.
   */
  constructor(message, given) {
    // Without a prototype: a property of Object.prototype is none of the error.
    const { cause, query, transactionFailed, ...details } = { __proto__: null, ...given };
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, details);
    if (query !== undefined) {
      const property = { __proto__: null, value: query, writable: true, configurable: true };
      Object.defineProperty(this, 'query', property);
    }
    if (transactionFailed === true) {
      const property = { __proto__: null, value: true, writable: true, configurable: true };
      Object.defineProperty(this, 'transactionFailed', property);
    }
  }

  static {
    named(this, 'HyperionError');
  }
}

/**
 * The name is the prototype's, as in JavaScript's own errors, so that it shows in the stack alone.
 */
function named(constructor, name) {
  Object.defineProperty(constructor.prototype, 'name', {
    value: name,
    writable: true,
    configurable: true,
  });
}

/** Leaves an `await using` block by the method `name`, where the runtime knows such blocks. */
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
// As the platform's own: `AbortSignal.timeout` rejects with an error of this name.
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
  // What the system said, as Node's own errors are.
  if (name === 'SystemError') return Object.assign(new Error(message), details);
  const constructor = classes[name] ?? classes.InternalError;
  if (details.hosts !== undefined) details.hosts = details.hosts.map(withCause);
  return new constructor(message, { ...details, cause: causeOf(cause), query });
}

/**
 * A cause is made where the error that has it is made, and the stack of that error shows the place.
 * Many calls may fail for one cause, so no stack is taken here.
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
 * What a call into the addon threw. The addon makes its errors in Node's own realm, whatever realm
 * this package is in.
 */
function fromThrown(thrown, query) {
  const isOurs = types.isNativeError(thrown) && thrown.code === THROWN_MARK;
  // Anything else was thrown by the caller's own code: a getter, a `toJSON`.
  return isOurs ? fromJson(thrown.message, query) : thrown;
}

/** A statement had failed before COMMIT: whether to try again is that one's to say. */
const ROLLED_BACK = 'HYPERION_TRANSACTION_ROLLED_BACK';

/** Deeper than any error that was wrapped on purpose. */
const MOST_CAUSES = 10;

/**
 * Errors after which the same call may succeed when it is tried once more. Of class 08 these are
 * lost connections, which functions such as dblink report too. A refusal (08004), a violation of
 * the protocol such as a wrong number of parameters (08P01), and an unknown end (08007) are not
 * among them.
 */
const TRANSIENT = new Set([
  ...['08000', '08001', '08003', '08006'],
  ...['40001', '40P01', '55P03', '25006'],
  ...['57P01', '57P02', '57P03', '57P05', '53000', '53200', '53300'],
  ...['HYPERION_CONNECTION_LOST', 'HYPERION_CONNECT_TIMEOUT', 'HYPERION_UNFIT_HOST'],
  ...['HYPERION_POOL_TIMEOUT', 'HYPERION_NO_PRIMARY', 'HYPERION_SPLIT_BRAIN', 'HYPERION_NO_HOST'],
  ...['HYPERION_UNREACHABLE', 'HYPERION_QUEUE_FULL'],
]);

/** The addon's hints where a statement is prepared anew, as `src/pool/stale.rs` has them. */
const STALE_PLANS = [
  'the statement was prepared before its tables or types changed',
  'the session has dropped its prepared statements',
  "the types of the statement's parameters were told before",
];

/**
 * A table has changed since the statement was prepared, and the statement is prepared anew.
 * Messages are translated.
 */
function isStalePlan({ code, routine, hint }) {
  const isTold = typeof hint === 'string' && STALE_PLANS.some((text) => hint.startsWith(text));
  return isTold || (code === '0A000' && routine === 'RevalidateCachedQuery');
}

/** Errors that pass where others with their code come from, and not here. */
const lasting = new WeakSet();

/**
 * A write in a transaction that its user declared read-only is refused again, whenever it is tried.
 */
function explainRefusal(error, isDeclaredReadOnly) {
  if (isDeclaredReadOnly && error.code === '25006') lasting.add(error);
}

/**
 * Whether trying again can help and can do no harm: what failed certainly had no effect, and why it
 * failed passes. Errors of the caller's own are looked through, by their `cause`.
 */
function isRetryable(error) {
  return passing(error) !== undefined;
}

/** Whether it can help since statements are described anew. */
function isStale(error) {
  const found = passing(error);
  return found !== undefined && isStalePlan(found);
}

/** The error whose reason passes, where trying again can do no harm. */
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

/** The error of `what` whose signal was aborted before it was asked for. */
function aborted(signal, what, query) {
  const details = { code: 'HYPERION_ABORTED', outcome: 'not-sent', cause: signal.reason, query };
  return new classes.AbortError(`${what} was aborted: its signal was aborted before`, details);
}

/** Why it was given up, only its signal knows. */
function explain(error, signal) {
  if (!(error instanceof classes.AbortError)) return;
  let value;
  try {
    value = signal.reason;
  } catch (thrown) {
    // What was given up and with which outcome stays what there is to say.
    value = thrown;
  }
  const property = { __proto__: null, value, writable: true, configurable: true };
  Object.defineProperty(error, 'cause', property);
}

function configurationError(message) {
  return new classes.ConfigurationError(message, { code: 'HYPERION_CONFIGURATION' });
}

/** In the words of `src/config/refusal.rs`: `subject` names the option, with what it belongs to. */
function wrongOption(subject, allowed, given) {
  return configurationError(`${subject} must be ${allowed}, not ${shown(given)}`);
}

/** Longer texts are cut: a message is for reading. */
const SHOWN = 64;

function shown(value) {
  switch (typeof value) {
    case 'string':
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
 * The stack of an error of ours begins at the frame that called `method`, or awaits it: there are
 * ten frames in all, and those under it tell nothing. V8 looks for `method` among the functions
 * that run, and behind them among those that await them; where it is none of these, no frame is
 * left. A callback of the caller's is awaited by this package, and that by the caller: the frames
 * between the two are dropped.
 */
function withStackFrom(method, error) {
  if (error instanceof HyperionError && Object.isExtensible(error)) {
    Error.captureStackTrace(error, method);
    try {
      dropOwnFrames(error);
    } catch {
      // Near the end of the stack nothing more can be called.
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
 * The rejection of the method `name` of `Class` where it threw, as the user called it on `self`.
 * Called without its object, as in `const { query } = pool`, the method has thrown a TypeError
 * about a private field.
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

/** Where the user called `method`. */
function callSiteOf(method) {
  const callSite = {};
  Error.captureStackTrace(callSite, method);
  return callSite;
}

/** So many frames of this package are around a call, at most. */
const OWN_FRAMES = 6;

/** Where a query is asked for, as an object whose `stack` is written when it is read. */
function longCallSite() {
  const callSite = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = limit + OWN_FRAMES;
  Error.captureStackTrace(callSite, longCallSite);
  Error.stackTraceLimit = limit;
  return callSite;
}

/** Where all JavaScript of this package is. In a bundle this file is elsewhere, beside the user's code. */
const OWN_FOLDER =
  typeof __dirname === 'string' && __dirname.endsWith(path.join('js', 'api'))
    ? path.dirname(__dirname)
    : undefined;

/** Whether a line of a stack is of this package. In a bundle that can't be told. */
const isOwnFrame = (frame) => OWN_FOLDER !== undefined && frame.includes(OWN_FOLDER);

/**
 * Where none of the caller's functions awaits the promise, the stack shows none of the caller's
 * lines. The head of the SQL text takes their place. So the error shows its query where it ends the
 * process, and where a callback of `catch` logs it.
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
 * Rejects the promise that `resolve` belongs to with the error that `make` returns, so that its
 * stack shows who awaits that promise.
 *
 * V8 adds the awaiting functions to the stack of an error only where it is made in a reaction of
 * the promise that they wait for. So the promise is resolved with another one, whose reaction makes
 * the error. `open` comes after `resolve`: when the error is made, the two promises are linked
 * already. A query that succeeds pays nothing for this; an `async` function or a `.then` around
 * each would cost it 100 to 170 ns. `callSite` is where the caller asked, if that was taken down
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
  rejectWithin,
  withStackFrom,
  wrongOption,
};
