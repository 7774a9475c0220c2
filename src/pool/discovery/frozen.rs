//! Requests in flight to servers that no longer answer, and when they are given up.

use super::{Context, Discovery};
use crate::base::{Error, ErrorClass, Instant, Mutation};
use crate::cluster::{HostId, fits};
use crate::connection::Role;
use crate::pool::connections::{Site, Slot};

impl Discovery {
    /// Closes connections that have been silent for too long to hosts that can't be reached, once
    /// another host serves.
    pub(in crate::pool) fn give_up_frozen(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.close_unreachable(cx);
        let topology = self.cluster.topology();
        if !topology.is_served() {
            return;
        }
        let bound = cx.config.liveness_check;
        let frozen = cx.connections.silent_for(now, bound).filter(|(_, slot)| {
            let is_dead = topology.rank(slot.host).is_none() && topology.is_unreachable(slot.host);
            let is_gone = is_dead && self.probed.is_gone_with_host(slot.site());
            is_gone || Mutation::PunishSilence.is_on()
        });
        let frozen: Vec<_> = frozen.map(|(id, _)| id).collect();
        for id in frozen {
            let message = format!(
                "nothing came for {} ms, no other session could be opened, and another host serves",
                bound.as_millis()
            );
            let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            cx.connections.drop_slot(id, error);
        }
    }

    /// Closes the connections to addresses where no server answers, once the host is served at
    /// another address.
    pub(in crate::pool) fn close_unreachable(&mut self, cx: &mut Context<'_>) {
        if !self.probed.is_any_unreachable() {
            return;
        }
        let connections = &cx.connections;
        let is_there = |site: Site| connections.at(site).next().is_some();
        let fits = |role: Role| fits(cx.config.mode, role);
        let has_moved = |site: Site| connections.has_moved_from(site, fits);
        for site in self.probed.take_moved(is_there, has_moved) {
            let there: Vec<_> = cx.connections.at(site).map(|(id, _)| id).collect();
            let message = "nothing came for a while, no other session could be opened to its address, and the \
                           name of the host leads to another server";
            let lost = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            there.into_iter().for_each(|id| cx.connections.drop_slot(id, lost.clone()));
        }
    }

    /// A liveness probe has found no server at an address. Returns whether the host is served at
    /// another one, so that this says nothing about the host.
    pub(in crate::pool) fn address_unreachable(
        &mut self,
        site: Site,
        error: &Error,
        cx: &mut Context<'_>,
    ) -> bool {
        if site.1.is_none() || error.server().is_some() {
            return false;
        }
        self.probed.mark_unreachable(site);
        let fits = |role: Role| fits(cx.config.mode, role);
        let has_moved = cx.connections.has_moved_from(site, fits);
        self.close_unreachable(cx);
        has_moved
    }

    /// A liveness probe could not be opened to a host that has left the list. The requests in
    /// flight there are given up, since no other session will show whether the host lives.
    pub(in crate::pool) fn judge_unlisted(
        &mut self,
        now: Instant,
        host: HostId,
        error: &Error,
        cx: &mut Context<'_>,
    ) {
        let is_listed = self.cluster.topology().host(host).is_some();
        let silences = cx.connections.owing_sites().into_iter().filter(|site| site.0 == host);
        let ends = silences.filter_map(|site| self.silence_ends(site, cx)).min();
        if is_listed || ends.is_none_or(|at| at > now) {
            return;
        }
        let owes = |slot: &Slot| slot.host == host && slot.owes_since().is_some();
        let owing = cx.connections.those(owes);
        let message = "nothing came for a while, no other session could be opened, and the host was taken out \
                       of the list";
        let lost = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        for id in owing {
            match cx.connections.get_mut(id) {
                // A server that refuses a session lives: it is probed again after another silence.
                Some(slot) if error.server().is_some() => slot.heard_at = now,
                _ => cx.connections.drop_slot(id, lost.clone()),
            }
        }
    }

    pub(in crate::pool) fn silence_ends(
        &mut self,
        site: Site,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        cx.connections.owed_at(site).map(|since| since + cx.config.liveness_check)
    }
}
