'use strict';

// The exports of `require('hyperiondb-client')`. The first call of `createPool` loads the addon.

require('./native/bundled.cjs');
const { classes, fromThrown, isRetryable, withStackFrom } = require('./api/errors.cjs');
const { native } = require('./native/loader.cjs');
const { translate } = require('./api/pool-options.cjs');
const { Pool } = require('./api/pool.cjs');
const { readSurroundings } = require('./api/surroundings.cjs');

function createPool(options, moreOptions) {
  try {
    const { json, env, ssl, ...own } = translate(options, moreOptions);
    const addon = native();
    const surroundings = readSurroundings(addon, json, env);
    if (ssl !== undefined) own.ssl = async () => surroundings.withTls(await ssl());
    return new Pool(addon, surroundings.json, own);
  } catch (thrown) {
    throw withStackFrom(createPool, fromThrown(thrown));
  }
}

module.exports = { createPool, isRetryable, ...classes };
