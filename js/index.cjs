'use strict';

// The exports of `require('hyperiondb-client')`. The first call of `createPool` loads the addon.

require('./native/bundled.cjs');
const { classes, fromThrown, isRetryable, withStackFrom } = require('./api/errors.cjs');
const { native } = require('./native/loader.cjs');
const { translate } = require('./api/pool-options.cjs');
const { Pool } = require('./api/pool.cjs');
const { withFiles } = require('./api/tls-options.cjs');

function createPool(options, moreOptions) {
  try {
    const { json, ssl, ...own } = translate(options, moreOptions);
    const addon = native();
    if (ssl !== undefined) own.ssl = async () => withFiles(addon, await ssl());
    return new Pool(addon, withFiles(addon, json), own);
  } catch (thrown) {
    throw withStackFrom(createPool, fromThrown(thrown));
  }
}

module.exports = { createPool, isRetryable, ...classes };
