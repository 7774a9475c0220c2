'use strict';

// The errors that users catch. The addon sends an error as JSON (`src/node` writes what `base::Error`
// holds); it becomes an object here, in the caller's own asynchronous stack.

/** Above all errors of this package. */
class HyperionError extends Error {
  /**
   * `details` become own properties: `code`, `outcome`, `host`, the server's fields. `query` is the SQL
   * text; it is not enumerable, since loggers print what is, and SQL can hold more than they should see.
   */
  constructor(message, { cause, query, ...details } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, details);
    if (query !== undefined) {
      Object.defineProperty(this, 'query', { value: query, writable: true, configurable: true });
    }
  }

  static {
    named(this, 'HyperionError');
  }
}

/** The name is the prototype's, as in JavaScript's own errors, so that it shows in the stack alone. */
function named(constructor, name) {
  Object.defineProperty(constructor.prototype, 'name', {
    value: name,
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
  const { class: name, message, ...details } = record;
  const constructor = classes[name] ?? classes.InternalError;
  return new constructor(message, { ...details, query });
}

/** What a call into the addon threw: an Error whose message is the JSON. */
function fromThrown(thrown, query) {
  const isOurs = thrown instanceof Error && thrown.message.startsWith('{');
  // Anything else was thrown by the caller's own code: a getter, a `toJSON`.
  return isOurs ? fromJson(thrown.message, query) : thrown;
}

function configurationError(message) {
  return new classes.ConfigurationError(message, { code: 'HYPERION_CONFIGURATION' });
}

/**
 * Rejects the promise that `resolve` belongs to with the error that `make` returns, so that its stack
 * shows who awaits that promise.
 *
 * V8 adds the awaiting functions to the stack of an error that is made in a reaction of a promise they
 * wait for, and only then. So the promise is resolved with another one, whose reaction makes the error.
 * `open` comes after `resolve`: when the error is made, the two promises are linked already. A query
 * that succeeds pays nothing for this; an `async` function or a `.then` around each would cost it 100 to
 * 170 ns.
 */
function rejectWithin(resolve, make) {
  let open;
  const gate = new Promise((opened) => {
    open = opened;
  });
  const reaction = () => {
    const error = make();
    // The caller's frames alone: there are ten of them in all, and ours tell nothing.
    if (error instanceof HyperionError) Error.captureStackTrace(error, reaction);
    throw error;
  };
  resolve(gate.then(reaction));
  open();
}

module.exports = { classes, configurationError, fromJson, fromThrown, rejectWithin };
