'use strict';

// `hyperiondb-client status`

const process = require('node:process');
const { setTimeout: sleep } = require('node:timers/promises');
const { HostProbe, hostsOf } = require('./look.cjs');
const { table } = require('./terminal.cjs');

const HEAD = ['HOST', 'ROLE', 'VERSION', 'TIMELINE', 'POSITION', 'LAG', 'ROUND TRIP', 'TLS'];
const COLOURS = { 'read-write': 'green', 'read-only': 'yellow', standby: 'dim' };

/** How far the host was verified. */
const VERIFIED = { full: 'verified', ca: 'its CA', none: 'not verified' };

async function status(url, { json, watch = false }, terminal) {
  const probes = (await hostsOf(url)).map((host) => new HostProbe(url, host));
  let goesOn = watch;
  const stop = new AbortController();
  const interrupt = () => {
    goesOn = false;
    stop.abort();
  };
  if (watch) process.once('SIGINT', interrupt);
  try {
    for (;;) {
      const hosts = await Promise.all(probes.map((probe) => probe.look()));
      if (json) terminal.print(JSON.stringify({ hosts }));
      else if (watch) terminal.redraw(draw(hosts, terminal));
      else terminal.print(draw(hosts, terminal));
      if (!goesOn) return verdict(hosts) === null ? 0 : 1;
      await sleep(1000, undefined, { signal: stop.signal }).catch(() => {});
      if (!goesOn) return 0;
    }
  } finally {
    process.off('SIGINT', interrupt);
    await Promise.all(probes.map((probe) => probe.close()));
  }
}

/** What is wrong with the cluster as a whole, or null. */
function verdict(hosts) {
  const writable = hosts.filter(({ role }) => role === 'read-write');
  if (writable.length === 0) return 'no host takes writes';
  if (writable.length > 1) {
    const newest = Math.max(...writable.map(({ timeline }) => timeline ?? 0));
    const claims = writable.map(({ host, timeline }) => `${host} (timeline ${timeline ?? '?'})`);
    const first = writable.filter(({ timeline }) => timeline === newest).length === 1;
    const which = first ? 'the one with the latest timeline serves' : 'none of them serves';
    return `${writable.length} hosts take writes: ${claims.join(', ')}; ${which}`;
  }
  return hosts.some(({ error }) => error !== null) ? 'not every host answers' : null;
}

function draw(hosts, terminal) {
  const rows = hosts.map((host) => (host.error === null ? facts(host) : failure(host)));
  const paint = (text, n, column) => {
    if (n === 0) return terminal.paint('bold', text);
    const { role, error } = hosts[n - 1];
    if (error !== null) return column === 0 ? terminal.paint('red', text) : text;
    return column < 2 ? terminal.paint(COLOURS[role], text) : text;
  };
  const reasons = hosts
    .filter(({ error }) => error !== null)
    .map(({ host, error }) => `${host}: ${error.message}`);
  const why = verdict(hosts);
  const wrong = why === null ? [] : [terminal.paint('yellow', why)];
  return [table([HEAD, ...rows], paint, terminal.columns), ...reasons, ...wrong].join('\n');
}

function facts({ host, role, version, timeline, position, lagMs, roundTripMs, tls }) {
  const lag = role !== 'standby' ? '-' : lagMs === null ? '?' : `${Math.round(lagMs)} ms`;
  const [number] = version.split(' ');
  const trip = `${roundTripMs.toFixed(1)} ms`;
  const secured = tls === null ? 'no' : VERIFIED[tls.verified];
  return [host, role, number, String(timeline ?? '?'), position ?? '?', lag, trip, secured];
}

const failure = ({ host, error }) => [host, error.code ?? 'error'];

module.exports = { status, verdict };
