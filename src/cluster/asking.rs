//! When a host may be asked for a session, and which of its answers are old.

use std::time::Duration;

use super::backoff::Backoff;
use crate::base::{Instant, Random};

/// While others serve, a host that does not is asked this seldom, and only while the pool is in
/// use.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// By how much later a host is asked anew, in microseconds.
const JITTER: u64 = 250_000;

#[derive(Debug, Default)]
pub(super) struct Asking {
    backoff: Backoff,
    /// When the last attempt began.
    asked_at: Option<Instant>,
    /// When it last said that it does not fit.
    denied_at: Option<Instant>,
    /// When a new session is to ask it, whatever those say that are open.
    renew_at: Instant,
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

    /// A session that its name leads to now begins, or one is kept that did for long enough.
    /// Clients that have begun together do not go on so.
    pub(super) fn renewed(&mut self, now: Instant, random: &mut Random) {
        self.renew_at = now + LOOK_EVERY + Duration::from_micros(random.below(JITTER));
    }

    pub(super) fn renewal_at(&self) -> Instant {
        self.renew_at.max(self.backoff.until())
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
    fn a_host_is_asked_anew_about_once_a_second_and_later_where_it_fails() {
        let (mut asking, mut random) = (Asking::default(), Random::from_seed(1));
        let second = Instant::ORIGIN + LOOK_EVERY;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            asking.renewed(Instant::ORIGIN, &mut random);
            let at = asking.renewal_at();
            assert!(at >= second && at < second + Duration::from_micros(JITTER), "{at:?}");
            seen.insert(at);
        }
        assert!(seen.len() > 90, "clients do not ask together");
        asking.failed(second + LOOK_EVERY, &mut random);
        assert_eq!(asking.renewal_at(), asking.may_connect_at());
    }

    #[test]
    fn what_was_asked_in_the_turn_of_a_denial_may_be_older() {
        let at = Instant::from_micros;
        let mut asking = Asking::default();
        assert!(!asking.has_denied_since(Instant::ORIGIN), "it never did");
        asking.denied(at(5));
        assert_eq!([4, 5, 6].map(|then| asking.has_denied_since(at(then))), [true, true, false]);
    }
}
