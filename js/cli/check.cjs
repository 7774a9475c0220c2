'use strict';

// `hyperiondb-client check`: the steps of a pool, one after the other, each with what it takes.

const dns = require('node:dns/promises');
const net = require('node:net');
const { createPool } = require('../index.cjs');
const { APPLICATION, HostProbe, hostsOf } = require('./look.cjs');

const REACH_WITHIN = 3000;

async function check(url, { json }, terminal) {
  const hosts = await hostsOf(url);
  const say = json ? () => {} : (text) => terminal.print(text);
  const found = [];
  for (const host of hosts) {
    say(terminal.paint('bold', host));
    const steps = [];
    for await (const step of stepsOf(url, host)) {
      steps.push(step);
      say(`  ${line(step, terminal)}`);
      if (!step.ok) break;
    }
    found.push({ host, steps });
  }
  const pool = await tryPool(url);
  if (json) terminal.print(JSON.stringify({ hosts: found, pool }));
  else say(conclusion(pool, terminal));
  return pool.ok ? 0 : 1;
}

async function* stepsOf(url, host) {
  const { name, port } = divide(host);
  const isSocket = /^[/@]/.test(name);
  if (!isSocket && net.isIP(name) === 0) {
    yield await timed('name', async () => {
      const addresses = await dns.lookup(name, { all: true });
      return addresses.map(({ address }) => address).join(', ');
    });
  }
  if (!isSocket) yield await timed('reach', () => reach(name, port));
  const probe = new HostProbe(url, host);
  try {
    let facts;
    yield await timed('log in', async () => {
      facts = await probe.look();
      if (facts.error !== null) throw Object.assign(new Error(facts.error.message), facts.error);
      return `PostgreSQL ${facts.version}`;
    });
    if (!isSocket) yield { step: 'tls', ok: true, detail: encryption(facts.tls) };
    const timeline = facts.timeline === null ? '' : `, timeline ${facts.timeline}`;
    yield { step: 'role', ok: true, detail: `${facts.role}${timeline}`, ms: facts.roundTripMs };
  } finally {
    await probe.close();
  }
}

function encryption(tls) {
  if (tls === null) return 'none: whoever is in between can read and change all';
  const verified = {
    full: 'the certificate is verified, and names the host',
    ca: 'the CA of the certificate is verified, and not the name in it',
    none: 'the certificate is not verified: say ssl: true or sslmode=verify-full',
  };
  return `${tls.protocol}, ${tls.cipher}: ${verified[tls.verified]}`;
}

/** `'h1:5432'`, `'[::1]:5432'` */
function divide(host) {
  const at = host.lastIndexOf(':');
  return { name: host.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(host.slice(at + 1)) };
}

function reach(host, port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, timeout: REACH_WITHIN });
    socket.once('connect', () => {
      const { remoteAddress, remotePort } = socket;
      socket.destroy();
      resolve(`${remoteAddress} port ${remotePort}`);
    });
    socket.once('timeout', () => {
      socket.destroy();
      const advice = 'a firewall may drop the packets, or the machine is down';
      reject(new Error(`no answer within ${REACH_WITHIN} ms: ${advice}`));
    });
    socket.once('error', reject);
  });
}

async function timed(step, run) {
  const startedAt = performance.now();
  try {
    const detail = await run();
    return { step, ok: true, detail, ms: performance.now() - startedAt };
  } catch (error) {
    const detail = error.message === '' ? error.code : error.message;
    return { step, ok: false, detail, code: error.code, ms: performance.now() - startedAt };
  }
}

/** Whether a pool with these options serves, and on which hosts. */
async function tryPool(url) {
  const pool = createPool(url, { applicationName: APPLICATION });
  try {
    await pool.ready();
    const serving = pool.cluster().filter(({ serves }) => serves);
    return { ok: true, serves: serving.map(({ host, role }) => ({ host, role })) };
  } catch (error) {
    return { ok: false, code: error.code, message: error.message };
  } finally {
    await pool.end({ timeoutMs: 0 });
  }
}

function line({ step, ok, detail, ms }, terminal) {
  const mark = ok ? terminal.paint('green', '✓') : terminal.paint('red', '✗');
  const took = ms === undefined ? '' : ` ${terminal.paint('dim', `(${ms.toFixed(1)} ms)`)}`;
  return `${mark} ${step.padEnd(7)} ${detail}${took}`;
}

function conclusion(pool, terminal) {
  if (!pool.ok) return `${terminal.paint('red', 'A pool does not serve')}: ${pool.message}`;
  const hosts = pool.serves.map(({ host, role }) => `${host} (${role})`);
  return `${terminal.paint('green', 'A pool serves')}: its queries go to ${hosts.join(', ')}`;
}

module.exports = { check };
