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

use super::connections::Slot;
use super::end::Life;
use super::end::closed_pool;
use super::lease::nothing;
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
    pub fn wants_connections(&self) -> bool {
        !self.waiting.is_empty() || self.overtaking.stranded() > 0 || self.missing() > 0
    }

    pub(super) fn somebody_waits(&self) -> bool {
        !self.waiting.is_empty() || !self.ready.is_empty()
    }

    /// Connections to be opened although no call asks for them.
    pub(super) fn missing(&self) -> usize {
        if !matches!(self.life, Life::Open) {
            return 0;
        }
        let free = self.connections.iter().filter(|(_, slot)| slot.is_available()).count();
        let missing = self.config.min_idle.saturating_sub(free);
        if self.ready.is_empty() || self.open_connections() > 0 { missing } else { missing.max(1) }
    }

    fn open_connections(&self) -> usize {
        let topology = self.cluster.topology();
        let open = |slot: &Slot| slot.counts() && topology.serves(slot.host);
        self.connections.iter().filter(|(_, slot)| open(slot)).count()
    }

    pub(super) fn settle_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        if self.cluster.topology().is_served()
            && self.open_connections() >= self.config.min_idle.max(1)
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
        let expired = |slot: &Slot| slot.counts() && !slot.spent && slot.expires_at <= now;
        let ids: Vec<_> =
            self.connections.iter().filter(|(_, slot)| expired(slot)).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(slot) = self.connections.get_mut(id) {
                slot.spent = true;
            }
            self.retire_if_useless(id);
        }
        // Those that are used least come last: calls take the first that is free.
        let mut free = self.free_since();
        let surplus = match Mutation::KeepIdle.is_on() {
            false => free.len().saturating_sub(self.config.min_idle),
            true => 0,
        };
        free.sort_by_key(|(since, _)| *since);
        for (since, id) in free.into_iter().take(surplus) {
            if self.config.idle_timeout.is_some_and(|timeout| since + timeout <= now) {
                self.retire(id);
            }
        }
    }

    pub(super) fn upkeep_timeout(&self) -> Option<(Instant, &'static str)> {
        let ready = self.ready.front().map(|ready| (ready.deadline, "ready"));
        let expiring = self.connections.iter().filter(|(_, slot)| slot.counts() && !slot.spent);
        let lifetime = expiring.map(|(_, slot)| slot.expires_at).min();
        let lifetime = lifetime.filter(|at| *at < Instant::NEVER).map(|at| (at, "lifetime"));
        let idle = self.config.idle_timeout.and_then(|timeout| {
            let free = self.connections.iter().filter_map(|(_, slot)| slot.free_since());
            let (count, first) = free.fold((0_usize, Instant::NEVER), |(count, first), since| {
                (count + 1, first.min(since))
            });
            (count > self.config.min_idle).then_some((first + timeout, "idle connection"))
        });
        [ready, lifetime, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn free_since(&self) -> Vec<(Instant, ConnectionId)> {
        self.connections.iter().filter_map(|(id, slot)| Some((slot.free_since()?, id))).collect()
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

    fn not_ready(&self) -> Error {
        if !self.cluster.topology().is_served() {
            return self.acquire_timeout();
        }
        let (open, wanted) = (self.open_connections(), self.config.min_idle.max(1));
        let after = self.config.acquire_timeout.as_millis();
        let message =
            format!("only {open} of {wanted} connections (minIdle) were open within {after}ms");
        Error::new(ErrorClass::PoolTimeout, "HYPERION_POOL_TIMEOUT", message)
            .with_outcome(Outcome::NotSent)
            .with_hosts(self.cluster.reports())
    }
}
