//! What the pool goes by when it chooses among its connections, of each of them.

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

    /// Whether it takes no part in the work: there are few of these, unless a host is in doubt.
    pub(super) const fn is_apart(self) -> bool {
        !matches!(self, Self::Serving | Self::Leased)
    }
}

/// As a connection is at some moment. Whatever has no value is [`Instant::NEVER`], or
/// [`Facts::ALONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    /// See the methods of a slot of these names.
    pub(super) takes_calls: bool,
    pub(super) is_available: bool,
    /// It takes calls, and nothing at all is in flight.
    pub(super) is_empty: bool,
    /// It takes calls, and nothing is in flight but what the pool asks, behind which a call goes.
    pub(super) is_at_hand: bool,
    /// It is being reset, and calls wait for the end of that.
    pub(super) is_recovering: bool,
    pub(super) is_cancelling: bool,
    /// It knows how many cores it shares, and its server needs not be asked for its role.
    pub(super) knows_cores: bool,
    /// How many calls stand behind others here, not by choice.
    pub(super) behind: usize,
    /// How much is in flight where all of it is quick, so that a quick call may join.
    pub(super) quick_depth: usize,
    pub(super) free_since: Instant,
    pub(super) owes_since: Instant,
    pub(super) address: Option<SocketAddr>,
    /// Since when the server is at what a caller has asked.
    pub(super) asked_since: Instant,
    pub(super) heard_at: Instant,
    /// Since when the server is at the first of several requests.
    pub(super) shared_since: Instant,
    pub(super) expires_at: Instant,
    pub(super) lease_idle_since: Instant,
}

impl Facts {
    /// What `quick_depth` is of one that nothing may join.
    pub(super) const ALONE: usize = usize::MAX;
}
