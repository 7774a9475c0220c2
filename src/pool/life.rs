//! Whether the pool is open, is being ended, or is no more.

use super::Pool;
use super::requests::{closed_pool, full_queue};
use crate::base::{Error, Instant};

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
            return Err(full_queue(self.config.max_queue));
        }
        Ok(())
    }

    /// Nothing more will happen: all connections are closed after `end`.
    pub fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
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
}
