'use strict';

// A bundle holds JavaScript alone: the addon stays behind, and a bundle of ES modules has no
// `require` either. `index.cjs` loads this file first, and this file loads no other one, so that
// users of both kinds of bundles get the same error.

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
