//! How many connections are kept although nobody uses them, and for how long any is used.
//!
//! - `minIdle` free connections are kept ready, opened ahead of demand, a few logins at a time.
//!   While no host serves they are looked for as long as for calls that nobody waits for, and again
//!   with the next call.
//! - One that is free for `idleTimeoutMs` is closed, unless it is one of those.
//! - One that is older than `maxLifetimeMs`, or was used `maxUses` times, is spent: it takes
//!   nothing new and is closed once it is free. Lifetimes differ by up to a tenth, so that
//!   connections that were opened together are not all gone together.
//!
//! Nothing here costs a busy pool anything: since when a connection is free, its last ReadyForQuery
//! tells.

use std::time::Duration;

use super::end::Life;
use super::end::closed_pool;
use super::leases::nothing;
use super::{ConnectionId, Pool};
use crate::base::{Error, ErrorClass, Instant, Mutation, Outcome};

/// By how much a lifetime may be shorter than `maxLifetimeMs`: one part in so many.
const JITTER: u32 = 10;

/// Somebody who waits until the pool is warm.
#[derive(Debug)]
pub(super) struct Ready {
    request: u32,
    deadline: Instant,
}

impl Pool {
    /// Answers once a host serves and `minIdle` connections are open, or when `acquireTimeoutMs`
    /// are over.
    pub fn ready(&mut self, now: Instant, request: u32) {
        if !matches!(self.life, Life::Open) {
            return self.complete(request, Err(closed_pool()));
        }
        let deadline = now + self.config.acquire_timeout;
        self.ready.push_back(Ready { request, deadline });
    }

    /// Whether connections are wanted, by calls or by the options.
    pub fn wants_connections(&mut self) -> bool {
        !self.requests.waiting.is_empty() || self.overtaking.stranded() > 0 || self.missing() > 0
    }

    pub(super) fn somebody_waits(&self) -> bool {
        !self.requests.waiting.is_empty() || !self.ready.is_empty()
    }

    /// Connections to be opened although no call asks for them.
    pub(super) fn missing(&mut self) -> usize {
        if !matches!(self.life, Life::Open) {
            return 0;
        }
        let missing = self.config.min_idle.saturating_sub(self.connections.available());
        if self.ready.is_empty() || self.counted() > 0 { missing } else { missing.max(1) }
    }

    pub(super) fn settle_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        if self.cluster.topology().is_served() && self.counted() >= self.config.min_idle.max(1) {
            while let Some(Ready { request, .. }) = self.ready.pop_front() {
                self.complete(request, Ok(nothing()));
            }
        }
    }

    pub(super) fn refuse_ready(&mut self, error: &Error) {
        while let Some(Ready { request, .. }) = self.ready.pop_front() {
            self.complete(request, Err(error.clone()));
        }
    }

    pub(super) fn handle_upkeep_timeout(&mut self, now: Instant) {
        while self.ready.front().is_some_and(|ready| ready.deadline <= now) {
            let error = self.not_ready();
            if let Some(Ready { request, .. }) = self.ready.pop_front() {
                self.complete(request, Err(error));
            }
        }
        for id in self.connections.expired(now) {
            if let Some(slot) = self.connections.get_mut(id) {
                slot.spent = true;
            }
            self.retire_if_useless(id);
        }
        // Those that are used least come last: calls take the first that is free.
        let Some(timeout) = self.config.idle_timeout else { return };
        let surplus = match Mutation::KeepIdle.is_on() {
            false => self.connections.free().saturating_sub(self.config.min_idle),
            true => 0,
        };
        let mut free = self.connections.free_for(now, timeout);
        free.sort_by_key(|(since, _)| *since);
        for (_, id) in free.into_iter().take(surplus) {
            self.retire(id);
        }
    }

    pub(super) fn upkeep_timeout(&mut self) -> Option<(Instant, &'static str)> {
        let ready = self.ready.front().map(|ready| (ready.deadline, "ready"));
        let lifetime = self.connections.next_expiry().map(|at| (at, "lifetime"));
        let has_surplus = self.connections.free() > self.config.min_idle;
        let timeout = self.config.idle_timeout.filter(|_| has_surplus);
        let first = self.connections.free_since();
        let idle = timeout.zip(first).map(|(timeout, first)| (first + timeout, "idle connection"));
        [ready, lifetime, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When a connection that is opened now is to be replaced.
    pub(super) fn expiry(&mut self, now: Instant) -> Instant {
        let Some(lifetime) = self.config.max_lifetime else { return Instant::NEVER };
        let most = u64::try_from((lifetime / JITTER).as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.random.below(most.saturating_add(1)));
        now + lifetime.saturating_sub(jitter)
    }

    /// A connection was given to a caller.
    pub(super) fn count_use(&mut self, id: ConnectionId) {
        if let Some(most) = self.config.max_uses
            && let Some(slot) = self.connections.get_mut(id)
        {
            slot.uses += 1;
            slot.spent |= slot.uses >= most;
        }
    }

    fn not_ready(&mut self) -> Error {
        if !self.cluster.topology().is_served() {
            return self.acquire_timeout();
        }
        let (open, wanted) = (self.counted(), self.config.min_idle.max(1));
        let after = self.config.acquire_timeout.as_millis();
        let message =
            format!("only {open} of {wanted} connections (minIdle) were open within {after}ms");
        Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(self.cluster.reports())
    }
}
