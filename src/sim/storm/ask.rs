//! What an application waits for, and what it asked.

use std::time::Duration;

use crate::base::Instant;

/// What is waited for.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) what: What,
    pub(super) since: Instant,
    /// How many keys were known to be there when it was asked.
    pub(super) known: usize,
    pub(super) cancellable: bool,
    /// Its caller gave it up, or bounded it.
    pub(super) bounded: bool,
    /// Its caller has said that it changes nothing.
    pub(super) declared: bool,
    /// How long it has been in line so far, and since when it is there now.
    pub(super) waited: Duration,
    pub(super) in_line_since: Option<Instant>,
    /// How many connections had been lost when it was asked.
    pub(super) losses: usize,
    /// It is a ROLLBACK behind the limit of its transaction.
    pub(super) is_hurried: bool,
    /// When its caller's patience ends, and at which turn of the loop it had ended.
    pub(super) limit: Option<Instant>,
    pub(super) overdue_since: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Write(String),
    /// What is asked after the last fault, and repeated until it is served: a write, unless the
    /// mode is none for writers.
    Probe(Option<String>),
    Read,
    /// What the session may do.
    Role,
    /// Whether the session is as it was when it began.
    Clean,
    /// BEGIN, which is not a caller's of the pool to say.
    Begin,
    /// What leaves a transaction open, and does not show it.
    Open,
    /// What changes its session, and does not show it.
    Change,
    Acquire(usize),
    /// On the connection of a visit.
    Insert(usize, String),
    Look(usize),
    Set(usize),
    Commit(usize),
    Rollback(usize),
    /// In one of the transactions of a visit.
    PartInsert(usize, usize, String),
    /// The end of one, by COMMIT or by ROLLBACK.
    PartEnd(usize, usize, bool),
    Ready,
    End,
}

impl What {
    /// Whose connection it is asked on.
    pub(super) fn visit(&self) -> Option<usize> {
        match self {
            Self::Insert(visit, _)
            | Self::Look(visit)
            | Self::Set(visit)
            | Self::Commit(visit)
            | Self::PartInsert(visit, ..)
            | Self::PartEnd(visit, ..)
            | Self::Rollback(visit) => Some(*visit),
            _ => None,
        }
    }
}
