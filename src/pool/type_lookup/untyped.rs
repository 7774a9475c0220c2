//! What waits on a connection for the types that were asked for there.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::base::{Error, Instant, Key, Outcome};
use crate::connection::{Realm, StatementId};
use crate::pool::connections::Site;
use crate::pool::{Call, ConnectionId, Response, Slot};

/// What waits on a connection for the types that were asked for there.
#[derive(Debug)]
pub(super) struct Untyped {
    pub(super) connection: ConnectionId,
    pub(super) what: Waiter,
    pub(super) oids: Vec<u32>,
    pub(super) is_asked: bool,
    /// How often it was.
    pub(super) questions: u8,
    /// So long a server has for its answer.
    pub(super) within: Duration,
    /// When that is over, or its caller no longer waits.
    pub(super) deadline: Instant,
    pub(super) origin: Origin,
    /// Its connection was lost, and no other one is asked yet.
    pub(super) is_adrift: bool,
}

impl Untyped {
    pub(super) fn new(
        now: Instant,
        connection: ConnectionId,
        slot: Option<&Slot>,
        what: Waiter,
        oids: Vec<u32>,
        within: Duration,
    ) -> Self {
        let limit = match &what {
            Waiter::Answer(answered) => answered.limit.map(|(at, _)| at),
            Waiter::Call(_) => None,
        };
        let deadline = now + within;
        Self {
            connection,
            what,
            oids,
            is_asked: false,
            questions: 0,
            within,
            deadline: limit.map_or(deadline, |limit| limit.min(deadline)),
            origin: Origin {
                site: slot.map(Slot::site),
                realm: slot.and_then(|slot| slot.realm),
                is_pooled: slot.is_none_or(|slot| slot.connection.is_pooled()),
                at: now,
            },
            is_adrift: false,
        }
    }

    /// What a caller of the pool has asked may wait on a connection that a lease has by now.
    pub(super) fn is_of_lease(&self) -> bool {
        match &self.what {
            Waiter::Answer(answered) => answered.lease.is_some(),
            Waiter::Call(_) => true,
        }
    }
}

#[derive(Debug)]
pub(in crate::pool) enum Waiter {
    Answer(Answered),
    /// It is set aside.
    Call(Key<Call>),
}

/// An answer, and what is certain of its statement.
#[derive(Debug)]
pub(in crate::pool) struct Answered {
    pub(in crate::pool) request: u32,
    /// `None` only where the statement is no longer known.
    pub(in crate::pool) statement: Option<StatementId>,
    /// On which it was asked.
    pub(in crate::pool) lease: Option<NonZeroU32>,
    pub(in crate::pool) response: Response,
    pub(in crate::pool) read: Option<Box<Read>>,
    /// When its caller no longer waits, and how long that was.
    pub(in crate::pool) limit: Option<(Instant, Duration)>,
    /// The outcome of the error that its caller gets if the answer can't be read.
    pub(in crate::pool) outcome: Outcome,
    /// The transaction that it ran in was open behind it, and nothing else was asked in it: it ends
    /// with the connection.
    pub(in crate::pool) is_open: bool,
}

impl Answered {
    pub(in crate::pool) fn mark_transaction(&self, error: Error) -> Error {
        if self.is_open { error.with_open_transaction() } else { error }
    }
}

/// A call that changes nothing, and when its caller no longer waits for it.
#[derive(Debug)]
pub(in crate::pool) struct Read {
    pub(in crate::pool) call: Call,
    pub(in crate::pool) limit: Option<(Instant, Duration)>,
}

/// Which server the types are of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) site: Option<Site>,
    pub(super) realm: Option<Realm>,
    pub(super) is_pooled: bool,
    /// When the connection was there.
    pub(super) at: Instant,
}

impl Origin {
    /// Whether another connection is to the same server: as the server reports, or because both
    /// were open at the same time, to the same address.
    pub(super) fn is_that_of(&self, slot: &Slot) -> bool {
        match (self.realm, slot.realm) {
            (Some(one), Some(other)) => {
                one.started().is_some() && one.started() == other.started() && !one.differs(other)
            }
            _ => {
                let was_there = slot.opened_at <= self.at && self.site == Some(slot.site());
                was_there && !self.is_pooled
            }
        }
    }
}
