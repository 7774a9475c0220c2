//! How long a host is left alone after an attempt failed: from 50 ms to 500 ms, doubled each time,
//! and with jitter, so that many clients don't come back at once.

use std::time::Duration;

use crate::base::{Instant, Random};

const SHORTEST: u64 = 50_000;
const LONGEST: u64 = 500_000;

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Instant,
}

impl Backoff {
    pub(super) fn failed(&mut self, now: Instant, random: &mut Random) {
        let longest = (SHORTEST << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Half of the wait is certain and half is random: clients never come at once, and never
        // together.
        let wait = longest / 2 + random.below(longest / 2 + 1);
        self.until = now + Duration::from_micros(wait);
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_are_forgotten_on_success() {
        let (mut backoff, mut random) = (Backoff::default(), Random::from_seed(1));
        let mut longest = 0;
        for round in 0..100 {
            backoff.failed(Instant::ORIGIN, &mut random);
            let wait = backoff.until().as_micros();
            assert!((SHORTEST / 2..=LONGEST).contains(&wait), "round {round}: {wait} µs");
            longest = longest.max(wait);
        }
        assert!(longest > LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.until(), Instant::ORIGIN);
    }
}
