//! The end of a pool: no new work, and then nothing at all.
//!
//! ```text
//! Open ──end──▶ Ending: what runs is finished, what waits is served or refused
//!                 ├──all is done──▶ Ended: every connection has been said goodbye to
//!                 └──timeout──▶ overdue: what waits is refused, what runs is cancelled,
//!                                        the rest is closed ──▶ Ended
//! ```

use std::time::Duration;

use super::Pool;
use super::leases::nothing;
use super::life::{Life, Patience};
use super::requests::Reason;
use super::requests::closed_pool;
use crate::base::{Error, ErrorClass, Instant, Mutation, Outcome};

/// How a pool is to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOptions {
    /// When the patience with what runs is over; `None` waits for all of it.
    pub timeout: Option<Duration>,
    /// What has no connection yet is refused in place of served.
    pub refuse_waiting: bool,
}

impl Pool {
    /// Whether a caller waits for something, so that the process must not end by itself.
    pub fn keeps_loop_alive(&self) -> bool {
        !self.requests.is_empty()
            || !self.untyped.is_empty()
            || !self.ready.is_empty()
            || self.leases.is_any_alive()
            || matches!(self.life, Life::Ending { .. })
            || (!self.config.allow_exit_on_idle && !self.connections.is_empty())
    }

    /// Takes no new work from now on; `request` is answered when all is done and closed.
    pub fn end(&mut self, now: Instant, request: u32, options: EndOptions) {
        match &mut self.life {
            Life::Open => {
                let timeout = options.timeout.filter(|_| !Mutation::EndlessEnd.is_on());
                let patience = timeout.map_or(Patience::Endless, |t| Patience::Until(now + t));
                self.life = Life::Ending { requests: vec![request], patience };
                self.refuse_ready(&closed_pool());
                if options.refuse_waiting {
                    self.give_up_waiting(&closed_pool());
                }
            }
            Life::Ending { requests, .. } => requests.push(request),
            Life::Ended => self.complete(request, Ok(nothing())),
        }
    }

    pub(super) fn end_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.life {
            Life::Ending { patience: Patience::Until(at), .. } => Some((at, "end")),
            _ => None,
        }
    }

    pub(super) fn handle_end_timeout(&mut self, now: Instant) {
        if let Life::Ending { patience, .. } = &mut self.life
            && let Patience::Until(at) = *patience
            && at <= now
        {
            *patience = Patience::Over { since: now };
        } else {
            return;
        }
        self.give_up_waiting(&closed_pool());
        let calls: Vec<_> = self.requests.iter().map(|(key, _)| key).collect();
        calls.into_iter().for_each(|key| self.give_up(now, key, Reason::Ended));
        self.hand_out_untyped(now, Reason::Ended, |_, _| true);
    }

    /// Takes the connections of those back who do nothing with them at the moment.
    fn reclaim_for_end(&mut self) {
        let error = Error::new(
            ErrorClass::Configuration,
            "HYPERION_POOL_CLOSED",
            "the pool was ended, and its timeout is over: the connection was closed",
        );
        for (number, id) in self.resting_leases() {
            self.lose_lease(number, error.clone().with_outcome(Outcome::NotSent));
            self.connections.retire(id);
        }
        for number in self.leases.unplaced() {
            self.lose_lease(number, error.clone().with_outcome(Outcome::NotSent));
        }
    }

    pub(super) fn finish_ending(&mut self) {
        if self.is_overdue() {
            self.reclaim_for_end();
        }
        if !matches!(self.life, Life::Ending { .. })
            || !self.requests.is_empty()
            || !self.untyped.is_empty()
            || self.leases.is_any_alive()
        {
            return;
        }
        self.connections.all().into_iter().for_each(|id| self.connections.retire(id));
        if let Life::Ending { requests, .. } = std::mem::replace(&mut self.life, Life::Ended) {
            for request in requests {
                self.complete(request, Ok(nothing()));
            }
        }
    }
}
