//! What callers have asked for, until it is answered.
//!
//! Owns: the calls, the queue in which they wait, and which of them may be given up. Sends nothing,
//! and answers no caller. The scenarios are in `src/sim/scenarios/load.rs` and `overtaking.rs`.

mod authored;
mod call;
mod call_trace;
mod given_up;
mod queue;
mod twins;
mod watches;

pub(super) use authored::Authored;
pub(crate) use call::Call;
pub(super) use call::{MOST_CONFLICTS, MOST_REDESCRIPTIONS, Phase};
pub(super) use call_trace::CallTrace;
pub use call_trace::Trace;
pub(super) use given_up::{GivenUp, Reason, closed_pool, given_up_error, no_connection};
use queue::Queue;
pub(super) use queue::full_queue;
use watches::Watches;

use std::collections::BTreeSet;

use super::{ConnectionId, QueryFlags, Response};
use crate::base::{Arena, Error, Instant, Key};
use crate::connection::DescriptionState;

/// Owns the calls.
#[derive(Debug, Default)]
pub(super) struct Requests {
    calls: Arena<Call>,
    /// Calls without a connection, first come, first served. A call that must be sent again goes to
    /// the front.
    pub(super) waiting: Queue,
    /// Calls that may be given up.
    pub(super) watches: Watches,
    /// How many calls in flight were given up.
    given_up: usize,
    /// Calls that are set aside until then, before their statements are described again.
    pausing: BTreeSet<(Instant, Key<Call>)>,
    /// The connections on which a call in flight was given up for its twin.
    forsaken: Vec<ConnectionId>,
}

impl Requests {
    pub(super) fn get(&self, key: Key<Call>) -> Option<&Call> {
        self.calls.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key<Call>) -> Option<&mut Call> {
        self.calls.get_mut(key)
    }

    pub(super) fn insert(&mut self, call: Call) -> Key<Call> {
        self.calls.insert(call)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key<Call>, &Call)> {
        self.calls.iter()
    }

    /// The call waits for a connection from now on.
    pub(super) fn enqueue(&mut self, key: Key<Call>) {
        if let Some(call) = self.calls.get(key) {
            self.waiting.push_back(key, call.deadline);
        }
    }

    /// The call waits for a connection, before all others.
    pub(super) fn enqueue_in_front(&mut self, key: Key<Call>) {
        if let Some(call) = self.calls.get(key) {
            self.waiting.push_front(key, call.deadline);
        }
    }

    /// The call needs a connection again. A call of a lease stays in the lease's own queue.
    pub(super) fn take_up_unless_leased(&mut self, key: Key<Call>) {
        if let Some(call) = self.calls.get_mut(key)
            && call.take_up()
            && call.lease.is_none()
        {
            self.enqueue_in_front(key);
        }
    }

    /// Sets a call aside if its statement is to be described again after a pause. Returns whether it
    /// is. The pause does not count as a wait for a connection.
    pub(super) fn pause(&mut self, now: Instant, key: Key<Call>) -> bool {
        let Some(call) = self.calls.get_mut(key).filter(|call| !call.is_given_up()) else {
            return false;
        };
        let pause = call.authored.as_mut().and_then(|authored| authored.take_pause());
        let Some(pause) = pause else { return false };
        call.set_aside(now);
        call.deadline = call.deadline + pause;
        call.description = DescriptionState::Due;
        self.pausing.insert((now + pause, key));
        true
    }

    /// A call whose pause is over. It may have been given up meanwhile.
    pub(super) fn take_paused(&mut self, now: Instant) -> Option<Key<Call>> {
        self.pausing.first().filter(|(at, _)| *at <= now)?;
        self.pausing.pop_first().map(|(_, key)| key)
    }

    pub(super) fn pause_timeout(&self) -> Option<(Instant, &'static str)> {
        self.pausing.first().map(|(at, _)| (*at, "pause"))
    }

    /// Whether any call in flight has been given up.
    pub(super) const fn is_any_given_up(&self) -> bool {
        self.given_up > 0
    }

    /// A call in flight was given up. `answered` is true if its caller already has the answer.
    pub(super) fn give_up(&mut self, now: Instant, key: Key<Call>, reason: Reason, answered: bool) {
        if let Some(call) = self.calls.get_mut(key) {
            call.given_up = Some(GivenUp { reason, at: now, answered });
            self.given_up += 1;
        }
    }

    /// Whether the caller of this call already has the answer.
    pub(super) fn is_answered(&self, key: Key<Call>) -> bool {
        self.get(key).and_then(|call| call.given_up).is_some_and(|given_up| given_up.is_answered())
    }

    /// Called before a call is answered. Returns its trace, if its caller wants one.
    pub(super) fn take_trace(&mut self, key: Key<Call>) -> Option<(u32, Trace)> {
        let call = self.calls.get_mut(key)?;
        let trace = call.trace.take()?;
        Some((call.request, trace.finish()))
    }

    /// Called when a call is answered. Returns its request, and the result that its caller gets.
    pub(super) fn answer(
        &mut self,
        key: Key<Call>,
        result: Result<Response, Error>,
    ) -> Option<(u32, Result<Response, Error>)> {
        let call = self.calls.get(key)?;
        let (request, flags) = (call.request, call.flags);
        let result = result.map_err(|error| match error.outcome() {
            Some(outcome) => error.with_outcome(call.outcome_of(outcome)),
            None => error,
        });
        if flags.has(QueryFlags::CANCELLABLE) {
            self.watches.remove(request);
        }
        Some((request, result))
    }

    /// A call is over.
    pub(super) fn remove(&mut self, key: Key<Call>) -> Option<Call> {
        let call = self.calls.remove(key)?;
        self.given_up -= usize::from(call.is_given_up());
        Some(call)
    }

    /// The connections on which calls were given up for their twins since the last time.
    pub(super) fn take_forsaken(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.forsaken)
    }

    /// Whether the counter equals what a scan finds.
    #[cfg(feature = "sim")]
    pub(super) fn audit(&self) -> Result<(), String> {
        let given_up = self.calls.iter().filter(|(_, call)| call.is_given_up()).count();
        match given_up == self.given_up {
            true => Ok(()),
            false => Err(format!("{given_up} calls are given up, not {}", self.given_up)),
        }
    }
}
