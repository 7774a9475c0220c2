//! What waits until a server has described types: how to ask the server, and what its answer does.

use std::num::NonZeroU32;
use std::time::Duration;

use super::errors::{no_types_within, not_sent, unreadable};
use super::known::Lack;
use super::untyped::{Answered, Read, Untyped, Waiter};
use super::{Next, TypeLookup};
use crate::base::Instant;
use crate::connection::Realm;
use crate::pool::connections::{Connections, Duty};
use crate::pool::requests::{MOST_REDESCRIPTIONS, Reason, Requests};
use crate::pool::{ConnectionId, Slot};
use crate::protocol::backend::TransactionStatus;

/// How often a server is asked for the same types while something keeps it from answering.
const MOST_QUESTIONS: u8 = 3;

/// What waits no longer.
#[derive(Debug)]
pub(in crate::pool) struct Released {
    pub(in crate::pool) connection: ConnectionId,
    pub(in crate::pool) next: Next,
}

impl TypeLookup {
    pub(in crate::pool) fn is_anything_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether callers wait for any of it.
    pub(in crate::pool) fn is_awaited(&self, requests: &Requests) -> bool {
        self.waiting.iter().any(|waits| match &waits.what {
            Waiter::Answer(_) => true,
            Waiter::Call(key) => requests.get(*key).is_some(),
        })
    }

    pub(in crate::pool) fn is_anything_waiting_on(&self, id: ConnectionId) -> bool {
        self.waiting.iter().any(|waits| waits.connection == id)
    }

    pub(in crate::pool) fn timeout(&self) -> Option<(Instant, &'static str)> {
        self.waiting.iter().map(|waits| (waits.deadline, "types")).min_by_key(|(at, _)| *at)
    }

    /// Something waits from now on until a server has described types, at most `within` this time.
    pub(in crate::pool) fn wait(
        &mut self,
        now: Instant,
        id: ConnectionId,
        what: Waiter,
        oids: Vec<u32>,
        within: Duration,
        connections: &Connections,
    ) {
        let slot = connections.get(id);
        self.waiting.push(Untyped::new(now, id, slot, what, oids, within));
    }

    /// Asks for the types that something waits for on a connection, once that can be done.
    pub(in crate::pool) fn ask(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connections: &mut Connections,
    ) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(slot) = connections.get_mut(id).filter(|slot| may_ask(slot)) else { return };
        let is_leased = matches!(slot.duty, Duty::Leased { .. });
        // A transaction that has failed runs no question.
        if slot.connection.transaction_status() == Some(TransactionStatus::Failed) {
            return;
        }
        // In a transaction it goes along with the question for the types.
        let in_transaction =
            slot.connection.transaction_status() == Some(TransactionStatus::InTransaction);
        if slot.realm.is_none() && !in_transaction && !slot.connection.is_asking_realm() {
            slot.connection.ask_realm(now);
        }
        for waits in self.waiting.iter_mut().filter(|waits| waits.connection == id) {
            if !std::mem::replace(&mut waits.is_asked, true) {
                waits.questions = waits.questions.saturating_add(1);
                slot.connection.ask_types(now, waits.oids.clone());
                // Each question in a transaction is alone in flight.
                if is_leased {
                    break;
                }
            }
        }
        connections.mark_writing(id);
    }

    /// What a session has reported of its database, in answer to the same question.
    pub(in crate::pool) fn take_realm(&mut self, id: ConnectionId, realm: Option<Realm>) {
        let waits = self.waiting.iter_mut().filter(|waits| waits.connection == id);
        waits.for_each(|waits| waits.origin.realm = waits.origin.realm.or(realm));
    }

    /// A read, where one waits for these types. Its answer is thrown away.
    pub(in crate::pool) fn take_read(&mut self, id: ConnectionId, asked: &[u32]) -> Option<Read> {
        let at = self.asked(id, asked)?;
        let Waiter::Answer(answered) = &mut self.waiting.get_mut(at)?.what else { return None };
        let read = answered.read.take()?;
        self.waiting.remove(at);
        Some(*read)
    }

    /// The server has answered a question for types, or has refused to. It may be asked again.
    pub(in crate::pool) fn conclude(
        &mut self,
        now: Instant,
        id: ConnectionId,
        asked: &[u32],
        lack: Option<Lack>,
    ) -> Option<Released> {
        let at = self.asked(id, asked)?;
        let waits = self.waiting.get_mut(at)?;
        match lack {
            // The session is in a transaction that another caller has left open, or has begun
            // since.
            Some(Lack::Unseen) if !waits.is_of_lease() => {
                waits.is_adrift = true;
                None
            }
            Some(Lack::Gone | Lack::Unseen) if matches!(waits.what, Waiter::Answer(_)) => {
                Some(self.refuse(at, "types in it were dropped"))
            }
            Some(Lack::Refused) if waits.questions < MOST_QUESTIONS => {
                waits.is_asked = false;
                None
            }
            Some(Lack::Refused) => {
                let why = format!(
                    "a lock, a cancel or a time limit kept the server {} times from describing its \
                     types",
                    waits.questions,
                );
                Some(self.refuse(at, &why))
            }
            _ => Some(self.release(now, at)),
        }
    }

    /// What has waited for these types. Its caller may not wait for it any more.
    fn asked(&self, id: ConnectionId, asked: &[u32]) -> Option<usize> {
        let is_it =
            |waits: &Untyped| waits.connection == id && waits.is_asked && waits.oids == asked;
        self.waiting.iter().position(is_it)
    }

    /// What waits becomes an error if it depends on types that no server describes.
    fn refuse(&mut self, at: usize, why: &str) -> Released {
        let Untyped { connection, what, .. } = self.waiting.remove(at);
        let next = match what {
            Waiter::Answer(answered) => Next::unreadable(answered, why),
            Waiter::Call(key) => Next::GoOnUnless(key, not_sent(why)),
        };
        Released { connection, next }
    }

    /// The server has described the types, or will not.
    fn release(&mut self, now: Instant, at: usize) -> Released {
        let Untyped { connection, what, deadline, within, .. } = self.waiting.remove(at);
        let is_late = deadline <= now;
        let next = match what {
            Waiter::Answer(answered) => match answered.limit {
                Some((limit, after)) if limit <= now => {
                    Next::HandOutEarly(answered, Reason::TimedOut { after })
                }
                _ if is_late => give_up(answered, within),
                _ => Next::HandOut(answered),
            },
            Waiter::Call(key) if is_late => {
                Next::GoOnUnless(key, not_sent(&no_types_within(within)))
            }
            Waiter::Call(key) => Next::GoOn(key),
        };
        Released { connection, next }
    }

    pub(in crate::pool) fn next_overdue(&mut self, now: Instant) -> Option<Released> {
        let at = self.waiting.iter().position(|waits| waits.deadline <= now)?;
        Some(self.release(now, at))
    }

    /// What waits in a transaction that has failed, so that its server describes nothing.
    pub(in crate::pool) fn next_in_failed_transaction(
        &mut self,
        now: Instant,
        connections: &Connections,
    ) -> Option<Released> {
        let has_failed = |waits: &Untyped| {
            let slot = connections.get(waits.connection).filter(|_| waits.is_of_lease());
            slot.filter(|slot| may_ask(slot)).is_some_and(|slot| {
                slot.connection.transaction_status() == Some(TransactionStatus::Failed)
            })
        };
        let at = self.waiting.iter().position(has_failed)?;
        Some(match self.waiting.get(at)?.what {
            Waiter::Call(_) => self.release(now, at),
            Waiter::Answer(_) => self.refuse(
                at,
                "its transaction has failed before the server described the types in it",
            ),
        })
    }

    /// An answer whose caller waits no longer for the types in it.
    pub(in crate::pool) fn next_unwanted(
        &mut self,
        is_unwanted: impl Fn(Option<NonZeroU32>, u32) -> bool,
    ) -> Option<(ConnectionId, Answered)> {
        let is_it = |waits: &Untyped| match waits.what {
            Waiter::Answer(Answered { request, lease, .. }) => is_unwanted(lease, request),
            Waiter::Call(_) => false,
        };
        let at = self.waiting.iter().position(is_it)?;
        match self.waiting.remove(at) {
            Untyped { connection, what: Waiter::Answer(answered), .. } => {
                Some((connection, answered))
            }
            Untyped { what: Waiter::Call(_), .. } => None,
        }
    }

    /// What waits in a transaction that is over.
    pub(in crate::pool) fn next_in_transaction(&mut self, id: ConnectionId) -> Option<Waiter> {
        let is_in = |waits: &Untyped| waits.connection == id && waits.is_of_lease();
        let at = self.waiting.iter().position(is_in)?;
        Some(self.waiting.remove(at).what)
    }
}

impl Next {
    pub(super) fn unreadable(answered: Answered, why: &str) -> Self {
        let error = unreadable(&answered, why);
        Self::Refuse(answered, error)
    }
}

/// The server has not answered in time. The connection may be a silent one. So a read is not held
/// until the server answers, as nothing would bound that.
fn give_up(mut answered: Answered, within: Duration) -> Next {
    let may_go_again = |read: &mut Box<Read>| read.call.redescribed < MOST_REDESCRIPTIONS;
    match answered.read.take_if(may_go_again) {
        Some(read) => Next::ReadAgain(read),
        None => Next::unreadable(answered, &no_types_within(within)),
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
