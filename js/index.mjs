// What `import 'hyperiondb-client'` gives: the same library, by name and as a whole.

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
