//! Floor 1: what the user asks for, as data.
//!
//! Owns: the options of a pool, the connection string, and the words in which a wrong one is
//! refused. May import `base`. Never reads the environment or a file, never resolves a name, and
//! never puts a password, or a connection string that may hold one, into a message.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod draft;
mod hosts;
mod limits;
mod options;
mod refusal;
mod uri;

pub use options::{from_json, hosts_from_json};

/// The options of a pool, checked and with their defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one, at most [`MAX_HOSTS`].
    pub hosts: Vec<Host>,
    /// For hosts without a port of their own.
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub mode: TargetSessionAttrs,
    pub load_balance: LoadBalance,
    pub role_check: RoleCheck,
    pub pipelining: Pipelining,
    pub pool_size: usize,
    /// For one attempt at one host, from the first packet to ReadyForQuery.
    pub connect_timeout: Duration,
    /// For a checkout, over all hosts and attempts.
    pub acquire_timeout: Duration,
    /// Whether a pool that no server has ever answered gives up where every host refuses it
    /// outright.
    pub fail_fast: bool,
    /// For one query, from the call to its answer; `None` sets no bound.
    pub query_timeout: Option<Duration>,
    /// How long a server may take to answer a query that it was asked to cancel.
    pub cancel_grace: Duration,
    /// Free connections that are kept ready; at most `pool_size`.
    pub min_idle: usize,
    /// How long a connection may be free before it is closed.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used, less a jitter.
    pub max_lifetime: Option<Duration>,
    /// How often a connection is given to a caller.
    pub max_uses: Option<u64>,
    /// How often the sessions to the other hosts are asked once the primary is suspected.
    pub failover_probe: Duration,
    /// A host that owes an answer and sends nothing for so long is asked on another connection.
    pub liveness_check: Duration,
    pub keep_alive: bool,
    /// How long a connection is silent before the system probes it.
    pub keep_alive_delay: Duration,
    /// How long sent data may stay unacknowledged before the system gives the connection up; `None`
    /// leaves it to the system.
    pub tcp_user_timeout: Option<Duration>,
    /// Prepared statements kept on each connection; 0 prepares none for reuse.
    pub statement_cache_size: usize,
    pub application_name: Option<String>,
    /// Run-time parameters for the StartupMessage, `options` and what options of their own set
    /// among them.
    pub parameters: Vec<(String, String)>,
    /// How long the transaction of a caller may be idle before its connection is taken back; `None`
    /// for ever.
    pub idle_in_transaction: Option<Duration>,
    /// Whether a session that its user changed is reset before the next one has it.
    pub reset_on_release: bool,
    /// Whether the process may end while idle connections are open and the pool was not ended.
    pub allow_exit_on_idle: bool,
    /// What the rows of one query may take in memory, as they come from the server.
    pub max_result_bytes: usize,
    /// Queries and checkouts that may wait for a connection at the same time.
    pub max_queue: usize,
}

/// More hosts than any cluster has, few enough to race them all.
pub const MAX_HOSTS: usize = 64;

/// A password. It can be used, not printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// An empty password is none, as in libpq.
    fn from_option(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As errors show it: `h1:5432`, `[::1]:5432`, `/tmp`.
    pub name: Arc<str>,
    pub endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Ip(SocketAddr),
    /// To be resolved by Node, anew at every connection attempt.
    Name {
        name: String,
        port: u16,
    },
    /// The whole path of the socket, `<directory>/.s.PGSQL.<port>`.
    Unix {
        path: String,
    },
    /// Linux's abstract namespace: the name without the NUL byte that it begins with on the wire to
    /// the kernel, as `SocketAddrExt::from_abstract_name` takes it.
    Abstract {
        name: Vec<u8>,
    },
}

/// Which hosts will do, in libpq's words (PostgreSQL manual, 34.1.2, `target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
    Any,
}

impl TargetSessionAttrs {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
            Self::Any => "any",
        }
    }
}

/// Which of the hosts that serve gets a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalance {
    Random,
    LeastConnections,
    /// The one with the shortest round trip.
    Nearest,
}

/// Which calls may stand in front of others on a connection, or behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// Those that do nothing but read, as far as their text can show.
    Reads,
    /// Those that have been quick lately, whatever they wait for the next time.
    All,
    /// None.
    Off,
}

/// How a session's role is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleCheck {
    /// As the server reports it; a server before 14, which does not, is asked.
    Reported,
    /// The server is asked in front of each request: a connection pooler in between reports what is
    /// stale.
    Query,
}
