//! What waits for the types that were asked for on a connection, and how it goes on without them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Error, Instant, Key, Outcome, ServerFields};
use crate::connection::Telling;
use crate::pool::connections::Duty;
use crate::pool::requests::{Reason, given_up_error};
use crate::pool::{Call, ConnectionId, Response, Slot};
use crate::protocol::backend::TransactionStatus;
use crate::types::ParameterType;

/// What waits on a connection for the types that were asked for there.
#[derive(Debug)]
pub(in crate::pool) struct Untyped {
    pub(in crate::pool) connection: ConnectionId,
    pub(in crate::pool) what: Waiter,
    pub(in crate::pool) oids: Vec<u32>,
    pub(in crate::pool) is_asked: bool,
    /// When nothing was told by then, it goes on as if the server had refused to.
    pub(in crate::pool) deadline: Instant,
}

#[derive(Debug)]
pub(in crate::pool) enum Waiter {
    Answer {
        request: u32,
        /// On which it was asked.
        lease: Option<NonZeroU32>,
        response: Response,
        read: Option<Box<Read>>,
    },
    /// It is set aside.
    Call(Key<Call>),
}

/// A call that changes nothing, and when its caller no longer waits for it.
#[derive(Debug)]
pub(in crate::pool) struct Read {
    pub(in crate::pool) call: Call,
    pub(in crate::pool) limit: Option<(Instant, Duration)>,
}

impl Calls {
    /// Whether a lease's calls wait for the types that an answer on its connection needs.
    pub(in crate::pool) fn is_typing(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
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
    pub(in crate::pool) fn untold(&self, cx: &Context<'_>) -> Option<usize> {
        let is_untold = |waits: &Untyped| {
            let slot = cx.connections.get(waits.connection);
            slot.filter(|slot| may_ask(slot)).is_some_and(|slot| {
                slot.connection.transaction_status() == Some(TransactionStatus::Failed)
            })
        };
        self.untyped.iter().position(is_untold)
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
            Waiter::Answer { request, lease, .. } => is_wanted(lease, request),
            Waiter::Call(_) => false,
        };
        while let Some(at) = self.untyped.iter().position(wanted) {
            let Untyped { connection, what, .. } = self.untyped.remove(at);
            if let Waiter::Answer { request, response, read, .. } = what {
                self.note_waiting(now, connection, cx);
                self.hand_out_early(connection, request, response, read, reason, cx);
            }
        }
    }

    /// The caller of an answer waits no longer for the types in it: a read is as if it had not run,
    /// and the answer of any other statement goes out as it came.
    pub(in crate::pool) fn hand_out_early(
        &mut self,
        id: ConnectionId,
        request: u32,
        response: Response,
        read: Option<Box<Read>>,
        reason: Reason,
        cx: &mut Context<'_>,
    ) {
        if read.is_none() {
            return self.hand_out(id, request, response, cx);
        }
        self.let_read_go(read);
        let what = "what the types in its answer are was not told yet";
        let error = given_up_error(reason, Outcome::NotCommitted, what);
        self.complete(request, Err(cx.connections.at_host(id, error)));
    }

    /// No answer will come any more on a connection.
    pub(in crate::pool) fn release_untyped_of(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        while let Some(at) = self.untyped.iter().position(|waits| waits.connection == id) {
            match self.untyped.remove(at).what {
                Waiter::Answer { read: Some(read), .. } if cx.life.is_open() => {
                    self.unread.push(*read);
                }
                Waiter::Answer { request, response, read, .. } => {
                    self.hand_out_early(id, request, response, read, Reason::Ended, cx);
                }
                Waiter::Call(key) => self.requests.take_up_unless_leased(key),
            }
        }
    }

    /// A transaction was lost to the pool's own question. The caller that waits for the answer is
    /// told why, since no other call of the transaction has failed.
    pub(in crate::pool) fn typing_ended_transaction(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &ServerFields,
        cx: &mut Context<'_>,
    ) {
        while let Some(at) = self.untyped.iter().position(|waits| waits.connection == id) {
            let error = Error::database(why.clone())
                .with_outcome(Outcome::NotCommitted)
                .with_failed_transaction();
            let error = cx.connections.at_host(id, error);
            match self.untyped.remove(at).what {
                Waiter::Answer { request, read, .. } => {
                    self.let_read_go(read);
                    self.complete(request, Err(error));
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
        if let Some(statement) = read.and_then(|read| read.call.statement) {
            self.statements.let_go(statement);
        }
    }

    pub(in crate::pool) fn hand_out(
        &mut self,
        id: ConnectionId,
        request: u32,
        mut response: Response,
        cx: &mut Context<'_>,
    ) {
        if self.enter(id, cx) {
            self.name_types(&mut response);
        }
        self.complete(request, Ok(response));
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
    pub(in crate::pool) fn fit_parameters(
        &mut self,
        key: Key<Call>,
        taken: impl Fn(ParameterType) -> ParameterType,
    ) {
        let Some(call) = self.requests.get_mut(key) else { return };
        let Telling::Done(told) = &mut call.telling else { return };
        let fitted = Arc::new(told.told(|oid| taken(self.catalog.parameter_type(oid))));
        if let Some(statement) = call.statement {
            self.statements.fit(statement, told, &fitted);
        }
        *told = fitted;
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
