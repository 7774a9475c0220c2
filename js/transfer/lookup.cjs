'use strict';

// The look-up of a host's name by `dns.lookup`, or by the function of the user's in its place, which
// may throw, reject, or answer with anything.

/**
 * Calls `answer` once, with the addresses as a list with commas, or with why there are none as the
 * addon reads it (`src/node/entry.rs`). `lookup` has the shape of `dns.lookup`.
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
      // The function has given neither addresses nor an error.
      ips = '';
    }
    answer(ips, why);
  };
  const fail = (thrown) => done(thrown ?? new Error('the look-up failed'));
  try {
    const returned = lookup(host, { all: true }, done);
    // An asynchronous function answers by its callback, too, and rejects where it throws.
    if (typeof returned?.then === 'function') returned.then(undefined, fail);
  } catch (error) {
    fail(error);
  }
}

/** The addon tries no more addresses of a name (`src/reactor/race.rs`). */
const MOST_ADDRESSES = 256;

/** Reads no more than is tried: the list is the caller's own, and may have any length. */
function ipsOf(addresses) {
  const list = Array.isArray(addresses) ? addresses : [addresses];
  const ips = [];
  for (let n = 0; n < list.length && n < MOST_ADDRESSES; n += 1) {
    const entry = list[n];
    ips.push(entry?.address ?? entry);
  }
  return ips.join(',');
}

/** In the form that `src/node/entry.rs` reads. */
function lookupError(error, hostname) {
  const { message, code, errno, syscall } = error;
  const text = message ? String(message) : undefined;
  return JSON.stringify({ message: text, code, errno, syscall, hostname });
}

module.exports = { lookUp };
