/**
 * What a pool tells of itself and of its hosts: by `status()`, by `cluster()` and by its events.
 */

/**
 * How long something took, in milliseconds, since the pool was created (of a host, since it came into
 * the list). A percentile is at most 7% too high; `max` is exact. All are 0 if `count` is.
 */
export interface DurationSummary {
  count: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

/**
 * Why a session was closed.
 *
 * - `lost`: the server or the network ended it.
 * - `dropped`: the pool gave it up (its host is silent, a cancel had no answer ...), or its caller
 *   did.
 * - `idle`: it was free for `idleTimeoutMs`.
 * - `expired`: it reached `maxLifetimeMs` or `maxUses`.
 * - `unneeded`: its host does not serve, or has more than its share; or it had asked a host for its
 *   role, and nobody needs to know that any more.
 * - `ended`: the pool was ended.
 */
export type CloseReason = 'lost' | 'dropped' | 'idle' | 'expired' | 'unneeded' | 'ended';

/** What is counted of one host, and of all. */
export interface SessionCounters {
  /**
   * How often a call got a connection: each `pool.query`, each transaction, and each
   * `pool.connect()`. The same as `waitMs.count`.
   */
  acquired: number;
  /** Sessions that were logged in, those included that only ask a host for its role. */
  created: number;
  /** Sessions that were logged in and are closed. `created` less all of these are open. */
  closed: Record<CloseReason, number>;
  /** How long calls waited for a connection, those that got one. */
  waitMs: DurationSummary;
  /**
   * How long queries took that were answered, from the moment that they were sent, those of
   * transactions included.
   */
  queryMs: DurationSummary;
}

/**
 * The counts of one moment, and what was counted since the pool was created. Asking costs some 20
 * µs, and the counting a few nanoseconds a query. After `pool.end()` the numbers stay.
 */
export interface PoolStatus extends SessionCounters {
  /** `poolSize`. */
  maxSize: number;
  /** Connections that are logged in. */
  size: number;
  /** Connections that are idle. */
  available: number;
  inUse: number;
  /** Queries that have no connection yet. */
  waiting: number;
  /**
   * `acquire`: calls that got no connection within `acquireTimeoutMs`. `query`: calls that ended by
   * a `timeoutMs` or `queryTimeoutMs`.
   */
  timeouts: { acquire: number; query: number };
  /** Calls that ended with an error, timeouts and refused ones included. */
  failed: number;
  /** How often a call was sent once more: after a loss, a fence, or a changed type. */
  resent: number;
  /** CancelRequests that were sent to servers. */
  cancelled: number;
  /** How often another host took over from the one that served (event `primary`). */
  failovers: number;
  /** The number of each of these events. */
  fences: number;
  rivals: number;
  rewinds: number;
  /** The hosts that have had a session, in the order of the list. */
  hosts: (SessionCounters & { host: string })[];
}

/**
 * `'suspected'`: a session in use broke, or was silent. `'refusing'`: the host answers, and takes
 * no new session.
 */
export type HostState = 'unknown' | 'up' | 'suspected' | 'refusing' | 'down';
export type HostRole = 'read-write' | 'read-only' | 'standby';

/**
 * Why a host was not reached, or a session to it was lost. Errors of the system have Node's own
 * properties.
 */
export interface HostError {
  code: string;
  message: string;
  errno?: number;
  syscall?: string;
  address?: string;
  port?: number;
  hostname?: string;
}

/** A host, by what the pool's own sessions have heard. The pool asks nothing for this. */
export interface HostStatus {
  /** As errors name it: `'h1:5432'`. */
  host: string;
  state: HostState;
  /** Since when, by this machine's clock. */
  since: Date;
  /** The role that the host said last, on any session; `null` before the first. */
  role: HostRole | null;
  /** Whether the pool sends it queries. */
  serves: boolean;
  /**
   * How the host's last encrypted session was encrypted; `null` if there was none. `verified` is
   * `'full'` if the certificate names the host, and `'ca'` if only its CA was checked.
   */
  tls: { protocol: string; cipher: string; verified: 'full' | 'ca' | 'none' } | null;
  /** The last failure, which may be long ago. */
  lastError: HostError | null;
  /** The mean time that it lately took to answer a bare Sync; `null` before the first answer. */
  roundTripMs: number | null;
  /**
   * For a standby that serves: the age of the last transaction that it has replayed, and 0 if it
   * has replayed all that it has received. The pool asks about once a second while it is in use.
   * `null` if the standby receives nothing at the moment (its primary is gone, or it is fed from an
   * archive), and in the modes in which one host serves.
   */
  replicationLagMs: number | null;
  /**
   * How long ago the pool last found each of these out, in milliseconds; `null` if it never has.
   * While a host serves, its sessions tell its role with each answer. A pool that has its primary
   * asks the others nothing, so its facts of them may be old.
   */
  ages: {
    /** When `state` was last seen to be true. `since` says when it began. */
    stateMs: number | null;
    roleMs: number | null;
    roundTripMs: number | null;
    replicationLagMs: number | null;
  };
  /**
   * `open` connections are logged in, probes included; `busy` ones run a query or belong to a
   * caller.
   */
  connections: { open: number; busy: number };
}

export interface PoolEvents {
  /**
   * Never emitted: errors reject the calls that they concern, and the pool replaces a connection
   * that is lost while no caller uses it. A listener, as pools of other clients need it, does no
   * harm.
   */
  error: [error: Error];
  /**
   * A host has logged a session in, for queries or to be asked for its role. `durationMs` is from the
   * first attempt to connect to the end of the login. `address` is an IP address, and `null` for
   * Unix sockets. `tls` is that of `cluster()`.
   */
  connect: [
    event: {
      host: string;
      address: string | null;
      role: HostRole;
      durationMs: number;
      tls: HostStatus['tls'];
    },
  ];
  /** A session is closed that was logged in. `error` says why, where something went wrong. */
  remove: [event: { host: string; reason: CloseReason; error: HostError | null; ageMs: number }];
  /**
   * A caller has got a connection to itself, by `transaction`, `begin` or `connect`. `pool.query`
   * has no such event. Listen before the caller asks.
   */
  acquire: [event: { host: string | null; what: 'transaction' | 'connection'; waitMs: number }];
  /**
   * The caller of an `acquire` gave the connection back: its transaction is `finished`, it was
   * `released`, or it was `destroyed` because nothing else would have been safe.
   */
  release: [
    event: {
      host: string | null;
      what: 'transaction' | 'connection';
      heldMs: number;
      reason: 'finished' | 'released' | 'destroyed';
    },
  ];
  /**
   * In the modes in which one host serves: another one serves now. `outageMs` is for how long none
   * did while the pool looked for one.
   */
  primary: [event: { host: string; previous: string | null; outageMs: number }];
  /** The state or the role of a host changed. `error` says why it got worse. */
  host: [
    event: {
      host: string;
      state: HostState;
      previous: HostState;
      role: HostRole | null;
      error: HostError | null;
    },
  ];
  /**
   * The cluster has gone back to an older timeline than the one that served, because it was
   * restored from a backup or a promotion was taken back. `host` serves again: every host of the
   * list was heard for 5 s on end, and none has the later timeline. Acknowledged writes may be
   * gone.
   */
  rewound: [event: { host: string; timeline: number; previousTimeline: number }];
  /** In the modes in which one host serves: it became read-only, or a standby. */
  fence: [event: { host: string; role: 'read-only' | 'standby' }];
  /**
   * A second host claims to be the primary, while another one serves or after one has served.
   * Emitted once. Timelines (PostgreSQL manual, Continuous Archiving) are `null` if a host is gone,
   * or does not tell.
   *
   * - `stays`: the primary stays the same. Its timeline is not lower, or no timelines are known.
   * - `taken`: `host` was promoted later, and serves from now on. Requests that ran on the other
   *   host have been ended.
   * - `contested`: both were promoted side by side. Neither serves until one gives up:
   *   `HYPERION_SPLIT_BRAIN`.
   * - `refused`: there is no primary at the moment, and `host` is an old one, or belongs to another
   *   cluster.
   */
  rival: [
    event: {
      host: string;
      /** The host that served when `host` was heard, or that served last. */
      primary: string;
      timeline: number | null;
      primaryTimeline: number | null;
      decision: 'stays' | 'taken' | 'contested' | 'refused';
    },
  ];
  notice: [
    event: {
      host: string;
      severity: string;
      code: string;
      message: string;
      detail: string | null;
      hint: string | null;
    },
  ];
}
