//! Hosts that claim the seat of the primary while, or after, another one has it.
//!
//! A host that claims the seat of another host has to show its lineage first: one more round trip
//! on an open session. The first host that gets the seat is asked for its lineage in front of the
//! first call, without a wait. When a host has got the seat, logins under way to other hosts are
//! completed, as **challengers**: the host that answers first need not be the primary.
//!
//! A question that stands behind a call may be hit by the CancelRequest for that call. It is then
//! asked again at the end of a turn, on a session to which no CancelRequest is under way.

use super::{Context, Discovery};
use crate::base::{Error, ErrorClass, Instant};
use crate::cluster::{Decision, HostId, RivalVerdict, fits};
use crate::connection::Role;
use crate::pool::connections::{Duty, Slot};
use crate::pool::{CloseReason, ConnectionId, PoolEvent};

impl Discovery {
    /// Whether the host must show its lineage before its reported role counts.
    pub(in crate::pool) fn ask_for_proof(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Role,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        if !self.cluster.topology().must_prove(slot.host, role) {
            return false;
        }
        // Other sessions may be in a transaction, which a refused question would end.
        if matches!(slot.duty, Duty::Scouting { .. } | Duty::Challenger { .. })
            && slot.connection.is_idle()
            // Its lineage would not be taken for the host's.
            && !cx.connections.is_of_another_server(id)
        {
            cx.connections.ask_place(now, id);
        }
        true
    }

    /// Decides about the hosts that claim the seat of another one, as far as their lineages are
    /// known.
    pub(in crate::pool) fn decide_rivals(&mut self, now: Instant, cx: &mut Context<'_>) {
        for rival in self.cluster.topology().rivals() {
            self.decide(now, rival, cx);
        }
    }

    fn decide(&mut self, now: Instant, rival: HostId, cx: &mut Context<'_>) {
        let primary = self.cluster.known_primary();
        let decision = match self.cluster.decide(rival) {
            RivalVerdict::Same => {
                self.cluster.mark_decided(rival);
                return;
            }
            RivalVerdict::Ask { rival: of_rival, primary: of_primary } => {
                let may_answer = !of_rival || self.ask_host(now, rival, cx);
                if of_primary && let Some(primary) = primary {
                    // Without a session it is asked on the next one, in front of the first call.
                    self.ask_host(now, primary, cx);
                }
                if may_answer {
                    return;
                }
                // The rival is gone before it has shown its lineage.
                Decision::Stays
            }
            RivalVerdict::Decided(decision) => decision,
        };
        self.emit_rival(rival, primary, decision);
        match (decision, primary) {
            (Decision::Taken, Some(primary)) => {
                self.cluster.mark_decided(primary);
                self.found(now, rival, cx);
            }
            (Decision::Contested, Some(primary)) => {
                self.outage_begins(now);
                self.unseat(now, primary, cx);
            }
            _ => {}
        }
    }

    /// Asks a host for its lineage, on any session whose answer would count. Returns whether an
    /// answer may come. If calls are being cancelled on all these sessions, the host is asked when
    /// that is over.
    fn ask_host(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) -> bool {
        let may_ask = |id: ConnectionId, slot: &Slot| {
            slot.host == host
                && slot.connection.role().is_some()
                && !matches!(slot.duty, Duty::Leased { .. })
                && !cx.connections.is_of_another_server(id)
        };
        let sessions = cx.connections.iter().filter(|(id, slot)| may_ask(*id, slot));
        let sessions: Vec<_> = sessions.collect();
        if sessions.iter().any(|(_, slot)| slot.connection.is_asking_place()) {
            return true;
        }
        let safe = sessions.iter().filter(|(_, slot)| slot.cancelling.is_none());
        let freest = safe.min_by_key(|(_, slot)| slot.connection.depth()).map(|(id, _)| *id);
        let may_answer = !sessions.is_empty();
        if let Some(id) = freest {
            // The lineage of a session counts only with a role that is as new.
            if self.has_outdated_role(id, cx) {
                cx.connections.probe(now, id);
            }
            cx.connections.ask_place(now, id);
        }
        may_answer
    }

    fn has_outdated_role(&self, id: ConnectionId, cx: &Context<'_>) -> bool {
        let Some(slot) = cx.connections.get(id) else { return false };
        let (role, asked_at) = (slot.connection.role(), slot.connection.asked_at());
        role.is_some_and(|role| self.cluster.is_outdated(slot.host, role, asked_at))
    }

    fn emit_rival(&mut self, rival: HostId, primary: Option<HostId>, decision: Decision) {
        if !self.cluster.mark_decided(rival) {
            return;
        }
        let timeline = |host| self.cluster.topology().timeline(host);
        let timelines = (timeline(rival), primary.and_then(timeline));
        let primary = primary.and_then(|id| self.cluster.name(id)).or_else(|| self.outage.last());
        if let (Some(host), Some(primary)) = (self.cluster.name(rival), primary) {
            let (timeline, primary_timeline) = timelines;
            let event = PoolEvent::Rival { host, primary, timeline, primary_timeline, decision };
            self.events.push_back(event);
        }
    }

    /// Ends sessions that could still commit on a host that another one has replaced: the old host
    /// will be rewound, and reads there are stale. Answers that came by the end of the turn count.
    /// A fenced host runs no new writes, and a read behind its barrier is sent again.
    pub(in crate::pool) fn leave_deposed(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.has_moved) {
            return;
        }
        let topology = self.cluster.topology();
        let could_commit = |slot: &Slot| {
            let role = topology.summary(slot.host).and_then(|(_, role)| role);
            let claims = role.is_some_and(|role| fits(cx.config.mode, role));
            match slot.duty {
                Duty::Serving => claims,
                Duty::Leased { .. } => claims || !slot.is_at_rest(),
                _ => false,
            }
        };
        let deposed = cx.connections.iter().filter(|(_, slot)| could_commit(slot));
        let deposed =
            deposed.filter_map(|(id, slot)| topology.refuses(slot.host).map(|why| (id, why)));
        let deposed: Vec<_> = deposed.collect();
        for (id, why) in deposed {
            let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", why);
            cx.connections.drop_slot(id, error);
        }
    }

    /// Closes challengers that were logged in and did not answer in time.
    pub(in crate::pool) fn dismiss_challengers(&mut self, now: Instant, cx: &mut Context<'_>) {
        let late =
            |slot: &Slot| matches!(slot.duty, Duty::Challenger { deadline: Some(at) } if at <= now);
        let late = cx.connections.those_apart(late);
        if late.is_empty() {
            return;
        }
        for id in late {
            cx.connections.close(id, CloseReason::Dropped, None);
        }
        self.decide_rivals(now, cx);
    }

    /// The host in the seat has shown its lineage.
    pub(in crate::pool) fn check_seat(&mut self, host: HostId) {
        if let Some(previous) = self.cluster.seat_went_back(host) {
            self.emit_rewound(host, previous);
        }
    }

    pub(in crate::pool) fn emit_rewound(&mut self, host: HostId, previous_timeline: u32) {
        let timeline = self.cluster.topology().timeline(host);
        if let (Some(host), Some(timeline)) = (self.cluster.name(host), timeline) {
            let event = PoolEvent::Rewound { host, timeline, previous_timeline };
            self.events.push_back(event);
        }
    }
}
