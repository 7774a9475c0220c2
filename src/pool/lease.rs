//! Connections that one caller has to itself: a transaction's, or one for session work.
//!
//! A lease is granted when a connection is found; nothing is sent for that. BEGIN travels in front of the first
//! statement, in the same flight, and all further calls wait until that is answered: a statement never runs
//! outside of the transaction that it belongs to. As long as the caller has seen no answer, the first flight can
//! be proven to have had no effect where any statement can, and then the lease moves to another connection and
//! begins anew, without the caller noticing. After that the caller's own code must decide what to run again.

mod unplaced;

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::abandoned::ABANDONED;
use super::connections::{Duty, Slot};
use super::dispatch::GUARDED;
use super::end::closed_pool;
use super::own_transaction::open_already;
use super::{Call, ConnectionId, Pool, QueryFlags, Response};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::connection::Sent;
use crate::protocol::backend::TransactionStatus;

#[derive(Debug)]
pub(super) struct Lease {
    seat: Seat,
    progress: Progress,
    /// The COMMIT or ROLLBACK that was sent last.
    ending: Option<Key<Call>>,
    /// It was taken for one transaction, and not for session work.
    for_transaction: bool,
    /// The caller has seen an answer: what this connection knows is not to be had on another.
    seen: bool,
    /// The call that all others wait behind: the first one, or one whose statement is being described.
    head: Option<Key<Call>>,
    held: VecDeque<Key<Call>>,
    /// Since when nothing of it runs, where nothing does.
    pub(super) idle_since: Instant,
}

#[derive(Debug)]
enum Seat {
    On(ConnectionId),
    /// Its connection is gone, and nobody noticed: the next call looks for another one.
    Unplaced,
    /// Its connection is gone, with all that the caller has seen on it. Stays until it is given back.
    Gone(Error),
}

/// How far the transaction is that was begun here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Open,
    /// Its END was refused, or given up before it was sent, and the server is in it still: nothing but a ROLLBACK is sent,
    /// since what comes may belong to the next transaction.
    Unended,
    /// The server is in no transaction any more, and nobody asked it to end this one by the commands for that.
    Over,
}

impl Lease {
    pub(super) fn has_seen(&self) -> bool {
        self.seen
    }

    /// Nothing but its end is sent of the transaction that has begun.
    pub(super) fn leave_unended(&mut self) {
        self.progress = Progress::Unended;
    }

    pub(super) fn is_seated(&self) -> bool {
        matches!(self.seat, Seat::On(_))
    }

    /// Whether somebody still has a claim to a connection.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.seat, Seat::Gone(_))
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self.seat {
            Seat::On(id) => Some(id),
            Seat::Unplaced | Seat::Gone(_) => None,
        }
    }

    /// Whether the pool has no transaction open on it, as far as servers have answered.
    pub(super) fn is_between(&self) -> bool {
        self.progress == Progress::None
    }

    #[cfg(feature = "sim")]
    pub(super) fn held(&self) -> impl Iterator<Item = Key<Call>> {
        self.held.iter().copied()
    }

    /// Calls that may have been sent to no connection yet, in their order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Key<Call>> {
        self.head.iter().chain(&self.held).copied()
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.for_transaction || matches!(self.progress, Progress::Open | Progress::Unended)
    }
}

impl Pool {
    /// Takes a connection for one caller: `TRANSACTION` says that it is for no more than that. The answer names
    /// the lease.
    pub fn acquire(&mut self, now: Instant, request: u32, flags: QueryFlags) {
        if let Err(error) = self.check_room() {
            return self.complete(request, Err(error));
        }
        let deadline = now + self.config.acquire_timeout;
        let key = self.calls.insert(Call::new(request, flags, deadline));
        if flags.has(QueryFlags::CANCELLABLE) {
            self.watches.insert(request, key);
        }
        self.waiting.push_back(key, deadline);
    }

    /// Gives a lease back. Its connection serves again if it is at rest; `destroy` closes it in any case, and
    /// fails what runs on it.
    pub fn release(&mut self, now: Instant, lease: NonZeroU32, destroy: bool) {
        if !destroy {
            return self.end_lease(now, lease);
        }
        let message = "the connection was discarded by its user";
        let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        let Some(lease) = self.leases.remove(&lease) else { return };
        self.leave_line(&lease);
        if let Seat::On(id) = lease.seat {
            self.cancel_work(id);
            self.free_slot(id);
            self.drop_slot(now, id, &error);
        }
        for key in lease.head.into_iter().chain(lease.held) {
            self.refuse_gone(key, &error);
        }
    }

    /// A connection was found for a call that wants one for itself.
    pub(super) fn seat(&mut self, now: Instant, key: Key<Call>, id: ConnectionId) {
        let Some(call) = self.calls.get(key) else { return };
        let (known, flags) = (call.lease, call.flags);
        let number = known.unwrap_or_else(|| self.next_lease());
        if let Some(slot) = self.connections.get_mut(id) {
            slot.duty = Duty::Leased { lease: number };
            slot.quick = false;
        }
        if known.is_some() {
            if let Some(lease) = self.leases.get_mut(&number) {
                lease.seat = Seat::On(id);
                lease.head = None;
            }
            self.send_leased(now, key, number, id);
            return self.resume_lease(now, number);
        }
        let lease = Lease {
            seat: Seat::On(id),
            progress: Progress::None,
            ending: None,
            for_transaction: flags.has(QueryFlags::TRANSACTION),
            seen: false,
            head: None,
            held: VecDeque::new(),
            idle_since: now,
        };
        self.leases.insert(number, lease);
        self.count_use(id);
        self.finish_call(key, Ok(Response { results: Vec::new(), lease: Some(number) }));
    }

    /// A number that JavaScript reads as a signed one, and that nobody has.
    fn next_lease(&mut self) -> NonZeroU32 {
        const LAST: u32 = i32::MAX as u32;
        loop {
            self.last_lease = if self.last_lease >= LAST { 1 } else { self.last_lease + 1 };
            if let Some(number) = NonZeroU32::new(self.last_lease)
                && !self.leases.contains_key(&number)
            {
                return number;
            }
        }
    }

    pub(super) fn run_leased(&mut self, now: Instant, key: Key<Call>, number: NonZeroU32) {
        let Some(lease) = self.leases.get(&number) else {
            return self.finish_call(key, Err(given_back()));
        };
        if self.is_overdue() && lease.is_alive() && !Mutation::ServePastEnd.is_on() {
            return self.refuse_late(now, key, number);
        }
        if let Some(lease) = self.leases.get_mut(&number) {
            lease.held.push_back(key);
        }
        self.resume_lease(now, number);
    }

    /// A call that comes after the timeout of the pool's end: a lease that goes on asking would never end. Whoever
    /// gives it back with the call has given it back.
    fn refuse_late(&mut self, now: Instant, key: Key<Call>, number: NonZeroU32) {
        if self.calls.get(key).is_some_and(|call| call.flags.has(QueryFlags::RELEASE)) {
            self.end_lease(now, number);
        }
        self.refuse_gone(key, &closed_pool());
    }

    /// Whether a call must not be sent before something else is answered, or is set aside. What can be cancelled is
    /// alone at work, so that a cancel can hit nothing else. What begins a transaction, or belongs to one, waits until
    /// the one before has ended: how, its answer tells, and whether a BEGIN is due.
    fn must_wait(&self, lease: &Lease, key: Key<Call>) -> bool {
        let call = self.calls.get(key);
        let aside = call.is_some_and(|call| call.set_aside);
        let in_transaction = call.is_some_and(|call| call.flags.begin().is_some());
        let is_ending = self.is_ending(lease) && !Mutation::BeginBehindEnd.is_on();
        // A BEGIN that its caller wrote as a statement may be among what is not answered.
        if in_transaction && (is_ending || (lease.is_between() && self.has_unanswered(lease))) {
            return true;
        }
        let Seat::On(id) = lease.seat else { return lease.head.is_some() || aside };
        let alone = |call: &Call| {
            call.flags.has(QueryFlags::CANCELLABLE) && !call.flags.has(QueryFlags::END)
        };
        let busy = |slot: &Slot| {
            slot.cancelling.is_some()
                || !slot.connection.is_open()
                // One read has answered several calls: what is due for the next of them comes
                // first.
                || slot.connection.has_events()
                || (!slot.connection.is_vacant() && self.calls.get(key).is_some_and(alone))
        };
        lease.head.is_some()
            || aside
            || self.connections.get(id).is_some_and(busy)
            || self.is_typing(id)
    }

    /// Whether a COMMIT or a ROLLBACK stands unanswered.
    fn is_ending(&self, lease: &Lease) -> bool {
        let end = lease.ending.and_then(|key| self.calls.get(key));
        end.is_some_and(|call| call.sent_to.is_some())
    }

    fn place_leased(&mut self, now: Instant, key: Key<Call>, number: NonZeroU32) {
        let Some(lease) = self.leases.get_mut(&number) else {
            return self.finish_call(key, Err(given_back()));
        };
        match &lease.seat {
            Seat::On(id) => {
                let id = *id;
                self.send_leased(now, key, number, id);
            }
            Seat::Unplaced => {
                lease.held.push_front(key);
                self.stand_in_line(number);
            }
            Seat::Gone(error) => {
                let error = error.clone();
                self.refuse_gone(key, &error);
            }
        }
    }

    fn send_leased(&mut self, now: Instant, key: Key<Call>, number: NonZeroU32, id: ConnectionId) {
        let (Some(call), Some(lease)) = (self.calls.get(key), self.leases.get(&number)) else {
            return;
        };
        let flags = call.flags;
        let is_own = self.is_in_own_transaction(lease);
        let rolls_back = flags.rolls_back();
        let begin = match (flags.begin(), lease.progress) {
            (Some(_), Progress::None) if is_own && !rolls_back => {
                let result = Err(open_already().with_outcome(Outcome::NotSent));
                return self.end_without_sending(now, key, number, result);
            }
            (Some(_), Progress::None) if flags.has(QueryFlags::END) => {
                return self.end_without_sending(now, key, number, Ok(nothing()));
            }
            (Some(_), Progress::Over) => {
                let commits = flags.has(QueryFlags::COMMIT);
                let outcome = if commits { Outcome::Unknown } else { Outcome::NotSent };
                let result = Err(over().with_outcome(outcome));
                return self.end_without_sending(now, key, number, result);
            }
            (Some(_), Progress::Unended) if !rolls_back => {
                let result = Err(over().with_outcome(Outcome::NotSent));
                return self.end_without_sending(now, key, number, result);
            }
            (begin, Progress::None) => begin,
            (_, Progress::Open | Progress::Unended | Progress::Over) => None,
        };
        let first = !lease.seen;
        // Between transactions, session work must not read from a host that is the primary no more.
        let between = !lease.for_transaction && lease.is_between();
        let sent = self.send(now, key, id, (first || between) && GUARDED, begin);
        let alone = flags.has(QueryFlags::CANCELLABLE) || (between && self.hides_status(key, id));
        let waits = first || begin.is_some() || alone || sent != Some(Sent::Request);
        if sent.is_some()
            && let Some(lease) = self.leases.get_mut(&number)
        {
            if waits {
                lease.head = Some(key);
            }
            if flags.has(QueryFlags::END) {
                lease.ending = Some(key);
            }
        }
    }

    /// The end of a transaction of which the server knows nothing.
    fn end_without_sending(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        result: Result<Response, Error>,
    ) {
        let Some(call) = self.calls.get(key) else { return };
        let flags = call.flags;
        if flags.has(QueryFlags::END)
            && let Some(lease) = self.leases.get_mut(&number)
            && lease.progress != Progress::Unended
        {
            lease.progress = Progress::None;
        }
        if flags.has(QueryFlags::RELEASE) {
            self.end_lease(now, number);
        }
        self.finish_call(key, result);
    }

    /// What had to come first for a statement has come: it is sent now, and those that wait behind it.
    pub(super) fn resume_with(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        status: TransactionStatus,
    ) {
        if let (Some(lease), Some(call)) = (self.leases.get_mut(&number), self.calls.get_mut(key)) {
            call.come_back(now);
            if lease.head == Some(key) {
                lease.head = None;
            }
            if status != TransactionStatus::Idle
                && call.flags.begin().is_some()
                && lease.progress != Progress::Unended
            {
                lease.progress = Progress::Open;
            }
        }
        if self.is_wanted_again(now, key)
            && let Some(lease) = self.leases.get_mut(&number)
        {
            lease.held.push_front(key);
        }
        self.resume_lease(now, number);
    }

    pub(super) fn resume_lease(&mut self, now: Instant, number: NonZeroU32) {
        if let Some(id) = self.leases.get(&number).and_then(Lease::connection) {
            self.ask_types(now, id);
        }
        while let Some(lease) = self.leases.get(&number)
            && let Some(next) = lease.held.front().copied()
            && !self.must_wait(lease, next)
        {
            if let Some(lease) = self.leases.get_mut(&number) {
                lease.held.pop_front();
            }
            self.place_leased(now, next, number);
        }
    }

    /// The end of a transaction is not sent.
    pub(super) fn leave_unended(&mut self, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(&number)
            && !Mutation::ForgetLostEnd.is_on()
        {
            lease.progress = Progress::Unended;
        }
    }

    /// A call was taken back from its connection, unseen by the server.
    pub(super) fn unsend_leased(&mut self, now: Instant, key: Key<Call>, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(&number)
            && lease.head == Some(key)
        {
            lease.head = None;
        }
        self.resume_lease(now, number);
    }

    /// An answer is about to be handed out.
    pub(super) fn settle_leased(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        status: TransactionStatus,
    ) {
        let (Some(call), Some(lease)) = (self.calls.get(key), self.leases.get_mut(&number)) else {
            return;
        };
        let idle = status == TransactionStatus::Idle;
        lease.seen = true;
        lease.idle_since = now;
        if lease.head == Some(key) {
            lease.head = None;
        }
        if call.flags.has(QueryFlags::END) {
            lease.progress = if idle { Progress::None } else { Progress::Unended };
        } else if call.flags.begin().is_some()
            && !matches!(lease.progress, Progress::Over | Progress::Unended)
        {
            lease.progress = if idle { Progress::Over } else { Progress::Open };
        }
        if call.flags.has(QueryFlags::RELEASE) {
            self.end_lease(now, number);
        }
    }

    /// The first flight of a lease had no effect: it gives up its connection, and its call waits for another one.
    pub(super) fn unseat_lease(&mut self, id: ConnectionId, key: Key<Call>, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(&number) {
            lease.seat = Seat::Unplaced;
            if !Mutation::ForgetBegin.is_on() && lease.progress != Progress::Unended {
                lease.progress = Progress::None;
            }
            lease.head = Some(key);
        }
        self.free_slot(id);
    }

    /// The connection is closed: a lease that nobody has used yet takes another one, all others are over.
    pub(super) fn vacate(&mut self, number: NonZeroU32, error: Error) {
        let Some(lease) = self.leases.get_mut(&number) else { return };
        if !lease.is_seated() {
            return;
        }
        if lease.seen {
            if error.code() == ABANDONED {
                self.tell_reclaimed(number, true);
            }
            self.lose_lease(number, error);
        } else {
            lease.seat = Seat::Unplaced;
            lease.progress = Progress::None;
            // The description of its statement had come, and then the end.
            lease.head = None;
            self.stand_in_line(number);
        }
    }

    /// Nothing more can be done here: those that wait are told why, and whoever comes later.
    pub(super) fn lose_lease(&mut self, number: NonZeroU32, error: Error) {
        let Some(lease) = self.leases.get_mut(&number) else { return };
        lease.head = None;
        let held = std::mem::take(&mut lease.held);
        lease.seat = Seat::Gone(error.clone());
        for key in held {
            self.refuse_gone(key, &error);
        }
    }

    /// A call on a connection that is gone. The transaction is gone with it, which is all that a ROLLBACK wants.
    fn refuse_gone(&mut self, key: Key<Call>, error: &Error) {
        let Some(call) = self.calls.get(key) else { return };
        let (flags, lease) = (call.flags, call.lease);
        if flags.has(QueryFlags::RELEASE)
            && let Some(number) = lease
        {
            self.leases.remove(&number);
        }
        if flags.rolls_back() {
            return self.finish_call(key, Ok(nothing()));
        }
        let in_transaction = flags.begin().is_some();
        let outcome = if in_transaction { Outcome::NotCommitted } else { Outcome::NotSent };
        self.finish_call(key, Err(error.clone().with_outcome(outcome)));
    }

    /// Nobody names it any more. What runs is settled with its connection.
    fn remove_lease(&mut self, number: NonZeroU32) -> Option<Lease> {
        let mut lease = self.leases.remove(&number)?;
        self.leave_line(&lease);
        for key in lease.head.take().into_iter().chain(std::mem::take(&mut lease.held)) {
            if self.calls.get(key).is_none_or(|call| call.sent_to.is_none()) {
                self.finish_call(key, Err(given_back()));
            }
        }
        Some(lease)
    }

    /// The caller is done with its connection: it serves again if it is at rest on a host that serves.
    pub(super) fn end_lease(&mut self, now: Instant, number: NonZeroU32) {
        let Some(Lease { seat, for_transaction, seen, .. }) = self.remove_lease(number) else {
            return;
        };
        let Seat::On(id) = seat else { return };
        if Mutation::LeakLease.is_on() {
            return;
        }
        self.free_slot(id);
        let reset = self.config.reset_on_release;
        let Some(slot) = self.connections.get_mut(id) else { return };
        if !slot.is_at_rest() {
            let message = "the connection was given back while its session was at work";
            let code = "HYPERION_CONNECTION_LOST";
            return self.drop_slot(now, id, &Error::new(ErrorClass::Connection, code, message));
        }
        // What session work leaves behind can't be seen: an advisory lock, for one.
        if !for_transaction && seen && reset {
            slot.connection.soil();
        }
        // An answer may have waited for this end, to ask for its types: the connection is looked at
        // again when they came.
        self.ask_types(now, id);
        self.retire_if_useless(id);
        self.clean(now, id);
    }

    /// Discards what the last user of a connection left behind.
    pub(super) fn clean(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id)
            && slot.takes_calls()
            && !slot.connection.is_clean()
            && !slot.connection.is_resetting()
            && !Mutation::ForgetReset.is_on()
        {
            slot.connection.reset(now);
            self.mark_writing(id);
        }
    }

    pub(super) fn free_slot(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.duty = Duty::Serving;
        }
    }

    /// Leases whose connections are at nothing of their users: the barrier of a call that was taken back may be left.
    pub(super) fn resting_leases(&self) -> Vec<(NonZeroU32, ConnectionId)> {
        let resting = |(number, lease): (&NonZeroU32, &Lease)| {
            let Seat::On(id) = lease.seat else { return None };
            let rests =
                self.connections.get(id).is_some_and(|s| s.connection.requests().next().is_none());
            rests.then_some((*number, id))
        };
        self.leases.iter().filter_map(resting).collect()
    }

    /// Leases that have lost their connections unseen, and whose users ask for nothing.
    pub(super) fn unplaced_leases(&self) -> Vec<NonZeroU32> {
        let unplaced = |lease: &Lease| matches!(lease.seat, Seat::Unplaced) && lease.head.is_none();
        let leases = self.leases.iter().filter(|(_, lease)| unplaced(lease));
        leases.map(|(number, _)| *number).collect()
    }
}

pub(super) fn nothing() -> Response {
    Response { results: Vec::new(), lease: None }
}

fn given_back() -> Error {
    let message = "the connection was given back: use the pool, or take another one";
    Error::new(ErrorClass::Configuration, "HYPERION_CONNECTION_RELEASED", message)
        .with_outcome(Outcome::NotSent)
}

fn over() -> Error {
    let message = "the server is in no transaction any more: a statement ended it (COMMIT and ROLLBACK are \
                   methods of the transaction), or its BEGIN was refused";
    Error::new(ErrorClass::Transaction, "HYPERION_TRANSACTION_OVER", message)
}
