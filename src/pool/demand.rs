//! How many connections the pool has, how many are wanted, and for how long one is used.

use std::time::Duration;

use super::doors::Status;
use super::life::Life;
use super::{ConnectionId, Pool};
use crate::base::Instant;

/// By how much a lifetime may be shorter than `maxLifetimeMs`: one part in so many.
const JITTER: u32 = 10;

impl Pool {
    pub fn status(&mut self) -> Status {
        let (size, available) = (self.connections.size(), self.connections.available());
        Status {
            max_size: self.config.pool_size,
            size,
            available,
            in_use: size - available,
            waiting: self.requests.waiting.len(),
        }
    }

    /// Connections that serve, or did a moment ago.
    pub(super) fn counted(&mut self) -> usize {
        let topology = self.cluster.topology();
        self.connections.counted(|host| topology.serves(host))
    }

    pub(super) fn may_serve(&self, id: ConnectionId) -> bool {
        let topology = self.cluster.topology();
        self.connections.get(id).is_some_and(|slot| topology.serves(slot.host))
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

    /// When a connection that is opened now is to be replaced.
    pub(super) fn expiry(&mut self, now: Instant) -> Instant {
        let Some(lifetime) = self.config.max_lifetime else { return Instant::NEVER };
        let most = u64::try_from((lifetime / JITTER).as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.random.below(most.saturating_add(1)));
        now + lifetime.saturating_sub(jitter)
    }
}
