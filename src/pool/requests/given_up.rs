//! Calls that were given up before they were answered, and the errors that their callers get.

use std::time::Duration;

use crate::base::{Error, ErrorClass, Instant, Outcome};

/// Why a call was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Reason {
    Aborted,
    TimedOut {
        after: Duration,
    },
    /// The whole transaction was given up.
    WithTransaction,
    /// The same query was also sent elsewhere, and was answered there first.
    Overtaken,
    Ended,
}

/// A call that was given up after it was written.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct GivenUp {
    pub(in crate::pool) reason: Reason,
    pub(in crate::pool) at: Instant,
    /// Whether the caller already has the answer.
    pub(in crate::pool) answered: bool,
}

impl GivenUp {
    pub(in crate::pool) fn is_answered(&self) -> bool {
        self.answered
    }
}

pub(in crate::pool) fn given_up_error(reason: Reason, outcome: Outcome, what: &str) -> Error {
    let (class, code, message) = match reason {
        Reason::Aborted | Reason::Overtaken => {
            (ErrorClass::Abort, "HYPERION_ABORTED", format!("the query was aborted: {what}"))
        }
        Reason::TimedOut { after } => {
            let after = after.as_millis();
            let message = format!("the query was not done within {after} ms (timeoutMs): {what}");
            (ErrorClass::QueryTimeout, "HYPERION_QUERY_TIMEOUT", message)
        }
        Reason::WithTransaction => {
            let message = format!("the query was given up with its transaction: {what}");
            (ErrorClass::Abort, "HYPERION_ABORTED", message)
        }
        Reason::Ended => {
            let message = format!("the pool was ended before the query was done: {what}");
            (ErrorClass::Configuration, "HYPERION_POOL_CLOSED", message)
        }
    };
    Error::new(class, code, message).with_outcome(outcome)
}

/// The error of a call that only wanted a connection.
pub(in crate::pool) fn no_connection(reason: Reason) -> Error {
    let (class, code, message) = match reason {
        Reason::Aborted | Reason::WithTransaction | Reason::Overtaken => {
            let message = "the wait for a connection was aborted".to_owned();
            (ErrorClass::Abort, "HYPERION_ABORTED", message)
        }
        Reason::TimedOut { after } => {
            let after = after.as_millis();
            let message = format!("no connection was free within {after} ms (timeoutMs)");
            (ErrorClass::QueryTimeout, "HYPERION_QUERY_TIMEOUT", message)
        }
        Reason::Ended => {
            let message = "the pool was ended before a connection was free".to_owned();
            (ErrorClass::Configuration, "HYPERION_POOL_CLOSED", message)
        }
    };
    Error::new(class, code, message).with_outcome(Outcome::NotSent)
}

pub(in crate::pool) fn closed_pool() -> Error {
    let message = "the pool is closed: pool.end() was called";
    Error::new(ErrorClass::Configuration, "HYPERION_POOL_CLOSED", message)
        .with_outcome(Outcome::NotSent)
}
