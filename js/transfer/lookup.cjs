'use strict';

// Looks up a host's name by `dns.lookup`, or by the user's own function, which may throw, reject,
// or answer with anything. A link-local address with the name of its interface (`fe80::1%eth0`) is
// resolved here.

const os = require('node:os');

/**
 * Calls `answer` once, with the addresses separated by commas, or with the reason why there are
 * none, in the form that the addon reads (`src/node/entry.rs`). `lookup` has the shape of
 * `dns.lookup`.
 */
function lookUp(lookup, host, answer) {
  let isAnswered = false;
  const done = (error, addresses) => {
    if (isAnswered) return;
    isAnswered = true;
    let ips = '';
    // An empty text would mean that the look-up succeeded.
    let why = JSON.stringify({ message: 'the look-up failed' });
    try {
      if (error) {
        why = lookupError(error, host);
      } else {
        ips = ipsOf(addresses);
        why = '';
      }
    } catch {
      // The function has returned neither addresses nor an error.
      ips = '';
    }
    answer(ips, why);
  };
  if (host.includes('%')) {
    const address = numbered(host);
    const error = new Error(`${host}: there is no such network interface with an IPv6 address`);
    done(address === undefined ? error : null, address);
    return;
  }
  const fail = (thrown) => done(thrown ?? new Error('the look-up failed'));
  try {
    const returned = lookup(host, { all: true }, done);
    // An asynchronous function must still use its callback. If it rejects, the look-up has failed.
    if (typeof returned?.then === 'function') returned.then(undefined, fail);
  } catch (error) {
    fail(error);
  }
}

/** The most addresses of a name that the addon tries (`src/reactor/race.rs`). */
const MOST_ADDRESSES = 256;

/**
 * Reads no more addresses than the addon tries: the list is the caller's own, and may have any
 * length.
 */
function ipsOf(addresses) {
  const list = Array.isArray(addresses) ? addresses : [addresses];
  const ips = [];
  for (let n = 0; n < list.length && n < MOST_ADDRESSES; n += 1) {
    const entry = list[n];
    const ip = entry?.address ?? entry;
    ips.push(typeof ip === 'string' && ip.includes('%') ? (numbered(ip) ?? ip) : ip);
  }
  return ips.join(',');
}

/** The address with the number of its interface in place of the name, or undefined. */
function numbered(ip) {
  const [address, zone] = ip.split('%');
  if (/^\d+$/.test(zone)) return ip;
  const interfaces = os.networkInterfaces();
  const own = Object.hasOwn(interfaces, zone) ? interfaces[zone] : [];
  const scope = own.map(({ scopeid }) => scopeid).find((scopeid) => scopeid > 0);
  return scope === undefined ? undefined : `${address}%${scope}`;
}

/** An error in the form that `src/node/entry.rs` reads. */
function lookupError(error, hostname) {
  const { message, code, errno, syscall } = error;
  const text = message ? String(message) : undefined;
  return JSON.stringify({ message: text, code, errno, syscall, hostname });
}

module.exports = { lookUp };
