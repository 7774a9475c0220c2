// An addon with the feature `defects`, which fails if an SQL text says so.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { LIBRARY } from '../../scripts/build.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Builds the addon into a folder, and returns its file. */
export function buildDefective(folder) {
  const cargo = ['build', '--quiet', '--locked', '--lib', '--features', 'defects'];
  assert.equal(spawnSync('cargo', cargo, { cwd: root, stdio: 'inherit' }).status, 0);
  const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
  const file = path.join(folder, 'defects.node');
  copyFileSync(path.join(target, 'debug', LIBRARY), file);
  return file;
}
