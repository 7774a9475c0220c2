//! What is in flight where no server answers any more, and when that is given up.

use super::Pool;
use super::connections::{Site, Slot};
use crate::base::{Error, ErrorClass, Instant, Mutation};
use crate::cluster::{HostId, fits};
use crate::connection::Role;

impl Pool {
    /// Closes what has been silent for too long on hosts where no server answers, once another one
    /// serves.
    pub(super) fn give_up_frozen(&mut self, now: Instant) {
        self.leave_deserted();
        let topology = self.cluster.topology();
        if !topology.is_served() {
            return;
        }
        let bound = self.config.liveness_check;
        let frozen = self.connections.silent_for(now, bound).filter(|(_, slot)| {
            let is_dead = topology.rank(slot.host).is_none() && topology.is_silent(slot.host);
            is_dead || Mutation::PunishSilence.is_on()
        });
        let frozen: Vec<_> = frozen.map(|(id, _)| id).collect();
        for id in frozen {
            let message = format!(
                "nothing came for {} ms, no other session could be opened, and another host serves",
                bound.as_millis()
            );
            let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            self.connections.drop_slot(id, error);
        }
    }

    /// Closes what is at addresses where no server answers any more, once the host is served at
    /// another one.
    pub(super) fn leave_deserted(&mut self) {
        if !self.discovery.silences.is_any_deserted() {
            return;
        }
        let connections = &self.connections;
        let is_there = |site: Site| connections.at(site).next().is_some();
        let fits = |role: Role| fits(self.config.mode, role);
        let has_moved = |site: Site| connections.has_moved_from(site, fits);
        for site in self.discovery.silences.take_left(is_there, has_moved) {
            let there: Vec<_> = self.connections.at(site).map(|(id, _)| id).collect();
            let message = "nothing came for a while, no other session could be opened to its address, and the \
                           name of the host leads to another server";
            let lost = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            there.into_iter().for_each(|id| self.connections.drop_slot(id, lost.clone()));
        }
    }

    /// A witness has found no server at an address. Returns whether that says nothing of its host,
    /// which is at another one.
    pub(super) fn desert(&mut self, site: Site, error: &Error) -> bool {
        if site.1.is_none() || error.server().is_some() {
            return false;
        }
        self.discovery.silences.desert(site);
        let fits = |role: Role| fits(self.config.mode, role);
        let has_moved = self.connections.has_moved_from(site, fits);
        self.leave_deserted();
        has_moved
    }

    /// Nobody knows what becomes of a host that is no longer in the list but those who still wait
    /// for its answers. A witness was opened to it in vain.
    pub(super) fn judge_unlisted(&mut self, now: Instant, host: HostId, error: &Error) {
        let is_listed = self.cluster.topology().host(host).is_some();
        let silences = self.connections.debtors().into_iter().filter(|site| site.0 == host);
        let ends = silences.filter_map(|site| self.silence_ends(site)).min();
        if is_listed || ends.is_none_or(|at| at > now) {
            return;
        }
        let owes = |slot: &Slot| slot.host == host && slot.owes_since().is_some();
        let owing = self.connections.those(owes);
        let message = "nothing came for a while, no other session could be opened, and the host was taken out \
                       of the list";
        let lost = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
        for id in owing {
            match self.connections.get_mut(id) {
                // A server that refuses a session lives: it is asked again after another silence.
                Some(slot) if error.server().is_some() => slot.heard_at = now,
                _ => self.connections.drop_slot(id, lost.clone()),
            }
        }
    }

    pub(super) fn silence_ends(&mut self, site: Site) -> Option<Instant> {
        self.connections.owed_at(site).map(|since| since + self.config.liveness_check)
    }
}
