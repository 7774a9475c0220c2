//! Counters of all connections, and the first or next connection in some order. The questions of a
//! query, and the search for the next deadline, cost the same with ten connections as with ten
//! thousand.
//!
//! Before the next question, each connection that was changed is counted again, once: its present
//! facts replace the earlier ones. So no change is missed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::facts::{Facts, Kind};
use super::min_tree::MinTree;
use super::place_set::PlaceSet;
use super::slot::{ConnectionId, Site};
use crate::base::Instant;
use crate::cluster::HostId;

/// The connections to one host.
#[derive(Debug)]
pub(super) struct OnHost {
    pub(super) host: HostId,
    duties: [usize; Kind::COUNT],
    /// The idle connections that take calls.
    pub(super) empty: PlaceSet,
    /// The depth of each connection that a quick call may join, unless the server has run its first
    /// request for too long. The caller that finds this out removes the connection
    /// ([`super::Connections::least_joined`]).
    pub(super) quick: MinTree<usize>,
    pub(super) with_cores: PlaceSet,
}

impl OnHost {
    const fn new(host: HostId) -> Self {
        Self {
            host,
            duties: [0; Kind::COUNT],
            empty: PlaceSet::new(),
            quick: MinTree::new(Facts::ALONE),
            with_cores: PlaceSet::new(),
        }
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.duties.get(kind as usize).copied().unwrap_or(0)
    }

    pub(super) fn is_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.count(*kind) > 0)
    }

    /// How many connections count against `poolSize`.
    pub(super) fn counted(&self) -> usize {
        [Kind::Serving, Kind::Revalidating, Kind::Leased].iter().map(|kind| self.count(*kind)).sum()
    }

    pub(super) fn all(&self) -> usize {
        self.duties.iter().sum()
    }

    fn note(&mut self, place: usize, known: Option<&Facts>, now: Option<&Facts>) {
        for (facts, adds) in [(known, false), (now, true)] {
            if let Some(count) = facts.and_then(|facts| self.duties.get_mut(facts.kind as usize)) {
                *count = if adds { *count + 1 } else { count.saturating_sub(1) };
            }
        }
        self.empty.put(place, now.is_some_and(|facts| facts.is_empty));
        self.with_cores.put(place, now.is_some_and(|facts| facts.knows_cores));
        self.quick.set(place, now.map_or(Facts::ALONE, |facts| facts.quick_depth));
    }
}

/// The connections to one address of a host.
#[derive(Debug)]
pub(super) struct OnSite {
    pub(super) site: Site,
    count: usize,
    asked_since: MinTree<Instant>,
    heard_at: MinTree<Reverse<Instant>>,
}

impl OnSite {
    const fn new(site: Site) -> Self {
        Self {
            site,
            count: 0,
            asked_since: MinTree::new(Instant::NEVER),
            heard_at: MinTree::new(Reverse(Instant::ORIGIN)),
        }
    }

    fn put(&mut self, place: usize, facts: Option<&Facts>) {
        self.asked_since.set(place, facts.map_or(Instant::NEVER, |facts| facts.asked_since));
        self.heard_at.set(place, Reverse(facts.map_or(Instant::ORIGIN, |facts| facts.heard_at)));
    }

    /// When the server last sent something on any connection.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at.least().map_or(Instant::ORIGIN, |Reverse(at)| at)
    }

    /// Since when the server has owed an answer to a call, and has sent nothing on any connection.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        let heard_at = self.heard_at();
        self.asked_since.least().map(|asked| asked.max(heard_at))
    }
}

#[derive(Debug)]
pub(super) struct Index {
    /// A few hosts, each with at least one connection.
    hosts: Vec<OnHost>,
    /// A few sites, each with at least one connection.
    sites: Vec<OnSite>,
    pub(super) taking_calls: usize,
    pub(super) available: usize,
    /// How many calls wait behind others.
    pub(super) behind: usize,
    /// How many connections are idle.
    pub(super) free: usize,
    pub(super) free_since: MinTree<Instant>,
    pub(super) owes_since: MinTree<Instant>,
    pub(super) shared_since: MinTree<Instant>,
    pub(super) expires_at: MinTree<Instant>,
    pub(super) lease_idle_since: MinTree<Instant>,
    pub(super) apart: BTreeSet<ConnectionId>,
    pub(super) at_hand: BTreeSet<ConnectionId>,
    pub(super) recovering: BTreeSet<ConnectionId>,
    pub(super) cancelling: BTreeSet<ConnectionId>,
}

impl Default for Index {
    fn default() -> Self {
        let times = || MinTree::new(Instant::NEVER);
        Self {
            hosts: Vec::new(),
            sites: Vec::new(),
            taking_calls: 0,
            available: 0,
            behind: 0,
            free: 0,
            free_since: times(),
            owes_since: times(),
            shared_since: times(),
            expires_at: times(),
            lease_idle_since: times(),
            apart: BTreeSet::new(),
            at_hand: BTreeSet::new(),
            recovering: BTreeSet::new(),
            cancelling: BTreeSet::new(),
        }
    }
}

impl Index {
    pub(super) fn hosts(&self) -> impl Iterator<Item = &OnHost> {
        self.hosts.iter()
    }

    pub(super) fn hosts_mut(&mut self) -> impl Iterator<Item = &mut OnHost> {
        self.hosts.iter_mut()
    }

    pub(super) fn sites(&self) -> &[OnSite] {
        &self.sites
    }

    /// The connection is at another site from now on, or its facts there have changed.
    fn note_site(
        &mut self,
        place: usize,
        host: HostId,
        known: Option<&Facts>,
        now: Option<&Facts>,
    ) {
        let (was, is) = (known.map(|facts| facts.address), now.map(|facts| facts.address));
        if let Some(address) = was.filter(|_| was != is)
            && let Some(on) = self.sites.iter_mut().find(|on| on.site == (host, address))
        {
            on.put(place, None);
            on.count = on.count.saturating_sub(1);
            self.sites.retain(|on| on.count > 0);
        }
        let Some(address) = is else { return };
        let site = (host, address);
        if !self.sites.iter().any(|on| on.site == site) {
            self.sites.push(OnSite::new(site));
        }
        if let Some(on) = self.sites.iter_mut().find(|on| on.site == site) {
            on.count += usize::from(was != is);
            on.put(place, now);
        }
    }

    pub(super) fn on(&self, host: HostId) -> Option<&OnHost> {
        self.hosts.iter().find(|on| on.host == host)
    }

    pub(super) fn on_mut(&mut self, host: HostId) -> Option<&mut OnHost> {
        self.hosts.iter_mut().find(|on| on.host == host)
    }

    /// Makes room for a connection to a host at this place, so that nothing has to grow later.
    pub(super) fn make_room(&mut self, host: HostId, place: usize) {
        if self.on(host).is_none() {
            self.hosts.push(OnHost::new(host));
        }
        let places = place + 1;
        if let Some(on) = self.on_mut(host) {
            on.empty.make_room(places);
            on.with_cores.make_room(places);
            on.quick.make_room(places);
        }
        self.times().into_iter().for_each(|times| times.make_room(places));
    }

    /// There are only this many places from now on.
    pub(super) fn shrink(&mut self, places: usize) {
        self.hosts.retain(|on| on.all() > 0);
        for on in &mut self.hosts {
            on.empty.shrink(places);
            on.with_cores.shrink(places);
            on.quick.shrink(places);
        }
        for on in &mut self.sites {
            on.asked_since.shrink(places);
            on.heard_at.shrink(places);
        }
        self.times().into_iter().for_each(|times| times.shrink(places));
    }

    fn times(&mut self) -> [&mut MinTree<Instant>; 5] {
        [
            &mut self.free_since,
            &mut self.owes_since,
            &mut self.shared_since,
            &mut self.expires_at,
            &mut self.lease_idle_since,
        ]
    }

    /// Replaces the known facts of a connection by its present ones.
    pub(super) fn note(
        &mut self,
        id: ConnectionId,
        host: HostId,
        known: Option<&Facts>,
        now: Option<&Facts>,
    ) {
        let place = id.place();
        if let Some(on) = self.on_mut(host) {
            on.note(place, known, now);
        }
        self.note_site(place, host, known, now);
        for (facts, adds) in [(known, false), (now, true)] {
            let Some(facts) = facts else { continue };
            let add = |count: &mut usize, by: usize| {
                *count = if adds { *count + by } else { count.saturating_sub(by) };
            };
            add(&mut self.taking_calls, usize::from(facts.takes_calls));
            add(&mut self.available, usize::from(facts.is_available));
            add(&mut self.behind, facts.behind);
            add(&mut self.free, usize::from(facts.free_since < Instant::NEVER));
        }
        let time = |of: fn(&Facts) -> Instant| now.map_or(Instant::NEVER, of);
        self.free_since.set(place, time(|facts| facts.free_since));
        self.owes_since.set(place, time(|facts| facts.owes_since));
        self.shared_since.set(place, time(|facts| facts.shared_since));
        self.expires_at.set(place, time(|facts| facts.expires_at));
        self.lease_idle_since.set(place, time(|facts| facts.lease_idle_since));
        let was_and_is = |of: fn(&Facts) -> bool| (known.is_some_and(of), now.is_some_and(of));
        for (set, (was, is)) in [
            (&mut self.apart, was_and_is(|facts| facts.kind.is_apart())),
            (&mut self.at_hand, was_and_is(|facts| facts.is_at_hand)),
            (&mut self.recovering, was_and_is(|facts| facts.is_recovering)),
            (&mut self.cancelling, was_and_is(|facts| facts.is_cancelling)),
        ] {
            match (was, is) {
                (false, true) => drop(set.insert(id)),
                (true, false) => drop(set.remove(&id)),
                _ => {}
            }
        }
    }
}
