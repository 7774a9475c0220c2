//! The pool's hosts as users see and change them.

use std::sync::Arc;

use super::{Context, Discovery};
use crate::base::Instant;
use crate::cluster::HostView;
use crate::config::Host;
use crate::pool::connections::{Connections, Duty, Slot};
use crate::pool::{Ages, HostStatus};

impl Discovery {
    /// Each host at this moment, in the order of the list.
    pub(in crate::pool) fn hosts(
        &self,
        now: Instant,
        connections: &Connections,
    ) -> Vec<HostStatus> {
        let topology = self.cluster.topology();
        let views = topology.views().into_iter();
        let status = views.map(|(host, view)| {
            let (open, busy) = connections.open_and_busy(host);
            let age = now.since(view.since);
            let ages = ages(now, connections.role_reported_at(host), &view);
            HostStatus { view, age, ages, serves: topology.rank(host).is_some(), open, busy }
        });
        status.collect()
    }

    /// Takes another list of hosts. Connections to hosts that are no longer in it are closed: idle
    /// ones now, the others when their callers are done. Returns whether any is gone.
    pub(in crate::pool) fn set_hosts(
        &mut self,
        now: Instant,
        hosts: Vec<Host>,
        cx: &mut Context<'_>,
    ) -> bool {
        let was_served = self.cluster.topology().is_served();
        let gone = self.cluster.set_hosts(now, hosts.into_iter().map(Arc::new).collect());
        let idle = |slot: &Slot| match slot.duty {
            Duty::Serving => slot.is_idle(),
            Duty::Leased { .. } => false,
            _ => true,
        };
        let useless = cx.connections.those(|slot| gone.contains(&slot.host) && idle(slot));
        useless.into_iter().for_each(|id| cx.connections.retire(id));
        if was_served {
            self.outage_begins(now);
        }
        !gone.is_empty()
    }
}

/// The ages of what is known of a host. An open session may have confirmed it since.
fn ages(now: Instant, confirmed: Option<Instant>, view: &HostView) -> Ages {
    let role_at = view.role_at.map(|at| confirmed.map_or(at, |confirmed| at.max(confirmed)));
    let age = |at: Instant| now.since(at);
    Ages {
        state: role_at.max(view.failed_at).map(age),
        role: role_at.map(age),
        round_trip: view.round_trip.map(|_| age(view.measured_at)),
        lag: view.lag.map(|_| age(view.lag_at)),
    }
}
