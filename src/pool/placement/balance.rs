//! The host that gets a query, among those that serve, and the host that gets the next connection.
//!
//! A query never waits for the host of its choice while a connection to another one is idle.
//! Connections go to the host with the fewest, and nothing is reshuffled when a host comes or goes.
//! The pool opens the connections that are missing, and `rebalancing` moves one connection at a
//! time to a host that came back.

use std::time::Duration;

use crate::cluster::{HostId, Rank, Topology};
use crate::config::LoadBalance;
use crate::pool::ConnectionId;
use crate::pool::connections::{Connections, Load};

/// A host counts as near as the nearest one where its round trip is at most half as long again, or
/// longer by no more than this.
const NEAR_MARGIN: Duration = Duration::from_micros(200);

/// A host that serves, and what the pool has there.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Candidate {
    pub(in crate::pool) host: HostId,
    pub(in crate::pool) rank: Rank,
    pub(in crate::pool) idle: Option<ConnectionId>,
    /// Connections at work.
    pub(in crate::pool) busy: usize,
    /// Connections that count against `poolSize`, and logins under way.
    pub(in crate::pool) open: usize,
}

/// Puts the hosts that serve into `candidates`, in the order of the list.
pub(in crate::pool) fn survey(
    topology: &Topology,
    connections: &mut Connections,
    balance: LoadBalance,
    candidates: &mut Vec<Candidate>,
) {
    candidates.clear();
    for &host in topology.host_ids() {
        if let Some(rank) = topology.rank(host) {
            let Load { idle, busy, open } = connections.load(host);
            candidates.push(Candidate { host, rank, idle, busy, open });
        }
    }
    if balance == LoadBalance::Nearest {
        prefer_the_nearest(topology, candidates);
    }
}

/// A host that was never measured may be the nearest: it gets a query, and is measured by that.
fn prefer_the_nearest(topology: &Topology, candidates: &mut [Candidate]) {
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

/// An idle connection to the host that the option `loadBalance` prefers. Calls go out in few
/// batches: a random choice might leave a host out. `draw` gives a number below its argument.
pub(super) fn choose(
    candidates: &[Candidate],
    bursting: bool,
    balance: LoadBalance,
    draw: impl FnOnce(usize) -> usize,
) -> Option<ConnectionId> {
    let least_busy = bursting || balance == LoadBalance::LeastConnections;
    let weight = |c: &Candidate| (c.rank, if least_busy { c.busy } else { 0 });
    let idle = || candidates.iter().filter(|c| c.idle.is_some());
    let least = idle().map(weight).min()?;
    let equals = || idle().filter(|c| weight(c) == least);
    let drawn = draw(equals().count());
    equals().nth(drawn)?.idle
}
