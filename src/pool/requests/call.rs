//! A query until it is answered, and how far it has come.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::authored::Authored;
use super::call_trace::CallTrace;
use super::given_up::GivenUp;
use crate::base::{Instant, Key, Mutation, Outcome};
use crate::connection::{
    Description, DescriptionState, Statement, StatementId, Statements, Written,
};
use crate::pool::{ConnectionId, QueryFlags};
use crate::types::Params;

/// Descriptions and roles can change while a call waits. After this many such changes, the pool
/// delivers the call's error, unless the call can be held from then on.
pub(in crate::pool) const MOST_REDESCRIPTIONS: u8 = 2;
/// How often a read is sent once more because a standby's replay was in conflict with it.
pub(in crate::pool) const MOST_CONFLICTS: u8 = 2;

/// A query until it is answered. It keeps its parameters, because it may be sent again.
#[derive(Debug)]
pub(crate) struct Call {
    pub(in crate::pool) request: u32,
    pub(in crate::pool) lease: Option<NonZeroU32>,
    /// `None`: the caller wants a connection to itself, and nothing else.
    pub(in crate::pool) statement: Option<StatementId>,
    pub(in crate::pool) params: Params,
    pub(in crate::pool) flags: QueryFlags,
    /// When the wait for a connection ends. The time in flight does not count as waiting.
    pub(in crate::pool) deadline: Instant,
    /// How often the call was sent again because its statement or its host's role had changed.
    pub(in crate::pool) redescribed: u8,
    /// How often it was sent again because of a conflict with a standby's replay.
    pub(in crate::pool) conflicts: u8,
    /// Until when the call is tried again, if it can be held.
    pub(in crate::pool) tries_until: Instant,
    /// How often a connection was lost on which the call may have run. Connections that were
    /// already open at the previous loss do not count.
    pub(in crate::pool) losses: u8,
    /// When the last connection that counts was lost.
    pub(in crate::pool) lost_at: Instant,
    pub(in crate::pool) phase: Phase,
    pub(in crate::pool) given_up: Option<GivenUp>,
    /// The call is in flight in a second place.
    pub(in crate::pool) twin: Option<Twin>,
    /// Whether a server has described the statement for this call.
    pub(in crate::pool) description: DescriptionState,
    /// Set if the caller's code writes the values.
    pub(in crate::pool) authored: Option<Box<Authored>>,
    /// What has happened to the call so far, if its caller wants to know.
    pub(in crate::pool) trace: Option<Box<CallTrace>>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Phase {
    /// The call waits in the queue for a connection, or for its turn on the connection of its
    /// lease.
    Queued,
    /// It was written to a connection.
    Sent { to: ConnectionId, at: Instant },
    /// The call needs no connection now: its caller has to supply its values, or a server has to
    /// describe their types.
    Aside,
}

/// The second place in which a call is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Twin {
    /// The call has left a copy in an older place.
    Copy(Key<Call>),
    /// The call is the copy of another call.
    CopyOf(Key<Call>),
}

impl Call {
    pub(in crate::pool) fn new(request: u32, flags: QueryFlags, deadline: Instant) -> Self {
        Self {
            request,
            lease: None,
            statement: None,
            params: Params::new(),
            flags,
            deadline,
            redescribed: 0,
            conflicts: 0,
            tries_until: Instant::ORIGIN,
            losses: 0,
            lost_at: Instant::ORIGIN,
            phase: Phase::Queued,
            given_up: None,
            twin: None,
            description: flags.description(),
            authored: None,
            trace: None,
        }
    }

    /// The connection on which the call was sent.
    pub(in crate::pool) const fn sent_to(&self) -> Option<ConnectionId> {
        match self.phase {
            Phase::Sent { to, .. } => Some(to),
            Phase::Queued | Phase::Aside => None,
        }
    }

    pub(in crate::pool) const fn is_aside(&self) -> bool {
        matches!(self.phase, Phase::Aside)
    }

    /// The types for which the values were written.
    pub(in crate::pool) fn written(&self) -> Option<&Written> {
        self.authored.as_deref().and_then(Authored::written)
    }

    /// A server has described the statement for this call. Returns whether the values may be sent
    /// by that description. If they were written for other types, the caller has to write them
    /// again.
    pub(in crate::pool) fn described(
        &mut self,
        by: ConnectionId,
        description: Arc<Description>,
    ) -> bool {
        let is_fit = match &mut self.authored {
            Some(authored) => {
                let types = &description.parameter_types;
                authored.described(by, types) || authored.redraft(&mut self.params, types)
            }
            None => true,
        };
        self.description = DescriptionState::Done(description);
        if !is_fit {
            self.flags = self.flags.with(QueryFlags::VALUES_TO_COME);
        }
        is_fit
    }

    /// The call is about to be sent on a connection. If another connection has described the
    /// statement, and the caller has written values by that description, the statement has to be
    /// described again.
    pub(in crate::pool) fn describe_again_on(&mut self, to: ConnectionId) {
        let is_elsewhere = self.authored.as_ref().is_some_and(|it| it.is_described_elsewhere(to));
        if is_elsewhere && matches!(self.description, DescriptionState::Done(_)) {
            self.description = DescriptionState::Due;
        }
    }

    /// How long a call that is sent now has waited for a connection since it was made. The time in
    /// flight does not count.
    pub(in crate::pool) fn waited(&self, sent_at: Instant, acquire_timeout: Duration) -> Duration {
        match self.deadline >= sent_at {
            true => acquire_timeout.saturating_sub(self.deadline.since(sent_at)),
            false => acquire_timeout + sent_at.since(self.deadline),
        }
    }

    /// The call is no longer on a connection. Its time in flight does not count as waiting.
    pub(in crate::pool) fn come_back(&mut self, now: Instant) {
        if let Phase::Sent { at, .. } = self.phase {
            self.deadline = self.deadline + now.since(at);
            self.phase = Phase::Queued;
        }
    }

    /// The call gives up its connection, and needs none until [`Self::take_up`].
    pub(in crate::pool) fn set_aside(&mut self, now: Instant) {
        self.come_back(now);
        self.phase = Phase::Aside;
    }

    /// The call needs a connection again. Returns whether it did not before.
    pub(in crate::pool) fn take_up(&mut self) -> bool {
        let was_aside = self.is_aside();
        if was_aside {
            self.phase = Phase::Queued;
        }
        was_aside
    }

    pub(in crate::pool) fn is_given_up(&self) -> bool {
        self.given_up.is_some()
    }

    /// Whether this is the copy of a call that was sent again elsewhere.
    pub(in crate::pool) const fn is_copy(&self) -> bool {
        matches!(self.twin, Some(Twin::CopyOf(_)))
    }

    pub(in crate::pool) fn statement_in<'a>(
        &self,
        statements: &'a Statements,
    ) -> Option<&'a Statement> {
        statements.get(self.statement?)
    }

    /// The call is sent again. The attempts end this long after the first one.
    pub(in crate::pool) fn try_again(&mut self, now: Instant, within: Duration) {
        if self.redescribed == 0 {
            self.tries_until = now + within;
        }
        self.redescribed = self.redescribed.saturating_add(1);
    }

    /// Whether the statement can be described and run in a transaction of its own. A statement that
    /// may commit halfway can't.
    pub(in crate::pool) fn may_be_held(&self, statements: &Statements) -> bool {
        self.lease.is_none()
            && !Mutation::HoldNothing.is_on()
            && !self.flags.has(QueryFlags::VALUES_TO_COME)
            && self.statement_in(statements).is_some_and(|statement| statement.may_share)
    }

    /// Whether the statement is held, because it was refused often enough due to earlier
    /// descriptions, or because another answer of it could not be read: a held statement does not
    /// run before its types are known. If the caller's code has written the values, their types are
    /// described first, and declared.
    pub(in crate::pool) fn is_held(&self, statements: &Statements) -> bool {
        let is_bound =
            self.written().is_some() && !matches!(self.description, DescriptionState::Done(_));
        let is_restless = || self.statement_in(statements).is_some_and(Statement::is_restless);
        !is_bound
            && (self.redescribed >= MOST_REDESCRIPTIONS || is_restless())
            && self.may_be_held(statements)
    }

    /// Whether the statement may end its transaction, as far as its text shows.
    pub(in crate::pool) fn may_leave_transaction(&self, statements: &Statements) -> bool {
        self.statement_in(statements).is_none_or(Statement::may_leave_transaction)
    }

    pub(in crate::pool) fn may_run_twice(&self, statements: &Statements) -> bool {
        self.statement_in(statements).is_some_and(|statement| statement.may_run_twice)
    }

    /// The call's outcome while it is on no connection. A call that may have run before was
    /// declared to be read-only, or its transaction was.
    pub(in crate::pool) fn outcome(&self) -> Outcome {
        match self.losses {
            0 => Outcome::NotSent,
            _ => Outcome::NotCommitted,
        }
    }

    /// The outcome that the caller gets. The caller may have declared the call to be read-only.
    pub(in crate::pool) fn outcome_of(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown if self.flags.has(QueryFlags::READ_ONLY) => Outcome::NotCommitted,
            outcome => outcome,
        }
    }
}
