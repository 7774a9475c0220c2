#!/usr/bin/env node
'use strict';

// `npx hyperiondb-client`: looks at a cluster as a pool does.

const process = require('node:process');
const { parseArgs } = require('node:util');
const { version } = require('../../package.json');
const { bench } = require('./bench.cjs');
const { check } = require('./check.cjs');
const { failoverTest } = require('./failover-test.cjs');
const { status } = require('./status.cjs');
const { Terminal } = require('./terminal.cjs');

const HELP = `Usage: hyperiondb-client <command> [options] <connection string>

  status          each host: its role, its state, how far it is, and why it takes no writes
                  --watch          draws it anew every second, until Ctrl-C
  check           does what a pool does, step by step, and says what is wrong
  bench           measures queries: one at a time, and many
                  --seconds <n>    of each measurement (3)
                  --connections <n>  of the second one (10)
  failover-test   writes while you cause a failover, and says what was lost
                  --seconds <n>    ends by itself (else Ctrl-C ends it)
                  It makes the table hyperiondb_failover_test, and drops it.

  --json          one JSON document in place of text (status --watch: one a line)
  --help, --version

The connection string is the pool's: postgres://user:password@h1:5432,h2,h3/database
In place of it, the variable DATABASE_URL is read.

Exit codes: 0 all is well; 1 something is wrong, and it is said; 2 the command is not understood.
`;

const COMMANDS = { status, check, bench, 'failover-test': failoverTest };

const OPTIONS = {
  watch: { type: 'boolean' },
  json: { type: 'boolean' },
  seconds: { type: 'string' },
  connections: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
};

/** Which options a command has, besides `json`. */
const OWN_OPTIONS = {
  status: ['watch'],
  check: [],
  bench: ['seconds', 'connections'],
  'failover-test': ['seconds'],
};

const USAGE = 2;

/** Returns the exit code. */
async function main(args, environment, terminal) {
  let parsed;
  try {
    parsed = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return misunderstood(terminal, error.message);
  }
  const { values, positionals } = parsed;
  if (values.version) return (terminal.print(version), 0);
  const [name, given, ...more] = positionals;
  if (values.help || name === undefined) {
    terminal.print(HELP.trimEnd());
    return values.help ? 0 : USAGE;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return misunderstood(terminal, `there is no command '${name}'`);
  if (more.length > 0) return misunderstood(terminal, `'${more[0]}' is one argument too many`);
  const url = given ?? environment.DATABASE_URL;
  if (url === undefined) {
    return misunderstood(terminal, 'a connection string is needed, or the variable DATABASE_URL');
  }
  const { json = false, ...others } = values;
  for (const option of Object.keys(others)) {
    if (!OWN_OPTIONS[name].includes(option)) {
      return misunderstood(terminal, `'${name}' has no option --${option}`);
    }
  }
  for (const option of ['seconds', 'connections']) {
    if (others[option] === undefined) continue;
    const number = Number(others[option]);
    if (!Number.isInteger(number) || number < 1 || number > 10_000) {
      return misunderstood(terminal, `--${option} is a whole number from 1 up`);
    }
    others[option] = number;
  }
  try {
    return await command(url, { json, ...others }, terminal);
  } catch (error) {
    if (json)
      terminal.print(JSON.stringify({ error: { code: error.code, message: error.message } }));
    else terminal.complain(error.message);
    return error.name === 'ConfigurationError' ? USAGE : 1;
  }
}

function misunderstood(terminal, why) {
  terminal.complain(`${why}. hyperiondb-client --help shows what there is.`);
  return USAGE;
}

if (require.main === module) {
  const terminal = new Terminal(process.stdout, process.stderr);
  main(process.argv.slice(2), process.env, terminal).then((code) => {
    process.exitCode = code;
  });
}

module.exports = { main };
