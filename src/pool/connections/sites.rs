//! Sessions by their sites: the hosts, and the addresses of each.
//!
//! These questions go through all connections. They are asked for each login, loss or silence.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::index::OnSite;
use super::{ConnectionId, Connections, Duty, Site, Slot};
use crate::base::{Error, Instant, Mutation};
use crate::cluster::HostId;
use crate::config::Host;
use crate::connection::Role;

impl Connections {
    fn on_host(&self, host: HostId) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(|(_, slot)| slot).filter(move |slot| slot.host == host)
    }

    /// The name of a connection's host.
    pub(in crate::pool) fn host_name(&self, id: ConnectionId) -> Option<Arc<str>> {
        self.get(id).map(|slot| Arc::clone(slot.connection.host()))
    }

    /// Adds the host of a connection to an error of a request on it.
    pub(in crate::pool) fn at_host(&self, id: ConnectionId, error: Error) -> Error {
        match self.host_name(id) {
            Some(host) => error.with_host(host),
            None => error,
        }
    }

    pub(in crate::pool) fn at(&self, site: Site) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        self.slots.iter().filter(move |(_, slot)| slot.site() == site)
    }

    /// A host that has left the list, as long as there are connections to it.
    pub(in crate::pool) fn target_of(&self, host: HostId) -> Option<Arc<Host>> {
        self.on_host(host).next().map(|slot| Arc::clone(&slot.target))
    }

    /// The sites that owe an answer, including those of hosts that are no longer in the list.
    pub(in crate::pool) fn owing_sites(&mut self) -> BTreeSet<Site> {
        let sites = self.look().0.sites().iter();
        sites.filter(|on| on.owed_since().is_some()).map(|on| on.site).collect()
    }

    /// The site at this index, and since when it owes an answer.
    pub(in crate::pool) fn site(&mut self, place: usize) -> Option<(Site, Option<Instant>)> {
        self.look().0.sites().get(place).map(|on| (on.site, on.owed_since()))
    }

    /// Since when a server has owed an answer to a call, and has sent nothing on any connection.
    pub(in crate::pool) fn owed_at(&mut self, site: Site) -> Option<Instant> {
        self.look().0.sites().iter().find(|on| on.site == site)?.owed_since()
    }

    /// When a server of the host last sent something on any connection, if there is one.
    pub(in crate::pool) fn host_heard_at(&mut self, host: HostId) -> Option<Instant> {
        let here = self.look().0.sites().iter().filter(|on| on.site.0 == host);
        here.map(OnSite::heard_at).max()
    }

    /// Whether a session is being opened to ask the server at the site.
    pub(in crate::pool) fn is_watched(&mut self, site: Site) -> bool {
        let asks = |slot: &Slot| match slot.duty {
            Duty::LivenessProbe { .. } if Mutation::ProbeByName.is_on() => slot.host == site.0,
            Duty::LivenessProbe { .. } | Duty::Scouting { .. } => slot.site() == site,
            // The address that it will reach is not known yet.
            Duty::Joining | Duty::Challenger { .. } => {
                slot.host == site.0 && slot.address.is_none_or(|address| Some(address) == site.1)
            }
            Duty::Serving | Duty::Revalidating { .. } | Duty::Leased { .. } | Duty::Rebalancing => {
                false
            }
        };
        self.apart().any(|(_, slot)| asks(slot))
    }

    /// Whether the host serves at another address, where it was heard after this site had become
    /// silent.
    pub(in crate::pool) fn has_moved_from(&self, site: Site, fits: impl Fn(Role) -> bool) -> bool {
        let silent = self.at(site).filter(|(_, slot)| slot.counts());
        let Some(heard_at) = silent.map(|(_, slot)| slot.heard_at).max() else { return false };
        // If the pool has no room for another connection, it has one there no longer than a login
        // takes.
        let serves = |slot: &Slot| slot.counts() || slot.connection.role().is_some_and(&fits);
        let mut here = self.on_host(site.0);
        here.any(|slot| slot.address != site.1 && serves(slot) && slot.heard_at > heard_at)
    }

    /// Whether any session is known to be at another address of the host.
    pub(in crate::pool) fn is_elsewhere(&mut self, (host, address): Site) -> bool {
        let is_other = |(of, at): Site| of == host && at.is_some() && at != address;
        self.look().0.sites().iter().any(|on| is_other(on.site))
    }

    /// Another address of a host at which sessions serve, as far as they know.
    pub(in crate::pool) fn serves_elsewhere(
        &self,
        site: Site,
        fits: impl Fn(Role) -> bool,
    ) -> Option<SocketAddr> {
        let serves = |other: &&Slot| {
            let fits = other.connection.role().is_some_and(&fits);
            other.is_elsewhere(site) && other.counts() && !other.expired && fits
        };
        self.on_host(site.0).find(serves)?.address
    }

    /// Whether a session that asks for the host at another address still reports this role.
    pub(in crate::pool) fn is_reported_elsewhere(&self, site: Site, role: Role) -> bool {
        self.on_host(site.0).any(|other| {
            other.is_elsewhere(site) && other.asks_for(site.0) && other.reported == Some(role)
        })
    }

    /// Whether a session at another address has reported its role.
    pub(in crate::pool) fn has_role_elsewhere(&self, site: Site) -> bool {
        self.on_host(site.0).any(|slot| slot.is_elsewhere(site) && slot.connection.role().is_some())
    }

    /// The sessions that ask for the host at its other addresses.
    pub(in crate::pool) fn asking_elsewhere(&mut self, site: Site) -> Vec<ConnectionId> {
        self.those_apart(|slot| slot.is_elsewhere(site) && slot.asks_for(site.0))
    }

    /// The sessions that ask for the host of a new session, and that the new session replaces.
    pub(in crate::pool) fn replaced_by(&mut self, id: ConnectionId) -> Vec<ConnectionId> {
        let (index, slots) = self.look();
        let Some(new) = slots.get(id) else { return Vec::new() };
        let is_older = |slot: &Slot| {
            let older = slot.asks_for(new.host) && slot.opened_at <= new.opened_at;
            older && new.takes_over_from(slot)
        };
        let others = index.apart.iter().copied().filter(|other| *other != id);
        others.filter(|other| slots.get(*other).is_some_and(is_older)).collect()
    }

    /// Whether another session to its host asks in its place, because its login took longer than
    /// that of a later session.
    pub(in crate::pool) fn is_replaced(&self, id: ConnectionId) -> bool {
        let Some(old) = self.get(id) else { return false };
        self.on_host(old.host).any(|slot| {
            let newer = slot.asks_for(old.host) && slot.opened_at > old.opened_at;
            newer && slot.takes_over_from(old)
        })
    }

    /// Whether the host's name has led a later session to another server, which has told its role.
    pub(in crate::pool) fn is_of_another_server(&self, id: ConnectionId) -> bool {
        let Some(slot) = self.get(id) else { return false };
        self.on_host(slot.host).any(|other| {
            let is_later = other.opened_at > slot.opened_at;
            let is_elsewhere = other.address.is_some() && other.address != slot.address;
            is_later && is_elsewhere && other.connection.role().is_some()
        })
    }

    /// How many sessions to the host are open, including probes, and how many of them callers use
    /// or wait for.
    pub(in crate::pool) fn open_and_busy(&self, host: HostId) -> (usize, usize) {
        let works = |slot: &&Slot| match slot.duty {
            Duty::Serving => !slot.connection.is_vacant(),
            Duty::Leased { .. } => true,
            _ => false,
        };
        let open = self.on_host(host).filter(|slot| !slot.is_joining()).count();
        (open, self.on_host(host).filter(works).count())
    }

    /// When a session to the host last learned the role.
    pub(in crate::pool) fn role_reported_at(&self, host: HostId) -> Option<Instant> {
        self.on_host(host).filter_map(|slot| slot.connection.role_reported_at()).max()
    }

    /// Of the connections for which `is` is true, the one with the fewest requests in flight.
    pub(in crate::pool) fn freest(&self, is: impl Fn(&Slot) -> bool) -> Option<ConnectionId> {
        let such = self.slots.iter().filter(|(_, slot)| is(slot));
        such.min_by_key(|(_, slot)| slot.connection.depth()).map(|(id, _)| id)
    }

    /// The connections for which `is` is true now.
    pub(in crate::pool) fn those(&self, is: impl Fn(&Slot) -> bool) -> Vec<ConnectionId> {
        self.slots.iter().filter(|(_, slot)| is(slot)).map(|(id, _)| id).collect()
    }

    pub(in crate::pool) fn all(&self) -> Vec<ConnectionId> {
        self.those(|_| true)
    }

    pub(in crate::pool) fn on_host_mut(&mut self, host: HostId, change: impl Fn(&mut Slot)) {
        for (id, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.host == host) {
            slot.change(id, &mut self.changed);
            change(slot);
        }
    }
}
