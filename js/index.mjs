// What `import 'hyperiondb-client'` gives: the same library, by name and as a whole.

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

export default library;
