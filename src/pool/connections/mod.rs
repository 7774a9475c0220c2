//! The connections of a pool: all of them, by their keys, and what each is there for.

mod slot;

pub use slot::{ConnectionId, Slot};
pub(super) use slot::{Duty, Site};

use crate::base::Arena;

/// Owns the slots. What is asked of all of them is asked here.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Arena<Slot>,
}

impl Connections {
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Slot> {
        self.slots.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        self.slots.get_mut(id)
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.slots.contains(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn insert(&mut self, slot: Slot) -> ConnectionId {
        self.slots.insert(slot)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Slot> {
        self.slots.remove(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        self.slots.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Slot)> {
        self.slots.iter_mut()
    }
}
