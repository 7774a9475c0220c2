//! How many connections are kept although no caller uses them, and for how long any is used.
//!
//! - `minIdle` free connections are kept ready, opened ahead of demand, a few logins at a time.
//!   While no host serves they are looked for as long as for calls that no caller waits for, and
//!   again with the next call.
//! - One that is free for `idleTimeoutMs` is closed, unless it is one of those.
//! - One that is older than `maxLifetimeMs`, or was used `maxUses` times, is spent: it takes
//!   nothing new and is closed once it is free. Lifetimes differ by up to a tenth, so that
//!   connections that were opened together are not all gone together.
//!
//! Nothing here costs a busy pool anything: since when a connection is free, its last ReadyForQuery
//! tells.

use super::Pool;
use super::leases::nothing;
use super::life::Life;
use super::requests::closed_pool;
use crate::base::{Error, Instant, Mutation};

/// A caller that waits until the pool is warm.
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

    pub(super) fn settle_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        if self.discovery.cluster.topology().is_served()
            && self.discover(|discovery, cx| discovery.counted(cx)) >= self.config.min_idle.max(1)
        {
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
            self.connections.retire_if_useless(id, self.discovery.cluster.topology());
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
            self.connections.retire(id);
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
}
