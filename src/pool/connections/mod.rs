//! The connections of a pool.
//!
//! Owns: the connections by their keys, each with its duty, and how many there are of each kind.
//!
//! [`Connections::get_mut`] notes which connection it returns. The next question about all
//! connections takes `&mut self` and first counts that connection again. So a counter is never out
//! of date, and a query pays only for the connection that it uses. The storms compare the counters
//! with a scan (`audit.rs`).

mod acts;
#[cfg(feature = "sim")]
mod audit;
mod cancelling;
mod facts;
mod index;
mod min_tree;
mod place_set;
mod questions;
mod route;
mod scram_turns;
mod sites;
mod slot;

use std::collections::VecDeque;

pub(super) use acts::Closed;
pub(super) use cancelling::{CancelState, Cancelling};
use index::Index;
pub(super) use questions::Load;
pub(super) use route::Route;
#[cfg(feature = "sim")]
pub(super) use slot::OVERDUE;
pub use slot::{ConnectionId, Slot};
pub(super) use slot::{Duty, Site};

use crate::base::{Arena, Error, Mutation};
use crate::pool::Output;

/// Owns the slots, and answers questions about all of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Arena<Slot>,
    index: Index,
    /// The connections that may have changed since they were last counted, each once.
    changed: Vec<ConnectionId>,
    outputs: VecDeque<Output>,
    /// The connections that the pool has given up, and why.
    dropped: VecDeque<(ConnectionId, Error)>,
    closed: VecDeque<Closed>,
}

impl Connections {
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Slot> {
        self.slots.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id)?;
        slot.change(id, &mut self.changed);
        Some(slot)
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.slots.contains(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn insert(&mut self, slot: Slot) -> ConnectionId {
        let host = slot.host;
        let id = self.slots.insert(slot);
        self.index.make_room(host, id.place());
        // They grow once for each connection, and never during a query.
        self.changed.reserve(self.slots.len().saturating_sub(self.changed.len()));
        if let Some(slot) = self.slots.get_mut(id) {
            slot.change(id, &mut self.changed);
        }
        id
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Slot> {
        let slot = self.slots.remove(id)?;
        self.index.note(id, slot.host, slot.known.as_ref(), None);
        let places = self.slots.places();
        if id.place() >= places {
            // Otherwise a host whose only connection is new would seem to have none.
            self.look().0.shrink(places);
        }
        Some(slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        self.slots.iter()
    }

    /// The counters of all connections, up to date.
    fn look(&mut self) -> (&mut Index, &Arena<Slot>) {
        while let Some(id) = self.changed.pop() {
            let Some(slot) = self.slots.get_mut(id) else { continue };
            let facts = slot.facts();
            slot.is_changed = false;
            let counts = slot.known.is_none() || !Mutation::Miscount.is_on();
            if slot.known != Some(facts) && counts {
                self.index.note(id, slot.host, slot.known.as_ref(), Some(&facts));
                slot.known = Some(facts);
            }
            // Bytes may have come since the connection was removed because of its silence.
            if let Some(on) = self.index.on_mut(slot.host) {
                on.quick.set(id.place(), facts.quick_depth);
            }
        }
        (&mut self.index, &self.slots)
    }
}
