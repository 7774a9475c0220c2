//! Observations of hosts, from a session or from an attempt to open one, and their effects.

use std::sync::Arc;

use super::{Context, Discovery};
use crate::base::{Error, ErrorClass, Instant, Mutation};
use crate::cluster::{Change, HostId, Observation};
use crate::connection::Role;
use crate::pool::connections::{Duty, Slot};
use crate::pool::{CloseReason, ConnectionId, PoolEvent};

impl Discovery {
    /// Takes the role that a session reported. If one read has brought two answers that differ, the
    /// later one counts.
    pub(in crate::pool) fn observe_session(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get_mut(id) else { return };
        let before = slot.reported.replace(role);
        if slot.connection.role() == Some(role)
            && !self.cluster.topology().knows(slot.host, role)
            && !self.cluster.is_outdated(slot.host, role, slot.connection.asked_at())
        {
            let host = slot.host;
            if self.is_left_behind(id, before, role, cx) || self.ask_for_proof(now, id, role, cx) {
                return;
            }
            self.leave_other_addresses(id, role, cx);
            self.observe(now, host, Observation::RoleReported(role), cx);
        }
    }

    pub(in crate::pool) fn observe(
        &mut self,
        now: Instant,
        host: HostId,
        observation: Observation,
        cx: &mut Context<'_>,
    ) {
        let role = match &observation {
            Observation::RoleReported(role) => Some(*role),
            Observation::ConnectFailed(_)
            | Observation::SessionLost(_)
            | Observation::IdleCut(_)
            | Observation::FellSilent
            | Observation::Heard => None,
        };
        let before = self.cluster.topology().summary(host);
        let change = self.cluster.observe(now, host, &observation);
        self.emit_host(host, before, observation);
        match change {
            Change::Nothing => {}
            Change::Found(host) if self.cluster.topology().has_seat() => self.found(now, host, cx),
            Change::Found(_) | Change::SpareAccepted => {
                self.has_surplus = true;
                self.settle_duties(now, cx);
            }
            Change::Lost(host) => {
                self.outage_begins(now);
                if let (Some(name), Some(role)) = (self.cluster.name(host), role)
                    && self.cluster.topology().has_seat()
                    && !Mutation::HideFence.is_on()
                {
                    let event = PoolEvent::Fence { host: name, role: role.as_str() };
                    if Mutation::RepeatFence.is_on() {
                        self.events.push_back(event.clone());
                    }
                    self.events.push_back(event);
                }
                self.unseat(now, host, cx);
            }
            Change::Suspected(host) => {
                self.outage_begins(now);
                self.revalidate_idle(now, host, cx);
            }
            Change::Rival => self.decide_rivals(now, cx),
        }
    }

    fn emit_host(
        &mut self,
        host: HostId,
        before: Option<(&'static str, Option<Role>)>,
        observation: Observation,
    ) {
        let after = self.cluster.topology().summary(host);
        if let (Some((previous, _)), Some((state, role))) = (before, after)
            && (before != after && !(Mutation::ForgetNews.is_on() && previous == state))
            && let Some(host) = self.cluster.name(host)
        {
            self.types_may_be_lost |= state == "down";
            let error = match observation {
                Observation::RoleReported(_) | Observation::FellSilent | Observation::Heard => None,
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error) => Some(error),
            };
            let event = PoolEvent::Host { host, state, previous, role, error };
            self.events.push_back(event);
        }
    }

    pub(in crate::pool) fn give_up_session(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let Some(site) = cx.connections.get(id).map(Slot::site) else { return };
        let is_liveness_probe = cx
            .connections
            .get(id)
            .is_some_and(|slot| matches!(slot.duty, Duty::LivenessProbe { .. }));
        let host = site.0;
        let after = cx.config.connect_timeout.as_millis();
        let name = self.cluster.name(host).unwrap_or_else(|| Arc::from("a host"));
        let message = format!("{name}: no answer within {after} ms while asking for its role");
        let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECT_TIMEOUT", message);
        cx.connections.close(id, CloseReason::Dropped, Some(error.clone()));
        self.judge_unlisted(now, host, &error, cx);
        if is_liveness_probe
            && (self.is_too_early(now, site, cx) || self.address_unreachable(site, &error, cx))
        {
            return;
        }
        self.observe(now, host, Observation::ConnectFailed(error), cx);
    }
}
