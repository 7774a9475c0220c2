// Documents that are built from a JSON template and not by JSON.parse
// (js/transfer/json-templates.cjs). They equal what JSON.parse makes of the same text.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { Random } from '../support/random.js';

const { JsonTemplates } = createRequire(import.meta.url)('../../js/transfer/json-templates.cjs');

/** Reads documents, which are parts of a text, with `templates`. */
function valuesOf(templates, documents, joined = `[${documents.join(',')}]`) {
  const front = 'text of rows, "';
  const start = front.length;
  const [from, count] = [start + 1, documents.length];
  const bounds = {
    start,
    stop: start + joined.length,
    count,
    from,
    to: from + documents[0].length,
  };
  return templates.values(`${front}${joined}[1,2]`, bounds);
}

const repeat = (document, count = 20) => Array.from({ length: count }, () => document);

const NAMES = ['a', 'kind', 'constructor', '__proto__', '1', '0', 'two words', 'é', '', 'toString'];
const STRINGS = [
  '',
  'b',
  'some text',
  'é',
  '日本 and more than a few others',
  '😀',
  '{"a": 1}',
  'x'.repeat(60),
];
const NUMBERS = [
  '0',
  '7',
  '-7',
  '123456789',
  '1234567890',
  '9007199254740993',
  '1e3',
  '1.5',
  '-0',
  '-0.25',
  '1E-7',
];

/** A document's text with `null` in place of each gap. */
function randomForm(random, depth = 0) {
  const several = (one) => Array.from({ length: random.below(4) }, one);
  switch (random.below(depth > 3 ? 1 : 4)) {
    case 1:
      return several(() => randomForm(random, depth + 1));
    case 2:
    case 3:
      // As a list, because a name may come twice.
      return {
        members: several(() => [NAMES[random.below(NAMES.length)], randomForm(random, depth + 1)]),
      };
    default:
      return null;
  }
}

function write(form, random) {
  if (form === null) {
    const kind = random.below(6);
    if (kind < 3) return JSON.stringify(STRINGS[random.below(STRINGS.length)].replaceAll('"', "'"));
    if (kind < 5) return NUMBERS[random.below(NUMBERS.length)];
    return ['true', 'false', 'null'][random.below(3)];
  }
  if (Array.isArray(form)) return `[${form.map((one) => write(one, random)).join(', ')}]`;
  const members = form.members.map(
    ([name, one]) => `${JSON.stringify(name)}: ${write(one, random)}`,
  );
  return `{${members.join(', ')}}`;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Equal, with the same names in the same order. */
function assertSame(values, expected) {
  assert.deepEqual(values, expected);
  assert.equal(JSON.stringify(values), JSON.stringify(expected));
}

/** A batch of documents of one form. */
function randomDocuments(random) {
  const form = randomForm(random);
  return Array.from({ length: 16 }, () => write(form, random));
}

test('documents of a random form are what JSON.parse makes of them', () => {
  const random = new Random(7);
  let made = 0;
  for (let round = 0; round < 2000; round += 1) {
    const documents = randomDocuments(random);
    const values = valuesOf(new JsonTemplates(), documents);
    if (values === null) continue;
    made += 1;
    assertSame(values, documents.map(parse));
  }
  assert.ok(made > 1900, `${made} of 2000`);
});

test('what was changed anywhere is JSON.parse’s to make, or to refuse', () => {
  const random = new Random(11);
  let made = 0;
  for (let round = 0; round < 5000; round += 1) {
    const documents = randomDocuments(random);
    const whole = `[${documents.join(',')}]`;
    const place = random.below(whole.length);
    const other = ',:"[]{} 0-.e\\\n1tnx'[random.below(17)];
    const changed = whole.slice(0, place) + other + whole.slice(place + random.below(2));
    const expected = parse(changed);
    const values = valuesOf(new JsonTemplates(), documents, changed);
    if (values === null) continue;
    assert.notEqual(expected, undefined, changed);
    assertSame(values, expected);
    made += 1;
  }
  assert.ok(made > 500, `${made} of 5000`);
});

test('nulls stand among documents of any form', () => {
  const documents = repeat('{"a": [1, "b"]}');
  documents[3] = 'null';
  assertSame(valuesOf(new JsonTemplates(), documents), documents.map(parse));
});

test('a few documents, escapes, long forms and several forms are left to JSON.parse', () => {
  const few = repeat('{"a": 1}', 15);
  assert.equal(valuesOf(new JsonTemplates(), few), null);
  for (const document of [
    String.raw`{"a": "\n"}`,
    '{"a":\n1}',
    `[${repeat('1', 40).join(', ')}]`,
  ]) {
    assert.equal(valuesOf(new JsonTemplates(), repeat(document)), null, document);
  }
  const templates = new JsonTemplates();
  for (let n = 0; n < 4; n += 1)
    assert.equal(valuesOf(templates, [...repeat('{"a": 1}'), '[1]']), null);
  assert.equal(valuesOf(templates, repeat('{"a": 1}')), null, 'no more attempts');
});

test('a form that is followed by another one is given up for that', () => {
  const templates = new JsonTemplates();
  for (const document of ['{"a": 1}', '[1]']) {
    const documents = repeat(document);
    valuesOf(templates, documents);
    assertSame(valuesOf(templates, documents), documents.map(parse));
  }
});
