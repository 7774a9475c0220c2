'use strict';

// `pool.prometheus()`: Prometheus' text format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).

const PREFIX = 'hyperiondb_';

/**
 * Each family: its name, its type, its help, and its samples for one pool, each a value with labels
 * of its own. `said` is what the addon says of the pool, `hosts` is `pool.cluster()`.
 */
const FAMILIES = [
  ['pool_max_connections', 'gauge', 'The option poolSize.', ({ said }) => [[said.maxSize]]],
  [
    'pool_connections',
    'gauge',
    'Connections that serve queries, by their state.',
    ({ said }) => [
      [said.available, { state: 'idle' }],
      [said.inUse, { state: 'used' }],
    ],
  ],
  ['pool_waiting_calls', 'gauge', 'Calls without a connection.', ({ said }) => [[said.waiting]]],
  counter('pool_failed_calls', 'Calls that ended with an error.', 'failed'),
  counter('pool_resent_calls', 'How often a call was sent once more.', 'resent'),
  counter('pool_cancel_requests', 'CancelRequests to servers.', 'cancelled'),
  [
    'pool_timeouts_total',
    'counter',
    'Calls that ended by acquireTimeoutMs (acquire) or timeoutMs (query).',
    ({ said }) => [
      [said.timeouts.acquire, { limit: 'acquire' }],
      [said.timeouts.query, { limit: 'query' }],
    ],
  ],
  counter('pool_failovers', 'How often another host took over.', 'failovers'),
  counter('pool_fences', 'How often the host that served became read-only.', 'fences'),
  counter('pool_rivals', 'How often a second host claimed to be the primary.', 'rivals'),
  counter('pool_rewinds', 'How often the cluster went back to an older timeline.', 'rewinds'),
  [
    'pool_sessions_created_total',
    'counter',
    'Sessions that were logged in, probes of hosts included.',
    ({ said }) => said.hosts.map(({ host, created }) => [created, { host }]),
  ],
  [
    'pool_sessions_closed_total',
    'counter',
    'Sessions that ended, by the reason.',
    ({ said }) =>
      said.hosts.flatMap(({ host, closed }) =>
        Object.entries(closed).map(([reason, count]) => [count, { host, reason }]),
      ),
  ],
  histogram('pool_wait_seconds', 'How long calls waited for a connection.', 'wait'),
  histogram('pool_query_seconds', 'How long queries took, from their sending.', 'query'),
  byHost('host_serves', 'Whether the pool sends queries to the host.', (on) => Number(on.serves)),
  byHost('host_up', 'Whether the host is known to be up.', (on) => Number(on.state === 'up')),
  byHost('host_sessions', 'Sessions that are open.', (on) => on.connections.open),
  byHost('host_busy_sessions', 'Sessions that are in use.', (on) => on.connections.busy),
  byHost('host_round_trip_seconds', 'The mean round trip.', (on) => seconds(on.roundTripMs)),
  byHost('host_replication_lag_seconds', 'How far a standby is behind.', (on) =>
    seconds(on.replicationLagMs),
  ),
];

const seconds = (ms) => (ms === null ? null : ms / 1000);

function counter(name, help, key) {
  return [`${name}_total`, 'counter', help, ({ said }) => [[said[key]]]];
}

/** A host of which the value is not known has no sample. */
function byHost(name, help, read) {
  const samples = ({ hosts }) =>
    hosts.map((on) => [read(on), { host: on.host }]).filter(([value]) => value !== null);
  return [name, 'gauge', help, samples];
}

function histogram(name, help, key) {
  const samples = ({ said }) =>
    said.hosts.flatMap(({ host, [key]: of }) => [
      ...of.atMost.map((count, n) => [count, { host, le: String(said.bounds[n]) }, '_bucket']),
      [of.count, { host, le: '+Inf' }, '_bucket'],
      [of.sum, { host }, '_sum'],
      [of.count, { host }, '_count'],
    ]);
  return [name, 'histogram', help, samples];
}

/** The text for these pools, each as `{ name, said, hosts }`. */
function expose(pools) {
  const lines = [];
  for (const [name, type, help, samples] of FAMILIES) {
    const family = `${PREFIX}${name}`;
    lines.push(`# HELP ${family} ${help}`, `# TYPE ${family} ${type}`);
    for (const pool of pools) {
      for (const [value, labels, suffix = ''] of samples(pool)) {
        lines.push(`${family}${suffix}${labelled({ pool: pool.name, ...labels })} ${value}`);
      }
    }
  }
  return `${lines.join('\n')}\n`;
}

function labelled(labels) {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return `{${pairs.join(',')}}`;
}

const ESCAPES = { '\\': '\\\\', '"': '\\"', '\n': '\\n' };
const escaped = (value) => value.replace(/[\\"\n]/g, (char) => ESCAPES[char]);

module.exports = { expose };
