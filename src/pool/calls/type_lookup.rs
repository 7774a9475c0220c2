//! What waits until a server has told what stands behind types that users made, once for each type
//! and pool: answers that have such values, and calls with parameters that can't be fitted to such
//! types before.
//!
//! The question goes behind its request on the same connection, because the type may have been made
//! in this very transaction; not before a CancelRequest for the request is over, which would hit
//! the question. In a transaction it goes alone, behind a savepoint, and a lease's further calls
//! wait for it: what a server refuses there is undone before anything else of the user's runs. What
//! the pool's own role is refused outside of a transaction is not asked again.
//!
//! A call that was answered is over for the pool meanwhile; its caller's limit, signal or
//! transaction bounds what it waits. A read whose types are gone by the time of the question, or
//! whose connection is lost, is sent again, and so is a call that has not run. For any other answer
//! another connection to the same server is asked. Where nothing tells, the answer is an error that
//! says so: its arrays would be text by chance. A call whose values depend on the types is not sent
//! then. A server that is kept from telling, by a lock, a cancel or a limit, is asked three times.
//! Only where the role may never ask, the values of an answer are left the text that they came as,
//! and a parameter's type is taken for whatever its value fits. Where servers do not answer the
//! question at all, each within `connectTimeoutMs`, a read is an error once it was sent three times.

use std::time::Duration;

use super::late_values::UNRESOLVED_TYPES;
use super::waiting_for_types::{Answered, Origin, Read, Untyped, Waiter};
use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome};
use crate::connection::{DescriptionState, Effect, Form, Realm, TypesOutcome, TypesRefused};
use crate::pool::connections::Duty;
use crate::pool::requests::{MOST_REDESCRIPTIONS, Reason};
use crate::pool::{Call, ConnectionId, QueryFlags, Response, Slot};
use crate::protocol::backend::TransactionStatus;
use crate::types::{ParameterType, Shape, UserType};

/// So often a server is asked for the same types that is kept from telling them for the moment.
const MOST_QUESTIONS: u8 = 3;

impl Calls {
    /// A call has been answered on a connection.
    pub(in crate::pool) fn deliver(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        result: Result<Response, Error>,
        cx: &mut Context<'_>,
    ) {
        let mut response = match result {
            Ok(response) => response,
            Err(error) => return self.finish_call(key, Err(error)),
        };
        let unknown = match self.enter(id, cx) {
            true => self.name_types(&mut response),
            false => user_types(&response),
        };
        let call =
            self.requests.get(key).filter(|call| call.given_up.is_none_or(|g| !g.is_answered()));
        let waits = !unknown.is_empty();
        let Some(given_up) = call.map(|call| call.given_up).filter(|_| waits) else {
            return self.finish_call(key, Ok(response));
        };
        let Some(answered) = self.take_answered(id, key, response, cx) else { return };
        match given_up {
            // Its caller waits no longer, and is told what has come of it.
            Some(given_up) => self.hand_out_early(id, answered, given_up.reason, cx),
            None => {
                let limit = answered.limit.map(|(at, _)| at);
                self.wait_for_types(now, id, Waiter::Answer(answered), unknown, limit, cx);
                if !cx.connections.contains(id) {
                    self.release_untyped_of(id, cx);
                }
            }
        }
    }

    /// Takes a call that is answered out of the pool.
    fn take_answered(
        &mut self,
        id: ConnectionId,
        key: Key<Call>,
        response: Response,
        cx: &Context<'_>,
    ) -> Option<Answered> {
        let call = self.requests.get(key)?;
        let (request, lease) = (call.request, call.lease);
        let statement = call.statement_in(&self.statements);
        let only_reads = statement.is_some_and(|statement| statement.effect == Effect::None);
        let outcome = match only_reads {
            true => Outcome::NotCommitted,
            false => call.outcome_of(Outcome::Unknown),
        };
        let is_last_in_transaction = |slot: &Slot| {
            let status = slot.connection.transaction_status();
            let is_last = slot.connection.requests().next().is_none();
            status == Some(TransactionStatus::InTransaction) && is_last
        };
        let is_open = lease.is_some()
            && cx.connections.get(id).is_some_and(is_last_in_transaction)
            && !call.may_leave_transaction(&self.statements);
        let limit = self.requests.watches.due(request);
        self.requests.watches.remove(request);
        let read = self.take_read(key, limit);
        Some(Answered { request, lease, response, read, limit, outcome, is_open })
    }

    /// Takes a call that is answered out of the pool, and keeps it where it may run once more.
    fn take_read(
        &mut self,
        key: Key<Call>,
        limit: Option<(Instant, Duration)>,
    ) -> Option<Box<Read>> {
        let call = self.requests.get(key)?;
        let may_run_again =
            call.lease.is_none() && call.twin.is_none() && call.may_run_twice(&self.statements);
        if may_run_again {
            return self.requests.remove(key).map(|call| Box::new(Read { call, limit }));
        }
        self.tell_trace(key);
        self.forget_call(key);
        None
    }

    /// Sends those reads again whose connections were lost while they waited for types.
    pub(in crate::pool) fn read_unread(&mut self, now: Instant, cx: &mut Context<'_>) {
        for read in std::mem::take(&mut self.unread) {
            self.read_again(now, read, cx);
        }
    }

    /// Sends a read again whose types are gone, since its tables were made anew or dropped
    /// meanwhile, or whose connection was lost before they were told.
    fn read_again(&mut self, now: Instant, read: Read, cx: &mut Context<'_>) {
        let request = read.call.request;
        let may_be_held = read.call.may_be_held(&self.statements) && now < read.call.tries_until;
        if read.call.redescribed >= MOST_REDESCRIPTIONS && !may_be_held {
            self.let_read_go(Some(Box::new(read)));
            let message = "the types of its columns have changed while it was asked for";
            let class = ErrorClass::Configuration;
            let error = Error::new(class, "HYPERION_BINARY_RESULT", message);
            return self.complete(request, Err(error.with_outcome(Outcome::NotCommitted)));
        }
        let Read { mut call, limit } = read;
        call.try_again(now, cx.config.acquire_timeout);
        if let Some(statement) = call.statement.and_then(|id| self.statements.get_mut(id)) {
            statement.form = Form::Undescribed;
        }
        let is_cancellable = call.flags.has(QueryFlags::CANCELLABLE);
        let key = self.requests.insert(call);
        if is_cancellable {
            self.requests.watches.insert(request, key);
            if let Some(limit) = limit {
                self.requests.watches.go_on(request, limit);
            }
        }
        self.wait_again(now, std::iter::once(key), cx);
    }

    /// A call's statement was described. Returns whether the call has to wait until a server has
    /// told what is behind the types of its parameters and of its results.
    pub(in crate::pool) fn ask_parameter_types(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        cx: &mut Context<'_>,
    ) -> bool {
        let holds = self.enter(id, cx);
        let Some(call) = self.requests.get(key).filter(|call| call.given_up.is_none()) else {
            return false;
        };
        let DescriptionState::Done(description) = &call.description else { return false };
        // Which values its caller writes is not known before it has written them.
        let needs_resolution = match call.flags.has(QueryFlags::VALUES_TO_COME) {
            true => !description.unresolved().is_empty(),
            false => call.params.needs_resolution(&description.resolved),
        };
        let mut unknown = if needs_resolution { description.unresolved() } else { Vec::new() };
        // Arrays of domains among its results are asked for in binary, where it is known that they
        // are.
        unknown.extend(description.shape.iter().flat_map(|shape| shape.user_types()));
        unknown.retain(|oid| !(holds && self.catalog.has(*oid)));
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() && !needs_resolution {
            return false;
        }
        if unknown.is_empty() {
            self.resolve_parameters(key, |parameter| parameter);
            return false;
        }
        if let Some(call) = self.requests.get_mut(key) {
            call.set_aside(now);
        }
        self.wait_for_types(now, id, Waiter::Call(key), unknown, None, cx);
        true
    }

    fn wait_for_types(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        what: Waiter,
        oids: Vec<u32>,
        limit: Option<Instant>,
        cx: &mut Context<'_>,
    ) {
        let deadline = now + cx.config.connect_timeout;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let slot = cx.connections.get(connection);
        let origin = Origin {
            site: slot.map(Slot::site),
            realm: slot.and_then(|slot| slot.realm),
            is_pooled: slot.is_none_or(|slot| slot.connection.is_pooled()),
            at: now,
        };
        let waits = Untyped {
            connection,
            what,
            oids,
            is_asked: false,
            questions: 0,
            deadline,
            origin,
            is_adrift: false,
        };
        self.untyped.push(waits);
        self.note_waiting(now, connection, cx);
        self.release_failed_transactions(now, cx);
        self.ask_types(now, connection, cx);
    }

    /// The question for types, or the way back from it, was answered.
    pub(in crate::pool) fn types_outcome(
        &mut self,
        now: Instant,
        id: ConnectionId,
        outcome: TypesOutcome,
        cx: &mut Context<'_>,
    ) {
        match outcome {
            TypesOutcome::Answered { asked, types } => {
                self.types_answered(now, id, &asked, types, cx)
            }
            TypesOutcome::Refused(refused) => {
                if let Some(slot) = cx.connections.get_mut(id) {
                    slot.connection.roll_back_types(now, refused);
                    cx.connections.mark_writing(id);
                }
                return;
            }
            TypesOutcome::EndedTransaction(why) => {
                self.types_question_ended_transaction(now, id, &why, cx)
            }
        }
        self.release_failed_transactions(now, cx);
        self.ask_types(now, id, cx);
        if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty) {
            self.resume_lease(now, lease, cx);
        }
    }

    /// A server has told of types, or has refused to.
    fn types_answered(
        &mut self,
        now: Instant,
        id: ConnectionId,
        asked: &[u32],
        types: Result<Vec<(u32, UserType)>, TypesRefused>,
        cx: &mut Context<'_>,
    ) {
        // Nothing is learned from a connection whose database is not known.
        let is_known = cx.connections.get(id).is_some_and(|slot| slot.realm.is_some());
        let types = match is_known && self.enter(id, cx) {
            true => types,
            false => types.and(Err(TypesRefused { lasts: false })),
        };
        let lack = match types {
            Ok(types) => {
                if !self.statements.has_room_for_types(types.len()) {
                    self.forget_types();
                }
                self.statements.add_types(&types);
                // A transaction's snapshot may be older than a type.
                let status =
                    cx.connections.get(id).and_then(|slot| slot.connection.transaction_status());
                let is_found = |oid: &u32| types.iter().any(|(known, _)| known == oid);
                let are_all_found = asked.iter().all(is_found);
                let is_settled = status == Some(TransactionStatus::Idle);
                self.catalog.add(asked, types);
                match are_all_found {
                    true => None,
                    false if is_settled => Some(Lack::Gone),
                    false => Some(Lack::Unseen),
                }
            }
            Err(refused) => {
                self.refused_types(id, asked, refused, cx);
                (!refused.lasts).then_some(Lack::Refused)
            }
        };
        // Its caller may not wait for it any more.
        let waits =
            |waits: &Untyped| waits.connection == id && waits.is_asked && waits.oids == asked;
        let Some(at) = self.untyped.iter().position(waits) else { return };
        self.conclude(now, at, lack, cx);
    }

    /// The server has answered a question for types, or has refused to.
    fn conclude(&mut self, now: Instant, at: usize, lack: Option<Lack>, cx: &mut Context<'_>) {
        let read = match self.untyped.get_mut(at).map(|waits| &mut waits.what) {
            Some(Waiter::Answer(answered)) if lack.is_some() => answered.read.take(),
            _ => None,
        };
        if let Some(read) = read {
            self.untyped.remove(at);
            return self.read_again(now, *read, cx);
        }
        match (self.untyped.get_mut(at), lack) {
            // The session is in a transaction that another caller has left open, or has begun
            // since.
            (Some(waits), Some(Lack::Unseen)) if !waits.is_of_lease() => waits.is_adrift = true,
            (Some(Untyped { what: Waiter::Answer(_), .. }), Some(Lack::Gone | Lack::Unseen)) => {
                self.refuse(now, at, "types in it were dropped", cx);
            }
            (Some(waits), Some(Lack::Refused)) if waits.questions < MOST_QUESTIONS => {
                waits.is_asked = false;
            }
            (Some(waits), Some(Lack::Refused)) => {
                let why = format!(
                    "a lock, a cancel or a time limit kept the server {} times from describing its \
                     types",
                    waits.questions,
                );
                self.refuse(now, at, &why, cx);
            }
            _ => self.release_untyped(now, at, cx),
        }
    }

    /// What waits is an error where it depends on types of which no server tells.
    fn refuse(&mut self, now: Instant, at: usize, why: &str, cx: &mut Context<'_>) {
        let Untyped { connection, what, .. } = self.untyped.remove(at);
        self.note_waiting(now, connection, cx);
        match what {
            Waiter::Answer(answered) => self.refuse_answer(connection, answered, why, cx),
            Waiter::Call(key) if self.lacks_types(key) => self.refuse_call(now, key, why, cx),
            Waiter::Call(key) => self.go_on_with(now, key, cx),
        }
    }

    /// What a session has told of its database, in answer to the same question.
    pub(in crate::pool) fn take_realm(
        &mut self,
        id: ConnectionId,
        realm: Option<Realm>,
        cx: &mut Context<'_>,
    ) {
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.realm = realm.or(slot.realm);
            let waits = self.untyped.iter_mut().filter(|waits| waits.connection == id);
            waits.for_each(|waits| waits.origin.realm = waits.origin.realm.or(realm));
        }
    }

    fn refused_types(
        &mut self,
        id: ConnectionId,
        asked: &[u32],
        refused: TypesRefused,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get(id) else { return };
        if refused.lasts && slot.takes_calls() && slot.connection.is_clean() {
            // The role of a lease's session may be another one than the pool's.
            self.catalog.add_refusal(asked);
        }
    }

    /// What waits in a transaction that has failed goes on as if its server had refused to tell.
    pub(in crate::pool) fn release_failed_transactions(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        while let Some(at) = self.in_failed_transaction(cx) {
            if matches!(self.untyped.get(at).map(|it| &it.what), Some(Waiter::Call(_))) {
                self.release_untyped(now, at, cx);
                continue;
            }
            let waits = self.untyped.remove(at);
            self.note_waiting(now, waits.connection, cx);
            if let Waiter::Answer(answered) = waits.what {
                let why = "its transaction has failed before the server described the types in it";
                self.refuse_answer(waits.connection, answered, why, cx);
            }
        }
    }

    pub(in crate::pool) fn release_overdue(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(at) = self.untyped.iter().position(|waits| waits.deadline <= now) {
            self.release_untyped(now, at, cx);
        }
    }

    /// Something was told, or nothing will be.
    fn release_untyped(&mut self, now: Instant, at: usize, cx: &mut Context<'_>) {
        let Untyped { connection, what, deadline, .. } = self.untyped.remove(at);
        match what {
            Waiter::Answer(mut answered) => {
                self.note_waiting(now, connection, cx);
                match answered.limit.filter(|(at, _)| *at <= now) {
                    Some((_, after)) => {
                        let reason = Reason::TimedOut { after };
                        self.hand_out_early(connection, answered, reason, cx);
                    }
                    None if deadline <= now => {
                        // Its connection may be a silent one. It is not held by a server that does
                        // not answer: nothing would bound that.
                        let may_go_again =
                            |read: &mut Box<Read>| read.call.redescribed < MOST_REDESCRIPTIONS;
                        if let Some(read) = answered.read.take_if(may_go_again) {
                            return self.read_again(now, *read, cx);
                        }
                        self.refuse_answer(connection, answered, &no_types_within(cx), cx);
                    }
                    None => self.hand_out(connection, answered, cx),
                }
            }
            Waiter::Call(key) => {
                self.note_waiting(now, connection, cx);
                match deadline <= now && self.lacks_types(key) {
                    true => self.refuse_call(now, key, &no_types_within(cx), cx),
                    false => self.go_on_with(now, key, cx),
                }
            }
        }
    }

    /// No server tells what the types of a call's parameters are.
    fn refuse_call(&mut self, now: Instant, key: Key<Call>, why: &str, cx: &mut Context<'_>) {
        let message = format!("the query was not sent, as {why}, and its values depend on that");
        let error = Error::new(ErrorClass::Connection, UNRESOLVED_TYPES, message);
        let lease = self.requests.get(key).and_then(|call| call.lease);
        self.finish_call(key, Err(error.with_outcome(Outcome::NotSent)));
        if let Some(lease) = lease {
            self.resume_lease(now, lease, cx);
        }
    }

    /// Nothing more will be told for a call, which goes on with that.
    fn go_on_with(&mut self, now: Instant, key: Key<Call>, cx: &mut Context<'_>) {
        self.resolve_parameters(key, ParameterType::taken_as_it_is);
        if !self.ask_for_values(now, key) {
            self.take_up(now, key, cx);
        }
    }
}

fn no_types_within(cx: &Context<'_>) -> String {
    let within = cx.config.connect_timeout.as_millis();
    format!("the server did not describe its types within {within} ms (connectTimeoutMs)")
}

/// Why a server has not told all that it was asked of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// A type is not there any more.
    Gone,
    /// The transaction that was open does not see a type.
    Unseen,
    /// A lock or a cancel came in between.
    Refused,
}

/// The oids of all users' types in an answer.
fn user_types(response: &Response) -> Vec<u32> {
    let shapes = response.results.iter().filter_map(|result| result.shape.as_deref());
    let shapes = shapes.filter(|shape| shape.has_user_types());
    let mut oids: Vec<_> = shapes.flat_map(Shape::user_types).collect();
    oids.sort_unstable();
    oids.dedup();
    oids
}
