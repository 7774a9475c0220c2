// An npm registry with nothing except packed tarballs, for an installation like a user's: `npm
// install hyperiondb-client`. It also describes packages without a tarball. A package manager that
// leaves out other platforms never fetches these. Its argument is the folder of the tarballs, with
// index.json. It prints its address, and ends with its standard input.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import process from 'node:process';

const [folder] = process.argv.slice(2);
const packages = JSON.parse(readFileSync(path.join(folder, 'index.json'), 'utf8'));

const server = createServer((request, response) => {
  const name = decodeURIComponent(request.url.slice(1));
  const tarball = Object.values(packages).find(({ file }) => file === name);
  if (tarball !== undefined) {
    response.end(readFileSync(path.join(folder, tarball.file)));
    return;
  }
  if (!(name in packages)) {
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}');
    return;
  }
  const { file, about } = packages[name];
  const hash = createHash('sha512').update(file ? readFileSync(path.join(folder, file)) : '');
  const dist = {
    tarball: `http://127.0.0.1:${server.address().port}/${file ?? `${name}/missing.tgz`}`,
    integrity: `sha512-${hash.digest('base64')}`,
  };
  const text = JSON.stringify({
    name,
    'dist-tags': { latest: about.version },
    versions: { [about.version]: { ...about, dist } },
  });
  response.writeHead(200, { 'content-type': 'application/json' }).end(text);
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
process.stdin.resume().once('end', () => process.exit());
