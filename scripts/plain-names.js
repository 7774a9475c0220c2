// node scripts/plain-names.js: writes src/connection/statement/plain_names.rs, the names in a text that
// certainly call nothing that writes or takes a lock, as PostgreSQL 13 to 18 list them. A name must
// be in all of these versions: in a version that lacks it, the name may be a user's.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { EMBEDDED_VERSIONS } from '../test/support/cluster/binaries.js';
import { startCluster } from '../test/support/cluster/index.js';

const QUESTIONS = {
  FUNCTIONS: `SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY proname
              HAVING bool_and(provolatile <> 'v'
                AND prorettype <> ALL ('{internal,trigger,event_trigger}'::regtype[])
                AND NOT 'internal'::regtype = ANY (proargtypes::oid[]))`,
  OPERATORS: `SELECT oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
               WHERE oprnamespace = 'pg_catalog'::regnamespace GROUP BY oprname
              HAVING bool_and(provolatile <> 'v')`,
  // The second part has the names of the grammar.
  TYPES: `SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typrelid = 0
             AND typtype IN ('b', 'r', 'm') AND typname NOT LIKE '\\_%'
           UNION SELECT word FROM pg_get_keywords() WHERE word IN ('bigint', 'bit', 'boolean', 'char', 'character',
             'dec', 'decimal', 'double', 'float', 'int', 'integer', 'interval', 'national', 'nchar', 'numeric', 'real',
             'smallint', 'time', 'timestamp', 'varchar')`,
  RESERVED: `SELECT word FROM pg_get_keywords() WHERE catcode = 'R'`,
};
const DOCS = {
  FUNCTIONS: 'Functions none of whose overloads is volatile.',
  OPERATORS: 'Operators whose functions are not volatile.',
  TYPES: 'Types of the system, by their names and by those that the grammar has for them.',
  RESERVED: 'Key words that name no function unless they are quoted.',
};

const known = {};
for (const version of Object.keys(EMBEDDED_VERSIONS)) {
  const cluster = await startCluster({ nodes: 1, version });
  try {
    for (const [name, sql] of Object.entries(QUESTIONS)) {
      const rows = await cluster.query(cluster.primary, sql);
      const names = new Set(rows.map(([found]) => found));
      known[name] = known[name]?.filter((kept) => names.has(kept)) ?? [...names];
    }
  } finally {
    await cluster.close();
  }
}

/** The names sorted by their bytes, in lines of at most 96 characters. */
function lines(names) {
  const all = [];
  let line = '';
  for (const name of names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    if (line.length + name.length > 95) {
      all.push(line);
      line = '';
    }
    line += `${line && ' '}${name}`;
  }
  return [...all, line].join('\n');
}

const tables = Object.entries(DOCS).map(
  ([name, doc]) =>
    `\n/// ${doc}\npub(super) const ${name}: &str = "\\\n${lines(known[name])}\n";\n`,
);
const text = `//! Names that PostgreSQL 13 to 18 have in common, each table in the order of its bytes. Written by
//! scripts/plain-names.js.
${tables.join('')}`;
const file = new URL('../src/connection/statement/plain_names.rs', import.meta.url);
writeFileSync(fileURLToPath(file), text);
