/**
 * The option `ssl`.
 */

import type { KeyObject } from 'node:crypto';

/** libpq's words, and `pg`'s `'no-verify'`. `'verify-ca'` needs a CA in the connection string. */
export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full' | 'no-verify';

/** One or several, as text in PEM, or as bytes in PEM or DER. */
export type SslMaterial =
  string | NodeJS.ArrayBufferView | readonly (string | NodeJS.ArrayBufferView)[];

/**
 * Gives what TLS is made of for the logins to come, so that certificates can be replaced while a
 * pool runs. It is called once a connection is there, and once for those that are there at the same
 * time. What it throws, or rejects with, is the error of those attempts, and `connectTimeoutMs`
 * bounds how long it may take.
 */
export type SslFunction = () => SslOptions | true | PromiseLike<SslOptions | true>;

/** What TLS is made of. Every file is yours to read. */
export interface SslOptions {
  /** The CAs that are trusted, in place of those that Node trusts. */
  ca?: SslMaterial | null | undefined;
  /** The client's certificate, with those of the CAs between. */
  cert?: SslMaterial | null | undefined;
  /** The key of `cert`: PKCS #1, PKCS #8 or SEC 1. */
  key?: string | NodeJS.ArrayBufferView | KeyObject | null | undefined;
  /** The passphrase of `key`. */
  passphrase?: string | NodeJS.ArrayBufferView | null | undefined;
  /** Lists of revoked certificates. */
  crl?: SslMaterial | null | undefined;
  /** The name that is sent and verified in place of the host's own. */
  servername?: string | null | undefined;
  /**
   * `false` verifies nothing, also where `ca` is given. Default: true, unless `sslmode` is
   * `no-verify`. Beside `sslmode=verify-ca` the name is not verified.
   */
  rejectUnauthorized?: boolean | null | undefined;
  /** Default: `'TLSv1.2'`. */
  minVersion?: 'TLSv1.2' | 'TLSv1.3' | null | undefined;
  /** Default: `'TLSv1.3'`. */
  maxVersion?: 'TLSv1.2' | 'TLSv1.3' | null | undefined;
  /** `'direct'` begins with TLS at once, as PostgreSQL 17 and later take it. Default: `'postgres'`. */
  negotiation?: 'postgres' | 'direct' | null | undefined;
}
