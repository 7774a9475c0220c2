// Options on their way to the addon, as JSON.

import assert from 'node:assert/strict';
import dns from 'node:dns';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

const require = createRequire(import.meta.url);
const { wrongOption } = require('../../js/api/errors.cjs');
const { translate } = require('../../js/api/pool-options.cjs');
const js = fileURLToPath(new URL('../../js', import.meta.url));

const json = (...given) => JSON.parse(translate(...given).json);

test('plain options go down as they are, undefined ones and null not at all', () => {
  const nothing = { user: undefined, password: null, lookup: null, types: null };
  const options = { hosts: ['h1', 'h2:5433'], poolSize: 4, keepAlive: false, ...nothing };
  assert.equal(translate(options).lookup, undefined);
  assert.deepEqual(json(options), { hosts: ['h1', 'h2:5433'], poolSize: 4, keepAlive: false });
  assert.deepEqual(json({ parameters: { search_path: 'x' } }), {
    parameters: { search_path: 'x' },
  });
});

test('a connection string is an option, beside the others', () => {
  assert.deepEqual(json('postgres://h/d'), { connectionString: 'postgres://h/d' });
  assert.deepEqual(json('postgres://h/d', { poolSize: 1 }), {
    connectionString: 'postgres://h/d',
    poolSize: 1,
  });
  for (const nothing of [null, undefined, { connectionString: null }]) {
    assert.deepEqual(json('postgres://h/d', nothing), { connectionString: 'postgres://h/d' });
  }
  assert.throws(() => translate('postgres://h/d', { connectionString: 'x' }), {
    name: 'ConfigurationError',
    code: 'HYPERION_CONFIGURATION',
  });
});

test('a URL of any realm is a connection string', () => {
  const text = 'postgres://u:p%40@h:1/d?application_name=a%20b';
  const foreign = vm.runInNewContext('given', { given: new URL(text) });
  for (const url of [new URL(text), foreign]) {
    assert.deepEqual(json(url), { connectionString: text });
    assert.deepEqual(json(url, { poolSize: 1 }), { connectionString: text, poolSize: 1 });
    assert.deepEqual(json({ connectionString: url }), { connectionString: text });
  }
});

test('names that the addon has for itself are no options', () => {
  for (const name of ['$tls', '$environment', '$passfile']) {
    assert.throws(() => translate({ [name]: {} }), { message: `unknown option '${name}'` });
  }
});

test('what JSON cannot say is named', () => {
  const cases = [
    [NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [-Infinity, '-Infinity'],
    [() => {}, 'a function'],
    [Symbol('s'), 'a symbol'],
    [5n, 'a bigint'],
    [new Map(), 'a Map'],
    [new Date(), 'a Date'],
    [/x/, 'a RegExp'],
    ['\ud800', 'a string with a lone surrogate'],
  ];
  for (const [value, given] of cases) {
    assert.deepEqual(json({ poolSize: value }), { poolSize: { $given: given } });
    assert.deepEqual(json({ hosts: [value] }), { hosts: [{ $given: given }] });
  }
});

test('options that are no object are handed down to be refused', () => {
  for (const [options, expect] of [
    [undefined, { $given: 'undefined' }],
    [null, null],
    [5, 5],
    [[], []],
    [() => {}, { $given: 'a function' }],
    [new Map(), { $given: 'a Map' }],
  ]) {
    assert.deepEqual(json(options), expect);
  }
});

test('only own, enumerable properties are options, and a hostile name is just unknown', () => {
  const inherited = Object.create({ user: 'inherited' });
  inherited.poolSize = 2;
  assert.deepEqual(json(inherited), { poolSize: 2 });
  const own = JSON.parse('{"__proto__": {"user": "x"}, "constructor": 1}');
  assert.equal(translate(own).json, '{"__proto__":{"user":"x"},"constructor":1}');
});

test('options in a class instance or without a prototype are options', () => {
  class Settings {
    poolSize = 3;
  }
  assert.deepEqual(json(new Settings()), { poolSize: 3 });
  assert.deepEqual(json(Object.assign(Object.create(null), { poolSize: 3 })), { poolSize: 3 });
});

test('cycles and deep nesting end', () => {
  const options = { hosts: [] };
  options.hosts.push(options);
  assert.deepEqual(json(options), { hosts: [{ $given: 'an object' }] });
});

test('lookup stays in JavaScript, and must be a function', () => {
  const { json: text, lookup } = translate({ host: 'h', lookup: dns.lookup });
  assert.deepEqual([text, lookup], ['{"host":"h"}', dns.lookup]);
  assert.throws(() => translate({ lookup: 'dns' }), {
    name: 'ConfigurationError',
    message: `option 'lookup' must be a function like dns.lookup, not "dns"`,
  });
});

test('what is wrong is refused by its name, with what is allowed and what was given', () => {
  for (const [given, expect] of [
    ['x'.repeat(65), `"${'x'.repeat(64)}..."`],
    [5n, '5'],
    [NaN, 'NaN'],
    [null, 'null'],
    [[1], 'an array'],
    [new Map(), 'an object'],
    [() => {}, 'a function'],
    [Symbol('s'), 'a symbol'],
  ]) {
    const message = `option 'o' must be a number, not ${expect}`;
    assert.equal(wrongOption("option 'o'", 'a number', given).message, message);
  }
  // Each error about an option of JavaScript's names the given value.
  const files = readdirSync(js, { recursive: true }).filter((name) => name.endsWith('.cjs'));
  for (const name of files.filter((name) => path.basename(name) !== 'errors.cjs')) {
    const said = /(configurationError|refused)\(\s*[`'](.*) must be (?!.*\bnot \$\{)/;
    assert.doesNotMatch(readFileSync(path.join(js, name), 'utf8'), said, name);
  }
});

test('each option is read once', () => {
  let reads = 0;
  const options = {
    get poolSize() {
      reads += 1;
      return reads;
    },
  };
  assert.deepEqual(json(options), { poolSize: 1 });
  assert.equal(reads, 1);
});
