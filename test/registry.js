// A registry of npm's that takes what is published, for the tests of a release. It can refuse an
// upload before or after it has taken it, show it late, and fail to answer a question; it refuses a
// version that it has, and gives the tokens that npm asks GitHub for.

import { createServer } from 'node:http';

export async function startRegistry() {
  const packages = new Map();
  const seen = [];
  /** Of those that are not shown yet, how often one has to ask. */
  const hidden = new Map();
  const registry = { packages, seen, fails: () => undefined, answers: () => undefined };

  /** @returns {[number, object | Buffer] | 'none'} none: the connection ends without an answer */
  function answer(method, name, url, body) {
    if (url.startsWith('/oidc')) return [500, { error: 'this is no GitHub' }];
    if (method === 'GET' && url.includes('/-/') && url.endsWith('.tgz')) {
      const [owner, file] = name.split('/-/');
      return [200, packages.get(owner).files.get(file)];
    }
    if (method === 'PUT') return take(name, JSON.parse(body));
    const instead = registry.answers(name);
    if (instead !== undefined) return instead;
    const left = hidden.get(name) ?? 0;
    hidden.set(name, left - 1);
    const known = left > 0 ? undefined : packages.get(name);
    return known === undefined ? [404, { error: 'not found' }] : [200, known.document];
  }

  function take(name, upload) {
    const fault = registry.fails(name);
    if (fault === 'before') return [503, { error: 'out of order' }];
    if (fault === 'conflict') return [409, { error: 'Failed to save packument' }];
    const [version] = Object.keys(upload.versions);
    const has = packages.get(name)?.document.versions;
    if (has !== undefined && Object.hasOwn(has, version)) {
      return [403, { error: 'You cannot publish over the previously published versions' }];
    }
    if (fault === 'late') hidden.set(name, 3);
    const known = packages.get(name) ?? { document: upload, files: new Map() };
    Object.assign(known.document.versions, upload.versions);
    Object.assign(known.document['dist-tags'], upload['dist-tags']);
    for (const [file, { data }] of Object.entries(upload._attachments)) {
      known.files.set(file, Buffer.from(data, 'base64'));
    }
    delete known.document._attachments;
    packages.set(name, known);
    return fault === undefined ? [201, { ok: true }] : [503, { error: 'out of order' }];
  }

  const server = createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const { method, url } = request;
      const name = decodeURIComponent(url.slice(1).split('?')[0]);
      seen.push({ method, name, url });
      const answered = answer(method, name, url, Buffer.concat(parts));
      if (answered === 'none') {
        response.destroy();
        return;
      }
      const [status, said] = answered;
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
