//! The only clock of this crate.

use crate::base::Instant;

/// A monotonic clock. Changes to the wall clock or the time zone do not affect it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock, all others get its time")]
    pub(super) fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// The time in microseconds since the clock was made. It is later than [`Instant::ORIGIN`], so
    /// that a deadline at the origin is always due.
    pub(super) fn now(&self) -> Instant {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros.saturating_add(1))
    }
}

/// The wall clock. It is the only way to tell whether a certificate has expired.
pub(super) fn of_certificates() -> std::sync::Arc<dyn crate::tls::Clock> {
    std::sync::Arc::new(rustls::time_provider::DefaultTimeProvider)
}
