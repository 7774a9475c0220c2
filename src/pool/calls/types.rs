//! What calls use of the types that the pool knows (`type_lookup`), and how answers that waited for
//! types are handed out.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Calls, Context};
use crate::base::{Error, Instant, Key, Mutation};
use crate::connection::{DescriptionState, Realm, Statement, StatementId};
use crate::pool::connections::Duty;
use crate::pool::requests::Reason;
use crate::pool::type_lookup::{Answered, Read, given_up_unresolved};
use crate::pool::{Call, ConnectionId, Output};
use crate::types::ParameterType;

impl Calls {
    /// What is known of users' types is what holds on this connection from now on. False where
    /// it is not known whether it does.
    pub(super) fn enter(&mut self, id: ConnectionId, cx: &mut Context<'_>) -> bool {
        self.forget_lost_types(cx);
        let realm = cx.connections.get(id).and_then(|slot| slot.realm);
        self.types.enter(realm, &mut self.statements)
    }

    /// A host has left, or another one has come in its place: what was done since may be lost.
    fn forget_lost_types(&mut self, cx: &mut Context<'_>) {
        if cx.discovery.take_lost_types() && self.types.knows_any() {
            self.forget_types();
        }
    }

    /// Descriptions of statements and types hold no longer.
    pub(in crate::pool) fn forget_types(&mut self) {
        self.types.forget(&mut self.statements);
    }

    /// A call is about to be sent. Returns whether what is known of its statement may not hold
    /// there.
    pub(super) fn is_strange(
        &mut self,
        now: Instant,
        id: ConnectionId,
        statement: StatementId,
        cx: &mut Context<'_>,
    ) -> bool {
        self.forget_lost_types(cx);
        if self.types.enter_with_call(now, cx.connections.get(id), &mut self.statements) {
            return false;
        }
        cx.connections.ask_realm(now, id);
        self.statements.get(statement).is_some_and(Statement::has_user_types)
    }

    /// What a session has reported of its database.
    pub(super) fn take_realm(
        &mut self,
        id: ConnectionId,
        realm: Option<Realm>,
        cx: &mut Context<'_>,
    ) {
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.realm = realm.or(slot.realm);
            self.types.take_realm(id, realm);
        }
    }

    /// Whether a lease's calls wait for the types that an answer on its connection needs.
    pub(super) fn waits_for_types(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let asks = cx.connections.get(id).is_some_and(|slot| slot.connection.is_asking_types());
        asks || self.types.is_anything_waiting_on(id)
    }

    /// A transaction whose caller waits for types is not idle.
    pub(super) fn note_waiting(&mut self, now: Instant, id: ConnectionId, cx: &mut Context<'_>) {
        if let Some(Duty::Leased { lease }) = cx.connections.get(id).map(|slot| slot.duty)
            && let Some(lease) = self.leases.get_mut(lease)
        {
            lease.await_types(now, self.types.is_anything_waiting_on(id));
        }
    }

    /// Puts what is known now into the description of a call.
    pub(super) fn resolve_parameters(
        &mut self,
        key: Key<Call>,
        taken: impl Fn(ParameterType) -> ParameterType,
    ) {
        let Some(call) = self.requests.get_mut(key) else { return };
        let DescriptionState::Done(description) = &mut call.description else { return };
        let resolved = Arc::new(self.types.resolved(description, taken));
        if let Some(statement) = call.statement {
            self.statements.replace_description(statement, description, &resolved);
        }
        *description = resolved;
    }

    /// The callers of these answers wait no longer for the types in them.
    pub(super) fn hand_out_untyped(
        &mut self,
        now: Instant,
        reason: Reason,
        is_unwanted: impl Fn(Option<NonZeroU32>, u32) -> bool,
        cx: &mut Context<'_>,
    ) {
        while let Some((id, answered)) = self.types.next_unwanted(&is_unwanted) {
            self.note_waiting(now, id, cx);
            self.hand_out_early(id, answered, reason, cx);
        }
    }

    /// The caller of an answer waits no longer for the types in it.
    pub(super) fn hand_out_early(
        &mut self,
        id: ConnectionId,
        mut answered: Answered,
        reason: Reason,
        cx: &mut Context<'_>,
    ) {
        if self.are_types_known(id, &mut answered, cx) || Mutation::HandOutUnresolved.is_on() {
            return self.hand_out(id, answered, cx);
        }
        let error = answered.mark_transaction(given_up_unresolved(answered.outcome, reason));
        self.refuse_answer(id, answered, error, cx);
    }

    pub(super) fn hand_out(
        &mut self,
        id: ConnectionId,
        mut answered: Answered,
        cx: &mut Context<'_>,
    ) {
        self.are_types_known(id, &mut answered, cx);
        self.let_read_go(answered.read);
        self.complete(answered.request, Ok(answered.response));
    }

    /// Whether all types in an answer are known by now, as far as servers describe them.
    fn are_types_known(
        &mut self,
        id: ConnectionId,
        answered: &mut Answered,
        cx: &mut Context<'_>,
    ) -> bool {
        self.enter(id, cx) && self.types.name_types(&mut answered.response).is_empty()
    }

    /// The caller of an answer gets an error in its place.
    pub(super) fn refuse_answer(
        &mut self,
        id: ConnectionId,
        answered: Answered,
        error: Error,
        cx: &Context<'_>,
    ) {
        self.let_read_go(answered.read);
        self.complete(answered.request, Err(cx.connections.at_host(id, error)));
    }

    /// A waiter of an answer, or of a call, goes: what was held for another try is let go.
    pub(super) fn let_read_go(&mut self, read: Option<Box<Read>>) {
        let Some(call) = read.map(|read| read.call) else { return };
        if let Some(trace) = call.trace {
            self.outputs.push_back(Output::Traced { request: call.request, trace: trace.finish() });
        }
        if let Some(statement) = call.statement {
            self.statements.let_go(statement);
        }
    }
}
