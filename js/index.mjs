// The exports of `import 'hyperiondb-client'`: the same library, by name and as the default export.

import library from './index.cjs';

export const {
  createPool,
  isRetryable,
  HyperionError,
  DatabaseError,
  ConnectionError,
  PoolTimeoutError,
  QueryTimeoutError,
  TimeoutError,
  AbortError,
  ConfigurationError,
  ProtocolError,
  TransactionError,
  InternalError,
} = library;

export default library;
