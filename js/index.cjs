// What `require('hyperiondb-client')` gives.

'use strict';

const { classes } = require('./errors.cjs');
const { native } = require('./native.cjs');
const { readOptions } = require('./options.cjs');
const { Pool } = require('./pool.cjs');

/** A pool over the hosts of a cluster. Connects when it is first asked. */
function createPool(options, more) {
  const addon = native();
  const { json, functions } = readOptions(options, more);
  return new Pool(addon, json, functions);
}

module.exports = { createPool, ...classes };
