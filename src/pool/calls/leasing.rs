//! Connections that one caller has to itself, for a transaction or for session work.
//!
//! A lease is granted when a connection is found, and nothing is sent for it. BEGIN precedes the
//! first statement in the same flight. All further calls wait until that flight is answered, so a
//! statement never runs outside its transaction. As long as the caller has seen no answer, the pool
//! may find that the first flight had no effect, as with any statement. Then the lease moves to
//! another connection and begins again, without the caller noticing. After that, the caller's own
//! code must decide what to run again.

mod lost;
mod unplaced;

use std::num::NonZeroU32;

use super::dispatch::GUARDED;
use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::connection::{Sent, Statement};
use crate::pool::connections::{Duty, Slot};
use crate::pool::leases::{Lease, Plan, given_back, nothing};
use crate::pool::requests::closed_pool;
use crate::pool::requests::{GivenUp, given_up_error};
use crate::pool::{Call, ConnectionId, QueryFlags, Response};
use crate::protocol::backend::TransactionStatus;

impl Calls {
    /// Takes a connection for one caller. `TRANSACTION` says that it is for a single transaction.
    /// The answer names the lease.
    pub(in crate::pool) fn acquire(
        &mut self,
        now: Instant,
        request: u32,
        flags: QueryFlags,
        cx: &mut Context<'_>,
    ) {
        if let Err(error) = self.check_room(cx) {
            return self.complete(request, Err(error));
        }
        let deadline = now + cx.config.acquire_timeout;
        let key = self.requests.insert(Call::new(request, flags, deadline));
        if flags.has(QueryFlags::CANCELLABLE) {
            self.requests.watches.insert(request, key);
        }
        self.requests.enqueue(key);
    }

    /// Closes the connection of a lease. The calls that run on it fail.
    pub(in crate::pool) fn destroy_lease(&mut self, lease: NonZeroU32, cx: &mut Context<'_>) {
        let message = "the connection was discarded by its user";
        let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        let Some(mut lease) = self.leases.remove(lease) else { return };
        self.leave_line(&lease);
        if let Some(id) = lease.connection() {
            self.cancel_work(id, cx);
            cx.connections.free_slot(id);
            cx.connections.drop_slot(id, error.clone());
        }
        // Calls that were sent are settled with their connection.
        for key in lease.take_head().into_iter().chain(lease.take_held()) {
            if self.requests.get(key).is_none_or(|call| call.sent_to().is_none()) {
                self.refuse_gone(key, &error);
            }
        }
    }

    /// A connection was found for a call that wants one for itself.
    pub(super) fn seat(
        &mut self,
        now: Instant,
        key: Key<Call>,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = self.requests.get(key) else { return };
        let (known, flags) = (call.lease, call.flags);
        if let Some(number) = known {
            self.leases.take_place(number, id);
            self.hand_over(id, number, cx);
            self.send_leased(now, key, number, id, cx);
            return self.resume_lease(now, number, cx);
        }
        if let Some(slot) = cx.connections.get(id) {
            let waited = call.waited(now, cx.config.acquire_timeout);
            cx.metrics.acquired(slot.host, &slot.target.name, waited);
        }
        let number = self.leases.begin(now, id, flags.has(QueryFlags::TRANSACTION));
        self.hand_over(id, number, cx);
        cx.connections.count_use(id, cx.config.max_uses);
        self.finish_call(key, Ok(Response { results: Vec::new(), lease: Some(number) }));
    }

    /// The connection belongs to one caller from now on.
    fn hand_over(&mut self, id: ConnectionId, lease: NonZeroU32, cx: &mut Context<'_>) {
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.duty = Duty::Leased { lease };
            slot.quick = false;
        }
    }

    pub(super) fn run_leased(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        let Some(lease) = self.leases.get(number) else {
            return self.finish_call(key, Err(given_back()));
        };
        if cx.life.is_overdue() && lease.is_alive() && !Mutation::ServePastEnd.is_on() {
            return self.refuse_late(now, key, number, cx);
        }
        if self.rolls_back_nothing(key, number, cx) {
            return self.end_without_sending(now, key, number, Ok(nothing()), cx);
        }
        if let Some(lease) = self.leases.get_mut(number) {
            lease.hold(key);
        }
        self.resume_lease(now, number, cx);
    }

    /// Whether a call belongs to a transaction that the pool begins, or is its end.
    fn is_of_transaction(&self, key: Key<Call>) -> bool {
        self.requests.get(key).is_some_and(|call| call.flags.begin().is_some())
    }

    /// Whether a call is the ROLLBACK of a transaction of which the pool has sent nothing, and has
    /// nothing to send. Then there is nothing to wait for.
    fn rolls_back_nothing(&self, key: Key<Call>, number: NonZeroU32, cx: &Context<'_>) -> bool {
        let Some(flags) = self.requests.get(key).map(|call| call.flags) else { return false };
        let Some(lease) = self.leases.get(number).filter(|lease| lease.is_between()) else {
            return false;
        };
        let slot = lease.connection().and_then(|id| cx.connections.get(id));
        let running = slot.into_iter().flat_map(|slot| slot.connection.requests());
        let running = running.map(|token| Key::from_bits(token.0));
        flags.rolls_back()
            && !flags.has(QueryFlags::RELEASE)
            && lease.is_seated()
            && !running.chain(lease.waiting()).any(|key| self.is_of_transaction(key))
    }

    /// A call that comes after the timeout of the pool's end. A lease whose caller continues to
    /// send calls would never end. A call that releases the lease has released it, although it is
    /// refused.
    fn refuse_late(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        if self.requests.get(key).is_some_and(|call| call.flags.has(QueryFlags::RELEASE)) {
            self.end_lease(now, number, cx);
        }
        self.refuse_gone(key, &closed_pool());
    }

    /// Whether a call must wait for the answer to another call, or is set aside. A call that can be
    /// cancelled runs alone, so that a cancel can hit nothing else. A call that belongs to a
    /// transaction waits until the previous transaction has ended. The answer says how that ended,
    /// and whether a BEGIN is needed.
    fn must_wait(&self, lease: &Lease, key: Key<Call>, cx: &Context<'_>) -> bool {
        let call = self.requests.get(key);
        let aside = call.is_some_and(|call| call.is_aside());
        let in_transaction = call.is_some_and(|call| call.flags.begin().is_some());
        let is_ending = self.is_ending(lease) && !Mutation::BeginBehindEnd.is_on();
        // A BEGIN that the caller sent as a statement may be among the unanswered calls.
        if in_transaction
            && (is_ending || (lease.is_between() && self.has_unanswered(lease, cx.connections)))
        {
            return true;
        }
        let Some(id) = lease.connection() else { return lease.has_head() || aside };
        let alone = |call: &Call| {
            call.flags.has(QueryFlags::CANCELLABLE) && !call.flags.has(QueryFlags::END)
        };
        let busy = |slot: &Slot| {
            slot.cancelling.is_some()
                || slot.is_dropped
                || !slot.connection.is_open()
                // One read may have answered several calls. What is due for the next of them comes
                // first.
                || slot.connection.has_events()
                || (!slot.connection.is_vacant() && self.requests.get(key).is_some_and(alone))
        };
        lease.has_head()
            || aside
            || cx.connections.get(id).is_some_and(busy)
            || self.waits_for_types(id, cx)
    }

    /// Whether a COMMIT or a ROLLBACK is unanswered.
    fn is_ending(&self, lease: &Lease) -> bool {
        let end = lease.ending().and_then(|key| self.requests.get(key));
        end.is_some_and(|call| call.sent_to().is_some())
    }

    fn send_leased(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let (Some(call), Some(lease)) = (self.requests.get(key), self.leases.get(number)) else {
            return;
        };
        let flags = call.flags;
        let begin = match lease.plan(flags, self.is_in_own_transaction(lease, cx.connections)) {
            Plan::Send(begin) => begin,
            Plan::End(result) => return self.end_without_sending(now, key, number, result, cx),
        };
        let first = !lease.has_seen();
        // Between transactions, session work must not read from a host that is no longer the
        // primary.
        let between = lease.is_between_transactions();
        let sent = self.send(now, key, id, (first || between) && GUARDED, begin, cx);
        let alone = flags.has(QueryFlags::CANCELLABLE)
            || (between && self.hides_status(key, id, cx))
            || self.may_end_transaction(key, flags);
        let waits = first || begin.is_some() || alone || sent != Some(Sent::Request);
        if sent.is_some()
            && let Some(lease) = self.leases.get_mut(number)
        {
            lease.sent(key, flags, waits);
        }
    }

    /// Whether only the answer of the call shows if the server can be asked for its role after it.
    fn hides_status(&self, key: Key<Call>, id: ConnectionId, cx: &Context<'_>) -> bool {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        statement.is_some_and(Statement::may_move_transaction)
            && cx.connections.get(id).is_some_and(|slot| !slot.connection.reports_role())
    }

    /// Whether the caller may have ended its transaction by this statement. A statement sent after
    /// it would run outside the transaction, and a COMMIT would end nothing.
    fn may_end_transaction(&self, key: Key<Call>, flags: QueryFlags) -> bool {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        flags.begin().is_some()
            && !flags.has(QueryFlags::END)
            && statement.is_some_and(Statement::may_move_transaction)
            && !Mutation::GoOnBehindEnd.is_on()
    }

    /// Answers the end of a transaction that the server does not know.
    fn end_without_sending(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        result: Result<Response, Error>,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = self.requests.get(key) else { return };
        let flags = call.flags;
        if flags.has(QueryFlags::END)
            && let Some(lease) = self.leases.get_mut(number)
        {
            lease.ended_unsent();
        }
        if flags.has(QueryFlags::RELEASE) {
            self.end_lease(now, number, cx);
        }
        self.finish_call(key, result);
    }

    /// The answers that a statement needed first have come. The pool now sends the statement, and
    /// the calls that wait for it.
    pub(super) fn resume_with(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        status: TransactionStatus,
        cx: &mut Context<'_>,
    ) {
        if let (Some(lease), Some(call)) = (self.leases.get_mut(number), self.requests.get_mut(key))
        {
            call.come_back(now);
            lease.resumed(key, call.flags, status);
        }
        if self.is_wanted_again(now, key, cx)
            && let Some(lease) = self.leases.get_mut(number)
        {
            lease.hold_in_front(key);
        }
        self.resume_lease(now, number, cx);
    }

    pub(super) fn resume_lease(&mut self, now: Instant, number: NonZeroU32, cx: &mut Context<'_>) {
        if let Some(id) = self.leases.get(number).and_then(Lease::connection) {
            self.types.ask(now, id, cx.connections);
        }
        while let Some(lease) = self.leases.get(number)
            && let Some(next) = lease.first_held()
            && !self.must_wait(lease, next, cx)
        {
            let Some(lease) = self.leases.get_mut(number) else { return };
            lease.next_held();
            if let Some(id) = lease.connection() {
                self.send_leased(now, next, number, id, cx);
            } else if let Some(error) = lease.gone() {
                let error = error.clone();
                self.refuse_gone(next, &error);
            } else {
                lease.hold_in_front(next);
                self.stand_in_line(number);
            }
        }
    }

    /// The end of a transaction is not sent.
    pub(super) fn leave_unended(&mut self, number: NonZeroU32) {
        if let Some(lease) = self.leases.get_mut(number)
            && !Mutation::ForgetLostEnd.is_on()
        {
            lease.leave_unended();
        }
    }

    /// A call was taken back from its connection. The server has not seen it.
    pub(super) fn unsend_leased(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        if let Some(lease) = self.leases.get_mut(number) {
            lease.pass_head(key);
        }
        self.resume_lease(now, number, cx);
    }

    /// An answer is about to be delivered.
    pub(super) fn settle_leased(
        &mut self,
        now: Instant,
        key: Key<Call>,
        number: NonZeroU32,
        status: TransactionStatus,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = self.requests.get(key) else { return };
        let (flags, may_commit) = (call.flags, call.may_leave_transaction(&self.statements));
        let Some(lease) = self.leases.get_mut(number) else { return };
        lease.settled(now, key, flags, status, may_commit);
        if flags.has(QueryFlags::RELEASE) {
            self.end_lease(now, number, cx);
        }
    }

    /// The caller has released the connection. It serves again if its session is in a clean state,
    /// on a host that serves.
    pub(in crate::pool) fn end_lease(
        &mut self,
        now: Instant,
        number: NonZeroU32,
        cx: &mut Context<'_>,
    ) {
        let Some(lease) = self.remove_lease(number) else { return };
        let Some(id) = lease.connection() else { return };
        if Mutation::LeakLease.is_on() {
            return;
        }
        cx.connections.free_slot(id);
        let reset = cx.config.reset_on_release;
        let Some(slot) = cx.connections.get_mut(id) else { return };
        if !slot.is_at_rest() {
            let message = "the connection was given back while its session was at work";
            let code = "HYPERION_CONNECTION_LOST";
            return cx.connections.drop_slot(id, Error::new(ErrorClass::Connection, code, message));
        }
        // The pool can't see everything that session work leaves behind, such as an advisory lock.
        if lease.has_worked() && reset {
            slot.connection.mark_dirty();
        }
        // An answer may have waited for this end, to ask for its types. The connection is examined
        // again when the types have come.
        self.types.ask(now, id, cx.connections);
        cx.connections.retire_if_useless(id, cx.discovery.cluster.topology());
        cx.connections.clean(now, id);
    }

    /// Leases whose connections run no call of their callers. The barrier of a call that was taken
    /// back may still be in flight.
    pub(super) fn resting_leases(&self, cx: &Context<'_>) -> Vec<(NonZeroU32, ConnectionId)> {
        let resting = |(number, lease): (NonZeroU32, &Lease)| {
            let id = lease.connection()?;
            let rests =
                cx.connections.get(id).is_some_and(|s| s.connection.requests().next().is_none());
            rests.then_some((number, id))
        };
        self.leases.iter().filter_map(resting).collect()
    }

    /// Nothing keeps a call aside any more.
    pub(super) fn take_up(&mut self, now: Instant, key: Key<Call>, cx: &mut Context<'_>) {
        self.requests.take_up_unless_leased(key);
        if let Some(lease) = self.requests.get(key).and_then(|call| call.lease) {
            self.resume_lease(now, lease, cx);
        }
    }

    /// Puts calls back at the front of the queue, in the order in which they came.
    pub(super) fn wait_again(
        &mut self,
        now: Instant,
        keys: impl DoubleEndedIterator<Item = Key<Call>>,
        cx: &mut Context<'_>,
    ) {
        for key in keys.rev() {
            if self.is_wanted_again(now, key, cx)
                && let Some(call) = self.requests.get_mut(key)
            {
                call.come_back(now);
                if Mutation::RestartDeadline.is_on() {
                    call.deadline = now + cx.config.acquire_timeout;
                }
                match call.lease.filter(|_| call.flags.has(QueryFlags::END)) {
                    Some(lease) => self.end_unplaced(key, lease),
                    None => self.requests.enqueue_in_front(key),
                }
            }
        }
    }

    /// A call that was to be sent again. It had no effect, and its caller no longer wants it.
    pub(super) fn is_wanted_again(
        &mut self,
        now: Instant,
        key: Key<Call>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(call) = self.requests.get(key) else { return false };
        let Some(GivenUp { reason, .. }) = call.given_up else { return true };
        let (lease, releases) = (call.lease, call.flags.has(QueryFlags::RELEASE));
        let ends = call.flags.has(QueryFlags::END);
        if let Some(lease) = lease {
            if ends {
                self.leave_unended(lease);
            }
            self.next_in_line(key, lease);
        }
        let what = "it had no effect, and was not sent again";
        self.finish_call(key, Err(given_up_error(reason, Outcome::NotCommitted, what)));
        if let Some(lease) = lease.filter(|_| releases) {
            self.end_lease(now, lease, cx);
        }
        false
    }
}
