//! The facts about each connection by which the pool chooses among connections.

use std::net::SocketAddr;

use crate::base::Instant;

/// A kind of duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Joining,
    Scouting,
    Serving,
    Revalidating,
    Leased,
    Rebalancing,
    Challenger,
    LivenessProbe,
}

impl Kind {
    pub(super) const COUNT: usize = 8;

    /// Whether such a connection takes no calls. There are few of these, unless a host is
    /// suspected.
    pub(super) const fn is_apart(self) -> bool {
        !matches!(self, Self::Serving | Self::Leased)
    }
}

/// The facts about a connection at one moment. A time without a value is [`Instant::NEVER`], and a
/// depth without a value is [`Facts::ALONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    /// See the methods with these names of a slot.
    pub(super) takes_calls: bool,
    pub(super) is_available: bool,
    /// The connection takes calls, and nothing is in flight on it.
    pub(super) is_empty: bool,
    /// The connection takes calls, and only the pool's own questions are in flight, after which a
    /// call may be sent.
    pub(super) is_at_hand: bool,
    /// The connection is being reset, and calls wait for the end of the reset.
    pub(super) is_recovering: bool,
    pub(super) is_cancelling: bool,
    /// The pool knows how many cores the server's host shares with this process, and need not ask
    /// the server for its role.
    pub(super) knows_cores: bool,
    /// How many calls wait behind others on this connection because no other was free.
    pub(super) behind: usize,
    /// How many requests are in flight, if all of them are quick, so that a quick call may join
    /// them.
    pub(super) quick_depth: usize,
    pub(super) free_since: Instant,
    pub(super) owes_since: Instant,
    pub(super) address: Option<SocketAddr>,
    /// Since when the server runs a caller's request.
    pub(super) asked_since: Instant,
    pub(super) heard_at: Instant,
    /// Since when the server runs the first of several requests.
    pub(super) shared_since: Instant,
    pub(super) expires_at: Instant,
    pub(super) lease_idle_since: Instant,
}

impl Facts {
    /// The `quick_depth` of a connection that no call may join.
    pub(super) const ALONE: usize = usize::MAX;
}
