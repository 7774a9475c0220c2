//! A call of an application that is not answered yet.

use std::time::Duration;

use crate::base::Instant;
use crate::pool::Trace;

/// One unanswered call.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) what: What,
    pub(super) since: Instant,
    /// How many keys were certainly committed when it was asked.
    pub(super) known: usize,
    pub(super) cancellable: bool,
    /// Its caller gave it up or set a limit.
    pub(super) bounded: bool,
    /// Its caller has declared that it changes nothing.
    pub(super) declared: bool,
    /// How long it was in the queue so far, and since when it is there now.
    pub(super) waited: Duration,
    pub(super) in_line_since: Option<Instant>,
    /// How many connections had been lost when it was asked.
    pub(super) losses: usize,
    /// It is a ROLLBACK after the time limit of its transaction.
    pub(super) is_hurried: bool,
    /// When its caller's time limit ends, and in which turn of the loop that was first noticed.
    pub(super) limit: Option<Instant>,
    pub(super) overdue_since: Option<Instant>,
    /// Whether it was asked with TRACED, and has its trace.
    pub(super) is_traced: bool,
    pub(super) trace: Option<Trace>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Write(String),
    /// A call after the last fault, repeated until it is served. It writes a key, unless the mode
    /// is not for writers.
    Probe(Option<String>),
    Read,
    /// Reads a value of a user-made type, which may be made anew all the time.
    Mood,
    /// Asks what role the session has.
    Role,
    /// Asks whether the session is as it was when it began.
    Clean,
    /// BEGIN, which callers of the pool must not send.
    Begin,
    /// A statement that leaves a transaction open, and does not show it.
    Open,
    /// A statement that changes its session, and does not show it or fails.
    Change,
    Acquire(usize),
    /// Inserts a key on the connection of a visit.
    Insert(usize, String),
    Look(usize),
    Set(usize),
    Commit(usize),
    Rollback(usize),
    /// Inserts a key in one of the transactions of a visit.
    PartInsert(usize, usize, String),
    /// Ends one of these transactions, by COMMIT or by ROLLBACK.
    PartEnd(usize, usize, bool),
    Ready,
    End,
}

impl What {
    /// The visit on whose connection it is asked.
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
