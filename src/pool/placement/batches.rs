//! The calls of one turn, which are placed one after the other.

use super::View;
use super::burst::{batch_of_burst, batch_within, is_burst, kept_at_work};
use super::place::place;
use super::sharing::{joins_batch, may_share};
use crate::base::Instant;
use crate::pool::{Call, ConnectionId};

/// This many calls in a row go to the same busy connection if they are so quick that waiting for
/// all of them costs less than waking one more server process and writing to one more socket.
const RUN: usize = 32;

/// Remembers where the previous call went.
pub(in crate::pool) struct Batches {
    bursting: bool,
    /// Where the last call went, and how many more calls may go there.
    last: Option<(ConnectionId, usize)>,
}

/// The connection for a call.
pub(in crate::pool) struct Place {
    pub(in crate::pool) on: ConnectionId,
    /// Whether the call wants the connection for itself.
    pub(in crate::pool) exclusive: bool,
    /// Whether the call may share the connection.
    pub(in crate::pool) quick: bool,
    /// Whether the connection is kept busy. `None` leaves this as it was.
    pub(in crate::pool) kept_at_work: Option<bool>,
}

impl Batches {
    pub(in crate::pool) fn new(view: &mut View<'_>) -> Self {
        Self { bursting: is_burst(view), last: None }
    }

    /// Where the next call goes. `None` if no connection takes it.
    pub(in crate::pool) fn place(
        &mut self,
        now: Instant,
        call: &Call,
        view: &mut View<'_>,
    ) -> Option<Place> {
        // A caller that takes a connection, or has lost one, wants the connection for itself.
        let exclusive = call.statement.is_none() || call.lease.is_some();
        let quick = may_share(call, view);
        let share = quick && !exclusive;
        let bursting = self.bursting;
        if let Some((on, left)) = self.last
            && left > 0
            && share
            && joins_batch(now, on, call, bursting, view)
        {
            self.last = Some((on, left - 1));
            return Some(Place { on, exclusive, quick, kept_at_work: None });
        }
        let runs = if bursting { batch_within(call, view) } else { RUN };
        let kept = if bursting && share { kept_at_work(now, runs, view) } else { None };
        let length = if bursting { batch_of_burst(runs, view) } else { RUN };
        let on = kept.or_else(|| place(now, share, bursting, view))?;
        self.last = Some((on, length - 1));
        Some(Place { on, exclusive, quick, kept_at_work: Some(kept.is_some()) })
    }
}
