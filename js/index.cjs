'use strict';

// What `require('hyperiondb-client')` gives. The addon is loaded by the first `createPool`.

require('./native/bundled.cjs');
const { classes, fromThrown, isRetryable, withStackFrom } = require('./api/errors.cjs');
const { native } = require('./native/loader.cjs');
const { translate } = require('./api/pool-options.cjs');
const { Pool } = require('./api/pool.cjs');

function createPool(options, moreOptions) {
  try {
    const { json, ...own } = translate(options, moreOptions);
    return new Pool(native(), json, own);
  } catch (thrown) {
    throw withStackFrom(createPool, fromThrown(thrown));
  }
}

module.exports = { createPool, isRetryable, ...classes };
