//! The state of a connection on which a call was given up while the server runs it
//! (`src/pool/calls/cancel.rs`).

use std::time::Duration;

use crate::base::Instant;
use crate::connection::RequestToken;

/// The cancellation of the call that the server runs on a connection.
#[derive(Debug)]
pub(in crate::pool) struct Cancelling {
    pub(in crate::pool) target: RequestToken,
    pub(in crate::pool) state: CancelState,
    /// A CancelRequest was sent for this target, or for an earlier one.
    pub(in crate::pool) fired: bool,
    pub(in crate::pool) repeat_in: Duration,
    pub(in crate::pool) give_up_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum CancelState {
    Due { at: Instant },
    Underway,
    Over,
}

impl Cancelling {
    pub(in crate::pool) fn has_fired(&self) -> bool {
        self.fired
    }

    /// `at_work` is the call that the server runs. Calls before the target are answered first.
    pub(in crate::pool) fn deadline(&self, at_work: Option<RequestToken>) -> Instant {
        match self.state {
            CancelState::Due { at } if at_work == Some(self.target) => at.min(self.give_up_at),
            CancelState::Due { .. } | CancelState::Underway | CancelState::Over => self.give_up_at,
        }
    }
}
