//! When a host may be asked for a session, and which of its answers are old.

use std::time::Duration;

use super::backoff::Backoff;
use crate::base::{Instant, Random};

/// While others serve, a host that does not is asked this seldom, and only while the pool is in
/// use.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Asking {
    backoff: Backoff,
    /// When the last attempt began.
    asked_at: Option<Instant>,
    /// When it last said that it does not fit.
    denied_at: Option<Instant>,
}

impl Asking {
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    pub(super) fn failed(&mut self, now: Instant, random: &mut Random) {
        self.backoff.failed(now, random);
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    pub(super) fn denied(&mut self, now: Instant) {
        self.denied_at = Some(now);
    }

    /// Whether it was heard at that time or later. What is asked and heard in one turn has the same
    /// time.
    pub(super) fn has_denied_since(&self, then: Instant) -> bool {
        self.denied_at.is_some_and(|at| then <= at)
    }

    pub(super) fn may_connect_at(&self) -> Instant {
        self.backoff.until()
    }

    pub(super) fn may_look_at(&self) -> Instant {
        self.may_look_again(self.asked_at)
    }

    pub(super) fn may_look_again(&self, looked_at: Option<Instant>) -> Instant {
        let looked = looked_at.map_or(Instant::ORIGIN, |at| at + LOOK_EVERY);
        looked.max(self.backoff.until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_in_the_turn_of_a_denial_may_be_older() {
        let at = Instant::from_micros;
        let mut asking = Asking::default();
        assert!(!asking.has_denied_since(Instant::ORIGIN), "it never did");
        asking.denied(at(5));
        assert_eq!([4, 5, 6].map(|then| asking.has_denied_since(at(then))), [true, true, false]);
    }
}
