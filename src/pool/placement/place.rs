//! The connection of one call.

use super::View;
use super::balance::{choose, survey};
use super::sharing::DEEPEST_PIPELINE;
use crate::base::Instant;
use crate::cluster::HostId;
use crate::pool::ConnectionId;
use crate::pool::connections::Connections;

/// An idle connection, or otherwise one on which the call is sent after others. Other callers'
/// calls come before it only if the call may share.
pub(in crate::pool) fn place(
    now: Instant,
    share: bool,
    bursting: bool,
    view: &mut View<'_>,
) -> Option<ConnectionId> {
    let View { connections, cluster, candidates, config, .. } = view;
    if let Some(host) = cluster.known_primary() {
        let empty = connections.first_empty(host);
        return empty.or_else(|| place_behind(now, |of| of == host, share, connections));
    }
    let balance = config.load_balance;
    survey(cluster.topology(), connections, balance, candidates);
    let idle = choose(candidates, bursting, balance, |equals| cluster.draw(equals));
    let serves = |host| candidates.iter().any(|candidate| candidate.host == host);
    idle.or_else(|| place_behind(now, serves, share, connections))
}

/// If no connection is idle: a connection to such a host that is being reset or asked something, or
/// otherwise the least busy connection that may be shared.
fn place_behind(
    now: Instant,
    serves: impl Fn(HostId) -> bool,
    share: bool,
    connections: &mut Connections,
) -> Option<ConnectionId> {
    if let Some(id) = connections.at_hand(now, &serves) {
        return Some(id);
    }
    if !share {
        return None;
    }
    let (depth, id) = connections.least_joined(now, serves)?;
    (depth < DEEPEST_PIPELINE).then_some(id)
}
