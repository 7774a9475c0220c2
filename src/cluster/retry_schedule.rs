//! When a host may be asked for a session, and which of its answers are out of date.

use std::time::Duration;

use super::backoff::Backoff;
use crate::base::{Instant, Random};

/// How often a host that does not serve is asked while others serve. It is asked only while the
/// pool is in use.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The most by which a host is asked later than `ASK_EVERY`, in microseconds, at random.
const JITTER: u64 = 250_000;

#[derive(Debug, Default)]
pub(super) struct RetrySchedule {
    backoff: Backoff,
    /// When the last attempt to open a session began.
    asked_at: Option<Instant>,
    /// When a session of the host last reported a role that does not fit.
    unfit_at: Option<Instant>,
    /// When a new session has to ask the host, even if its open sessions still answer.
    renew_at: Instant,
}

impl RetrySchedule {
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    pub(super) fn failed(&mut self, now: Instant, random: &mut Random) {
        self.backoff.failed(now, random);
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    pub(super) fn unfit(&mut self, now: Instant) {
        self.unfit_at = Some(now);
    }

    /// Whether the host has reported such a role at `then` or later. Questions and answers of one
    /// turn have the same time.
    pub(super) fn was_unfit_since(&self, then: Instant) -> bool {
        self.unfit_at.is_some_and(|at| then <= at)
    }

    /// Starts that time anew: a session begins behind a new look-up of the host's name, or one that
    /// served is kept to ask the host. The random delay separates clients that have begun together.
    pub(super) fn renewed(&mut self, now: Instant, random: &mut Random) {
        self.renew_at = now + ASK_EVERY + Duration::from_micros(random.below(JITTER));
    }

    pub(super) fn renewal_at(&self) -> Instant {
        self.renew_at.max(self.backoff.until())
    }

    pub(super) fn may_connect_at(&self) -> Instant {
        self.backoff.until()
    }

    pub(super) fn may_ask_at(&self) -> Instant {
        self.may_ask_again(self.asked_at)
    }

    pub(super) fn may_ask_again(&self, asked_at: Option<Instant>) -> Instant {
        let next = asked_at.map_or(Instant::ORIGIN, |at| at + ASK_EVERY);
        next.max(self.backoff.until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_anew_about_once_a_second_and_later_where_it_fails() {
        let (mut schedule, mut random) = (RetrySchedule::default(), Random::from_seed(1));
        let second = Instant::ORIGIN + ASK_EVERY;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            schedule.renewed(Instant::ORIGIN, &mut random);
            let at = schedule.renewal_at();
            assert!(at >= second && at < second + Duration::from_micros(JITTER), "{at:?}");
            seen.insert(at);
        }
        assert!(seen.len() > 90, "clients do not ask together");
        schedule.failed(second + ASK_EVERY, &mut random);
        assert_eq!(schedule.renewal_at(), schedule.may_connect_at());
    }

    #[test]
    fn what_was_asked_in_the_turn_of_a_denial_may_be_older() {
        let at = Instant::from_micros;
        let mut schedule = RetrySchedule::default();
        assert!(!schedule.was_unfit_since(Instant::ORIGIN), "it never did");
        schedule.unfit(at(5));
        assert_eq!([4, 5, 6].map(|then| schedule.was_unfit_since(at(then))), [true, true, false]);
    }
}
