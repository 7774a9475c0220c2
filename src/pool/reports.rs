//! Reports of a role that are wrong: a pooler tells its clients what it heard of a server once.
//! Where something speaks against a host's reports, its sessions ask for the role as well, and
//! where the answer contradicts them, that host is asked from then on, as with `roleCheck:
//! 'query'`.
//!
//! What speaks against them: a write that is refused for a role which no session has reported; what
//! the host says of its place; and, while no host serves, that this one does not.

use std::time::Duration;

use super::verdict::READ_ONLY_REFUSAL;
use super::{Call, ConnectionId, Pool};
use crate::base::{Instant, Key};
use crate::cluster::HostId;
use crate::connection::{Answer, Role};

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

impl Pool {
    /// Has the sessions of a host ask for the role that they are told.
    pub(super) fn doubt_reports(&mut self, now: Instant, host: HostId, within: Duration) {
        self.connections.on_host_mut(host, |slot| slot.connection.doubt_reports(now, within));
    }

    /// A call was refused, which may be for another role than its server reports.
    pub(super) fn doubt_refusal(
        &mut self,
        now: Instant,
        id: ConnectionId,
        key: Key<Call>,
        answer: &Answer,
    ) {
        let Answer::Refused { error, .. } = answer else { return };
        let begin = self.requests.get(key).and_then(|call| call.flags.begin());
        let Some(slot) = self.connections.get(id) else { return };
        let is_new = slot.connection.role() == Some(Role::ReadWrite);
        if error.code() == READ_ONLY_REFUSAL && is_new && !begin.is_some_and(|it| it.read_only) {
            let host = slot.host;
            self.doubt_reports(now, host, Duration::ZERO);
        }
    }

    /// A session was told another role than its server reports.
    pub(super) fn distrust_reports(&mut self, id: ConnectionId) {
        let Some(host) = self.connections.get(id).map(|slot| slot.host) else { return };
        self.cluster.distrust(host);
        self.connections.on_host_mut(host, |slot| slot.connection.distrust_reports());
    }
}
