//! How many connections are wanted, and for how long one is used.

use std::time::Duration;

use super::{Context, Discovery};
use crate::base::Instant;

/// By how much a lifetime may be shorter than `maxLifetimeMs`: one part in so many.
const JITTER: u32 = 10;

impl Discovery {
    /// Connections that serve, or did a moment ago.
    pub(in crate::pool) fn counted(&mut self, cx: &mut Context<'_>) -> usize {
        let topology = self.cluster.topology();
        cx.connections.counted(|host| topology.serves(host))
    }

    pub(in crate::pool) fn somebody_waits(&self, cx: &Context<'_>) -> bool {
        cx.demand.waiting > 0 || cx.demand.is_awaited
    }

    /// Connections to be opened although no call asks for them.
    pub(in crate::pool) fn missing(&mut self, cx: &mut Context<'_>) -> usize {
        if !cx.demand.is_open {
            return 0;
        }
        let missing = cx.config.min_idle.saturating_sub(cx.connections.available());
        if !cx.demand.is_awaited || self.counted(cx) > 0 { missing } else { missing.max(1) }
    }

    /// When a connection that is opened now is to be replaced.
    pub(in crate::pool) fn expiry(&mut self, now: Instant, cx: &mut Context<'_>) -> Instant {
        let Some(lifetime) = cx.config.max_lifetime else { return Instant::NEVER };
        let most = u64::try_from((lifetime / JITTER).as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.random.below(most.saturating_add(1)));
        now + lifetime.saturating_sub(jitter)
    }

    /// Whether connections are wanted, by calls or by the options.
    pub(in crate::pool) fn wants_connections(&mut self, cx: &mut Context<'_>) -> bool {
        cx.demand.waiting > 0 || cx.demand.stranded > 0 || self.missing(cx) > 0
    }
}
