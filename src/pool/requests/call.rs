//! A query until it is answered, and where it is on its way there.

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

/// Descriptions and roles can change while calls wait. The pool delivers a call's error once the
/// call has met such changes this often, unless it can be held from then on.
pub(in crate::pool) const MOST_REDESCRIPTIONS: u8 = 2;

/// A query until it is answered. It keeps its parameters, because it may be sent again.
#[derive(Debug)]
pub(crate) struct Call {
    pub(in crate::pool) request: u32,
    pub(in crate::pool) lease: Option<NonZeroU32>,
    /// `None`: it wants a connection for itself, and nothing else.
    pub(in crate::pool) statement: Option<StatementId>,
    pub(in crate::pool) params: Params,
    pub(in crate::pool) flags: QueryFlags,
    /// When waiting for a connection ends. The time at work is no waiting.
    pub(in crate::pool) deadline: Instant,
    /// How often it was sent again because its statement, or its host's role, had changed since.
    pub(in crate::pool) redescribed: u8,
    /// Until when it is, where it can be held.
    pub(in crate::pool) tries_until: Instant,
    /// How often a connection was lost that may have been at it. Connections that were open at the
    /// previous loss do not count.
    pub(in crate::pool) losses: u8,
    /// When the last one that counts was lost.
    pub(in crate::pool) lost_at: Instant,
    pub(in crate::pool) phase: Phase,
    pub(in crate::pool) given_up: Option<GivenUp>,
    /// It is in flight in another place too.
    pub(in crate::pool) twin: Option<Twin>,
    /// Whether a server has described its statement for it.
    pub(in crate::pool) description: DescriptionState,
    /// Where code of the caller's writes its values.
    pub(in crate::pool) authored: Option<Box<Authored>>,
    /// What it has met so far, where its caller wants to know that.
    pub(in crate::pool) trace: Option<Box<CallTrace>>,
}

/// Where a call is on its way to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Phase {
    /// It waits in line for a connection, or for its turn on that of its lease.
    Queued,
    /// It was written to a connection.
    Sent { to: ConnectionId, at: Instant },
    /// It asks for no connection: its caller is to supply its values, or a server to describe their
    /// types.
    Aside,
}

/// The other place in which a call is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Twin {
    /// It has a copy in an older place.
    Copy(Key<Call>),
    /// It is the copy of another one.
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

    /// The connection that it was written to.
    pub(in crate::pool) const fn sent_to(&self) -> Option<ConnectionId> {
        match self.phase {
            Phase::Sent { to, .. } => Some(to),
            Phase::Queued | Phase::Aside => None,
        }
    }

    pub(in crate::pool) const fn is_aside(&self) -> bool {
        matches!(self.phase, Phase::Aside)
    }

    /// What its values were written for.
    pub(in crate::pool) fn written(&self) -> Option<&Written> {
        self.authored.as_deref().and_then(Authored::written)
    }

    /// Its statement was described for it. Returns whether its values may go by that description:
    /// if they were written for other types, the caller has to write them once more.
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

    /// A call goes to a connection. A description from another connection does not hold for values
    /// that the caller has written by it.
    pub(in crate::pool) fn describe_again_on(&mut self, to: ConnectionId) {
        let is_elsewhere = self.authored.as_ref().is_some_and(|it| it.is_described_elsewhere(to));
        if is_elsewhere && matches!(self.description, DescriptionState::Done(_)) {
            self.description = DescriptionState::Due;
        }
    }

    /// For how long a call that is sent at this moment has waited for a connection since it was
    /// made. The time at work was no waiting.
    pub(in crate::pool) fn waited(&self, sent_at: Instant, acquire_timeout: Duration) -> Duration {
        match self.deadline >= sent_at {
            true => acquire_timeout.saturating_sub(self.deadline.since(sent_at)),
            false => acquire_timeout + sent_at.since(self.deadline),
        }
    }

    /// It is on no connection any more. The time at work was no waiting.
    pub(in crate::pool) fn come_back(&mut self, now: Instant) {
        if let Phase::Sent { at, .. } = self.phase {
            self.deadline = self.deadline + now.since(at);
            self.phase = Phase::Queued;
        }
    }

    /// It lets go of its connection, and asks for none until it is taken up.
    pub(in crate::pool) fn set_aside(&mut self, now: Instant) {
        self.come_back(now);
        self.phase = Phase::Aside;
    }

    /// Nothing keeps it aside any more. Returns whether something did.
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

    /// Whether it takes the place of another one that went elsewhere.
    pub(in crate::pool) const fn is_copy(&self) -> bool {
        matches!(self.twin, Some(Twin::CopyOf(_)))
    }

    pub(in crate::pool) fn statement_in<'a>(
        &self,
        statements: &'a Statements,
    ) -> Option<&'a Statement> {
        statements.get(self.statement?)
    }

    /// It is sent once more, and tries end so long after the first time.
    pub(in crate::pool) fn try_again(&mut self, now: Instant, within: Duration) {
        if self.redescribed == 0 {
            self.tries_until = now + within;
        }
        self.redescribed = self.redescribed.saturating_add(1);
    }

    /// Whether it can be described and run in a transaction of its own. What commits half-way
    /// can't.
    pub(in crate::pool) fn may_be_held(&self, statements: &Statements) -> bool {
        self.lease.is_none()
            && !Mutation::HoldNothing.is_on()
            && !self.flags.has(QueryFlags::VALUES_TO_COME)
            && self.statement_in(statements).is_some_and(|statement| statement.may_share)
    }

    /// Whether it is, since it was refused often enough because of earlier descriptions. Where the
    /// caller's code has written its values, their types are described first, and declared.
    pub(in crate::pool) fn is_held(&self, statements: &Statements) -> bool {
        let is_bound =
            self.written().is_some() && !matches!(self.description, DescriptionState::Done(_));
        !is_bound && self.redescribed >= MOST_REDESCRIPTIONS && self.may_be_held(statements)
    }

    /// Whether its statement may end its transaction, as far as its text shows.
    pub(in crate::pool) fn may_leave_transaction(&self, statements: &Statements) -> bool {
        self.statement_in(statements).is_none_or(Statement::may_leave_transaction)
    }

    pub(in crate::pool) fn may_run_twice(&self, statements: &Statements) -> bool {
        self.statement_in(statements).is_some_and(|statement| statement.may_run_twice)
    }

    /// What is certain of it while no connection has it. A call that may have run before was
    /// declared to change nothing, or its transaction was begun read-only.
    pub(in crate::pool) fn outcome(&self) -> Outcome {
        match self.losses {
            0 => Outcome::NotSent,
            _ => Outcome::NotCommitted,
        }
    }

    /// The outcome that its caller gets, who may have declared that it changes nothing.
    pub(in crate::pool) fn outcome_of(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown if self.flags.has(QueryFlags::READ_ONLY) => Outcome::NotCommitted,
            outcome => outcome,
        }
    }
}
