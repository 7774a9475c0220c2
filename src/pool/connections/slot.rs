//! A connection of the pool, and its duty.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::cancelling::Cancelling;
use super::facts::{Facts, Kind};
use super::route::Route;
use crate::base::{Instant, Key, Mutation};
use crate::cluster::HostId;
use crate::config::Host;
use crate::connection::{Connection, Realm, Role};
use crate::protocol::backend::TransactionStatus;

/// After a request that the server has run for this long, nothing more is written.
pub(in crate::pool) const OVERDUE: Duration = Duration::from_millis(20);
/// About as long as a login takes.
const SLOW_RESET: Duration = Duration::from_millis(100);

/// Names a connection of the pool.
pub type ConnectionId = Key<Slot>;

#[derive(Debug)]
pub struct Slot {
    pub(in crate::pool) connection: Connection,
    pub(in crate::pool) host: HostId,
    /// The host itself, which may have left the list.
    pub(in crate::pool) target: Arc<Host>,
    /// The address that was reached, or is to be reached: the name may lead elsewhere by now.
    pub(in crate::pool) address: Option<SocketAddr>,
    pub(in crate::pool) route: Route,
    pub(in crate::pool) duty: Duty,
    pub(in crate::pool) opened_at: Instant,
    /// When the login was complete.
    pub(in crate::pool) joined_at: Option<Instant>,
    /// When the server's last bytes came, or the origin of time.
    pub(in crate::pool) heard_at: Instant,
    /// `Output::Write` was returned, and not all bytes have been taken since.
    pub(in crate::pool) writing: bool,
    /// Whether everything in flight is known to be quick.
    pub(in crate::pool) quick: bool,
    /// How many cores the server shares with this process.
    pub(in crate::pool) shared_cores: Option<usize>,
    /// Whether its last batch came while it was busy, so that it is kept busy.
    pub(in crate::pool) kept_at_work: bool,
    /// A running call was given up here. Nothing else is sent until its cancellation is over.
    pub(in crate::pool) cancelling: Option<Cancelling>,
    /// When the connection's lifetime ends.
    pub(in crate::pool) expires_at: Instant,
    /// How often it was given to a caller.
    pub(in crate::pool) uses: u64,
    /// Whether it takes no more calls, and is closed once it is free.
    pub(in crate::pool) expired: bool,
    /// The cluster and database that it is in, once these are known.
    pub(in crate::pool) realm: Option<Realm>,
    /// The last role that it reported.
    pub(in crate::pool) reported: Option<Role>,
    /// Whether it has shown that its server is the one that serves at another address, or can't
    /// show it.
    pub(in crate::pool) vouched: bool,
    /// Whether a call has left a transaction open here, which ends with the connection.
    pub(in crate::pool) left_open: bool,
    /// Whether the pool has given it up, and is about to close it.
    pub(in crate::pool) is_dropped: bool,
    /// Since when the transaction of its lease is idle, if one is open and nothing of it runs.
    pub(in crate::pool) lease_idle_since: Option<Instant>,
    /// It may have changed since it was last counted.
    pub(super) is_changed: bool,
    /// The facts by which it was counted last.
    pub(super) known: Option<Facts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Duty {
    /// The login is not complete: the first ReadyForQuery has not come.
    Joining,
    /// Logged in to a host that does not serve. The pool asks for its role from time to time,
    /// because a promotion is not reported to idle sessions.
    Scouting { ask_at: Instant },
    /// Takes calls.
    Serving,
    /// Idle on a host that may be gone. It serves again when it answers.
    Revalidating { deadline: Instant },
    /// Belongs to one caller.
    Leased { lease: NonZeroU32 },
    /// Logged in, although the pool is full. It will replace a connection to a host that has too
    /// many.
    Rebalancing,
    /// Finds out whether its host also claims to be the primary. Before its login is complete, it
    /// has no deadline of its own.
    Challenger { deadline: Option<Instant> },
    /// Finds out whether a silent host is alive. Before its login is complete, it has no question
    /// to repeat.
    LivenessProbe { ask_at: Option<Instant> },
}

impl Duty {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Joining => Kind::Joining,
            Self::Scouting { .. } => Kind::Scouting,
            Self::Serving => Kind::Serving,
            Self::Revalidating { .. } => Kind::Revalidating,
            Self::Leased { .. } => Kind::Leased,
            Self::Rebalancing => Kind::Rebalancing,
            Self::Challenger { .. } => Kind::Challenger,
            Self::LivenessProbe { .. } => Kind::LivenessProbe,
        }
    }
}

/// Where a session is: a host, and the address that its name led to.
pub(in crate::pool) type Site = (HostId, Option<SocketAddr>);

impl Slot {
    pub(in crate::pool) fn new(
        now: Instant,
        connection: Connection,
        (host, address): Site,
        target: Arc<Host>,
        route: Route,
        duty: Duty,
    ) -> Self {
        Self {
            connection,
            host,
            target,
            address,
            route,
            duty,
            opened_at: now,
            joined_at: None,
            heard_at: Instant::ORIGIN,
            writing: false,
            quick: false,
            shared_cores: None,
            kept_at_work: false,
            cancelling: None,
            expires_at: Instant::NEVER,
            uses: 0,
            expired: false,
            realm: None,
            reported: None,
            vouched: false,
            left_open: false,
            is_dropped: false,
            lease_idle_since: None,
            is_changed: false,
            known: None,
        }
    }

    /// The pool is about to change it.
    pub(super) fn change(&mut self, id: ConnectionId, changed: &mut Vec<ConnectionId>) {
        if !self.is_changed {
            self.is_changed = true;
            changed.push(id);
        }
    }

    /// Whether nothing may be written after the requests in flight, because there are none, or
    /// because the server has run the first one for too long.
    pub(in crate::pool) fn is_overdue(&self, now: Instant) -> bool {
        self.connection.head_since().is_none_or(|since| now.since(since) >= OVERDUE)
    }

    /// Whether its reset has taken longer than a login takes, so that a call which can have another
    /// connection does not wait for it.
    pub(in crate::pool) fn is_slow_to_reset(&self, now: Instant) -> bool {
        self.connection.is_resetting() && self.is_silent(now, SLOW_RESET)
    }

    pub(in crate::pool) fn site(&self) -> Site {
        (self.host, self.address)
    }

    /// Serving, with nothing in flight, and with all answers settled. One read may bring the
    /// answers to several requests, and the first of them may end this slot.
    pub(in crate::pool) fn is_idle(&self) -> bool {
        let serves = self.duty == Duty::Serving && self.cancelling.is_none();
        serves && !self.is_dropped && self.connection.is_idle() && !self.connection.has_events()
    }

    /// Whether calls may be sent here.
    pub(in crate::pool) fn takes_calls(&self) -> bool {
        let serves = self.duty == Duty::Serving && !self.expired && !self.is_dropped;
        serves && self.cancelling.is_none()
    }

    /// Whether it is free for a call.
    pub(in crate::pool) fn is_available(&self) -> bool {
        self.takes_calls() && self.connection.is_vacant()
    }

    /// Whether its duty is to ask the host for its role.
    pub(in crate::pool) fn asks_for(&self, host: HostId) -> bool {
        self.host == host && matches!(self.duty, Duty::Scouting { .. })
    }

    /// Since when it is being reset, if calls wait for the end of the reset.
    pub(in crate::pool) fn recovering_since(&self) -> Option<Instant> {
        let since = self.connection.head_since()?;
        (self.is_available() && !self.connection.is_at_hand()).then_some(since)
    }

    /// Since when it is idle.
    pub(in crate::pool) fn free_since(&self) -> Option<Instant> {
        if self.is_idle() { self.connection.idle_since() } else { None }
    }

    /// Whether its caller has left it in a state in which another caller may have it.
    pub(in crate::pool) fn is_at_rest(&self) -> bool {
        self.connection.is_vacant()
            && self.connection.transaction_status() == Some(TransactionStatus::Idle)
    }

    /// Whether the server has run the first request in flight for `bound` or longer.
    pub(in crate::pool) fn is_silent(&self, now: Instant, bound: Duration) -> bool {
        self.connection.head_since().is_some_and(|since| now.since(since) >= bound)
    }

    /// When a scout asks, or is given up because its host has not answered within `timeout`.
    pub(in crate::pool) fn scouts_at(&self, ask_at: Instant, timeout: Duration) -> Instant {
        match self.connection.head_since() {
            Some(since) if !Mutation::AskWithoutPause.is_on() => since + timeout,
            _ => ask_at,
        }
    }

    /// Since when the server owes a caller an answer and has sent nothing.
    pub(in crate::pool) fn owes_since(&self) -> Option<Instant> {
        let works = matches!(self.duty, Duty::Serving | Duty::Leased { .. }) && !self.is_dropped;
        let asked = self.connection.head_since().filter(|_| works)?;
        Some(asked.max(self.heard_at))
    }

    /// Since when the transaction of its lease is idle, if nothing of it runs.
    pub(super) fn lease_idle_since(&self) -> Option<Instant> {
        let is_leased = matches!(self.duty, Duty::Leased { .. });
        self.lease_idle_since.filter(|_| is_leased && self.connection.is_vacant())
    }

    /// Whether its session has not been established yet.
    pub(in crate::pool) fn is_joining(&self) -> bool {
        matches!(
            self.duty,
            Duty::Joining
                | Duty::Challenger { deadline: None }
                | Duty::LivenessProbe { ask_at: None }
        )
    }

    /// Whether it is a liveness probe that has no answer to its login or question yet.
    pub(in crate::pool) fn is_unanswered_probe(&self) -> bool {
        match self.duty {
            Duty::LivenessProbe { ask_at: None } => true,
            Duty::LivenessProbe { ask_at: Some(_) } => !self.connection.is_idle(),
            _ => false,
        }
    }

    /// Whether it counts against `poolSize`. Probes of hosts that do not serve do not.
    pub(in crate::pool) fn counts(&self) -> bool {
        match self.duty {
            Duty::Serving | Duty::Revalidating { .. } | Duty::Leased { .. } => true,
            Duty::Joining
            | Duty::Scouting { .. }
            | Duty::Rebalancing
            | Duty::Challenger { .. }
            | Duty::LivenessProbe { .. } => false,
        }
    }

    /// When the next step of a cancellation here is due.
    pub(in crate::pool) fn cancel_deadline(&self) -> Option<Instant> {
        let cancelling = self.cancelling.as_ref()?;
        let at = cancelling.deadline(self.connection.at_work());
        (at < Instant::NEVER).then_some(at)
    }

    /// Whether it is at another address of the same host.
    pub(in crate::pool) fn is_elsewhere(&self, (host, address): Site) -> bool {
        let is_known = self.address.is_some() && address.is_some();
        self.host == host && is_known && self.address != address
    }

    /// Whether a session that asks for its host replaces an older one: it is at the same address,
    /// or the host's name no longer leads to the older session's address.
    pub(in crate::pool) fn takes_over_from(&self, older: &Self) -> bool {
        let leads_to = |at: SocketAddr| match &self.route.lookup {
            Some(lookup) => lookup.contains(&at),
            None => true,
        };
        self.host == older.host
            && (self.address == older.address || !older.address.is_some_and(leads_to))
    }

    /// The facts by which it is counted.
    pub(super) fn facts(&self) -> Facts {
        let Self { connection, duty, expired, .. } = self;
        let kind = duty.kind();
        let serves = kind == Kind::Serving;
        let takes_calls = self.takes_calls();
        let (depth, head_since) = (connection.depth(), connection.head_since());
        let is_available = takes_calls && connection.is_vacant();
        let is_at_hand = is_available && connection.is_at_hand();
        let is_busy = head_since.is_some();
        let may_be_joined = takes_calls && self.quick && is_busy && connection.is_clean();
        let is_shared = kind != Kind::Leased && depth > 1;
        let is_shared = is_shared && connection.requests().nth(1).is_some();
        let never = Instant::NEVER;
        Facts {
            kind,
            takes_calls,
            is_available,
            is_empty: takes_calls && depth == 0,
            is_at_hand: is_at_hand && depth > 0,
            is_recovering: is_available && !is_at_hand && is_busy,
            is_cancelling: self.cancelling.is_some(),
            knows_cores: self.shared_cores.is_some() && connection.reports_role(),
            behind: if serves && !self.kept_at_work { depth.saturating_sub(2) } else { 0 },
            quick_depth: if may_be_joined { depth } else { Facts::ALONE },
            free_since: self.free_since().unwrap_or(never),
            owes_since: self.owes_since().unwrap_or(never),
            address: self.address,
            asked_since: head_since.filter(|_| !kind.is_apart()).unwrap_or(never),
            heard_at: self.heard_at,
            shared_since: head_since.filter(|_| is_shared).unwrap_or(never),
            expires_at: if self.counts() && !expired { self.expires_at } else { never },
            lease_idle_since: self.lease_idle_since().unwrap_or(never),
        }
    }
}
