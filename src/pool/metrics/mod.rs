//! What a pool has done since it was created: counters, and histograms of how long callers waited
//! and how long queries took, by host.
//!
//! [`Metrics`] owns these numbers, and decides nothing by them. `Calls` tells it of answers; all
//! else it learns from the pool's own outputs on their way up ([`Metrics::observe`]).

mod histogram;

use std::sync::Arc;
use std::time::Duration;

use histogram::Histogram;
pub use histogram::{BOUNDS_US, Durations};

use super::{CloseReason, Output, PoolEvent};
use crate::base::ErrorClass;
use crate::cluster::HostId;

/// The number of each reason for which sessions were closed.
pub type Closed = [u64; CloseReason::ALL.len()];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    counters: Counters,
    /// By the place of the host's id.
    hosts: Vec<Option<OnHost>>,
    /// What was counted for hosts that have left the list.
    left: Timings,
}

/// Numbers of the whole pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that ended with an error.
    pub failed: u64,
    /// Calls that got no connection within `acquireTimeoutMs`.
    pub acquire_timeouts: u64,
    /// Calls that were given up because of `timeoutMs`.
    pub query_timeouts: u64,
    /// How often a call was sent once more.
    pub resent: u64,
    /// CancelRequests.
    pub cancelled: u64,
    /// How often another host took the place of the one that had served.
    pub failovers: u64,
    pub fences: u64,
    pub rivals: u64,
    pub rewinds: u64,
    /// Sessions that were logged in, probes of hosts included.
    pub created: u64,
    pub closed: Closed,
}

/// The numbers of one host.
#[derive(Debug)]
struct OnHost {
    id: HostId,
    name: Arc<str>,
    created: u64,
    closed: Closed,
    timings: Timings,
}

#[derive(Debug, Default)]
struct Timings {
    /// How long calls waited for a connection, those that got one.
    wait: Histogram,
    /// How long queries took, from the moment that they were sent.
    query: Histogram,
}

/// All numbers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub counters: Counters,
    pub wait: Durations,
    pub query: Durations,
    pub hosts: Vec<HostSnapshot>,
}

/// The same for one host since it is in the list.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    pub host: Arc<str>,
    pub created: u64,
    pub closed: Closed,
    pub wait: Durations,
    pub query: Durations,
}

impl Metrics {
    /// A query was answered, so long after it was sent.
    #[inline]
    pub(super) fn answered(&mut self, host: HostId, name: &Arc<str>, took: Duration) {
        self.timings(host, name).query.record(took);
    }

    /// A call got a connection.
    #[inline]
    pub(super) fn acquired(&mut self, host: HostId, name: &Arc<str>, waited: Duration) {
        self.timings(host, name).wait.record(waited);
    }

    /// No connection was free, or no host served, within `acquireTimeoutMs`.
    pub(super) fn acquire_timed_out(&mut self) {
        self.counters.acquire_timeouts += 1;
    }

    /// A call goes back, to be sent once more.
    pub(super) fn resent(&mut self) {
        self.counters.resent += 1;
    }

    /// The host has logged a session in.
    pub(super) fn created(&mut self, host: HostId, name: &Arc<str>) {
        self.counters.created += 1;
        if let Some(on) = self.on(host, name) {
            on.created += 1;
        }
    }

    /// A session that was logged in is over.
    pub(super) fn closed(&mut self, host: HostId, name: &Arc<str>, reason: CloseReason) {
        add_one(&mut self.counters.closed, reason);
        if let Some(on) = self.on(host, name) {
            add_one(&mut on.closed, reason);
        }
    }

    /// What goes up to the users of the pool.
    #[inline]
    pub(super) fn observe(&mut self, output: &Output) {
        match output {
            Output::Completed { result: Ok(_), .. } => {}
            Output::Completed { result: Err(error), .. } => {
                self.counters.failed += 1;
                self.counters.query_timeouts +=
                    u64::from(error.class() == ErrorClass::QueryTimeout);
            }
            Output::Cancel { .. } => self.counters.cancelled += 1,
            Output::Event(event) => self.heard(event),
            _ => {}
        }
    }

    fn heard(&mut self, event: &PoolEvent) {
        let counters = &mut self.counters;
        let counter = match event {
            PoolEvent::Primary { previous: Some(_), .. } => &mut counters.failovers,
            PoolEvent::Fence { .. } => &mut counters.fences,
            PoolEvent::Rival { .. } => &mut counters.rivals,
            PoolEvent::Rewound { .. } => &mut counters.rewinds,
            _ => return,
        };
        *counter += 1;
    }

    /// Unlike a snapshot, these cost nothing.
    #[cfg(feature = "sim")]
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// `listed` are the hosts of the list, in its order.
    pub(super) fn read(&self, listed: impl Iterator<Item = HostId>) -> Snapshot {
        let (mut wait, mut query) = (self.left.wait.clone(), self.left.query.clone());
        for on in self.hosts.iter().flatten() {
            wait.add(&on.timings.wait);
            query.add(&on.timings.query);
        }
        let hosts =
            listed.filter_map(|id| self.hosts.get(id.place())?.as_ref().filter(|it| it.id == id));
        Snapshot {
            counters: self.counters,
            wait: wait.read(),
            query: query.read(),
            hosts: hosts.map(OnHost::read).collect(),
        }
    }

    #[inline]
    fn timings(&mut self, id: HostId, name: &Arc<str>) -> &mut Timings {
        let place = id.place();
        let is_known = matches!(self.hosts.get(place), Some(Some(on)) if on.id == id);
        if !is_known {
            self.enter(id, name);
        }
        match self.hosts.get_mut(place) {
            Some(Some(on)) if on.id == id => &mut on.timings,
            _ => &mut self.left,
        }
    }

    /// `None` if another host has its place: it has left the list, and some session of it is left.
    fn on(&mut self, id: HostId, name: &Arc<str>) -> Option<&mut OnHost> {
        self.timings(id, name);
        self.hosts.get_mut(id.place())?.as_mut().filter(|on| on.id == id)
    }

    /// A host is new. If another one had its place, that one has left the list.
    #[cold]
    fn enter(&mut self, id: HostId, name: &Arc<str>) {
        let place = id.place();
        if self.hosts.len() <= place {
            self.hosts.resize_with(place + 1, || None);
        }
        let Some(entry) = self.hosts.get_mut(place) else { return };
        if entry.as_ref().is_some_and(|on| on.id > id) {
            return;
        }
        if let Some(former) = entry.replace(OnHost::new(id, Arc::clone(name))) {
            self.left.wait.add(&former.timings.wait);
            self.left.query.add(&former.timings.query);
        }
    }
}

fn add_one(closed: &mut Closed, reason: CloseReason) {
    if let Some(count) = closed.get_mut(reason as usize) {
        *count += 1;
    }
}

impl OnHost {
    fn new(id: HostId, name: Arc<str>) -> Self {
        let closed = Closed::default();
        Self { id, name, created: 0, closed, timings: Timings::default() }
    }

    fn read(&self) -> HostSnapshot {
        HostSnapshot {
            host: Arc::clone(&self.name),
            created: self.created,
            closed: self.closed,
            wait: self.timings.wait.read(),
            query: self.timings.query.read(),
        }
    }
}
