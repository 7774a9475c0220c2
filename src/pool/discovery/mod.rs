//! Which hosts serve: what is known of them, what is asked of them, and which connections are
//! opened and closed for that.
//!
//! [`Discovery`] owns what is known, acts on the connections that the pool hands it
//! ([`Context`]), and keeps what users are to hear of until the pool takes it. It knows of calls
//! only how many there are ([`Demand`]).
//!
//! Its files call one another in this order, from the top: `session_answers`, `search` and `liveness`, then
//! `observing`, `rivals`, `seat`, `asking`, and under these what each of them asks of addresses.

mod addresses;
mod asking;
mod failures;
mod frozen;
mod hosts;
mod lag;
mod lifetimes;
mod liveness;
mod observing;
mod outage;
mod probed_addresses;
mod rebalance;
mod renewal;
mod rewind;
mod rivals;
mod role_reports;
mod search;
mod seat;
mod session_answers;
mod silence;
mod unfit;
mod wanted;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(super) use addresses::Failed;
pub(super) use outage::Found;
use outage::Outage;
use probed_addresses::ProbedAddresses;
use rewind::Rewinding;
use silence::Silence;
use unfit::UnfitAddresses;

use super::PoolEvent;
use super::connections::{Connections, Site};
use super::placement::Candidate;
use crate::base::{Instant, Random};
use crate::cluster::{Cluster, Observation, Primary};
use crate::config::Config;

#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) cluster: Cluster,
    outage: Outage,
    unfit: UnfitAddresses,
    probed: ProbedAddresses,
    silence: Silence,
    /// The cluster may have gone back to an older timeline.
    rewinding: Option<Rewinding>,
    /// When standbys may be asked again how far they are behind.
    lag_due: Instant,
    /// A host has got the seat since the last look for deposed ones.
    has_moved: bool,
    /// There may be more connections than `poolSize`: a host with some at work serves again.
    pub(super) has_surplus: bool,
    /// A host has refused, or was lost, since futile waits were last ended.
    pub(super) waits_may_be_futile: bool,
    /// Since when there have been calls behind others.
    backlog_since: Option<Instant>,
    /// What was done since another host served, or since a host was down, may be lost, and with it
    /// the types that were made.
    types_may_be_lost: bool,
    /// For lifetimes.
    random: Random,
    flushed_at: Instant,
    /// Scratch, empty between uses.
    candidates: Vec<Candidate>,
    events: VecDeque<PoolEvent>,
}

/// What discovery works on, and does not own.
pub(super) struct Context<'a> {
    pub(super) connections: &'a mut Connections,
    pub(super) config: &'a Config,
    pub(super) demand: Demand,
}

/// What callers want of the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// New calls are taken.
    pub(super) is_open: bool,
    pub(super) has_ended: bool,
    /// All calls, those that are answered at the moment too.
    pub(super) calls: usize,
    /// Calls that wait for a connection.
    pub(super) waiting: usize,
    /// Calls that stand behind one which takes long, and find nothing that is free.
    pub(super) stranded: usize,
    /// A caller waits until the pool is ready.
    pub(super) is_awaited: bool,
    /// Types are known that users made.
    pub(super) knows_types: bool,
}

impl Discovery {
    /// `seed` is for the choice among hosts, and for jitter.
    pub(super) fn new(config: &Config, seed: u64, now: Instant) -> Self {
        let hosts = config.hosts.iter().map(|host| Arc::new(host.clone())).collect();
        Self {
            cluster: Cluster::new(hosts, config.mode, seed, now),
            // Hosts are looked for before anybody asks, where connections are wanted before.
            outage: Outage::new(now, config.min_idle > 0),
            unfit: UnfitAddresses::default(),
            probed: ProbedAddresses::default(),
            silence: Silence::default(),
            rewinding: None,
            lag_due: now,
            has_moved: false,
            has_surplus: false,
            waits_may_be_futile: false,
            backlog_since: None,
            types_may_be_lost: false,
            random: Random::from_seed(seed),
            flushed_at: now,
            candidates: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// What users are to hear of.
    pub(super) fn poll_event(&mut self) -> Option<PoolEvent> {
        self.events.pop_front()
    }

    /// A server there has sent something.
    pub(super) fn heard(&mut self, now: Instant, site: Site) {
        self.probed.heard(site);
        if !self.silence.is_calm()
            && self.silence.heard(now, site)
            && self.cluster.topology().primary() == Primary::Silent(site.0)
        {
            self.cluster.observe(now, site.0, &Observation::Heard);
        }
    }

    /// The server there has answered a bare Sync after `round_trip`.
    pub(super) fn measured(&mut self, now: Instant, site: Site, round_trip: Duration) {
        self.cluster.measured(now, site.0, round_trip);
        self.silence.measured(site, round_trip);
    }

    /// The pool's turn is over: what was due has been done, or can't be done.
    pub(super) fn flushed(&mut self, now: Instant) {
        self.flushed_at = now;
    }

    /// Whether the types that users made may be others than those that are known. That is said
    /// once.
    pub(super) fn take_lost_types(&mut self) -> bool {
        std::mem::take(&mut self.types_may_be_lost)
    }
}
