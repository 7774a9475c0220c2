'use strict';

// The option `ssl`, and the files that libpq's keys name: what Node takes as a
// certificate or a key becomes text in PEM, which is all that the addon reads. No key is put into
// an error.

const { createPrivateKey, KeyObject } = require('node:crypto');
const fs = require('node:fs');
const tls = require('node:tls');

const { configurationError, wrongOption } = require('./errors.cjs');
const { isGiven } = require('./options.cjs');

const PEM = '-----BEGIN ';
const LISTS = { ca: 'CERTIFICATE', cert: 'CERTIFICATE', crl: 'X509 CRL' };
/** The forms of a key that is not in PEM. */
const KEY_TYPES = ['pkcs8', 'pkcs1', 'sec1'];

/** In place of a function, which gives the option for each login. */
const ASKED = Object.freeze({ $asked: true });

/** `option 'ssl'` as JSON can say it. What it must be, the addon says. */
function translateSsl(ssl) {
  if (typeof ssl === 'function') return ASKED;
  if (ssl === null || typeof ssl !== 'object' || Array.isArray(ssl)) return ssl;
  const { key, passphrase, ...others } = { __proto__: null, ...ssl };
  const said = { __proto__: null };
  for (const [name, value] of Object.entries(others)) {
    if (!isGiven(value)) continue;
    const label = Object.hasOwn(LISTS, name) ? LISTS[name] : undefined;
    said[name] = label === undefined ? value : pemOfAll(`option 'ssl.${name}'`, value, label);
  }
  if (isGiven(key)) said.key = keyOf(`option 'ssl.key'`, key, passphrase);
  else if (isGiven(passphrase)) said.passphrase = '';
  return said;
}

function pemOfAll(subject, value, label) {
  const all = Array.isArray(value) ? value : [value];
  return all.map((one) => pemOf(subject, one, label)).join('\n');
}

function pemOf(subject, value, label) {
  if (typeof value === 'string') return value;
  const bytes = bytesOf(value);
  if (bytes === undefined) throw wrongOption(subject, 'a string or Buffer, or several', value);
  if (bytes.includes(PEM)) return bytes.toString('latin1');
  const lines = bytes.toString('base64').replace(/.{64}/g, '$&\n');
  return `${PEM}${label}-----\n${lines}\n-----END ${label}-----\n`;
}

function bytesOf(value) {
  return ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : undefined;
}

/** A key of any form that Node reads, as PKCS #8. */
function keyOf(subject, value, passphrase) {
  const one = Array.isArray(value) && value.length === 1 ? value[0] : value;
  if (one instanceof KeyObject) return exported(subject, one);
  const given = typeof one === 'string' ? Buffer.from(one) : bytesOf(one);
  if (given === undefined) throw wrongOption(subject, 'a string, Buffer or KeyObject', value);
  if (isGiven(passphrase) && typeof passphrase !== 'string' && !ArrayBuffer.isView(passphrase)) {
    // Node's own error would show it.
    const kind = Array.isArray(passphrase) ? 'an array' : `a value of type ${typeof passphrase}`;
    throw configurationError(
      `the passphrase of ${subject} must be a string or Buffer, not ${kind}`,
    );
  }
  const forms = given.includes(PEM)
    ? [{ key: given, format: 'pem' }]
    : KEY_TYPES.map((type) => ({ key: given, format: 'der', type }));
  let failure;
  for (const form of forms) {
    try {
      const key = createPrivateKey(isGiven(passphrase) ? { ...form, passphrase } : form);
      return exported(subject, key);
    } catch (error) {
      failure ??= error;
    }
  }
  throw configurationError(`${subject} is no private key that can be read: ${reasonOf(failure)}`);
}

function exported(subject, key) {
  if (key.type !== 'private') throw configurationError(`${subject} is a ${key.type} key`);
  return key.export({ type: 'pkcs8', format: 'pem' });
}

/** OpenSSL's words have no part of the key. */
function reasonOf({ code, message }) {
  // OpenSSL 3.0 says that it was interrupted when it asked for one.
  if (code === 'ERR_MISSING_PASSPHRASE' || /interrupted or cancelled/i.test(message)) {
    return 'it needs a passphrase';
  }
  return /bad decrypt|maybe wrong password/i.test(message) ? 'the passphrase is wrong' : message;
}

/** What `sslrootcert`, `sslcert`, `sslkey` and `sslcrl` name, as the addon wants it. */
function readTlsFiles({ ca, cert, key, crl, passphrase, system }) {
  const contents = {};
  if (isGiven(ca)) contents.ca = read('sslrootcert', ca).toString('latin1');
  if (isGiven(cert)) contents.cert = read('sslcert', cert).toString('latin1');
  if (isGiven(crl)) contents.crl = read('sslcrl', crl).toString('latin1');
  if (isGiven(key)) {
    refuseOpenKey(key);
    contents.key = keyOf(`'sslkey'`, read('sslkey', key), passphrase ?? undefined);
  }
  if (system) contents.system = trustedCAs();
  return contents;
}

function read(key, file) {
  // Node's error would show the key.
  if (file.includes(PEM)) {
    const advice = `'${key}' is a file's path, and not its content`;
    throw configurationError(`${advice}: give certificates and keys in option 'ssl'`);
  }
  try {
    return fs.readFileSync(file);
  } catch ({ code, message }) {
    const why = code === 'ERR_INVALID_ARG_VALUE' ? 'it is no path' : message;
    throw configurationError(`'${key}' can't be read: ${why}`);
  }
}

/** As libpq: others must not be able to read a key, but the group of one that root owns. */
function refuseOpenKey(file) {
  if (process.platform === 'win32') return;
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const forbidden = stat.uid === 0 ? 0o037 : 0o077;
  if (stat.isFile() && (stat.mode & forbidden) !== 0) {
    throw configurationError(
      `'sslkey': others can read ${file}; say chmod 600, or 640 if root owns it`,
    );
  }
}

let trusted = { list: undefined, text: '' };

/**
 * The CAs that Node trusts now. The text is made once for all pools, since the first call takes some
 * 50 ms, and anew after tls.setDefaultCACertificates.
 */
function trustedCAs() {
  const list = tls.getCACertificates?.('default') ?? tls.rootCertificates;
  if (trusted.list !== list) {
    const all = tls.getCACertificates === undefined ? [...list, extraCAs()] : list;
    trusted = { list, text: all.join('\n') };
  }
  return trusted.text;
}

/** Node before 22.15 does not tell of them. It passes over a file that it can't read, too. */
function extraCAs() {
  const file = process.env.NODE_EXTRA_CA_CERTS;
  try {
    return isGiven(file) && file !== '' ? fs.readFileSync(file, 'latin1') : '';
  } catch {
    return '';
  }
}

/** Calls the function that the option `ssl` is, and returns what it gives as JSON can say it. */
async function askSsl(ssl) {
  const given = await ssl();
  const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
  if (given === true || isObject) return translateSsl(given);
  throw wrongOption(`what the function of option 'ssl' gives`, 'an object or true', given);
}

module.exports = { askSsl, readTlsFiles, translateSsl };
