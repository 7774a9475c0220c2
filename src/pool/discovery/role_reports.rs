//! Reports of a role that are wrong: a pooler repeats to its clients what a server once reported.
//! Where something speaks against a host's reports, its sessions ask for the role as well, and
//! where the answer contradicts them, that host is asked from then on, as with
//! `roleCheck: 'query'`.
//!
//! What speaks against them: a write that is refused for a role which no session has reported; what
//! the host says of its place; and, while no host serves, that this one does not.

use std::time::Duration;

use super::{Context, Discovery};
use crate::base::Instant;
use crate::cluster::HostId;
use crate::connection::Role;
use crate::pool::ConnectionId;

/// Where nothing but an outage speaks against a host's reports, each session asks this seldom.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Whether a server that reports this role has a place in its cluster that is another role's.
pub(super) fn is_contradiction(reported: Option<Role>, leads: bool, follows: bool) -> bool {
    match reported {
        Some(Role::Standby) => leads,
        Some(Role::ReadWrite | Role::ReadOnly) => follows && !leads,
        None => false,
    }
}

impl Discovery {
    /// Has the sessions of a host ask for the role that is reported to them.
    pub(in crate::pool) fn recheck_role(
        &mut self,
        now: Instant,
        host: HostId,
        within: Duration,
        cx: &mut Context<'_>,
    ) {
        cx.connections.on_host_mut(host, |slot| slot.connection.recheck_role(now, within));
    }

    /// A server has answered with another role than it reports.
    pub(in crate::pool) fn distrust_reports(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let Some(host) = cx.connections.get(id).map(|slot| slot.host) else { return };
        self.cluster.distrust(host);
        cx.connections.on_host_mut(host, |slot| slot.connection.distrust_reports());
    }
}
