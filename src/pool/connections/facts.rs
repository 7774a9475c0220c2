//! The facts of each connection by which the pool chooses among them.

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

    /// Whether it takes no calls: there are few of these, unless a host is suspected.
    pub(super) const fn is_apart(self) -> bool {
        !matches!(self, Self::Serving | Self::Leased)
    }
}

/// The facts of a connection at some moment. A time without a value is [`Instant::NEVER`], a depth
/// without one [`Facts::ALONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    /// See the methods of a slot of these names.
    pub(super) takes_calls: bool,
    pub(super) is_available: bool,
    /// It takes calls, and nothing at all is in flight.
    pub(super) is_empty: bool,
    /// It takes calls, and only questions of the pool are in flight, behind which a call may go.
    pub(super) is_at_hand: bool,
    /// It is being reset, and calls wait for that to end.
    pub(super) is_recovering: bool,
    pub(super) is_cancelling: bool,
    /// It is known how many cores its host shares with this process, and its server need not be
    /// asked for its role.
    pub(super) knows_cores: bool,
    /// How many calls stand behind others here, not by choice.
    pub(super) behind: usize,
    /// How many requests are in flight if all of them are quick, so that a quick call may join.
    pub(super) quick_depth: usize,
    pub(super) free_since: Instant,
    pub(super) owes_since: Instant,
    pub(super) address: Option<SocketAddr>,
    /// Since when the server is at a caller's request.
    pub(super) asked_since: Instant,
    pub(super) heard_at: Instant,
    /// Since when the server is at the first of several requests.
    pub(super) shared_since: Instant,
    pub(super) expires_at: Instant,
    pub(super) lease_idle_since: Instant,
}

impl Facts {
    /// The `quick_depth` of a connection that nothing may join.
    pub(super) const ALONE: usize = usize::MAX;
}
