//! What a session reports about its host: at its login, to a probe, and to the question for its
//! place.

use std::time::Duration;

use super::role_reports::is_contradiction;
use super::{Context, Discovery};
use crate::base::Instant;
use crate::cluster::{TimelineReport, fits};
use crate::connection::{Place, Role};
use crate::pool::ConnectionId;
use crate::pool::connections::{Cancelling, Duty};

impl Discovery {
    /// A login is done.
    pub(in crate::pool) fn joined(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Role,
        cx: &mut Context<'_>,
    ) {
        if self.is_astray(id, role, cx) {
            self.note_address(now, id, role, cx);
            return self.leave_astray(now, id, cx);
        }
        let Some(slot) = cx.connections.get_mut(id) else { return };
        self.cluster.logged_in(slot.host);
        let is_tried = slot.duty == Duty::Joining;
        match slot.duty {
            Duty::LivenessProbe { .. } => self.liveness_probe_joined(now, id, cx),
            Duty::Challenger { .. } => {
                let deadline = Some(now + cx.config.connect_timeout);
                slot.duty = Duty::Challenger { deadline };
            }
            // Until the topology has taken the role, the session is one that can't serve.
            _ => {
                slot.duty = Duty::Scouting { ask_at: now + cx.config.failover_probe };
                let replaced = cx.connections.replaced_by(id);
                replaced.into_iter().for_each(|id| cx.connections.retire(id));
            }
        }
        // The session may be closed at once if there is no room for one more.
        self.close_unreachable(cx);
        self.observe_session(now, id, role, cx);
        self.note_address(now, id, role, cx);
        if is_tried && !fits(cx.config.mode, role) {
            self.try_beyond(now, id, cx);
        }
        self.settle_duty(now, id, cx);
    }

    /// A probe was answered.
    pub(in crate::pool) fn answered(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Option<Role>,
        cx: &mut Context<'_>,
    ) {
        if let Some(role) = role {
            self.observe_session(now, id, role, cx);
        }
        self.settle_duty(now, id, cx);
    }

    /// A host has answered the question for its place.
    pub(in crate::pool) fn placed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        Place { lineage, lag, follows, cancelled, .. }: Place,
        role: Option<Role>,
        cx: &mut Context<'_>,
    ) {
        let Some(slot) = cx.connections.get(id) else { return };
        let host = slot.host;
        // Only a CancelRequest of the pool's own counts here: whatever else cancels the question,
        // such as a time limit of the server, would do so again.
        let was_hit = cancelled && slot.cancelling.as_ref().is_some_and(Cancelling::has_fired);
        let asked_at = slot.connection.asked_at();
        if !was_hit
            && self.is_stranger(id, cx)
            && !self.meet_stranger(now, id, lineage.as_ref(), cx)
        {
            return self.settle_duty(now, id, cx);
        }
        let Some(slot) = cx.connections.get(id) else { return };
        let is_old = role.is_some_and(|role| self.cluster.is_outdated(host, role, asked_at));
        let opened_at = slot.opened_at;
        // The server that the host's name led to before has a place of its own.
        let is_old = is_old || cx.connections.is_of_another_server(id);
        if is_contradiction(role, lineage.is_some(), follows.is_some()) {
            self.recheck_role(now, host, Duration::ZERO, cx);
        }
        // A standby has no claim to show before it is promoted. Nor has a host that was a primary
        // when it was asked: it would be taken for an old primary when it is promoted again.
        if !was_hit && !is_old {
            let report = TimelineReport { follows, reported_at: now, opened_at };
            self.cluster.set_timeline_report(host, report);
        }
        match role {
            _ if was_hit || is_old => {}
            Some(Role::Standby) => self.cluster.lags(now, host, lag),
            _ => self.cluster.set_claim(host, lineage),
        }
        self.check_seat(host);
        if let Some(role) = role {
            self.observe_session(now, id, role, cx);
        }
        self.decide_rivals(now, cx);
        self.leave_refused(now, id, cx);
        self.settle_duty(now, id, cx);
    }
}
