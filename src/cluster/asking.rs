//! When a host may be asked for a session, and which of its answers are old.

use std::time::Duration;

use super::backoff::Backoff;
use crate::base::{Instant, Random};

/// While others serve, a host that does not is asked this seldom, and only while the pool is in use.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Asking {
    backoff: Backoff,
    /// When the last attempt began.
    asked_at: Option<Instant>,
    /// When it last said that it does not fit.
    denied_at: Instant,
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
        self.denied_at = now;
    }

    pub(super) fn denied_at(&self) -> Instant {
        self.denied_at
    }

    pub(super) fn may_connect_at(&self) -> Instant {
        self.backoff.until()
    }

    pub(super) fn may_look_at(&self) -> Instant {
        let looked = self.asked_at.map_or(Instant::ORIGIN, |at| at + LOOK_EVERY);
        looked.max(self.backoff.until())
    }
}
