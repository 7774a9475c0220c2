//! The pool's hosts as users see and change them.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::connections::{Duty, Slot};
use super::doors::{Ages, HostStatus};
use super::leases::Lease;
use super::requests::closed_pool;
use super::{Life, Pool};
use crate::base::{Error, Instant};
use crate::cluster::{HostId, HostView};
use crate::config::Host;

impl Pool {
    /// Each host at this moment, in the order of the list.
    pub fn cluster(&self, now: Instant) -> Vec<HostStatus> {
        let topology = self.discovery.cluster.topology();
        let views = topology.views().into_iter();
        let status = views.map(|(host, view)| {
            let (open, busy) = self.connections.open_and_busy(host);
            let age = now.since(view.since);
            let ages = self.ages(now, host, &view);
            HostStatus { view, age, ages, serves: topology.rank(host).is_some(), open, busy }
        });
        status.collect()
    }

    /// How old it is what is known of a host. A session that is open may have said the same again
    /// and again.
    fn ages(&self, now: Instant, host: HostId, view: &HostView) -> Ages {
        let told = self.connections.role_told_at(host);
        let role_at = view.role_at.map(|at| told.map_or(at, |told| at.max(told)));
        let age = |at: Instant| now.since(at);
        Ages {
            state: role_at.max(view.failed_at).map(age),
            role: role_at.map(age),
            round_trip: view.round_trip.map(|_| age(view.measured_at)),
            lag: view.lag.map(|_| age(view.lag_at)),
        }
    }

    /// The host of a lease's connection, as long as it has one.
    pub fn lease_host(&self, lease: NonZeroU32) -> Option<&Host> {
        let connection = self.leases.get(lease)?.connection()?;
        self.connections.get(connection).map(|slot| &*slot.target)
    }

    /// Whether the lease still has a connection, or a claim to another one.
    pub fn lease_is_alive(&self, number: NonZeroU32) -> bool {
        self.leases.get(number).is_some_and(Lease::is_alive)
    }

    /// The port of hosts that name none.
    pub fn default_port(&self) -> u16 {
        self.config.port
    }

    /// Takes another list of hosts. Connections to hosts that are no longer in it are closed: idle
    /// ones now, the others when their callers are done.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Host>) -> Result<(), Error> {
        if !matches!(self.life, Life::Open) {
            return Err(closed_pool());
        }
        let was_served = self.discovery.cluster.topology().is_served();
        let gone = self.discovery.cluster.set_hosts(now, hosts.into_iter().map(Arc::new).collect());
        // Another list may be another cluster, where the same oids are other types.
        if !gone.is_empty() {
            self.forget_types();
        }
        let idle = |slot: &Slot| match slot.duty {
            Duty::Serving => slot.is_idle(),
            Duty::Leased { .. } => false,
            _ => true,
        };
        let useless = self.connections.those(|slot| gone.contains(&slot.host) && idle(slot));
        useless.into_iter().for_each(|id| self.connections.retire(id));
        if was_served {
            self.discovery.outage_begins(now);
        }
        Ok(())
    }
}
