//! Leases: which caller has a connection to itself, how far its transaction is, and what each of
//! its calls waits for.
//!
//! Owns: the leases and their numbers. Sends nothing, and changes no connection. The scenarios are
//! in `src/sim/scenarios/lease.rs`.

mod errors;
mod lease;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

pub(super) use errors::{ABANDONED, given_back, nothing};
use lease::LeasePlace;
pub(super) use lease::{Lease, Plan};

use super::{Call, ConnectionId};
use crate::base::{Error, Instant, Key};

/// Owns the leases and their numbers.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<NonZeroU32, Lease>,
    last: u32,
    seated: usize,
    alive: usize,
    /// Leases that may have changed since they were last examined, each once.
    changed: Vec<NonZeroU32>,
}

impl Leases {
    pub(super) fn get(&self, number: NonZeroU32) -> Option<&Lease> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: NonZeroU32) -> Option<&mut Lease> {
        let lease = self.all.get_mut(&number)?;
        lease.change(number, &mut self.changed);
        Some(lease)
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NonZeroU32, &Lease)> {
        self.all.iter().map(|(number, lease)| (*number, lease))
    }

    /// Whether any caller is still entitled to a connection.
    pub(super) const fn is_any_alive(&self) -> bool {
        self.alive > 0
    }

    pub(super) const fn is_any_seated(&self) -> bool {
        self.seated > 0
    }

    /// A caller has a connection to itself from now on.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        id: ConnectionId,
        for_transaction: bool,
    ) -> NonZeroU32 {
        let number = self.next_number();
        let mut lease = Lease::new(now, id, for_transaction);
        lease.change(number, &mut self.changed);
        self.all.insert(number, lease);
        (self.seated, self.alive) = (self.seated + 1, self.alive + 1);
        number
    }

    /// A number that fits in a signed integer in JavaScript, and that no lease has.
    fn next_number(&mut self) -> NonZeroU32 {
        const LAST: u32 = i32::MAX as u32;
        loop {
            self.last = if self.last >= LAST { 1 } else { self.last + 1 };
            if let Some(number) = NonZeroU32::new(self.last)
                && !self.all.contains_key(&number)
            {
                return number;
            }
        }
    }

    /// Removes a lease that no call will name again.
    pub(super) fn remove(&mut self, number: NonZeroU32) -> Option<Lease> {
        let lease = self.all.remove(&number)?;
        self.seated -= usize::from(lease.is_seated());
        self.alive -= usize::from(lease.is_alive());
        Some(lease)
    }

    /// A connection was found for a lease that had lost its own.
    pub(super) fn take_place(&mut self, number: NonZeroU32, id: ConnectionId) {
        if let Some(lease) = self.change_place(number, LeasePlace::On(id)) {
            lease.clear_head();
        }
    }

    /// The first flight of a lease had no effect. The lease gives up its connection, and its call
    /// waits for another one.
    pub(super) fn give_up_place(&mut self, number: NonZeroU32, key: Key<Call>) {
        if let Some(lease) = self.change_place(number, LeasePlace::Unplaced) {
            lease.begin_anew();
            lease.put_at_head(key);
        }
    }

    /// The connection of a lease is gone. Returns whether the caller has noticed.
    pub(super) fn vacate(&mut self, number: NonZeroU32) -> Option<Vacated> {
        let lease = self.all.get(&number).filter(|lease| lease.is_seated())?;
        if lease.has_seen() {
            return Some(Vacated::Lost);
        }
        let lease = self.change_place(number, LeasePlace::Unplaced)?;
        lease.forget_flight();
        Some(Vacated::Unseen)
    }

    /// Nothing more can be done with the lease. Returns the calls that wait for it.
    pub(super) fn lose(&mut self, number: NonZeroU32, error: Error) -> Vec<Key<Call>> {
        let lease = self.change_place(number, LeasePlace::Gone(error));
        lease.map_or_else(Vec::new, |lease| {
            lease.clear_head();
            lease.take_held()
        })
    }

    fn change_place(&mut self, number: NonZeroU32, place: LeasePlace) -> Option<&mut Lease> {
        let lease = self.all.get_mut(&number)?;
        lease.change(number, &mut self.changed);
        self.seated -= usize::from(lease.is_seated());
        self.alive -= usize::from(lease.is_alive());
        lease.put_on(place);
        self.seated += usize::from(lease.is_seated());
        self.alive += usize::from(lease.is_alive());
        Some(lease)
    }

    /// The connection of a lease that may have changed, and since when its transaction is idle, if
    /// nothing of it runs. Returns each such lease once.
    pub(super) fn take_changed(&mut self) -> Option<(NonZeroU32, ConnectionId, Option<Instant>)> {
        while let Some(number) = self.changed.pop() {
            if let Some(lease) = self.all.get_mut(&number) {
                lease.is_changed = false;
                let idle_since = lease.idle_since();
                if let Some(id) = lease.connection() {
                    return Some((number, id, idle_since));
                }
            }
        }
        None
    }

    /// Leases that have lost their connections unnoticed, and whose callers ask for nothing.
    pub(super) fn unplaced(&self) -> Vec<NonZeroU32> {
        let leases = self.iter().filter(|(_, lease)| lease.is_unplaced() && !lease.has_head());
        leases.map(|(number, _)| number).collect()
    }

    /// Whether the counters equal what a scan finds.
    #[cfg(feature = "sim")]
    pub(super) fn audit(&self) -> Result<(), String> {
        let count = |is: fn(&Lease) -> bool| self.all.values().filter(|lease| is(lease)).count();
        let found = (count(Lease::is_seated), count(Lease::is_alive));
        match found == (self.seated, self.alive) {
            true => Ok(()),
            false => Err(format!("{found:?} leases, not {:?}", (self.seated, self.alive))),
        }
    }
}

/// What happens to a lease whose connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacated {
    /// The caller has seen an answer, so another connection can't replace the lost one.
    Lost,
    /// The lease takes another connection.
    Unseen,
}
