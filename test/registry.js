// A registry of npm's that takes what is published, for the tests of a release. It can refuse an
// upload before or after it has taken it, and gives the tokens that npm asks GitHub for.

import { createServer } from 'node:http';

export async function startRegistry() {
  const packages = new Map();
  const seen = [];
  const registry = { packages, seen, fails: () => undefined };

  /** @returns {[number, object | Buffer]} */
  function answer(method, name, url, body) {
    if (url.startsWith('/oidc')) return [500, { error: 'this is no GitHub' }];
    if (method === 'GET' && url.includes('/-/') && url.endsWith('.tgz')) {
      const [owner, file] = name.split('/-/');
      return [200, packages.get(owner).files.get(file)];
    }
    if (method === 'PUT') return take(name, JSON.parse(body));
    const known = packages.get(name);
    return known === undefined ? [404, { error: 'not found' }] : [200, known.document];
  }

  function take(name, upload) {
    const fault = registry.fails(name);
    if (fault === 'before') return [503, { error: 'out of order' }];
    const known = packages.get(name) ?? { document: upload, files: new Map() };
    Object.assign(known.document.versions, upload.versions);
    Object.assign(known.document['dist-tags'], upload['dist-tags']);
    for (const [file, { data }] of Object.entries(upload._attachments)) {
      known.files.set(file, Buffer.from(data, 'base64'));
    }
    delete known.document._attachments;
    packages.set(name, known);
    return fault === 'after' ? [503, { error: 'out of order' }] : [201, { ok: true }];
  }

  const server = createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const { method, url } = request;
      const name = decodeURIComponent(url.slice(1).split('?')[0]);
      seen.push({ method, name, url });
      const [status, said] = answer(method, name, url, Buffer.concat(parts));
      const bytes = Buffer.isBuffer(said);
      response.writeHead(status, {
        'content-type': bytes ? 'application/octet-stream' : 'application/json',
      });
      response.end(bytes ? said : JSON.stringify(said));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return Object.assign(registry, {
    url: `http://127.0.0.1:${port}/`,
    close: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  });
}
