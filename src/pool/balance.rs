//! Which of the hosts that serve gets a query, and which one the next connection.
//!
//! A query never waits for the host of its choice while a connection to another one is idle.
//! Connections go to the host with the fewest, and nothing is reshuffled when a host comes or goes.
//! The pool opens the connections that are missing, and `relief` moves one connection at a time to
//! a host that came back.

use std::time::Duration;

use super::connections::Load;
use super::{ConnectionId, Pool};
use crate::cluster::{HostId, Rank};
use crate::config::LoadBalance;

/// A host counts as near as the nearest one where its round trip is at most half as long again, or
/// longer by no more than this.
const NEAR_MARGIN: Duration = Duration::from_micros(200);

/// A host that serves, and what the pool has there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) host: HostId,
    pub(super) rank: Rank,
    pub(super) idle: Option<ConnectionId>,
    /// Connections at work.
    pub(super) busy: usize,
    /// Connections that count against `poolSize`, and logins under way.
    pub(super) open: usize,
}

impl Pool {
    /// The hosts that serve, in the order of the list, into `candidates`.
    pub(super) fn survey(&mut self, candidates: &mut Vec<Candidate>) {
        let topology = self.cluster.topology();
        candidates.clear();
        for &host in topology.host_ids() {
            if let Some(rank) = topology.rank(host) {
                let Load { idle, busy, open } = self.connections.load(host);
                candidates.push(Candidate { host, rank, idle, busy, open });
            }
        }
        if self.config.load_balance == LoadBalance::Nearest {
            self.prefer_the_nearest(candidates);
        }
    }

    /// A host that was never measured may be the nearest: it gets a query, and is.
    fn prefer_the_nearest(&self, candidates: &mut [Candidate]) {
        let topology = self.cluster.topology();
        let round_trip = |c: &Candidate| topology.round_trip(c.host).unwrap_or_default();
        let preferred = candidates.iter().filter(|c| c.rank == Rank::Preferred);
        let Some(nearest) = preferred
            .filter_map(|c| topology.round_trip(c.host))
            .min()
            .map(|nearest| (nearest + nearest / 2).max(nearest + NEAR_MARGIN))
        else {
            return;
        };
        for candidate in candidates {
            if round_trip(candidate) > nearest {
                candidate.rank = Rank::Spare;
            }
        }
    }

    /// The idle connection of the host that the option `loadBalance` means. A crowd goes out in few
    /// runs: a random choice might leave a host out.
    pub(super) fn choose(
        &mut self,
        candidates: &[Candidate],
        crowded: bool,
    ) -> Option<ConnectionId> {
        let least_busy = crowded || self.config.load_balance == LoadBalance::LeastConnections;
        let weight = |c: &Candidate| (c.rank, if least_busy { c.busy } else { 0 });
        let idle = || candidates.iter().filter(|c| c.idle.is_some());
        let least = idle().map(weight).min()?;
        let equals = || idle().filter(|c| weight(c) == least);
        let drawn = self.cluster.draw(equals().count());
        equals().nth(drawn)?.idle
    }
}
