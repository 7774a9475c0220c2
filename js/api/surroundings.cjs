'use strict';

// What `createPool` reads beside its options, as libpq does: the variables of the environment, the
// service file, the password file, the files of TLS, and the name of the system's user. The addon
// knows what is wanted, and reads nothing itself.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { configurationError } = require('./errors.cjs');
const { isGiven } = require('./options.cjs');
const { readTlsFiles } = require('./tls-options.cjs');

/** Where PostgreSQL's packages keep the service file of all users: Debian's, Red Hat's. */
const SYSTEM_FOLDERS = ['/etc/postgresql-common', '/etc/sysconfig/pgsql'];

/**
 * Reads what the options need from outside. `env: false` takes nothing from the process's
 * surroundings: only files that the options name. `json` are the options with all of it, and
 * `withTls(json)` adds what matters to TLS to other options, of which the files are read anew.
 */
function readSurroundings(addon, json, env) {
  const added = {};
  if (env) {
    const variables = readVariables();
    if (Object.keys(variables).length > 0) added.$environment = variables;
    const name = loginName();
    if (name !== undefined) added.$loginName = name;
  }
  let wanted = ask(addon, json, added);
  if (isGiven(wanted.service)) {
    added.$services = readServices(wanted.service, env);
    wanted = ask(addon, json, added);
  }
  const whole = { ...added, ...readTls(wanted) };
  const passwords = readPassfile(wanted.passfile, env);
  if (passwords !== undefined) whole.$passfile = passwords;
  for (const warning of wanted.warnings) warn(warning, 'HYPERION_IGNORED_SETTING');
  const withTls = (others) => merged(others, { ...added, ...readTls(ask(addon, others, added)) });
  return { json: merged(json, whole), withTls };
}

const merged = (json, added) =>
  Object.keys(added).length === 0 ? json : JSON.stringify({ ...JSON.parse(json), ...added });

const ask = (addon, json, added) => JSON.parse(addon.wantedFiles(merged(json, added)));

function readTls(wanted) {
  const contents = readTlsFiles(wanted);
  return Object.keys(contents).length > 0 ? { $tls: contents } : {};
}

function warn(text, code) {
  process.emitWarning(text, { type: 'HyperionWarning', code });
}

function readVariables() {
  const variables = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (name.startsWith('PG') && value.isWellFormed()) variables[name] = value;
  }
  return variables;
}

/** The role that libpq takes by default. A container may have a user without a name. */
function loginName() {
  try {
    return os.userInfo().username;
  } catch {
    return undefined;
  }
}

/** The folder of libpq's own files of a user. */
function folderOfUser(dotted, windows) {
  return process.platform === 'win32'
    ? path.join(process.env.APPDATA ?? '', 'postgresql', windows)
    : path.join(os.homedir(), dotted);
}

/** The service files that there are, in the order in which libpq looks into them. */
function readServices({ name, file }, env) {
  if (!isGiven(file) && !env) {
    throw configurationError(
      `service '${name}': with env: false no service file is looked for: name it as 'servicefile'`,
    );
  }
  const texts = [];
  try {
    if (isGiven(file)) texts.push(fs.readFileSync(file, 'utf8'));
    else texts.push(...readIfThere(folderOfUser('.pg_service.conf', '.pg_service.conf')));
    const { PGSYSCONFDIR } = process.env;
    const folders = env ? (PGSYSCONFDIR ? [PGSYSCONFDIR] : SYSTEM_FOLDERS) : [];
    for (const folder of folders) texts.push(...readIfThere(path.join(folder, 'pg_service.conf')));
  } catch ({ message }) {
    throw configurationError(`the file of service '${name}' can't be read: ${message}`);
  }
  return texts;
}

function readIfThere(file) {
  return fs.existsSync(file) ? [fs.readFileSync(file, 'utf8')] : [];
}

/**
 * The contents of the password file. As in libpq, a file that is not there is none, and one that
 * others may read is ignored with a warning. `wanted` is its path, or true for the usual one.
 */
function readPassfile(wanted, env) {
  if (!isGiven(wanted) || (wanted === true && !env)) return undefined;
  const file = wanted === true ? folderOfUser('.pgpass', 'pgpass.conf') : wanted;
  const ignored = (why) =>
    warn(`the password file ${file} is ignored: ${why}`, 'HYPERION_PASSFILE');
  let stat;
  try {
    stat = fs.statSync(file);
  } catch {
    return undefined;
  }
  if (process.platform !== 'win32') {
    if (!stat.isFile()) return ignored('it is no plain file');
    if ((stat.mode & 0o077) !== 0) return ignored(`others may read it: say chmod 600`);
  }
  try {
    return fs.readFileSync(file, 'utf8');
  } catch ({ message }) {
    return ignored(message);
  }
}

module.exports = { readSurroundings };
