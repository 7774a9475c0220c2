//! The only clock of the house.

use crate::base::Instant;

/// Monotonic: neither a change of the wall clock nor a time zone moves it.
#[derive(Debug)]
pub(super) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock, all others get its time")]
    pub(super) fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Later than [`Instant::ORIGIN`], so that a deadline at the origin is always due.
    pub(super) fn now(&self) -> Instant {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros.saturating_add(1))
    }
}
