//! Calls and answers that wait for types: this does what `type_lookup` returns.

use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Outcome, ServerFields};
use crate::connection::{Effect, Form, TypesOutcome, TypesRefused};
use crate::pool::connections::Duty;
use crate::pool::requests::MOST_REDESCRIPTIONS;
use crate::pool::type_lookup::{Answered, Due, Next, Read, Released, Waiter};
use crate::pool::{Call, ConnectionId, QueryFlags, Response, Slot};
use crate::protocol::backend::TransactionStatus;
use crate::types::{ParameterType, Shape, UserType};

impl Calls {
    /// A call has been answered on a connection.
    pub(super) fn deliver(
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
            true => self.types.name_types(&mut response),
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
            // Its caller waits no longer, and hears what has come of it.
            Some(given_up) => self.hand_out_early(id, answered, given_up.reason, cx),
            None => {
                self.wait_for_types(now, id, Waiter::Answer(answered), unknown, cx);
                if !cx.connections.contains(id) {
                    self.release_untyped_of(now, id, cx);
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
        let (request, lease, of) = (call.request, call.lease, call.statement);
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
        Some(Answered { request, statement: of, lease, response, read, limit, outcome, is_open })
    }

    /// Takes a call that is answered out of the pool, and keeps it where it may run once more.
    fn take_read(
        &mut self,
        key: Key<Call>,
        limit: Option<(Instant, Duration)>,
    ) -> Option<Box<Read>> {
        let call = self.requests.get(key)?;
        let may_share = || call.statement_in(&self.statements).is_some_and(|it| it.may_share);
        let may_run_twice = call.may_run_twice(&self.statements)
            || (call.flags.has(QueryFlags::READ_ONLY) && may_share());
        let may_run_again = call.lease.is_none() && call.twin.is_none() && may_run_twice;
        if may_run_again {
            return self.requests.remove(key).map(|call| Box::new(Read { call, limit }));
        }
        self.tell_trace(key);
        self.forget_call(key);
        None
    }

    /// Sends those reads again whose connections were lost while they waited for types.
    pub(in crate::pool) fn read_unread(&mut self, now: Instant, cx: &mut Context<'_>) {
        for read in self.types.take_unread() {
            self.read_again(now, read, cx);
        }
    }

    /// Sends a read again whose types are gone, since its tables were made anew or dropped
    /// meanwhile, or whose connection was lost before they were described.
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
    /// described the types of its parameters and of its results.
    pub(super) fn ask_parameter_types(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        cx: &mut Context<'_>,
    ) -> bool {
        let holds = self.enter(id, cx);
        let Some(call) = self.requests.get_mut(key).filter(|call| call.given_up.is_none()) else {
            return false;
        };
        match self.types.due(call, holds) {
            Due::Nothing => false,
            Due::Known => {
                self.resolve_parameters(key, |parameter| parameter);
                false
            }
            Due::Question(oids) => {
                call.set_aside(now);
                self.wait_for_types(now, id, Waiter::Call(key), oids, cx);
                true
            }
        }
    }

    fn wait_for_types(
        &mut self,
        now: Instant,
        id: ConnectionId,
        what: Waiter,
        oids: Vec<u32>,
        cx: &mut Context<'_>,
    ) {
        let within = cx.config.connect_timeout;
        self.types.wait(now, id, what, oids, within, cx.connections);
        self.note_waiting(now, id, cx);
        self.release_failed_transactions(now, cx);
        self.types.ask(now, id, cx.connections);
    }

    /// The question for types, or the way back from it, was answered.
    pub(super) fn types_outcome(
        &mut self,
        now: Instant,
        id: ConnectionId,
        outcome: TypesOutcome,
        cx: &mut Context<'_>,
    ) {
        match outcome {
            TypesOutcome::Answered { asked, types } => {
                self.types_answered(now, id, &asked, types, cx);
            }
            TypesOutcome::Refused(refused) => {
                if let Some(slot) = cx.connections.get_mut(id) {
                    slot.connection.roll_back_types(now, refused);
                    cx.connections.mark_writing(id);
                }
                return;
            }
            TypesOutcome::EndedTransaction(why) => {
                self.types_question_ended_transaction(now, id, &why, cx);
            }
        }
        self.release_failed_transactions(now, cx);
        self.types.ask(now, id, cx.connections);
        if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty) {
            self.resume_lease(now, lease, cx);
        }
    }

    /// A server has described types, or has refused to.
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
        let slot = cx.connections.get(id);
        let lack = self.types.add(asked, types, slot, &mut self.statements);
        if lack.is_some()
            && let Some(read) = self.types.take_read(id, asked)
        {
            return self.read_again(now, read, cx);
        }
        if let Some(released) = self.types.conclude(now, id, asked, lack) {
            if let Next::Refuse(Answered { statement: Some(statement), .. }, _) = &released.next {
                self.statements.note_unread(now, *statement);
            }
            self.release(now, released, cx);
        }
    }

    /// A transaction was lost to the pool's own question. The caller that waits for the answer
    /// gets that error, since no other call of the transaction has failed.
    fn types_question_ended_transaction(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &ServerFields,
        cx: &mut Context<'_>,
    ) {
        while let Some(what) = self.types.next_in_transaction(id) {
            let error = Error::database(why.clone())
                .with_outcome(Outcome::NotCommitted)
                .with_failed_transaction();
            match what {
                Waiter::Answer(answered) => self.refuse_answer(id, answered, error, cx),
                Waiter::Call(key) => {
                    self.finish_call(key, Err(cx.connections.at_host(id, error)));
                }
            }
        }
        self.note_waiting(now, id, cx);
    }

    /// What waits in a failed transaction goes on as if its server had refused the question.
    pub(super) fn release_failed_transactions(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(released) = self.types.next_in_failed_transaction(now, cx.connections) {
            self.release(now, released, cx);
        }
    }

    pub(in crate::pool) fn release_overdue(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(released) = self.types.next_overdue(now) {
            self.release(now, released, cx);
        }
    }

    /// A connection is lost. Reads are sent again, and the types in other answers are asked for
    /// elsewhere.
    pub(super) fn release_untyped_of(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        while let Some(next) = self.types.next_lost(id, cx.life.is_open()) {
            self.go_on(now, id, next, cx);
        }
    }

    /// Has the types in answers asked for on other connections to the servers that have given them.
    pub(in crate::pool) fn resettle_untyped(&mut self, now: Instant, cx: &mut Context<'_>) {
        for (id, next) in self.types.resettle(now, cx.connections) {
            self.go_on(now, id, next, cx);
        }
    }

    fn release(&mut self, now: Instant, released: Released, cx: &mut Context<'_>) {
        let Released { connection, next } = released;
        self.note_waiting(now, connection, cx);
        self.go_on(now, connection, next, cx);
    }

    /// Does what is to be done with what has waited on a connection.
    fn go_on(&mut self, now: Instant, id: ConnectionId, next: Next, cx: &mut Context<'_>) {
        match next {
            Next::HandOut(answered) => self.hand_out(id, answered, cx),
            Next::HandOutEarly(answered, reason) => self.hand_out_early(id, answered, reason, cx),
            Next::Refuse(answered, error) => self.refuse_answer(id, answered, error, cx),
            Next::ReadAgain(read) => self.read_again(now, *read, cx),
            Next::GoOn(key) => self.go_on_with(now, key, cx),
            Next::GoOnUnless(key, error) if self.lacks_types(key) => {
                self.refuse_call(now, key, error, cx);
            }
            Next::GoOnUnless(key, _) => self.go_on_with(now, key, cx),
            Next::TakeUp(key) => self.requests.take_up_unless_leased(key),
        }
    }

    /// Whether the form of a call's values depends on a type that is not known so far.
    fn lacks_types(&self, key: Key<Call>) -> bool {
        self.requests.get(key).is_some_and(|call| self.types.is_lacking(call))
    }

    /// No server describes the types of a call's parameters.
    fn refuse_call(&mut self, now: Instant, key: Key<Call>, error: Error, cx: &mut Context<'_>) {
        let lease = self.requests.get(key).and_then(|call| call.lease);
        self.finish_call(key, Err(error));
        if let Some(lease) = lease {
            self.resume_lease(now, lease, cx);
        }
    }

    /// No more types will be described for a call, which goes on with what is known.
    fn go_on_with(&mut self, now: Instant, key: Key<Call>, cx: &mut Context<'_>) {
        self.resolve_parameters(key, ParameterType::taken_as_it_is);
        if !self.ask_for_values(now, key) {
            self.take_up(now, key, cx);
        }
    }
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
