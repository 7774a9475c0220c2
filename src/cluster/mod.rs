//! Floor 3: the hosts, what each of them last said, and where to look for the primary.
//!
//! Owns: the topology, a value that changes by observations alone, and each host's backoff. Imports
//! `base`, `config` and `connection`. Never holds a connection, never does I/O, never reads a clock.
//!
//! ```text
//! Unknown ──a host fits──▶ Known ──a session breaks──▶ Suspected ──it answers, or another host fits──▶ Known
//!    ▲                       └──the host says that it no longer fits──┐
//!    └─────────────────────────────────────────────────────────────────┘
//! ```

mod backoff;
mod topology;

use std::sync::Arc;

use backoff::Backoff;
pub use topology::{Change, HostId, Observation, Primary, Standing, Topology, fits};

use crate::base::{Error, HostReport, Instant, Random};
use crate::config::{Host, TargetSessionAttrs};

/// The topology together with the times at which hosts may be asked again.
#[derive(Debug)]
pub struct Cluster {
    topology: Topology,
    backoffs: Vec<Backoff>,
    random: Random,
}

impl Cluster {
    pub fn new(hosts: Vec<Arc<Host>>, mode: TargetSessionAttrs, seed: u64) -> Self {
        let backoffs = hosts.iter().map(|_| Backoff::default()).collect();
        let topology = Topology::new(hosts, mode);
        Self { topology, backoffs, random: Random::from_seed(seed) }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn observe(&mut self, now: Instant, host: HostId, observation: Observation) -> Change {
        if let Some(backoff) = self.backoffs.get_mut(host.0) {
            match observation {
                Observation::Says(_) => backoff.reset(),
                Observation::ConnectFailed(_) => backoff.failed(now, &mut self.random),
                Observation::SessionLost(_) => {}
            }
        }
        self.topology.update(host, observation)
    }

    /// When the host may be asked again; the past, where it may be asked now.
    pub fn may_connect_at(&self, host: HostId) -> Instant {
        self.backoffs.get(host.0).map_or(Instant::ORIGIN, Backoff::until)
    }

    /// Why no host will do, host by host.
    pub fn reports(&self) -> Vec<HostReport> {
        self.topology.reports()
    }

    /// The error that no waiting heals, where every host that answers at all gave one.
    pub fn hopeless(&self) -> Option<&Error> {
        self.topology.hopeless()
    }
}
