'use strict';

/** This package with the addon of a file, or with its own. */
module.exports = (file) => {
  if (file !== undefined) require('../../../../js/native/loader.cjs').native = () => require(file);
  return require('../../../../js/index.cjs');
};
