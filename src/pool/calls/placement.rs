//! Which connection a call goes to.
//!
//! A call gets a connection of its own where one is idle. Once every connection is busy, autocommit
//! calls are pipelined behind others, with care: a request that was written can't be taken back, so
//! that one slow neighbour would hold up all behind it, and a neighbour that waits for a lock might
//! wait for somebody who in turn waits for a call behind it. So a call shares a connection only
//! - where it and all that is in flight there have been quick lately, and the one at work has not
//!   been at it for long, and
//! - if it does nothing but read, as far as its text can show, so that it waits for nobody's lock
//!   on a row; what gets stuck all the same is overtaken (`overtaking`).
//!
//! With `pipelining: 'all'` it may be any statement that can't commit half-way: should a
//! CancelRequest for a neighbour hit it, it is known to have had no effect and is sent again
//! (`cancel`). While a transaction of this pool is open it has to be one that answers as SELECT.
//! With `'off'` no call shares a connection.

use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Instant, Key, Mutation};
use crate::cluster::HostId;
use crate::config::Pipelining;
use crate::connection::Statement;
use crate::pool::balance::{choose, survey};
use crate::pool::connections::Slot;
use crate::pool::{Call, ConnectionId};

/// Requests and barriers in flight on one connection.
const DEEPEST_PIPELINE: usize = 64;
/// A statement whose mean is below this is quick.
const QUICK: Duration = Duration::from_millis(5);
/// What stands in the pipeline of a connection that was idle before its first request.
pub(in crate::pool) const BARRIER_AND_ONE: usize = 2;
/// So many calls in a row go to the same busy connection, where they are so quick that waiting for
/// all of them costs less than waking one more server process and writing to one more socket.
pub(in crate::pool) const RUN: usize = 32;
const QUICK_FOR_RUN: Duration = Duration::from_micros(500);

impl Calls {
    pub(in crate::pool) fn place(
        &mut self,
        now: Instant,
        share: bool,
        bursting: bool,
        cx: &mut Context<'_>,
    ) -> Option<ConnectionId> {
        if let Some(host) = cx.discovery.cluster.known_primary() {
            let empty = cx.connections.first_empty(host);
            return empty.or_else(|| self.place_behind(now, |of| of == host, share, cx));
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        let balance = cx.config.load_balance;
        let cluster = &mut cx.discovery.cluster;
        survey(cluster.topology(), cx.connections, balance, &mut candidates);
        let idle = choose(&candidates, bursting, balance, |equals| cluster.draw(equals));
        let serves = |host| candidates.iter().any(|candidate| candidate.host == host);
        let chosen = idle.or_else(|| self.place_behind(now, serves, share, cx));
        self.candidates = candidates;
        chosen
    }

    /// A connection of such a host that is being reset or asked something, where none is idle, else
    /// the least busy one that may be shared.
    pub(in crate::pool) fn place_behind(
        &mut self,
        now: Instant,
        serves: impl Fn(HostId) -> bool,
        share: bool,
        cx: &mut Context<'_>,
    ) -> Option<ConnectionId> {
        if let Some(id) = cx.connections.at_hand(now, &serves) {
            return Some(id);
        }
        if !share {
            return None;
        }
        let (depth, id) = cx.connections.least_joined(now, serves)?;
        (depth < DEEPEST_PIPELINE).then_some(id)
    }

    pub(in crate::pool) fn may_share(&self, call: &Call, cx: &Context<'_>) -> bool {
        let pipelining = match cx.config.pipelining {
            Pipelining::Reads if Mutation::ShareWrites.is_on() => Pipelining::All,
            pipelining => pipelining,
        };
        call.statement_in(&self.statements).is_some_and(|statement| {
            let is_allowed = match pipelining {
                Pipelining::Reads => statement.is_plain_read,
                Pipelining::All => {
                    statement.may_share
                        && (statement.stats.selects() || !self.leases.is_any_seated())
                }
                Pipelining::Off => false,
            };
            let is_held = call.is_held(&self.statements);
            is_allowed
                && !is_held
                && statement.stats.is_quick(QUICK)
                && !statement.session_effects.is_likely()
        })
    }

    /// Whether a call may go where the one before it went in this turn: unless there is a burst,
    /// only behind others, so that every connection is at work before any has more to do.
    pub(in crate::pool) fn joins_batch(
        &self,
        now: Instant,
        id: ConnectionId,
        call: &Call,
        bursting: bool,
        cx: &Context<'_>,
    ) -> bool {
        let quick =
            call.statement_in(&self.statements).is_some_and(|s| s.stats.is_quick(QUICK_FOR_RUN));
        let shared = |slot: &Slot| {
            let depth = slot.connection.depth();
            match bursting {
                true => may_be_joined(now, slot),
                false => depth > BARRIER_AND_ONE && may_be_shared(now, slot, depth),
            }
        };
        quick && cx.connections.get(id).is_some_and(|slot| slot.takes_calls() && shared(slot))
    }

    /// Whether only a call's answer tells if its server can be asked for its role behind it.
    pub(in crate::pool) fn hides_status(
        &self,
        key: Key<Call>,
        id: ConnectionId,
        cx: &Context<'_>,
    ) -> bool {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        statement.is_some_and(Statement::may_move_transaction)
            && cx.connections.get(id).is_some_and(|slot| !slot.connection.reports_role())
    }
}

pub(in crate::pool) fn may_be_shared(now: Instant, slot: &Slot, depth: usize) -> bool {
    depth < DEEPEST_PIPELINE && may_be_joined(now, slot)
}

pub(in crate::pool) fn may_be_joined(now: Instant, slot: &Slot) -> bool {
    // What stands behind a reset must not have anything behind it before the session is known to be
    // clean.
    slot.quick && slot.connection.is_clean() && !slot.is_overdue(now)
}
