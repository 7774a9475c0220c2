'use strict';

// What `require('hyperiondb-client')` gives. The addon is loaded by the first `createPool`.

require('./bundled.cjs');
const { classes, fromThrown, isRetryable, seenFrom } = require('./errors.cjs');
const { native } = require('./native.cjs');
const { translate } = require('./options.cjs');
const { Pool } = require('./pool.cjs');

function createPool(options, moreOptions) {
  try {
    const { json, ...own } = translate(options, moreOptions);
    return new Pool(native(), json, own);
  } catch (thrown) {
    throw seenFrom(createPool, fromThrown(thrown));
  }
}

module.exports = { createPool, isRetryable, ...classes };
