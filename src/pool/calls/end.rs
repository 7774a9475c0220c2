//! What happens to calls and leases at the end of the pool, after its timeout.

use super::{Calls, Context};
use crate::base::{Error, ErrorClass, Instant, Outcome};
use crate::pool::CloseReason;
use crate::pool::requests::{Reason, closed_pool};

impl Calls {
    /// Refuses waiting calls, and cancels running ones.
    pub(in crate::pool) fn give_up_all(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.give_up_waiting(&closed_pool());
        let calls: Vec<_> = self.requests.iter().map(|(key, _)| key).collect();
        calls.into_iter().for_each(|key| self.give_up(now, key, Reason::Ended, cx));
        self.hand_out_untyped(now, Reason::Ended, |_, _| true, cx);
    }

    /// Takes back the connections that their callers do not use at the moment.
    pub(in crate::pool) fn reclaim_for_end(&mut self, cx: &mut Context<'_>) {
        let error = Error::new(
            ErrorClass::Configuration,
            "HYPERION_POOL_CLOSED",
            "the pool was ended, and its timeout is over: the connection was closed",
        );
        for (number, id) in self.resting_leases(cx) {
            self.lose_lease(number, error.clone().with_outcome(Outcome::NotSent));
            cx.connections.retire_for(id, CloseReason::Ended);
        }
        for number in self.leases.unplaced() {
            self.lose_lease(number, error.clone().with_outcome(Outcome::NotSent));
        }
    }
}
