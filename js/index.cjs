'use strict';

// What `require('hyperiondb-client')` gives. The addon is loaded by the first `createPool`.

const { classes, fromThrown, isRetryable } = require('./errors.cjs');
const { native } = require('./native.cjs');
const { translate } = require('./options.cjs');
const { Pool } = require('./pool.cjs');

function createPool(options, moreOptions) {
  const { json, lookup, types } = translate(options, moreOptions);
  const addon = native();
  try {
    return new Pool(addon, json, lookup, types);
  } catch (thrown) {
    throw fromThrown(thrown);
  }
}

module.exports = { createPool, isRetryable, ...classes };
