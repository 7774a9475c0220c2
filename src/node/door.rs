//! The boundary between JavaScript and each call of the addon: errors are thrown, and panics are
//! caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error_json::error_to_json;
use super::value::{Env, Fault};
use crate::base::Error;

/// Runs a call from JavaScript. An error or a panic in the call is thrown as an exception, and the
/// result is `None`.
pub(super) fn door<T>(
    env: Env,
    run: impl FnOnce() -> Result<T, Fault>,
    panicked: impl FnOnce() -> String,
) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(Fault::Pending)) => {}
        Ok(Err(Fault::Own(error))) => env.throw(&error_to_json(&error)),
        Err(_) => env.throw(&panicked()),
    }
    None
}

/// The exception for a panic in a call.
pub(super) fn defect() -> String {
    error_to_json(&Error::internal("a defect in hyperiondb-client was found in this call"))
}
