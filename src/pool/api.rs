//! The pool's inputs and outputs: plain values, so that a reactor, a simulation and a test drive it
//! alike.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::ConnectionId;
use super::requests::Trace;
use crate::base::{Error, ServerFields};
use crate::cluster::Decision;
use crate::cluster::HostView;
use crate::config::Host;
use crate::connection::{
    Begin, DescriptionState, Isolation, Role, StatementId, StatementResult, Weakness,
};
use crate::transfer::contract::{isolation_levels, query_flags};
use crate::types::Params;

/// One call by a caller.
#[derive(Debug)]
pub struct Query {
    /// The caller's number, which is returned with the answer.
    pub request: u32,
    /// The lease to run on, if the caller has a connection to itself.
    pub lease: Option<NonZeroU32>,
    pub statement: StatementId,
    pub params: Params,
    pub flags: QueryFlags,
}

/// How the pool is to treat a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryFlags(pub u32);

impl QueryFlags {
    pub const READ_ONLY: Self = Self(query_flags::READ_ONLY);
    pub const RELEASE: Self = Self(query_flags::RELEASE);
    pub const COMMIT: Self = Self(query_flags::COMMIT);
    /// `Pool::limit` and `Pool::cancel` may name it.
    pub const CANCELLABLE: Self = Self(query_flags::CANCELLABLE);
    pub const UNPREPARED: Self = Self(query_flags::UNPREPARED);
    /// The values come later, by `Pool::supply`: the caller's code writes them once
    /// [`Output::Types`] has given their types.
    pub const VALUES_TO_COME: Self = Self(query_flags::VALUES_TO_COME);
    /// The values were written for the types that `Pool::parameter_types` has returned. If a server
    /// describes other types, [`Output::Types`] asks for the values again.
    pub const VALUES_WRITTEN: Self = Self(query_flags::VALUES_WRITTEN);
    pub const HURRIED: Self = Self(query_flags::HURRIED);
    pub const TRACED: Self = Self(query_flags::TRACED);
    pub const TRANSACTION: Self = Self(query_flags::TRANSACTION);
    pub const END: Self = Self(query_flags::END);
    pub const BEGIN_READ_ONLY: Self = Self(query_flags::BEGIN_READ_ONLY);
    pub const BEGIN_DEFERRABLE: Self = Self(query_flags::BEGIN_DEFERRABLE);
    pub const REPEATED: Self = Self(query_flags::REPEATED);
    const ISOLATION: u32 = 7 << query_flags::ISOLATION_SHIFT;

    #[must_use]
    pub const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    #[must_use]
    pub const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }

    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Whether the call ends its transaction by a ROLLBACK.
    pub(super) const fn rolls_back(self) -> bool {
        self.has(Self::END) && !self.has(Self::COMMIT)
    }

    /// Whether the statement is described for this call.
    pub(super) fn description(self) -> DescriptionState {
        match self.has(Self::REPEATED) {
            true => DescriptionState::Due,
            false => DescriptionState::Shared,
        }
    }

    /// The transaction to which the call belongs.
    pub fn begin(self) -> Option<Begin> {
        let isolation = match (self.0 & Self::ISOLATION) >> query_flags::ISOLATION_SHIFT {
            isolation_levels::READ_UNCOMMITTED => Some(Isolation::ReadUncommitted),
            isolation_levels::READ_COMMITTED => Some(Isolation::ReadCommitted),
            isolation_levels::REPEATABLE_READ => Some(Isolation::RepeatableRead),
            isolation_levels::SERIALIZABLE => Some(Isolation::Serializable),
            _ => None,
        };
        self.has(Self::TRANSACTION).then(|| Begin {
            isolation,
            read_only: self.has(Self::BEGIN_READ_ONLY),
            deferrable: self.has(Self::BEGIN_DEFERRABLE),
        })
    }
}

#[derive(Debug)]
pub enum Output {
    /// Connect to the host, at this address if one is given, wherever the name leads by now.
    /// `Input::Connected` or `Input::Closed` answers. If the name leads to several addresses, try
    /// those in `last` last, in this order.
    Open {
        connection: ConnectionId,
        host: Arc<Host>,
        address: Option<SocketAddr>,
        last: Vec<SocketAddr>,
    },
    /// `Pool::outgoing` has bytes. This is returned once until all of them are taken.
    Write {
        connection: ConnectionId,
    },
    /// The pool has forgotten this connection: send these last messages if the socket accepts them
    /// at once, and close.
    Close {
        connection: ConnectionId,
        terminate: Vec<u8>,
    },
    /// Send the packet on a connection of its own, to the address that `connection` has reached,
    /// and wait until the server closes it. `Pool::cancel_ended` answers. Continue even if
    /// `connection` is closed meanwhile.
    Cancel {
        connection: ConnectionId,
        packet: Vec<u8>,
    },
    Completed {
        request: u32,
        result: Result<Response, Error>,
    },
    /// What has happened to a request with [`QueryFlags::TRACED`]. Comes before its answer. A
    /// request that the pool refuses at once has none.
    Traced {
        request: u32,
        trace: Trace,
    },
    /// The parameter types of a request whose values are still to come. May come again for the same
    /// request, after another description or the loss of a connection. `Pool::supply` answers each.
    Types {
        request: u32,
        oids: Vec<u32>,
    },
    Event(PoolEvent),
}

#[derive(Debug)]
pub struct Response {
    /// One for each statement that ran.
    pub results: Vec<StatementResult>,
    pub lease: Option<NonZeroU32>,
}

/// For how many bytes it is worth waking up. These are estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// At least this many bytes of rows will come.
    pub rows: usize,
    /// This many bytes, of several answers, are worth reading together.
    pub together: usize,
    /// Set if the answer to a barrier will come first.
    pub barrier: Option<Barrier>,
}

/// Whether the answer to a bare Sync should be read before the answer to the following request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    HeardAlone,
    HeardWithRequest,
}

/// An event of the pool, for its users.
#[derive(Clone, Debug)]
pub enum PoolEvent {
    /// A host has accepted a login, for queries or to ask the host for its role.
    Connect {
        host: Arc<str>,
        address: Option<SocketAddr>,
        role: Role,
        /// From the first attempt to connect to the end of the login.
        took: Duration,
    },
    /// A session that was logged in has ended.
    Remove {
        host: Arc<str>,
        reason: CloseReason,
        /// Why it ended, if something went wrong.
        error: Option<Error>,
        /// How long ago the login was.
        age: Duration,
    },
    /// Another host serves. `outage` is how long no host served while the pool was searching.
    Primary {
        host: Arc<str>,
        previous: Option<Arc<str>>,
        outage: Duration,
    },
    /// The host that served became read-only or a standby.
    Fence {
        host: Arc<str>,
        role: &'static str,
    },
    /// A second host claims to be the primary. Timelines are known where the hosts report them.
    Rival {
        host: Arc<str>,
        /// The host that serves, or served last.
        primary: Arc<str>,
        timeline: Option<u32>,
        primary_timeline: Option<u32>,
        decision: Decision,
    },
    /// The cluster was restored to an older timeline for good. Writes that were acknowledged on the
    /// newer timeline may be gone.
    Rewound {
        host: Arc<str>,
        timeline: u32,
        previous_timeline: u32,
    },
    /// What is known of a host has changed.
    Host {
        host: Arc<str>,
        state: &'static str,
        previous: &'static str,
        role: Option<Role>,
        error: Option<Error>,
    },
    Notice {
        host: Arc<str>,
        fields: Box<ServerFields>,
    },
    /// A login has shown a weakness.
    Weak {
        host: Arc<str>,
        weakness: Weakness,
    },
    /// The connection of a transaction that was idle for too long was taken back.
    Reclaimed {
        lease: NonZeroU32,
        /// The server ended it, by `idle_in_transaction_session_timeout`.
        by_server: bool,
    },
}

/// Why a session that was logged in has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The server or the network ended it.
    Lost,
    /// The pool or its caller gave the session up, with the requests in flight.
    Dropped,
    /// The session was idle for `idleTimeoutMs`.
    Idle,
    /// It reached `maxLifetimeMs` or `maxUses`.
    Expired,
    /// Its host does not serve, or has more sessions than its share; or it was a probe.
    Unneeded,
    /// The pool was ended.
    Ended,
}

impl CloseReason {
    /// In the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Dropped, Self::Idle, Self::Expired, Self::Unneeded, Self::Ended];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Dropped => "dropped",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Unneeded => "unneeded",
            Self::Ended => "ended",
        }
    }
}

/// A host, as the pool sees it now.
#[derive(Clone, Debug)]
pub struct HostStatus {
    pub view: HostView,
    /// How long it has been in its state.
    pub age: Duration,
    pub ages: Ages,
    /// Whether the pool sends calls to it.
    pub serves: bool,
    pub open: usize,
    pub busy: usize,
}

/// How long ago the pool learned each of these facts about a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    pub state: Option<Duration>,
    pub role: Option<Duration>,
    pub round_trip: Option<Duration>,
    pub lag: Option<Duration>,
}

/// How many connections and calls the pool has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub max_size: usize,
    /// Connections that are open or being opened.
    pub size: usize,
    /// Idle connections.
    pub available: usize,
    pub in_use: usize,
    /// Calls that have no connection yet.
    pub waiting: usize,
}
