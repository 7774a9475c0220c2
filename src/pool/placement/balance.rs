//! The host that gets a query, among the hosts that serve, and the host that gets the next
//! connection.
//!
//! A query never waits for its preferred host while a connection to another host is idle. New
//! connections go to the host with the fewest. When a host comes or goes, the other connections
//! stay: the pool opens the missing connections, and `rebalancing` moves one connection at a time
//! to a host that has come back.

use std::time::Duration;

use crate::cluster::{HostId, Rank, Topology};
use crate::config::LoadBalance;
use crate::pool::ConnectionId;
use crate::pool::connections::{Connections, Load};

/// A host counts as near if its round trip is at most half as long again as that of the nearest
/// host, or longer by no more than this.
const NEAR_MARGIN: Duration = Duration::from_micros(200);

/// A host that serves, and how many connections the pool has to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Candidate {
    pub(in crate::pool) host: HostId,
    pub(in crate::pool) rank: Rank,
    pub(in crate::pool) idle: Option<ConnectionId>,
    /// How many connections are busy.
    pub(in crate::pool) busy: usize,
    /// How many connections count against `poolSize`, including logins that have begun.
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

/// A host that was never measured may be the nearest. It gets a query, which measures it.
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

/// An idle connection to the host that the option `loadBalance` prefers. Calls are sent in few
/// batches, so a random choice might leave a host out. `draw` returns a number below its argument.
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
