// node scripts/type-names.js: writes js/types/type-names.cjs, the types that every server has, as
// the newest server of the test cluster lists them. Oids below 10,000 are fixed in pg_type.dat, and
// never change their meaning.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { startCluster } from '../test/support/cluster/index.js';

const cluster = await startCluster({ nodes: 1, version: '18' });
const rows = await cluster.query(
  cluster.primary,
  `SELECT t.oid, t.typname FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
    WHERE t.oid < 10000 AND t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0 ORDER BY t.oid`,
);
await cluster.close();
const names = rows.map(([oid, name]) => `  ${oid}: '${name}',\n`);
const text = `'use strict';

// The types that every server has, by oid. Written by scripts/type-names.js.

module.exports = {
  __proto__: null,
${names.join('')}};
`;
writeFileSync(fileURLToPath(new URL('../js/types/type-names.cjs', import.meta.url)), text);
