//! A burst: so many calls that only the time until all of them are done matters.
//!
//! The last call of a burst waits less if fewer server processes and sockets are woken, each for a
//! larger batch. If the servers share their cores with this process, a few of them are kept busy
//! all the time. More servers than cores can't do more at the same time, so calls are sent after
//! others on the same few connections, and the rest stay free. The pool reads the answers of these
//! connections several at a time. Otherwise this process would wake for each answer, take the core
//! from the server that has more, and send equally small parts again.

use std::time::Duration;

use super::View;
use crate::base::Instant;
use crate::cluster::{HostId, Rank};
use crate::connection::Statements;
use crate::pool::connections::Connections;
use crate::pool::{Call, ConnectionId};

/// This many calls for each connection are a burst.
const BURST: usize = 4;
/// The most calls of a batch.
const LONGEST_RUN: usize = 64;
/// How long the calls of a batch may take together.
const RUN_WORTH: Duration = Duration::from_millis(2);
/// At least this many connections to each host share a burst, unless fewer are enough.
const RUNNERS: usize = 4;
/// A connection that is kept busy gets another batch when it has no more calls than this left, or
/// no more than a batch is worth.
const LEFT_TO_DO: usize = 96;
/// This many answers are read together, if that many follow and they take no longer than that.
const HEARD_TOGETHER: usize = 8;
const WORTH_HEARING: Duration = Duration::from_micros(250);
/// Fewer answers are not worth a system call.
const FEWEST_HEARD: usize = 4;
/// The least bytes of an answer in addition to its rows: BindComplete, CommandComplete with the
/// shortest tag, ReadyForQuery.
const FRAME_OF_ANSWER: usize = 5 + 8 + 6;

/// Whether there is a burst.
pub(super) fn is_burst(view: &mut View<'_>) -> bool {
    view.requests.len() >= BURST * view.connections.taking_calls()
}

/// How many calls of a burst in a row go to the connection of the first of them. `runs` is how many
/// executions of the call are worth one flight. At least one.
pub(super) fn batch_of_burst(runs: usize, view: &mut View<'_>) -> usize {
    let runners = match view.cluster.known_primary() {
        Some(host) => enough(host, view).map_or(RUNNERS, |enough| enough.min(RUNNERS)),
        None => RUNNERS.saturating_mul(preferred(view).max(1)),
    };
    let share = view.requests.len().div_ceil(runners).clamp(1, LONGEST_RUN);
    share.min(runs).max(1)
}

/// How many hosts may be preferred, if several serve.
fn preferred(view: &View<'_>) -> usize {
    let topology = view.cluster.topology();
    let is_preferred = |host: &&HostId| topology.rank(**host) == Some(Rank::Preferred);
    topology.host_ids().iter().filter(is_preferred).count()
}

/// Where a batch of a burst goes although there are idle connections. Once enough connections are
/// busy, it goes to the busy connection with the fewest calls.
pub(super) fn kept_at_work(now: Instant, runs: usize, view: &mut View<'_>) -> Option<ConnectionId> {
    let host = view.cluster.known_primary()?;
    let enough = enough(host, view)?;
    if !view.connections.are_joined(now, host, enough) {
        return None;
    }
    let (depth, id) = view.connections.least_joined(now, |of| of == host)?;
    (depth <= runs.min(LEFT_TO_DO)).then_some(id)
}

/// How many servers are enough for the burst, if they share cores with this process: one for each
/// core, and one more that is busy while another server waits for this process. A larger burst goes
/// to all connections. So does any burst if servers are asked for their role, because the answer to
/// that question comes in between.
fn enough(host: HostId, view: &mut View<'_>) -> Option<usize> {
    let enough = view.connections.cores(host)?.saturating_add(1);
    let most = enough.saturating_mul(LEFT_TO_DO + LONGEST_RUN);
    (view.requests.len() <= most).then_some(enough)
}

/// How many executions of a call's statement are worth one flight.
pub(super) fn batch_within(call: &Call, view: &View<'_>) -> usize {
    call.statement_in(view.statements).and_then(|s| s.stats.runs_within(RUN_WORTH)).unwrap_or(1)
}

/// At least how many bytes of the next answers are worth reading together, on a connection that is
/// kept busy because as many follow soon. 0 if each answer is worth reading by itself. This is an
/// estimate.
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
