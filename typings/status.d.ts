/**
 * What a pool tells of itself and of its hosts: by `status()`, by `cluster()` and by its events.
 */

/** A moment's count. */
export interface PoolStatus {
  /** `poolSize`. */
  maxSize: number;
  /** Connections that are logged in. */
  size: number;
  /** Those without work. */
  available: number;
  inUse: number;
  /** Queries that have no connection yet. */
  waiting: number;
}

/**
 * `'suspected'`: a session broke at work, or was silent. `'refusing'`: it answers, and takes no new
 * session.
 */
export type HostState = 'unknown' | 'up' | 'suspected' | 'refusing' | 'down';
export type HostRole = 'read-write' | 'read-only' | 'standby';

/**
 * Why a host was not reached, or a session of it was lost. What the system said of it is as in
 * Node's own errors.
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

/** A host as the pool knows it, by what its own sessions say; nothing is asked for this. */
export interface HostStatus {
  /** As errors name it: `'h1:5432'`. */
  host: string;
  state: HostState;
  /** Since when, by this machine's clock. */
  since: Date;
  /** As it said last, by whatever session; `null` before the first. */
  role: HostRole | null;
  /** Whether it is given work. */
  serves: boolean;
  /** The last failure, which may lie long back. */
  lastError: HostError | null;
  /** The mean of what it lately took to answer a bare Sync; `null` before the first. */
  roundTripMs: number | null;
  /**
   * Of a standby that serves, asked about once a second while the pool is in use: the age of the
   * last transaction that it has replayed, 0 where it has replayed all that it has received. `null`
   * where it receives nothing at the moment (its primary is gone, or it is fed from an archive),
   * and in the modes in which one host serves.
   */
  replicationLagMs: number | null;
  /**
   * How long ago each of these was last found out, in milliseconds; `null` where it never was.
   * While a host serves, its sessions tell its role with each answer. A pool that has its primary
   * asks nothing of other hosts, so that what it knows of them may be old.
   */
  ages: {
    /** When `state` was last seen to be true. Since when it has been so, `since` says. */
    stateMs: number | null;
    roleMs: number | null;
    roundTripMs: number | null;
    replicationLagMs: number | null;
  };
  /** `open` are logged in, probes too; `busy` ones are at work or belong to a caller. */
  connections: { open: number; busy: number };
}

export interface PoolEvents {
  /**
   * Never told: errors reject the calls that they concern, and a connection that is lost while no
   * caller uses it is replaced. A listener, as pools of other clients demand it, does no harm.
   */
  error: [error: Error];
  /**
   * In the modes in which one host serves: another one does. `outageMs` is how long none did, while
   * it was looked for.
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
   * A second host claims to be the primary, while or after another one served: said once. Timelines
   * (PostgreSQL manual, Continuous Archiving) are `null` where a host is gone, or does not tell.
   *
   * - `stays`: the primary is who it was; its timeline is not lower, or nothing is known of
   *   timelines.
   * - `taken`: `host` was promoted later, and serves from now on. What ran on the other one has
   *   been ended.
   * - `contested`: both were promoted side by side. Neither serves until one gives up:
   *   `HYPERION_SPLIT_BRAIN`.
   * - `refused`: there is no primary at the moment, and `host` is an old one, or of another
   *   cluster.
   */
  rival: [
    event: {
      host: string;
      /** Who served when `host` was heard of, or did last. */
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
