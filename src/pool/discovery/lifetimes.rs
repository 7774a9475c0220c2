//! How many idle connections are kept, and for how long a connection is used.
//!
//! - `minIdle` free connections are kept ready, opened ahead of demand, a few logins at a time.
//!   While no host serves, the pool looks for one for these connections as long as after a loss
//!   without waiting calls, and again with the next call.
//! - A connection that is free for `idleTimeoutMs` is closed, unless it is one of those.
//! - A connection that is older than `maxLifetimeMs`, or was used `maxUses` times, is expired: it
//!   takes nothing new and is closed once it is free. Lifetimes differ by up to a tenth, so that
//!   connections that were opened together don't expire together.
//!
//! None of this costs a busy pool anything: a connection is free since its last ReadyForQuery.

use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::pool::CloseReason;

impl Discovery {
    pub(in crate::pool) fn handle_lifetime_timeout(&self, now: Instant, cx: &mut Context<'_>) {
        for id in cx.connections.expired(now) {
            if let Some(slot) = cx.connections.get_mut(id) {
                slot.expired = true;
            }
            cx.connections.retire_if_useless(id, self.cluster.topology());
        }
        // The least used connections come last: calls take the first free one.
        let Some(timeout) = cx.config.idle_timeout else { return };
        let surplus = match Mutation::KeepIdle.is_on() {
            false => cx.connections.free().saturating_sub(cx.config.min_idle),
            true => 0,
        };
        let mut free = cx.connections.free_for(now, timeout);
        free.sort_by_key(|(since, _)| *since);
        for (_, id) in free.into_iter().take(surplus) {
            cx.connections.retire_for(id, CloseReason::Idle);
        }
    }

    pub(in crate::pool) fn lifetime_timeout(
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
