// The machine on which a benchmark ran, for its output.

import { cpus, release, totalmem, type } from 'node:os';
import process from 'node:process';

export function machine() {
  const [{ model }] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${model}, ${cpus().length} cores, ${memory} GiB, ${type()} ${release()}, Node ${process.version}`;
}
