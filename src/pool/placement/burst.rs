//! A burst: so many calls that only the time until all of them are done counts.
//!
//! The last call of a burst waits less where fewer server processes and sockets are woken, each for
//! a longer run. Where the servers share their cores with this process, a few of them are not even
//! let go to sleep. More servers than cores can't do more at once, so calls go behind others on the
//! same few connections, while the rest stay free. The pool hears the answers of these connections
//! several at a time. Otherwise this process would wake for each answer, take the core from the
//! server that has more, and ask again in parts as small.

use std::time::Duration;

use super::View;
use crate::base::Instant;
use crate::cluster::{HostId, Rank};
use crate::connection::Statements;
use crate::pool::connections::Connections;
use crate::pool::{Call, ConnectionId};

/// So many calls for each connection are a burst.
const BURST: usize = 4;
/// A run is not longer.
const LONGEST_RUN: usize = 64;
/// What the calls of a run may take together.
const RUN_WORTH: Duration = Duration::from_millis(2);
/// So many connections to each host share a burst at least, unless fewer are enough.
const RUNNERS: usize = 4;
/// A connection that is kept at work gets another run when it has no more to do than this, or than
/// what a run is worth.
const LEFT_TO_DO: usize = 96;
/// So many answers are heard together, where as many follow and they take no longer than that.
const HEARD_TOGETHER: usize = 8;
const WORTH_HEARING: Duration = Duration::from_micros(250);
/// Fewer are not worth a call to the system.
const FEWEST_HEARD: usize = 4;
/// What an answer takes at least, beside its rows: BindComplete, CommandComplete with the shortest
/// tag, ReadyForQuery.
const FRAME_OF_ANSWER: usize = 5 + 8 + 6;

/// Whether there is a burst.
pub(super) fn is_burst(view: &mut View<'_>) -> bool {
    view.requests.len() >= BURST * view.connections.taking_calls()
}

/// How many calls of a burst in a row go where the first of them goes, by how many runs of it are
/// worth one flight. At least one.
pub(super) fn batch_of_burst(runs: usize, view: &mut View<'_>) -> usize {
    let runners = match view.cluster.known_primary() {
        Some(host) => enough(host, view).map_or(RUNNERS, |enough| enough.min(RUNNERS)),
        None => RUNNERS.saturating_mul(preferred(view).max(1)),
    };
    let share = view.requests.len().div_ceil(runners).clamp(1, LONGEST_RUN);
    share.min(runs).max(1)
}

/// How many hosts may be meant to serve, where there are many.
fn preferred(view: &View<'_>) -> usize {
    let topology = view.cluster.topology();
    let is_preferred = |host: &&HostId| topology.rank(**host) == Some(Rank::Preferred);
    topology.host_ids().iter().filter(is_preferred).count()
}

/// Where a run of a burst goes although there are idle connections. Once enough connections are at
/// work, it goes to the one of them with the least to do.
pub(super) fn kept_at_work(now: Instant, runs: usize, view: &mut View<'_>) -> Option<ConnectionId> {
    let host = view.cluster.known_primary()?;
    let enough = enough(host, view)?;
    if !view.connections.are_joined(now, host, enough) {
        return None;
    }
    let (depth, id) = view.connections.least_joined(now, |of| of == host)?;
    (depth <= runs.min(LEFT_TO_DO)).then_some(id)
}

/// How many servers are enough for the burst, where they share cores with this process: one for
/// each core, and one that has something to do while another one waits for this process. A larger
/// burst is for all connections. So is any burst where servers are asked for their role, because
/// that answer comes in between.
fn enough(host: HostId, view: &mut View<'_>) -> Option<usize> {
    let enough = view.connections.cores(host)?.saturating_add(1);
    let most = enough.saturating_mul(LEFT_TO_DO + LONGEST_RUN);
    (view.requests.len() <= most).then_some(enough)
}

/// How many runs of a call's statement are worth one flight.
pub(super) fn batch_within(call: &Call, view: &View<'_>) -> usize {
    call.statement_in(view.statements).and_then(|s| s.stats.runs_within(RUN_WORTH)).unwrap_or(1)
}

/// How many bytes the next answers will take, at least, that are worth hearing together on a
/// connection which is kept at work, because as many follow soon. 0 where each answer is worth
/// hearing by itself. A guess.
pub(in crate::pool) fn heard_together(
    id: ConnectionId,
    connections: &Connections,
    statements: &Statements,
) -> usize {
    let Some(slot) = connections.get(id).filter(|slot| slot.kept_at_work) else {
        return 0;
    };
    let connection = &slot.connection;
    let half = connection.depth() / 2;
    if half < FEWEST_HEARD {
        return 0;
    }
    let mut heard = HEARD_TOGETHER.min(half);
    let mut bytes = 0_usize;
    for (place, statement) in connection.statements_in_flight().enumerate() {
        if place >= heard {
            let held = connection.arriving().map_or(0, |(_, held)| held);
            return bytes.saturating_sub(held);
        }
        let Some(statement) = statement.and_then(|id| statements.get(id)) else {
            return 0;
        };
        heard = heard.min(statement.stats.runs_within(WORTH_HEARING).unwrap_or(0));
        if heard < FEWEST_HEARD {
            return 0;
        }
        bytes = bytes.saturating_add(FRAME_OF_ANSWER + statement.stats.expected_size());
    }
    0
}
