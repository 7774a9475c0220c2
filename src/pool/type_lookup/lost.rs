//! What waited for types on a connection that is lost: reads are sent again, and the types in other
//! answers are asked for on another connection to the same server.

use super::errors::lost_with_transaction;
use super::untyped::{Answered, Read, Untyped, Waiter};
use super::{Next, TypeLookup};
use crate::base::Instant;
use crate::connection::Realm;
use crate::pool::connections::Connections;
use crate::pool::requests::Reason;
use crate::pool::{ConnectionId, Slot};

impl TypeLookup {
    /// A connection is lost. Returns what can't wait for another one.
    pub(in crate::pool) fn next_lost(&mut self, id: ConnectionId, is_open: bool) -> Option<Next> {
        let is_of = |waits: &Untyped| waits.connection == id && !waits.is_adrift;
        while let Some(at) = self.waiting.iter().position(is_of) {
            let waits = self.waiting.remove(at);
            match waits.what {
                Waiter::Answer(Answered { read: Some(read), .. }) if is_open => {
                    self.unread.push(*read);
                }
                Waiter::Answer(answered) if answered.read.is_some() => {
                    return Some(Next::HandOutEarly(answered, Reason::Ended));
                }
                Waiter::Answer(answered) if answered.is_open => {
                    return Some(Next::Refuse(answered, lost_with_transaction()));
                }
                Waiter::Answer(_) => self.waiting.push(Untyped { is_adrift: true, ..waits }),
                Waiter::Call(key) => return Some(Next::TakeUp(key)),
            }
        }
        None
    }

    /// The reads that are to be sent again.
    pub(in crate::pool) fn take_unread(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.unread)
    }

    /// Has the types in answers asked for on other connections to the servers that have given them.
    /// Returns the answers whose types no connection can describe.
    pub(in crate::pool) fn resettle(
        &mut self,
        now: Instant,
        connections: &mut Connections,
    ) -> Vec<(ConnectionId, Next)> {
        let is_adrift = |waits: &Untyped| waits.is_adrift;
        if !self.waiting.iter().any(is_adrift) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.waiting);
        let (adrift, others): (Vec<_>, _) = all.into_iter().partition(is_adrift);
        self.waiting = others;
        let stranded = adrift.into_iter().filter_map(|waits| self.move_on(now, waits, connections));
        stranded.collect()
    }

    fn move_on(
        &mut self,
        now: Instant,
        mut waits: Untyped,
        connections: &mut Connections,
    ) -> Option<(ConnectionId, Next)> {
        let is_one = |id: &ConnectionId| {
            let slot = connections.get(*id).filter(|slot| !slot.is_dropped);
            slot.is_some_and(|slot| waits.origin.is_that_of(slot))
        };
        let takes_calls = |id: &ConnectionId| connections.get(*id).is_some_and(Slot::takes_calls);
        let others: Vec<_> = connections.all().into_iter().filter(is_one).collect();
        if let Some(id) = others.iter().copied().find(takes_calls) {
            (waits.connection, waits.is_adrift, waits.is_asked) = (id, false, false);
            self.waiting.push(waits);
            self.ask(now, id, connections);
            return None;
        }
        // One may be at other work for now. One that comes later shows whether it is to that
        // server.
        if !others.is_empty() || waits.origin.realm.and_then(Realm::started).is_some() {
            self.waiting.push(waits);
            return None;
        }
        let Waiter::Answer(answered) = waits.what else { return None };
        let why = "its connection was lost before the server had described the types in it";
        Some((waits.connection, Next::unreadable(answered, why)))
    }
}
