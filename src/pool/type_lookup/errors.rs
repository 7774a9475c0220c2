//! The errors of answers and calls whose types no server has described.

use std::time::Duration;

use super::untyped::Answered;
use crate::base::{Error, ErrorClass, Outcome};
use crate::pool::requests::{Reason, given_up_error};

/// The code of a call whose values can't be encoded, as their types are not known for the moment.
pub(in crate::pool) const UNRESOLVED_TYPES: &str = "HYPERION_UNRESOLVED_TYPES";

/// The error of an answer that can't be read.
pub(super) fn unreadable(answered: &Answered, why: &str) -> Error {
    let outcome = answered.outcome;
    let done = match outcome {
        Outcome::Unknown if answered.is_open => ", and what it did is part of its transaction",
        Outcome::Unknown => ", and what it did has been done",
        _ => "",
    };
    let message = format!("the answer can't be read, as {why}: it was not kept{done}");
    let error = Error::new(ErrorClass::Protocol, "HYPERION_UNREADABLE_VALUE", message);
    answered.mark_transaction(error).with_outcome(outcome)
}

/// The error of an answer that its caller has given up, and that can't be read yet.
pub(in crate::pool) fn given_up_unresolved(outcome: Outcome, reason: Reason) -> Error {
    let what = match outcome {
        Outcome::Unknown => {
            "it has run, and the types in its answer are not resolved yet, so that the answer \
             can't be read"
        }
        _ => "the types in its answer are not resolved yet",
    };
    given_up_error(reason, outcome, what)
}

/// The error of an answer that was the last of its transaction.
pub(super) fn lost_with_transaction() -> Error {
    let message = "the connection was lost, and the transaction with it";
    let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
    error.with_outcome(Outcome::NotCommitted)
}

/// The error of a call whose values depend on the types of its parameters.
pub(super) fn not_sent(why: &str) -> Error {
    let message = format!("the query was not sent, as {why}, and its values depend on that");
    let error = Error::new(ErrorClass::Connection, UNRESOLVED_TYPES, message);
    error.with_outcome(Outcome::NotSent)
}

pub(super) fn no_types_within(time: Duration) -> String {
    let within = time.as_millis();
    format!("the server did not describe its types within {within} ms (connectTimeoutMs)")
}
