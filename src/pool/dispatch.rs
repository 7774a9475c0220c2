//! The waiting line: who is served next, and on which connection.
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

use super::connections::Slot;
use super::{Call, ConnectionId, Pool, QueryFlags};
use crate::base::{Error, ErrorClass, Instant, Key, Mutation, Outcome};
use crate::cluster::{HostId, Primary, fits};
use crate::config::{Pipelining, TargetSessionAttrs};
use crate::connection::Statement;

/// Requests and barriers in flight on one connection.
const DEEPEST_PIPELINE: usize = 64;
/// A statement whose mean is below this is quick.
const QUICK: Duration = Duration::from_millis(5);
/// What stands in the pipeline of a connection that was idle before its first request.
pub(super) const BARRIER_AND_ONE: usize = 2;
/// Whether a request is preceded by a barrier; a benchmark alone is built without.
pub(super) const GUARDED: bool = !cfg!(feature = "unguarded");
/// So many calls in a row go to the same busy connection, where they are so quick that waiting for
/// all of them costs less than waking one more server process and writing to one more socket.
const RUN: usize = 32;
const QUICK_FOR_RUN: Duration = Duration::from_micros(500);

impl Pool {
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.overtake(now);
        if !self.cluster.topology().is_served() {
            return;
        }
        let crowded = self.is_crowded();
        let mut run: Option<(ConnectionId, usize)> = None;
        while let Some(key) = self.requests.waiting.front() {
            let Some(call) = self.requests.get(key) else {
                self.requests.waiting.pop_front();
                continue;
            };
            // Who takes a connection, or has lost one, wants it for itself.
            let exclusive = call.statement.is_none() || call.lease.is_some();
            let quick = self.may_share(call);
            let joined = match run {
                Some((id, left)) if left > 0 && quick && !exclusive => {
                    self.joins_run(now, id, call, crowded).then_some((id, left - 1))
                }
                _ => None,
            };
            let (id, left) = match joined {
                Some(joined) => joined,
                None => {
                    let share = quick && !exclusive;
                    let runs = if crowded { self.runs_of(call) } else { RUN };
                    let kept = if crowded && share { self.kept_at_work(now, runs) } else { None };
                    let length = if crowded { self.run_of_crowd(runs) } else { RUN };
                    let id = kept.or_else(|| self.place(now, share, crowded));
                    let Some(id) = id else { return };
                    if let Some(slot) = self.connections.get_mut(id) {
                        slot.kept_at_work = kept.is_some();
                    }
                    (id, length - 1)
                }
            };
            run = Some((id, left));
            self.requests.waiting.pop_front();
            if exclusive {
                self.seat(now, key, id);
                continue;
            }
            if let Some(slot) = self.connections.get_mut(id) {
                slot.quick = quick && (slot.quick || slot.connection.is_idle());
            }
            self.send(now, key, id, GUARDED, None);
        }
    }

    pub(super) fn may_share(&self, call: &Call) -> bool {
        let pipelining = match self.config.pipelining {
            Pipelining::Reads if Mutation::ShareWrites.is_on() => Pipelining::All,
            pipelining => pipelining,
        };
        call.statement_in(&self.statements).is_some_and(|statement| {
            let is_allowed = match pipelining {
                Pipelining::Reads => statement.is_plain_read,
                Pipelining::All => {
                    statement.may_share
                        && (statement.habit.selects() || !self.leases.is_any_seated())
                }
                Pipelining::Off => false,
            };
            is_allowed && statement.habit.is_quick(QUICK) && !statement.traces.is_likely()
        })
    }

    /// Whether a call may go where the one before it went in this turn: unless there is a crowd,
    /// only behind others, so that every connection is at work before any has more to do.
    fn joins_run(&self, now: Instant, id: ConnectionId, call: &Call, crowded: bool) -> bool {
        let quick =
            call.statement_in(&self.statements).is_some_and(|s| s.habit.is_quick(QUICK_FOR_RUN));
        let shared = |slot: &Slot| {
            let depth = slot.connection.depth();
            match crowded {
                true => may_be_joined(now, slot),
                false => depth > BARRIER_AND_ONE && may_be_shared(now, slot, depth),
            }
        };
        quick && self.connections.get(id).is_some_and(|slot| slot.takes_calls() && shared(slot))
    }

    /// Whether only a call's answer tells if its server can be asked for its role behind it.
    pub(super) fn hides_status(&self, key: Key<Call>, id: ConnectionId) -> bool {
        let statement = self.requests.get(key).and_then(|call| call.statement_in(&self.statements));
        statement.is_some_and(Statement::may_move_transaction)
            && self.connections.get(id).is_some_and(|slot| !slot.connection.reports_role())
    }

    /// The host in the seat, where that is not in doubt.
    pub(super) fn primary(&self) -> Option<HostId> {
        match self.cluster.topology().primary() {
            Primary::Known(host) => Some(host),
            Primary::Unknown | Primary::Suspected(_) => None,
        }
    }

    pub(super) fn place(
        &mut self,
        now: Instant,
        share: bool,
        crowded: bool,
    ) -> Option<ConnectionId> {
        if let Some(host) = self.primary() {
            let empty = self.connections.first_empty(host);
            return empty.or_else(|| self.place_behind(now, |of| of == host, share));
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        self.survey(&mut candidates);
        let idle = self.choose(&candidates, crowded);
        let serves = |host| candidates.iter().any(|candidate| candidate.host == host);
        let chosen = idle.or_else(|| self.place_behind(now, serves, share));
        self.candidates = candidates;
        chosen
    }

    /// A connection of such a host that is being reset or asked something, where none is idle, else
    /// the least busy one that may be shared.
    fn place_behind(
        &mut self,
        now: Instant,
        serves: impl Fn(HostId) -> bool,
        share: bool,
    ) -> Option<ConnectionId> {
        if let Some(id) = self.connections.at_hand(&serves) {
            return Some(id);
        }
        if !share {
            return None;
        }
        let (depth, id) = self.connections.least_joined(now, serves)?;
        (depth < DEEPEST_PIPELINE).then_some(id)
    }

    pub(super) fn may_serve(&self, id: ConnectionId) -> bool {
        let topology = self.cluster.topology();
        self.connections.get(id).is_some_and(|slot| topology.serves(slot.host))
    }

    pub(super) fn expire_waiting(&mut self, now: Instant) {
        if Mutation::ForgetDeadline.is_on() {
            return;
        }
        for key in self.requests.waiting.take_late(now) {
            let error = self.acquire_timeout();
            self.give_up_call(key, &error);
        }
    }

    pub(super) fn acquire_timeout(&mut self) -> Error {
        let after = self.config.acquire_timeout.as_millis();
        if self.cluster.topology().is_served() {
            let status = self.status();
            let message = format!(
                "no connection became free within {after}ms: {} of {} are in use",
                status.in_use, status.max_size
            );
            return Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
                .with_outcome(Outcome::NotSent)
                .with_hosts(self.cluster.reports());
        }
        let reports = self.cluster.reports();
        let each: Vec<_> = reports.iter().map(|r| format!("{}: {}", r.host, r.why)).collect();
        let (what, code) = match self.config.mode {
            _ if self.cluster.topology().contest().is_some() => {
                ("no host that is the primary beyond doubt", "HYPERION_SPLIT_BRAIN")
            }
            TargetSessionAttrs::ReadWrite => ("no writable primary", "HYPERION_NO_PRIMARY"),
            TargetSessionAttrs::Primary => ("no primary", "HYPERION_NO_PRIMARY"),
            TargetSessionAttrs::ReadOnly => ("no read-only host", "HYPERION_NO_HOST"),
            TargetSessionAttrs::Standby => ("no standby", "HYPERION_NO_HOST"),
            TargetSessionAttrs::PreferStandby | TargetSessionAttrs::Any => {
                ("no host", "HYPERION_NO_HOST")
            }
        };
        let message = format!("{what} available after {after}ms ({})", each.join("; "));
        Error::new(ErrorClass::PoolTimeout, code, message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(reports)
    }

    /// What waiting calls fail with where no server has ever answered, each host has just refused
    /// an attempt outright, and no other attempt is under way. Who asks then waits for the next
    /// attempt, so that nobody fails more often than hosts are asked.
    pub(super) fn fast_failure(&mut self) -> Option<Error> {
        let is_nowhere = self.config.fail_fast && self.cluster.is_nowhere();
        if !is_nowhere || self.connections.apart().any(|(_, slot)| slot.is_joining()) {
            return None;
        }
        let reports = self.cluster.reports();
        let each: Vec<_> = reports.iter().map(|r| format!("{}: {}", r.host, r.why)).collect();
        let message = match reports.as_slice() {
            [only] => only.why.clone(),
            _ => format!("no host can be reached ({})", each.join("; ")),
        };
        let cause = reports.first().and_then(|report| report.cause.clone());
        let error = Error::new(ErrorClass::Connection, "HYPERION_UNREACHABLE", message)
            .with_outcome(Outcome::NotSent);
        let error = match reports.as_slice() {
            [only] => error.with_host(std::sync::Arc::clone(&only.host)),
            _ => error,
        };
        Some(cause.into_iter().fold(error, Error::with_cause).with_hosts(reports))
    }

    /// Ends the waits that no longer help, by all that the turn has brought: the session that is
    /// lost next may be of a host that is then down, and that is waited for.
    pub(super) fn end_hopeless_waits(&mut self) {
        if std::mem::take(&mut self.may_be_hopeless)
            && let Some(error) = self.hopeless()
        {
            self.give_up_waiting(&error);
        }
    }

    /// What waiting calls fail with where no waiting would help. Whatever new sessions are told,
    /// those that are open may serve whoever waits for them, and so may those that are on their way
    /// to a host that has refused for good: a person may have healed that since.
    fn hopeless(&mut self) -> Option<Error> {
        let may_serve = |slot: &Slot| {
            let role = slot.connection.role();
            role.is_some_and(|role| fits(self.config.mode, role))
                && (slot.counts() || slot.asks_for(slot.host))
                && self.cluster.topology().host(slot.host).is_some()
        };
        // What a host that refuses for good has said before says nothing of what it says now.
        let is_asked_anew = |slot: &Slot| {
            slot.is_joining()
                && self.cluster.topology().refuses_for_good(slot.host)
                && !Mutation::BelieveOldRefusal.is_on()
        };
        let is_hoped_for = |slot: &Slot| may_serve(slot) || is_asked_anew(slot);
        if self.connections.iter().any(|(_, slot)| is_hoped_for(slot)) {
            return None;
        }
        self.cluster.hopeless().cloned().or_else(|| self.fast_failure())
    }

    /// Fails every waiting call: no waiting would help.
    pub(super) fn give_up_waiting(&mut self, error: &Error) {
        while let Some(key) = self.requests.waiting.pop_front() {
            self.give_up_call(key, error);
        }
        self.refuse_ready(error);
    }

    /// A call gets no connection. One that had lost its own is not the only one that waits for it.
    fn give_up_call(&mut self, key: Key<Call>, error: &Error) {
        let Some(call) = self.requests.get(key) else { return };
        let error = error.clone().with_outcome(call.outcome());
        if let Some(lease) = call.lease {
            let releases = call.flags.has(QueryFlags::RELEASE);
            self.lose_lease(lease, error.clone());
            if releases {
                self.leases.remove(lease);
            }
        }
        self.finish_call(key, Err(error));
    }

    /// Puts calls back in front of the line, in the order in which they came.
    pub(super) fn wait_again(
        &mut self,
        now: Instant,
        keys: impl DoubleEndedIterator<Item = Key<Call>>,
    ) {
        for key in keys.rev() {
            if self.is_wanted_again(now, key)
                && let Some(call) = self.requests.get_mut(key)
            {
                call.come_back(now);
                if Mutation::RestartDeadline.is_on() {
                    call.deadline = now + self.config.acquire_timeout;
                }
                match call.lease.filter(|_| call.flags.has(QueryFlags::END)) {
                    Some(lease) => self.end_unplaced(key, lease),
                    None => self.requests.enqueue_in_front(key),
                }
            }
        }
    }
}

fn may_be_shared(now: Instant, slot: &Slot, depth: usize) -> bool {
    depth < DEEPEST_PIPELINE && may_be_joined(now, slot)
}

pub(super) fn may_be_joined(now: Instant, slot: &Slot) -> bool {
    // What stands behind a reset must not have anything behind it before the session is known to be
    // clean.
    slot.quick && slot.connection.is_clean() && !slot.is_overdue(now)
}
