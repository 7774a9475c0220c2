//! Whether a call may be sent after others on the same connection.
//!
//! A call gets a connection of its own if one is idle. Once every connection is busy, autocommit
//! calls are pipelined, with care. A request that was written can't be taken back, so a single slow
//! request delays all requests after it. And a request that waits for a lock might wait for a
//! caller who in turn waits for a call after it. So a call shares a connection only if
//! - the call and all requests in flight there have been quick lately, and the running request has
//!   not run for long, and
//! - the call only reads, as far as its text can show, so that it waits for no row lock. If it gets
//!   stuck nevertheless, it is overtaken (`stuck`).
//!
//! With `pipelining: 'all'` it may be any statement that can't commit halfway: if a CancelRequest
//! for another call hits it, it certainly had no effect and is sent again (`calls::cancel`). While
//! a transaction of this pool is open, the statement's command tag must be that of a SELECT. With
//! `'off'` no call shares a connection.

use std::time::Duration;

use super::View;
use crate::base::{Instant, Mutation};
use crate::cluster::Primary;
use crate::config::Pipelining;
use crate::pool::{Call, ConnectionId, Slot};

/// The most requests and barriers in flight on one connection.
pub(super) const DEEPEST_PIPELINE: usize = 64;
/// A statement with a shorter mean is quick.
const QUICK: Duration = Duration::from_millis(5);
/// The length of the pipeline when a connection that was idle has got its first request.
pub(in crate::pool) const BARRIER_AND_ONE: usize = 2;
const QUICK_FOR_RUN: Duration = Duration::from_micros(500);

/// Whether a call may share a connection.
pub(in crate::pool) fn may_share(call: &Call, view: &View<'_>) -> bool {
    let pipelining = match view.config.pipelining {
        Pipelining::Reads if Mutation::ShareWrites.is_on() => Pipelining::All,
        pipelining => pipelining,
    };
    call.statement_in(view.statements).is_some_and(|statement| {
        let is_allowed = match pipelining {
            Pipelining::Reads => statement.is_plain_read,
            Pipelining::All => {
                statement.may_share && (statement.stats.selects() || !view.leases.is_any_seated())
            }
            Pipelining::Off => false,
        };
        let is_held = call.is_held(view.statements);
        is_allowed
            && !is_held
            && statement.stats.is_quick(QUICK)
            && !statement.session_effects.is_likely()
    })
}

/// Whether a call may go where the previous call of this turn went. Unless there is a burst, it may
/// do so only on a busy connection, so that every connection is busy before any gets more calls.
pub(super) fn joins_batch(
    now: Instant,
    id: ConnectionId,
    call: &Call,
    bursting: bool,
    view: &View<'_>,
) -> bool {
    let quick = call.statement_in(view.statements).is_some_and(|s| s.stats.is_quick(QUICK_FOR_RUN));
    let shared = |slot: &Slot| {
        let depth = slot.connection.depth();
        match bursting {
            true => may_be_joined(now, slot),
            false => depth > BARRIER_AND_ONE && may_be_shared(now, slot, depth),
        }
    };
    quick && view.connections.get(id).is_some_and(|slot| slot.takes_calls() && shared(slot))
}

/// Whether a call may go back to the connection that has described its statement. The connection
/// must be idle, or shared by calls that are as `quick`.
pub(in crate::pool) fn may_stay(
    now: Instant,
    id: ConnectionId,
    quick: bool,
    view: &View<'_>,
) -> bool {
    let topology = view.cluster.topology();
    let serves =
        |host| topology.rank(host).is_some() && topology.primary() != Primary::Silent(host);
    view.connections.get(id).is_some_and(|slot| {
        let depth = slot.connection.depth();
        let has_room = depth == 0 || (quick && may_be_shared(now, slot, depth));
        slot.takes_calls() && !slot.connection.has_events() && serves(slot.host) && has_room
    })
}

fn may_be_shared(now: Instant, slot: &Slot, depth: usize) -> bool {
    depth < DEEPEST_PIPELINE && may_be_joined(now, slot)
}

fn may_be_joined(now: Instant, slot: &Slot) -> bool {
    // After a request that follows a reset, nothing may be sent before the session is known to be
    // clean.
    slot.quick && slot.connection.is_clean() && !slot.is_overdue(now)
}
