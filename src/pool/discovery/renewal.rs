//! New sessions to hosts that have one already, while no host serves.
//!
//! An open session shows the state of its own server, and not where the host's name or address
//! leads by now: a name that follows the primary, or a balancer, leads new sessions elsewhere while
//! the old server lives on, fenced or as a standby. Nor does an open session see changed settings
//! of its role or database, which are read at the login. So while no host serves, each host is
//! asked on a new session about once a second, in addition to the sessions that are asked every
//! `failoverProbeMs`. At each address that the name leads to, the newest session goes on asking.
//!
//! Sessions at an address that the name no longer leads to may be at work, or belong to a lease.
//! When they repeat their role, this says nothing about the host; they are closed once they are
//! free.

use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::{HostId, fits};
use crate::connection::Role;
use crate::pool::ConnectionId;
use crate::pool::connections::Slot;

impl Discovery {
    /// When the next session to a host is due while none serves; `None` while one is on its way.
    pub(in crate::pool) fn next_login_at(
        &mut self,
        host: HostId,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        match cx.connections.is_joined(host) {
            true => None,
            false if !cx.connections.is_scouted(host) => Some(self.cluster.may_connect_at(host)),
            false if Mutation::KeepScouts.is_on() => None,
            false => Some(self.cluster.renewal_at(host)),
        }
    }

    /// Whether a session's report of its role says nothing about where the host's name leads. A
    /// changed role counts. A repeated role does not count if another session has reported
    /// otherwise since. Nor does a first role if a session that was opened later contradicts it, or
    /// serves at another address. Should the report mean a fence of the host in the seat, each
    /// other session notices that by itself, in front of its next request.
    pub(in crate::pool) fn is_left_behind(
        &mut self,
        id: ConnectionId,
        before: Option<Role>,
        role: Role,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        let (host, address, opened_at) = (slot.host, slot.address, slot.opened_at);
        let fits = |role: Role| fits(cx.config.mode, role);
        let contradicts = |slot: &Slot| {
            let later = slot.host == host && slot.opened_at > opened_at;
            later && slot.connection.role().is_some_and(|other| fits(other) != fits(role))
        };
        let is_elsewhere = |slot: &Slot| slot.address.is_some() && slot.address != address;
        let others =
            || cx.connections.iter().map(|(_, slot)| slot).filter(|slot| contradicts(slot));
        let (is_repeated, is_first) = (before == Some(role), before.is_none());
        let is_left = match (fits(role), self.cluster.topology().rank(host)) {
            (false, Some(_)) => {
                is_repeated
                    || (is_first && self.serves_elsewhere(slot.site(), cx).is_some())
                    || others().any(|slot| slot.counts() && is_elsewhere(slot))
            }
            // It goes on asking.
            (false, None) => {
                let is_repeated =
                    is_repeated || (is_first && self.said_before(id, cx) == Some(role));
                return (is_first && self.serves_elsewhere(slot.site(), cx).is_some())
                    || (is_repeated && self.is_known_elsewhere(id, role, cx));
            }
            (true, None) => (is_repeated || is_first) && others().any(|slot| slot.asks_for(host)),
            _ => false,
        };
        if is_left && let Some(slot) = cx.connections.get_mut(id) {
            slot.expired = true;
        }
        is_left
    }
}
