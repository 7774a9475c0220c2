//! What a session has told of its host: at its login, to a probe, and to the question for its place.

use std::time::Duration;

use super::connections::{Cancelling, Duty};
use super::reports::is_contradiction;
use super::{ConnectionId, Pool};
use crate::base::Instant;
use crate::cluster::{Told, fits};
use crate::connection::{Place, Role};

impl Pool {
    /// A login is done.
    pub(super) fn joined(&mut self, now: Instant, id: ConnectionId, role: Role) {
        if self.is_astray(id, role) {
            self.note_address(now, id, role);
            return self.leave_astray(now, id);
        }
        self.connections.share_pooler(id);
        let Some(slot) = self.connections.get_mut(id) else { return };
        self.cluster.logged_in(slot.host);
        let is_tried = slot.duty == Duty::Joining;
        match slot.duty {
            Duty::Witness { .. } => self.witnessed(now, id),
            Duty::Challenger { .. } => {
                let deadline = Some(now + self.config.connect_timeout);
                slot.duty = Duty::Challenger { deadline };
            }
            // Until the topology has heard it, the session is one that can't serve.
            _ => {
                slot.duty = Duty::Scouting { ask_at: now + self.config.failover_probe };
                let replaced = self.connections.replaced_by(id);
                replaced.into_iter().for_each(|id| self.connections.retire(id));
            }
        }
        // It may be closed at once, where there is no room for one more.
        self.leave_deserted();
        self.observe_session(now, id, role);
        self.note_address(now, id, role);
        if is_tried && !fits(self.config.mode, role) {
            self.try_beyond(now, id);
        }
        self.settle_duty(now, id);
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, now: Instant, id: ConnectionId, role: Option<Role>) {
        if let Some(role) = role {
            self.observe_session(now, id, role);
        }
        self.settle_duty(now, id);
    }

    /// A host has answered the question for its place.
    pub(super) fn placed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        Place { lineage, lag, follows, cancelled, .. }: Place,
        role: Option<Role>,
    ) {
        let Some(slot) = self.connections.get(id) else { return };
        let host = slot.host;
        // Whoever else cancels a question, a time limit of the server's own for one, would do so
        // again.
        let was_hit = cancelled && slot.cancelling.as_ref().is_some_and(Cancelling::has_fired);
        let asked_at = slot.connection.asked_at();
        if !was_hit && self.is_stranger(id) && !self.meet_stranger(now, id, lineage.as_ref()) {
            return self.settle_duty(now, id);
        }
        let Some(slot) = self.connections.get(id) else { return };
        let is_old = role.is_some_and(|role| self.cluster.is_old_news(host, role, asked_at));
        let opened_at = slot.opened_at;
        // The server that the host's name led to before has a place of its own.
        let is_old = is_old || self.connections.is_of_another_server(id);
        if is_contradiction(role, lineage.is_some(), follows.is_some()) {
            self.doubt_reports(now, host, Duration::ZERO);
        }
        // A standby has nothing to show before it is promoted. Nor has one that was a primary when
        // it was asked: it would be taken for an old one when it is promoted again.
        if !was_hit && !is_old {
            let told = Told { follows, told_at: now, opened_at };
            self.cluster.tell_place(host, told);
        }
        match role {
            _ if was_hit || is_old => {}
            Some(Role::Standby) => self.cluster.lags(now, host, lag),
            _ => self.cluster.set_claim(host, lineage),
        }
        self.check_seat(host);
        if let Some(role) = role {
            self.observe_session(now, id, role);
        }
        self.decide_rivals(now);
        self.leave_refused(now, id);
        self.settle_duty(now, id);
    }
}
