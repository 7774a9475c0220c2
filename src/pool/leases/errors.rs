//! The errors that callers of leases get.

use crate::base::{Error, ErrorClass, Outcome};
use crate::pool::Response;

/// A transaction was idle for too long.
pub(in crate::pool) const ABANDONED: &str = "HYPERION_TRANSACTION_ABANDONED";

pub(in crate::pool) const fn nothing() -> Response {
    Response { results: Vec::new(), lease: None }
}

pub(in crate::pool) fn given_back() -> Error {
    let message = "the connection was given back: use the pool, or take another one";
    Error::new(ErrorClass::Configuration, "HYPERION_CONNECTION_RELEASED", message)
        .with_outcome(Outcome::NotSent)
}

pub(in crate::pool) fn over() -> Error {
    let message = "the server is in no transaction any more: a statement ended it (COMMIT and ROLLBACK are \
                   methods of the transaction), or its BEGIN was refused";
    Error::new(ErrorClass::Transaction, "HYPERION_TRANSACTION_OVER", message)
}

/// Has the same words as in `js/api/connection.cjs`.
pub(super) fn open_already() -> Error {
    let message = "a transaction that was begun by a statement is open on this connection: end it before, or use \
                   BEGIN, COMMIT and ROLLBACK as statements alone";
    Error::new(ErrorClass::Transaction, "HYPERION_TRANSACTION_OPEN", message)
}
