//! What is about to come on a connection, as far as earlier answers of the same statements show.

use std::time::Duration;

use super::{Calls, Context};
use crate::connection::Statement;
use crate::pool::connections::Connections;
use crate::pool::placement::{self, BARRIER_AND_ONE};
use crate::pool::{Awaited, Barrier, ConnectionId};

impl Calls {
    /// At least how many more bytes of rows will come, if the answer is like earlier answers of the
    /// same statement. This is an estimate.
    pub(in crate::pool) fn expected_rest(
        &self,
        id: ConnectionId,
        connections: &Connections,
    ) -> usize {
        self.arriving(id, connections)
            .map_or(0, |(of, held)| of.stats.expected_size().saturating_sub(held))
    }

    /// Which answers are worth reading together on a connection on which everything was written.
    /// This is an estimate by earlier answers of the same statement. It counts rows only if those
    /// answers came within `within`.
    pub(in crate::pool) fn awaited(
        &mut self,
        id: ConnectionId,
        within: Duration,
        cx: &mut Context<'_>,
    ) -> Awaited {
        let mut together = self.heard_together(id, cx.connections);
        let Some(connection) = cx.connections.get_mut(id).map(|slot| &mut slot.connection) else {
            return Awaited::default();
        };
        let Some((statement, held)) = connection.arriving() else { return Awaited::default() };
        let Some(statement) = self.statements.get_mut(statement) else { return Awaited::default() };
        let stats = &mut statement.stats;
        let is_alone = connection.depth() <= BARRIER_AND_ONE;
        let barrier = connection.begins_with_barrier().then(|| {
            // The time of a batch's first answer decides how the next batch is read: as it comes,
            // or many answers together.
            let waits = together > 0 || (is_alone && stats.waits_for_answer());
            match waits && connection.hear_together() {
                true => Barrier::HeardWithRequest,
                false => {
                    together = 0;
                    Barrier::HeardAlone
                }
            }
        });
        let comes = is_alone && stats.is_quick(within);
        let rows = if comes { stats.expected_size().saturating_sub(held) } else { 0 };
        Awaited { rows, together, barrier }
    }

    /// How many bytes of answers are worth reading together, if there are several.
    pub(in crate::pool) fn heard_together(
        &self,
        id: ConnectionId,
        connections: &Connections,
    ) -> usize {
        placement::heard_together(id, connections, &self.statements)
    }

    fn arriving(&self, id: ConnectionId, connections: &Connections) -> Option<(&Statement, usize)> {
        let (statement, held) = connections.get(id)?.connection.arriving()?;
        Some((self.statements.get(statement)?, held))
    }
}
