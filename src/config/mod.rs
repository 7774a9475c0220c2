//! Floor 1: the options of a pool, as data.
//!
//! Owns: the options, the connection string, and the messages for wrong ones. May import `base`.
//! Never reads the environment or a file, and never looks up a name. Never puts a password, or a
//! connection string that may contain one, into a message.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroize;

mod auth;
mod conninfo;
mod draft;
mod hosts;
mod keys;
#[cfg(test)]
mod libpq_tests;
mod limits;
mod options;
mod passfile;
mod refusal;
mod service;
mod settings;
mod source;
mod tls;
mod uri;

pub use auth::{AuthMethod, RequiredAuth};
pub use options::{from_json, hosts_from_json, wanted_from_json};
pub use passfile::Passfile;
pub use tls::{ChannelBinding, Identity, Roots, SslMode, TlsVersion};

/// What must be read for the options, by JavaScript. Passing it beside the options may show that
/// more must be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub root_cert: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
    pub crl: Option<String>,
    /// The passphrase of the key's file.
    pub password: Option<String>,
    /// The CAs that Node trusts.
    pub system: bool,
    /// If there is one, nothing else is known yet.
    pub service: Option<Service>,
    pub passfile: Option<PassfileName>,
    /// What the user must be told of the options: sentences.
    pub warnings: Vec<String>,
}

/// A service, and the file that defines it if that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub file: Option<String>,
}

/// The file of passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassfileName {
    Given(String),
    Default,
}

/// The options of a pool, checked and with their defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The hosts: at least 1, at most [`MAX_HOSTS`]. Default: `localhost`.
    pub hosts: Vec<Host>,
    /// The port of hosts that have none of their own. Default: 5432.
    pub port: u16,
    /// The role to log in as. It has no default.
    pub user: String,
    /// `None` for a login without a password, which is the default.
    pub password: Option<Secret>,
    /// The option `password` is a function, which is asked for each login.
    pub asks_password: bool,
    /// The passwords of hosts where none is given. Default: none.
    pub passfile: Passfile,
    /// The ways to log in that are accepted; `None`, the default, for all that this client has.
    pub require_auth: Option<RequiredAuth>,
    /// Default: the user's name.
    pub database: String,
    /// Default: `ReadWrite`.
    pub mode: TargetSessionAttrs,
    /// Default: `Random`.
    pub load_balance: LoadBalance,
    /// Default: `Reported`.
    pub role_check: RoleCheck,
    /// Default: `Reads`.
    pub pipelining: Pipelining,
    /// The most connections over all hosts. Default: 10.
    pub pool_size: usize,
    /// How long one attempt at one host may take, from the first packet to ReadyForQuery. Default:
    /// 2 s.
    pub connect_timeout: Duration,
    /// How long a call may wait for a connection, over all hosts and attempts. Default: 5 s.
    pub acquire_timeout: Duration,
    /// Whether calls fail at once if every host refuses outright and no server has ever answered
    /// the pool. Default: true.
    pub fail_fast: bool,
    /// How long one query may take, from the call to its answer. `None`, the default, sets no
    /// limit.
    pub query_timeout: Option<Duration>,
    /// How long a server may take to answer a query that it was asked to cancel. Default: 1 s.
    pub cancel_grace: Duration,
    /// How many free connections are kept ready, at most `pool_size`. Default: 0.
    pub min_idle: usize,
    /// How long a connection may be free before it is closed; `None` for ever. Default: 30 s.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used, less a jitter; `None` for ever. Default: 1 h.
    pub max_lifetime: Option<Duration>,
    /// How often a connection is given to a caller; `None`, the default, sets no limit.
    pub max_uses: Option<u64>,
    /// How often the sessions to the other hosts are asked once the primary is suspected. Default:
    /// 25 ms.
    pub failover_probe: Duration,
    /// After this much silence a host that owes an answer is probed on another connection. Default:
    /// 2 s.
    pub liveness_check: Duration,
    /// Whether idle TCP connections are probed. Default: true.
    pub keep_alive: bool,
    /// How long a connection is silent before the operating system probes it. Default: 10 s.
    pub keep_alive_delay: Duration,
    /// The time between probes that have no answer; `None`, the default, for 5 s.
    pub keep_alive_interval: Option<Duration>,
    /// How many probes without an answer end a connection; `None`, the default, leaves that to the
    /// operating system.
    pub keep_alive_count: Option<u32>,
    /// How long sent data may stay unacknowledged before the operating system gives the connection
    /// up; `None` leaves that to the system. Default: 30 s.
    pub tcp_user_timeout: Option<Duration>,
    /// How many prepared statements each connection keeps. 0 prepares none for reuse. Default: 256.
    pub statement_cache_size: usize,
    /// `None`, the default, sends no application_name.
    pub application_name: Option<String>,
    /// Run-time parameters for the StartupMessage, including `options` and those that have an
    /// option of their own. Default: none.
    pub parameters: Vec<(String, String)>,
    /// How long a caller's transaction may be idle before its connection is taken back; `None` for
    /// ever. Default: 5 min.
    pub idle_in_transaction: Option<Duration>,
    /// Whether a session that its user changed is reset before the next user gets it. Default:
    /// true.
    pub reset_on_release: bool,
    /// Whether the process may end while idle connections are open and the pool was not ended.
    /// Default: true.
    pub allow_exit_on_idle: bool,
    /// How many bytes the rows of one query may take, in the server's format. Default: 1 GiB.
    pub max_result_bytes: usize,
    /// How many calls may wait for a connection at the same time. Default: 1,000,000.
    pub max_queue: usize,
    /// Default: TLS for hosts that are not this machine and have it, without verification.
    pub tls: Tls,
}

impl Config {
    /// The password for a host: the one that was given, or that of the password file.
    pub fn password_for(&self, host: &Host) -> Option<Secret> {
        let of_file = || self.passfile.find(host, &self.database, &self.user);
        self.password.clone().or_else(of_file)
    }
}

/// What is asked of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    pub mode: SslMode,
    /// Nothing was said of TLS, so that connections within this machine do without.
    pub is_default: bool,
    /// The option `ssl` is a function, which is asked for each login. All but the mode and the
    /// channel binding comes from its answers.
    pub is_asked: bool,
    /// TLS begins without being asked for, as PostgreSQL 17 and later take it.
    pub is_direct: bool,
    pub roots: Roots,
    pub identity: Option<Identity>,
    /// Lists of revoked certificates, in PEM.
    pub revocations: Option<String>,
    /// The name that is sent and verified in place of a host's own.
    pub server_name: Option<String>,
    /// Whether the server is told the name (SNI).
    pub sends_name: bool,
    pub oldest: TlsVersion,
    pub newest: TlsVersion,
    pub channel_binding: ChannelBinding,
}

/// The most hosts of a pool: more than any cluster has, and few enough to try all at once.
pub const MAX_HOSTS: usize = 64;

/// A password. It can be used, and is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// An empty password counts as none, as in libpq.
    fn from_option(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What is not used any longer is not left in memory.
impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name that errors show: `h1:5432`, `[::1]:5432`, `/tmp`.
    pub name: Arc<str>,
    pub endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Ip(SocketAddr),
    /// A name that is not looked up, since its address is given (`hostaddr`). Certificates and the
    /// password file go by the name.
    Pinned {
        name: String,
        address: SocketAddr,
    },
    /// A name that Node looks up, anew for every connection attempt.
    Name {
        name: String,
        port: u16,
    },
    /// The whole path of a Unix socket, `<directory>/.s.PGSQL.<port>`.
    Unix {
        path: String,
    },
    /// A socket in Linux's abstract namespace. The name comes without the NUL byte that begins it
    /// for the kernel, as `SocketAddrExt::from_abstract_name` takes it.
    Abstract {
        name: Vec<u8>,
    },
}

/// Which hosts are acceptable, in libpq's words (PostgreSQL manual, 34.1.2,
/// `target_session_attrs`).
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

/// Which of the serving hosts gets a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalance {
    Random,
    LeastConnections,
    /// The host with the shortest round trip.
    Nearest,
}

/// Which calls may be sent behind others on a connection, with others behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// Calls that do nothing but read, as far as their text can show.
    Reads,
    /// Calls whose statement was quick lately, although it may have to wait the next time.
    All,
    /// None.
    Off,
}

/// How the role of a session is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleCheck {
    /// From the server's reports. A server before PostgreSQL 14 does not report its role, and is
    /// asked.
    Reported,
    /// By a question in front of each request, since a pooler in between may repeat an old report.
    Query,
}
