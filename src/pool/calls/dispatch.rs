//! The queue: which call is served next, which call returns to the front, and which call leaves the
//! queue without a connection.

use super::{Calls, Context};
use crate::base::{Error, Instant, Key, Mutation};
use crate::pool::placement::{Batches, Place};
use crate::pool::requests::CallTrace;
use crate::pool::{Call, Query, QueryFlags};

/// Whether a barrier precedes a request. Only a benchmark is built without barriers.
pub(super) const GUARDED: bool = !cfg!(feature = "unguarded");

impl Calls {
    /// Accepts a call.
    pub(in crate::pool) fn query(&mut self, now: Instant, query: Query, cx: &mut Context<'_>) {
        let Query { request, lease, statement, params, flags } = query;
        if lease.is_none()
            && let Err(error) = self.check_room(cx)
        {
            return self.complete(request, Err(error));
        }
        if let Some(error) = self.refusal(statement, lease, flags) {
            return self.complete(request, Err(error));
        }
        if !self.statements.hold(statement) {
            return self.complete(request, Err(Error::internal("the statement is not known")));
        }
        let (authored, flags, params) = self.authored(statement, flags, params);
        let bound = self.bound_of(flags, cx);
        let flags = if bound.is_some() { flags.with(QueryFlags::CANCELLABLE) } else { flags };
        let trace = flags.has(QueryFlags::TRACED).then(|| Box::new(CallTrace::new(now)));
        self.statements.calm_down(now, statement);
        let call = Call::new(request, flags, now + cx.config.acquire_timeout);
        let key = self.requests.insert(Call {
            trace,
            lease,
            statement: Some(statement),
            params,
            authored,
            ..call
        });
        if flags.has(QueryFlags::CANCELLABLE) {
            self.requests.watches.insert(request, key);
            self.requests.watches.limit(now, request, bound);
        }
        match lease {
            Some(lease) => self.run_leased(now, key, lease, cx),
            None => self.requests.enqueue(key),
        }
    }

    pub(in crate::pool) fn dispatch(&mut self, now: Instant, cx: &mut Context<'_>) {
        // What would be sent into a hole now waits in line.
        if self.discover(cx, |discovery, cx| discovery.holds_calls(now, cx)) {
            return;
        }
        self.overtake(now, cx);
        if !cx.discovery.cluster.topology().is_served() {
            return;
        }
        let mut batches = Batches::new(&mut self.view(cx));
        while let Some(key) = self.requests.waiting.front() {
            let mut view = self.view(cx);
            let Some(call) = view.requests.get(key) else {
                self.requests.waiting.pop_front();
                continue;
            };
            let Some(place) = batches.place(now, call, &mut view) else { return };
            let Place { on, exclusive, quick, kept_at_work } = place;
            self.requests.waiting.pop_front();
            if let Some(kept_at_work) = kept_at_work
                && let Some(slot) = cx.connections.get_mut(on)
            {
                slot.kept_at_work = kept_at_work;
            }
            if exclusive {
                self.seat(now, key, on, cx);
                continue;
            }
            if let Some(slot) = cx.connections.get_mut(on) {
                slot.quick = quick && (slot.quick || slot.connection.is_idle());
            }
            self.send(now, key, on, GUARDED, None, cx);
        }
    }

    pub(in crate::pool) fn expire_waiting(&mut self, now: Instant, cx: &mut Context<'_>) {
        if Mutation::ForgetDeadline.is_on() {
            return;
        }
        for key in self.requests.waiting.take_late(now) {
            let error = self.discover(cx, |discovery, cx| discovery.acquire_timeout(cx));
            cx.metrics.acquire_timed_out();
            self.give_up_call(key, &error);
        }
    }

    /// Ends the waits that can no longer help, after everything that the turn has brought: the next
    /// lost session may belong to a host that is then down, and for which the pool waits.
    pub(in crate::pool) fn end_futile_waits(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut cx.discovery.waits_may_be_futile)
            && let Some(error) = self.discover(cx, |discovery, cx| discovery.futile_wait_error(cx))
        {
            self.give_up_waiting(&error);
        }
    }

    /// Fails every waiting call, because waiting can't help.
    pub(in crate::pool) fn give_up_waiting(&mut self, error: &Error) {
        while let Some(key) = self.requests.waiting.pop_front() {
            self.give_up_call(key, error);
        }
        self.refuse_ready(error);
    }

    /// A call gets no connection. One that had lost its own is not the only one that waits for it.
    fn give_up_call(&mut self, key: Key<Call>, error: &Error) {
        let Some(call) = self.requests.get(key) else { return };
        let error = error.clone().with_outcome(call.outcome());
        if let Some(lease) = call.lease {
            let releases = call.flags.has(QueryFlags::RELEASE);
            self.lose_lease(lease, error.clone());
            if releases {
                self.leases.remove(lease);
            }
        }
        self.finish_call(key, Err(error));
    }
}
