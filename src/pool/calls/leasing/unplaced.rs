//! A lease that has no connection, because it lost its own unseen: its next call stands in line for
//! it, and its others wait behind that one. A transaction that is on no server is ended without
//! one.

use std::num::NonZeroU32;

use crate::base::{Error, Key, Mutation, Outcome};
use crate::pool::calls::Calls;
use crate::pool::leases::{Lease, given_back, nothing};
use crate::pool::{Call, QueryFlags};

impl Calls {
    /// A call that was not sent is not wanted any more. Those behind it don't wait for it.
    pub(in crate::pool::calls) fn take_back_leased(&mut self, key: Key<Call>, number: NonZeroU32) {
        let Some(lease) = self.leases.get_mut(number) else { return };
        if lease.head() != Some(key) {
            return lease.drop_held(key);
        }
        // It stood in the line for all of them.
        self.requests.waiting.strike(key);
        self.next_in_line(key, number);
    }

    /// The call for which a lease waits in line is out of it: the next one of the lease takes its
    /// place.
    pub(super) fn next_in_line(&mut self, key: Key<Call>, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(number)
            && lease.pass_head(key)
        {
            self.stand_in_line(number);
        }
    }

    /// The end of a transaction was lost with its connection, before anything of it was seen.
    pub(super) fn end_unplaced(&mut self, key: Key<Call>, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(number) {
            lease.pass_head(key);
            lease.hold_in_front(key);
            self.stand_in_line(number);
        }
    }

    /// A lease without a connection waits for one, for what it has to send. There is no transaction
    /// to be ended.
    pub(super) fn stand_in_line(&mut self, number: NonZeroU32) {
        while let Some(lease) = self.leases.get_mut(number)
            && let Some(next) = lease.next_held()
        {
            let Some(call) = self.requests.get(next) else { continue };
            let flags = call.flags;
            if !flags.has(QueryFlags::END) || Mutation::QueueForEnd.is_on() {
                lease.put_at_head(next);
                return self.requests.enqueue_in_front(next);
            }
            let result = lease.end_unplaced(flags);
            if flags.has(QueryFlags::RELEASE) {
                self.remove_lease(number);
            }
            self.finish_call(next, result);
        }
    }

    /// The call that stands in line for a lease which is lost leaves it.
    pub(in crate::pool::calls) fn refuse_head(&mut self, number: NonZeroU32, error: &Error) {
        if let Some(lease) = self.leases.get_mut(number)
            && lease.is_unplaced()
            && let Some(head) = lease.take_head()
        {
            self.requests.waiting.strike(head);
            self.refuse_gone(head, error);
        }
    }

    /// The call that stands in line for a lease that is given back leaves it.
    pub(super) fn leave_line(&mut self, lease: &Lease) {
        if let Some(head) = lease.head().filter(|_| lease.is_unplaced()) {
            self.requests.waiting.strike(head);
        }
    }

    /// A call on a connection that is gone. The transaction is gone with it, which is all that a
    /// ROLLBACK wants.
    pub(super) fn refuse_gone(&mut self, key: Key<Call>, error: &Error) {
        let Some(call) = self.requests.get(key) else { return };
        let (flags, lease) = (call.flags, call.lease);
        if flags.has(QueryFlags::RELEASE)
            && let Some(number) = lease
        {
            self.leases.remove(number);
        }
        if flags.rolls_back() {
            return self.finish_call(key, Ok(nothing()));
        }
        let in_transaction = flags.begin().is_some();
        let outcome = if in_transaction { Outcome::NotCommitted } else { Outcome::NotSent };
        self.finish_call(key, Err(error.clone().with_outcome(outcome)));
    }

    /// No call names it any more. What runs is settled with its connection.
    pub(super) fn remove_lease(&mut self, number: NonZeroU32) -> Option<Lease> {
        let mut lease = self.leases.remove(number)?;
        self.leave_line(&lease);
        for key in lease.take_head().into_iter().chain(lease.take_held()) {
            if self.requests.get(key).is_none_or(|call| call.sent_to().is_none()) {
                self.finish_call(key, Err(given_back()));
            }
        }
        Some(lease)
    }
}
