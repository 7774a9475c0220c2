//! How many connections are kept although no caller uses them, and for how long any is used.
//!
//! - `minIdle` free connections are kept ready, opened ahead of demand, a few logins at a time.
//!   While no host serves they are looked for as long as for calls that no caller waits for, and
//!   again with the next call.
//! - One that is free for `idleTimeoutMs` is closed, unless it is one of those.
//! - One that is older than `maxLifetimeMs`, or was used `maxUses` times, is expired: it takes
//!   nothing new and is closed once it is free. Lifetimes differ by up to a tenth, so that
//!   connections that were opened together are not all gone together.
//!
//! Nothing here costs a busy pool anything: since when a connection is free, its last ReadyForQuery
//! tells.

use super::{Context, Discovery};
use crate::base::{Instant, Mutation};

impl Discovery {
    pub(in crate::pool) fn handle_upkeep_timeout(&self, now: Instant, cx: &mut Context<'_>) {
        for id in cx.connections.expired(now) {
            if let Some(slot) = cx.connections.get_mut(id) {
                slot.expired = true;
            }
            cx.connections.retire_if_useless(id, self.cluster.topology());
        }
        // Those that are used least come last: calls take the first that is free.
        let Some(timeout) = cx.config.idle_timeout else { return };
        let surplus = match Mutation::KeepIdle.is_on() {
            false => cx.connections.free().saturating_sub(cx.config.min_idle),
            true => 0,
        };
        let mut free = cx.connections.free_for(now, timeout);
        free.sort_by_key(|(since, _)| *since);
        for (_, id) in free.into_iter().take(surplus) {
            cx.connections.retire(id);
        }
    }

    pub(in crate::pool) fn upkeep_timeout(
        &self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        let lifetime = cx.connections.next_expiry().map(|at| (at, "lifetime"));
        let has_surplus = cx.connections.free() > cx.config.min_idle;
        let timeout = cx.config.idle_timeout.filter(|_| has_surplus);
        let first = cx.connections.free_since();
        let idle = timeout.zip(first).map(|(timeout, first)| (first + timeout, "idle connection"));
        [lifetime, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
