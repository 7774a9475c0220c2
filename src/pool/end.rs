//! The end of a pool: no new work, and then nothing at all.
//!
//! ```text
//! Open ──end──▶ Ending: what runs is finished, what waits is served or refused
//!                 ├──all is done──▶ Ended: every connection has been said goodbye to
//!                 └──timeout──▶ overdue: what waits is refused, what runs is cancelled, the rest is closed ──▶ Ended
//! ```

use std::time::Duration;

use super::Pool;
use super::leases::nothing;
use super::requests::Reason;
use crate::base::{Error, ErrorClass, Instant, Mutation, Outcome};

/// How a pool is to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOptions {
    /// When the patience with what runs is over; `None` waits for all of it.
    pub timeout: Option<Duration>,
    /// What has no connection yet is refused in place of served.
    pub refuse_waiting: bool,
}

#[derive(Debug)]
pub(super) enum Life {
    Open,
    Ending {
        /// They wait for the last connection to be closed.
        requests: Vec<u32>,
        patience: Patience,
    },
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Endless,
    Until(Instant),
    Over { since: Instant },
}

impl Pool {
    /// Why a call is not taken, where it is not.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if !matches!(self.life, Life::Open) {
            return Err(closed_pool());
        }
        if self.requests.waiting.len() >= self.config.max_queue {
            return Err(super::requests::full_queue(self.config.max_queue));
        }
        Ok(())
    }

    /// Whether somebody waits for something, so that the process must not end by itself.
    pub fn keeps_loop_alive(&self) -> bool {
        !self.requests.is_empty()
            || !self.untyped.is_empty()
            || !self.ready.is_empty()
            || self.leases.is_any_alive()
            || matches!(self.life, Life::Ending { .. })
            || (!self.config.allow_exit_on_idle && !self.connections.is_empty())
    }

    /// Nothing more will happen: all connections are closed after `end`.
    pub fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
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
    }

    pub(super) fn is_overdue(&self) -> bool {
        matches!(self.life, Life::Ending { patience: Patience::Over { .. }, .. })
    }

    /// How long a server has for a cancel that begins now. At the end of the pool all those that
    /// share a connection have the same time together.
    pub(super) fn grace_ends(&self, now: Instant) -> Instant {
        let begins = match self.life {
            Life::Ending { patience: Patience::Over { since }, .. } => since,
            _ => now,
        };
        begins + self.config.cancel_grace
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
            self.retire(id);
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
        self.connections.all().into_iter().for_each(|id| self.retire(id));
        if let Life::Ending { requests, .. } = std::mem::replace(&mut self.life, Life::Ended) {
            for request in requests {
                self.complete(request, Ok(nothing()));
            }
        }
    }
}

pub(super) fn closed_pool() -> Error {
    let message = "the pool is closed: pool.end() was called";
    Error::new(ErrorClass::Configuration, "HYPERION_POOL_CLOSED", message)
        .with_outcome(Outcome::NotSent)
}
