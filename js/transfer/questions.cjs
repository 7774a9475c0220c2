'use strict';

// The function that the option `ssl` may be, which the addon has asked for a login. It may throw,
// reject, or give anything.

const { fromThrown } = require('../api/errors.cjs');

/** What the function `ssl` gives, as the options that the addon reads, or why there is none. */
async function askSsl(ssl) {
  try {
    return { answer: await ssl(), why: '' };
  } catch (thrown) {
    return { answer: '', why: `the function of option 'ssl' failed: ${reasonOf(thrown)}` };
  }
}

/** The caller's code may throw anything. */
function reasonOf(thrown) {
  try {
    const { message } = fromThrown(thrown);
    return String(message);
  } catch {
    return 'it threw no error';
  }
}

module.exports = { askSsl };
