//! Whether the pool is open, is ending, or has ended.
//!
//! ```text
//! Open ──end──▶ Ending: running calls finish, waiting calls are served or refused
//!                 ├──all is done──▶ Ended: every connection has been sent a Terminate
//!                 └──timeout──▶ overdue: waiting calls are refused, running calls are cancelled,
//!                                        the rest is closed ──▶ Ended
//! ```

use std::time::Duration;

use crate::base::{Instant, Mutation};

/// How a pool is to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOptions {
    /// When running calls are cancelled. `None` waits for all of them.
    pub timeout: Option<Duration>,
    /// Calls without a connection are refused instead of served.
    pub refuse_waiting: bool,
}

#[derive(Debug)]
pub(super) enum Life {
    Open,
    Ending {
        /// The requests that wait until the last connection is closed.
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

/// The effect of a request to end the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Begins,
    IsUnderWay,
    /// The pool has already ended.
    IsOver,
}

impl Life {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) const fn is_ending(&self) -> bool {
        matches!(self, Self::Ending { .. })
    }

    /// Whether the pool has ended: all connections are closed after `end`.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    pub(super) const fn is_overdue(&self) -> bool {
        matches!(self, Self::Ending { patience: Patience::Over { .. }, .. })
    }

    /// A caller ends the pool, and waits for that with `request`.
    pub(super) fn end(&mut self, now: Instant, request: u32, timeout: Option<Duration>) -> End {
        match self {
            Self::Open => {
                let timeout = timeout.filter(|_| !Mutation::EndlessEnd.is_on());
                let patience = timeout.map_or(Patience::Endless, |t| Patience::Until(now + t));
                *self = Self::Ending { requests: vec![request], patience };
                End::Begins
            }
            Self::Ending { requests, .. } => {
                requests.push(request);
                End::IsUnderWay
            }
            Self::Ended => End::IsOver,
        }
    }

    /// When running calls are cancelled. `None` waits for all of them.
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        match self {
            Self::Ending { patience: Patience::Until(at), .. } => Some((*at, "end")),
            _ => None,
        }
    }

    /// Whether that time has come. Returns true once.
    pub(super) fn loses_patience(&mut self, now: Instant) -> bool {
        if let Self::Ending { patience, .. } = self
            && let Patience::Until(at) = *patience
            && at <= now
        {
            *patience = Patience::Over { since: now };
            return true;
        }
        false
    }

    /// Everything is done. Returns the requests that waited for it.
    pub(super) fn finish(&mut self) -> Vec<u32> {
        match std::mem::replace(self, Self::Ended) {
            Self::Ending { requests, .. } => requests,
            Self::Open | Self::Ended => Vec::new(),
        }
    }

    /// Until when a server may take for a cancel that begins now. At the end of the pool, all calls
    /// that share a connection share this time.
    pub(super) fn grace_ends(&self, now: Instant, grace: Duration) -> Instant {
        let begins = match self {
            Self::Ending { patience: Patience::Over { since }, .. } => *since,
            _ => now,
        };
        begins + grace
    }
}
