// npm run contract: writes js/transfer/contract.cjs, the numbers that Rust and JavaScript have in
// common, from src/transfer/contract.rs. The test that compares the two files also writes it.

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { NO_CARGO } from './build.js';

const floors = ['--no-default-features', '--features', 'sim'];
const cargo = ['test', '--locked', '--quiet', ...floors, '--lib', '--', 'transfer::contract'];
const { status, error } = spawnSync('cargo', cargo, {
  cwd: path.dirname(path.dirname(fileURLToPath(import.meta.url))),
  stdio: 'inherit',
  env: { ...process.env, HYPERION_WRITE_CONTRACT: '1' },
});
if (error?.code === 'ENOENT') console.error(NO_CARGO);
process.exit(status ?? 1);
