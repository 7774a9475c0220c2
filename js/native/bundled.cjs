'use strict';

// A bundle holds JavaScript alone: the addon stays behind, and a bundle of ES modules has no
// `require` either. This file comes first and needs nothing, so that the error is the same in both.

const REMEDY =
  'hyperiondb-client was bundled, and a bundle can hold no native addon. Mark the package as external: ' +
  '`--external:hyperiondb-client` (esbuild), `externals` (webpack), `external` (rollup) or ' +
  '`serverExternalPackages` (Next.js)';

try {
  require('node:fs');
} catch (cause) {
  throw new Error(REMEDY, { cause });
}

module.exports = { REMEDY };
