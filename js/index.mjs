// What `import ... from 'hyperiondb-client'` gives: the same objects that require gives.

import library from './index.cjs';

export const {
  createPool,
  HyperionError,
  DatabaseError,
  ConnectionError,
  PoolTimeoutError,
  QueryTimeoutError,
  AbortError,
  ConfigurationError,
  ProtocolError,
  TransactionError,
  InternalError,
} = library;
