//! What waits for the types that were asked for on a connection, and how it goes on without them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome, ServerFields};
use crate::connection::{DescriptionState, Realm};
use crate::pool::connections::{Duty, Site};
use crate::pool::requests::{Reason, given_up_error};
use crate::pool::{Call, ConnectionId, Output, QueryFlags, Response, Slot};
use crate::protocol::backend::TransactionStatus;
use crate::types::ParameterType;

/// What waits on a connection for the types that were asked for there.
#[derive(Debug)]
pub(in crate::pool) struct Untyped {
    pub(in crate::pool) connection: ConnectionId,
    pub(in crate::pool) what: Waiter,
    pub(in crate::pool) oids: Vec<u32>,
    pub(in crate::pool) is_asked: bool,
    /// How often it was.
    pub(in crate::pool) questions: u8,
    pub(in crate::pool) deadline: Instant,
    pub(in crate::pool) origin: Origin,
    /// Its connection was lost, and no other one is asked yet.
    pub(in crate::pool) is_adrift: bool,
}

impl Untyped {
    /// What a caller of the pool has asked may wait on a connection that a lease has by now.
    pub(in crate::pool) fn is_of_lease(&self) -> bool {
        match &self.what {
            Waiter::Answer(answered) => answered.lease.is_some(),
            Waiter::Call(_) => true,
        }
    }
}

/// Which server the types are of.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Origin {
    pub(in crate::pool) site: Option<Site>,
    pub(in crate::pool) realm: Option<Realm>,
    pub(in crate::pool) is_pooled: bool,
    /// When the connection was there.
    pub(in crate::pool) at: Instant,
}

impl Origin {
    /// Whether another connection is one to the same server: as it tells itself, or as far as both
    /// were open at the same time, to the same address.
    fn is_that_of(&self, slot: &Slot) -> bool {
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
    /// On which it was asked.
    pub(in crate::pool) lease: Option<NonZeroU32>,
    pub(in crate::pool) response: Response,
    pub(in crate::pool) read: Option<Box<Read>>,
    /// When its caller no longer waits, and how long that was.
    pub(in crate::pool) limit: Option<(Instant, Duration)>,
    /// What its caller is told, where the answer itself can't be.
    pub(in crate::pool) outcome: Outcome,
    /// The transaction that it ran in was open behind it, and nothing else was asked in it: it ends
    /// with the connection.
    pub(in crate::pool) is_open: bool,
}

impl Answered {
    fn mark_transaction(&self, error: Error) -> Error {
        if self.is_open { error.with_open_transaction() } else { error }
    }
}

/// A call that changes nothing, and when its caller no longer waits for it.
#[derive(Debug)]
pub(in crate::pool) struct Read {
    pub(in crate::pool) call: Call,
    pub(in crate::pool) limit: Option<(Instant, Duration)>,
}

impl Calls {
    /// Whether a lease's calls wait for the types that an answer on its connection needs.
    pub(in crate::pool) fn waits_for_types(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let asks = cx.connections.get(id).is_some_and(|slot| slot.connection.is_asking_types());
        asks || self.untyped.iter().any(|waits| waits.connection == id)
    }

    pub(in crate::pool) fn types_timeout(&self) -> Option<(Instant, &'static str)> {
        self.untyped.iter().map(|waits| (waits.deadline, "types")).min_by_key(|(at, _)| *at)
    }

    /// Asks for the types that something waits for on a connection, once that can be done.
    pub(in crate::pool) fn ask_types(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        if self.untyped.is_empty() {
            return;
        }
        let Some(slot) = cx.connections.get_mut(id).filter(|slot| may_ask(slot)) else { return };
        let is_leased = matches!(slot.duty, Duty::Leased { .. });
        // A transaction that has failed tells nothing.
        if slot.connection.transaction_status() == Some(TransactionStatus::Failed) {
            return;
        }
        // In a transaction it goes along with the question for the types.
        let in_transaction =
            slot.connection.transaction_status() == Some(TransactionStatus::InTransaction);
        if slot.realm.is_none() && !in_transaction && !slot.connection.is_asking_realm() {
            slot.connection.ask_realm(now);
        }
        for waits in self.untyped.iter_mut().filter(|waits| waits.connection == id) {
            if !std::mem::replace(&mut waits.is_asked, true) {
                waits.questions = waits.questions.saturating_add(1);
                slot.connection.ask_types(now, waits.oids.clone());
                // Each question in a transaction is alone in flight.
                if is_leased {
                    break;
                }
            }
        }
        cx.connections.mark_writing(id);
    }

    /// What waits on a connection for types whose transaction has failed, so that its server tells
    /// nothing.
    pub(in crate::pool) fn in_failed_transaction(&self, cx: &Context<'_>) -> Option<usize> {
        let has_failed = |waits: &Untyped| {
            let slot = cx.connections.get(waits.connection).filter(|_| waits.is_of_lease());
            slot.filter(|slot| may_ask(slot)).is_some_and(|slot| {
                slot.connection.transaction_status() == Some(TransactionStatus::Failed)
            })
        };
        self.untyped.iter().position(has_failed)
    }

    /// The callers of these answers wait no longer for the types in them.
    pub(in crate::pool) fn hand_out_untyped(
        &mut self,
        now: Instant,
        reason: Reason,
        is_wanted: impl Fn(Option<NonZeroU32>, u32) -> bool,
        cx: &mut Context<'_>,
    ) {
        let wanted = |waits: &Untyped| match waits.what {
            Waiter::Answer(Answered { request, lease, .. }) => is_wanted(lease, request),
            Waiter::Call(_) => false,
        };
        while let Some(at) = self.untyped.iter().position(wanted) {
            let Untyped { connection, what, .. } = self.untyped.remove(at);
            if let Waiter::Answer(answered) = what {
                self.note_waiting(now, connection, cx);
                self.hand_out_early(connection, answered, reason, cx);
            }
        }
    }

    /// The caller of an answer waits no longer for the types in it.
    pub(in crate::pool) fn hand_out_early(
        &mut self,
        id: ConnectionId,
        mut answered: Answered,
        reason: Reason,
        cx: &mut Context<'_>,
    ) {
        if self.are_types_known(id, &mut answered, cx) || Mutation::HandOutUnresolved.is_on() {
            return self.hand_out(id, answered, cx);
        }
        let outcome = answered.outcome;
        let what = match outcome {
            Outcome::Unknown => {
                "it has run, and the types in its answer are not resolved yet, so that the answer \
                 can't be read"
            }
            _ => "the types in its answer are not resolved yet",
        };
        let error = answered.mark_transaction(given_up_error(reason, outcome, what));
        self.let_read_go(answered.read);
        self.complete(answered.request, Err(cx.connections.at_host(id, error)));
    }

    /// Whether the form of a value depends on a type of which nothing was told so far.
    pub(in crate::pool) fn lacks_types(&self, key: Key<Call>) -> bool {
        let Some(call) = self.requests.get(key) else { return false };
        let DescriptionState::Done(description) = &call.description else { return false };
        let description = description.with_resolved(|oid| self.catalog.parameter_type(oid));
        match call.flags.has(QueryFlags::VALUES_TO_COME) {
            true => !description.unresolved().is_empty(),
            false => call.params.needs_resolution(&description.resolved),
        }
    }

    /// No server tells what the types in an answer are.
    pub(in crate::pool) fn refuse_answer(
        &mut self,
        id: ConnectionId,
        answered: Answered,
        why: &str,
        cx: &Context<'_>,
    ) {
        let outcome = answered.outcome;
        let done = match outcome {
            Outcome::Unknown if answered.is_open => ", and what it did is part of its transaction",
            Outcome::Unknown => ", and what it did has been done",
            _ => "",
        };
        let message = format!("the answer can't be read, as {why}: it was not kept{done}");
        let error = Error::new(ErrorClass::Protocol, "HYPERION_UNREADABLE_VALUE", message);
        let error = answered.mark_transaction(error);
        self.let_read_go(answered.read);
        let error = cx.connections.at_host(id, error.with_outcome(outcome));
        self.complete(answered.request, Err(error));
    }

    /// A connection is lost. Reads are sent again, and the types in other answers are asked for
    /// elsewhere.
    pub(in crate::pool) fn release_untyped_of(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let is_of = |waits: &Untyped| waits.connection == id && !waits.is_adrift;
        while let Some(at) = self.untyped.iter().position(is_of) {
            let waits = self.untyped.remove(at);
            match waits.what {
                Waiter::Answer(Answered { read: Some(read), .. }) if cx.life.is_open() => {
                    self.unread.push(*read);
                }
                Waiter::Answer(answered) if answered.read.is_some() => {
                    self.hand_out_early(id, answered, Reason::Ended, cx);
                }
                Waiter::Answer(answered) if answered.is_open => {
                    let message = "the connection was lost, and the transaction with it";
                    let code = "HYPERION_CONNECTION_LOST";
                    let error = Error::new(ErrorClass::Connection, code, message);
                    let error = error.with_outcome(Outcome::NotCommitted);
                    self.complete(answered.request, Err(cx.connections.at_host(id, error)));
                }
                Waiter::Answer(_) => self.untyped.push(Untyped { is_adrift: true, ..waits }),
                Waiter::Call(key) => self.requests.take_up_unless_leased(key),
            }
        }
    }

    /// Has the types in answers asked for on other connections to the servers that have given them.
    pub(in crate::pool) fn resettle_untyped(&mut self, now: Instant, cx: &mut Context<'_>) {
        let is_adrift = |waits: &Untyped| waits.is_adrift;
        if !self.untyped.iter().any(is_adrift) {
            return;
        }
        let all = std::mem::take(&mut self.untyped);
        let (adrift, others) = all.into_iter().partition(is_adrift);
        self.untyped = others;
        for waits in adrift {
            self.resettle(now, waits, cx);
        }
    }

    fn resettle(&mut self, now: Instant, mut waits: Untyped, cx: &mut Context<'_>) {
        let is_one = |id: &ConnectionId| {
            let slot = cx.connections.get(*id).filter(|slot| !slot.is_dropped);
            slot.is_some_and(|slot| waits.origin.is_that_of(slot))
        };
        let takes_calls =
            |id: &ConnectionId| cx.connections.get(*id).is_some_and(Slot::takes_calls);
        let others: Vec<_> = cx.connections.all().into_iter().filter(is_one).collect();
        if let Some(id) = others.iter().copied().find(takes_calls) {
            (waits.connection, waits.is_adrift, waits.is_asked) = (id, false, false);
            self.untyped.push(waits);
            return self.ask_types(now, id, cx);
        }
        // One may be at other work for now. One that comes later shows whether it is to that
        // server.
        if !others.is_empty() || waits.origin.realm.and_then(Realm::started).is_some() {
            return self.untyped.push(waits);
        }
        if let Waiter::Answer(answered) = waits.what {
            let why = "its connection was lost before the server had described the types in it";
            self.refuse_answer(waits.connection, answered, why, cx);
        }
    }

    /// A transaction was lost to the pool's own question. The caller that waits for the answer is
    /// told why, since no other call of the transaction has failed.
    pub(in crate::pool) fn types_question_ended_transaction(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &ServerFields,
        cx: &mut Context<'_>,
    ) {
        let is_of = |waits: &Untyped| waits.connection == id && waits.is_of_lease();
        while let Some(at) = self.untyped.iter().position(is_of) {
            let error = Error::database(why.clone())
                .with_outcome(Outcome::NotCommitted)
                .with_failed_transaction();
            let error = cx.connections.at_host(id, error);
            match self.untyped.remove(at).what {
                Waiter::Answer(answered) => {
                    self.let_read_go(answered.read);
                    self.complete(answered.request, Err(error));
                }
                Waiter::Call(key) => self.finish_call(key, Err(error)),
            }
        }
        self.note_waiting(now, id, cx);
    }

    /// A transaction whose caller waits for types is not idle.
    pub(in crate::pool) fn note_waiting(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let waits = self.untyped.iter().any(|waits| waits.connection == id);
        if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty)
            && let Some(lease) = self.leases.get_mut(lease)
        {
            lease.await_types(now, waits);
        }
    }

    /// A waiter of an answer, or of a call, goes: what was held for another try is let go.
    pub(in crate::pool) fn let_read_go(&mut self, read: Option<Box<Read>>) {
        let Some(call) = read.map(|read| read.call) else { return };
        if let Some(trace) = call.trace {
            self.outputs.push_back(Output::Traced { request: call.request, trace: trace.finish() });
        }
        if let Some(statement) = call.statement {
            self.statements.let_go(statement);
        }
    }

    pub(in crate::pool) fn hand_out(
        &mut self,
        id: ConnectionId,
        mut answered: Answered,
        cx: &mut Context<'_>,
    ) {
        self.are_types_known(id, &mut answered, cx);
        self.let_read_go(answered.read);
        self.complete(answered.request, Ok(answered.response));
    }

    /// Whether all that is to be told of the types in an answer is known by now.
    fn are_types_known(
        &mut self,
        id: ConnectionId,
        answered: &mut Answered,
        cx: &mut Context<'_>,
    ) -> bool {
        self.enter(id, cx) && self.name_types(&mut answered.response).is_empty()
    }

    /// Puts what is known of types into the shapes, and returns the oids that no server was asked
    /// for.
    pub(in crate::pool) fn name_types(&mut self, response: &mut Response) -> Vec<u32> {
        let mut unknown = Vec::new();
        for result in &mut response.results {
            if let Some(shape) = &mut result.shape {
                match self.catalog.name_types(shape) {
                    Ok(named) => *shape = named,
                    Err(oids) => unknown.extend(oids),
                }
            }
        }
        unknown
    }

    /// Puts what is known now into what was told for a call.
    pub(in crate::pool) fn resolve_parameters(
        &mut self,
        key: Key<Call>,
        taken: impl Fn(ParameterType) -> ParameterType,
    ) {
        let Some(call) = self.requests.get_mut(key) else { return };
        let DescriptionState::Done(description) = &mut call.description else { return };
        let resolved =
            Arc::new(description.with_resolved(|oid| taken(self.catalog.parameter_type(oid))));
        if let Some(statement) = call.statement {
            self.statements.replace_description(statement, description, &resolved);
        }
        *description = resolved;
    }
}

/// Whether a question for types may be put on a connection now.
fn may_ask(slot: &Slot) -> bool {
    // Where the requests in flight leave the transaction, nobody knows before they are answered.
    let is_leased = matches!(slot.duty, Duty::Leased { .. });
    let is_early = is_leased && slot.connection.requests().next().is_some();
    // A script that is sent in steps ends before anything stands behind it.
    let is_late = slot.connection.is_stepping();
    let is_held_up = slot.is_dropped || slot.cancelling.is_some();
    !is_held_up && !is_early && !is_late && !slot.connection.is_asking_types()
}
