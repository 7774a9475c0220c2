// One pool for all routes. In development Next.js loads this module again after each change, so the
// pool is kept where it is found again.

import process from 'node:process';

import { createPool } from 'hyperiondb-client';

export const pool = (globalThis.ordersPool ??= createPool(process.env.DATABASE_URL, {
  // count(*) is a BigInt otherwise, which JSON can't hold.
  types: { int8: 'number' },
}));
