//! Sessions when their host begins to serve, or stops.

use super::Found;
use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::{HostId, Rank, fits};
use crate::pool::connections::{Duty, Slot};
use crate::pool::{ConnectionId, PoolEvent};

impl Discovery {
    pub(in crate::pool) fn outage_begins(&mut self, now: Instant) {
        if !self.cluster.topology().is_served() {
            self.outage.begin(now);
        }
    }

    /// A host has got the seat: its scout joins the pool. Scouts of other hosts are closed once
    /// they have said that they don't claim the seat too.
    pub(in crate::pool) fn found(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) {
        self.has_moved = true;
        self.silence.forget_states();
        self.silence.end_episode();
        let name = self.cluster.name(host);
        let found = self.outage.end(now, name.as_ref());
        if let (Some(host), Some(Found { previous, outage })) = (name, found) {
            self.types_may_be_lost = true;
            let event = PoolEvent::Primary { host, previous, outage };
            self.events.push_back(event);
        }
        for id in cx.connections.all() {
            let Some(of) = cx.connections.get(id).map(|slot| slot.host) else { continue };
            if of == host {
                self.settle_duty(now, id, cx);
                continue;
            }
            let is_challenged = cx.connections.is_challenged_by(of);
            let Some(slot) = cx.connections.get_mut(id) else { continue };
            match slot.duty {
                Duty::Joining | Duty::Scouting { .. } if is_challenged => cx.connections.retire(id),
                Duty::Joining => slot.duty = Duty::Challenger { deadline: None },
                Duty::Scouting { .. } if !slot.connection.is_idle() => {
                    let deadline = Some(now + cx.config.connect_timeout);
                    slot.duty = Duty::Challenger { deadline };
                }
                Duty::Scouting { .. } | Duty::Revalidating { .. } | Duty::Rebalancing => {
                    cx.connections.retire(id)
                }
                Duty::Serving if slot.is_idle() => cx.connections.retire(id),
                Duty::Serving
                | Duty::Leased { .. }
                | Duty::Challenger { .. }
                | Duty::LivenessProbe { .. } => {}
            }
        }
        self.give_up_frozen(now, cx);
    }

    /// The host that served no longer fits. Its sessions at work go on to their end, the others are
    /// closed. While no host serves, one session is kept to ask the host.
    pub(in crate::pool) fn unseat(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) {
        let is_served = self.cluster.topology().is_served();
        let keep_one = !is_served && !cx.connections.is_scouted(host);
        if keep_one {
            self.cluster.renewed(now, host);
        }
        let ask_at = now + cx.config.failover_probe;
        let idle = |slot: &Slot| {
            slot.host == host && (slot.is_idle() || matches!(slot.duty, Duty::Revalidating { .. }))
        };
        let ids = cx.connections.those(idle);
        for (id, first) in
            ids.into_iter().zip(std::iter::once(keep_one).chain(std::iter::repeat(false)))
        {
            match cx.connections.get_mut(id) {
                Some(slot) if first => slot.duty = Duty::Scouting { ask_at },
                _ => cx.connections.retire(id),
            }
        }
    }

    /// A session of the serving host broke: its idle sessions are asked at once, all together.
    pub(in crate::pool) fn revalidate_idle(
        &mut self,
        now: Instant,
        host: HostId,
        cx: &mut Context<'_>,
    ) {
        let idle = |slot: &Slot| slot.host == host && slot.is_idle();
        let ids = cx.connections.those(idle);
        self.revalidate(now, ids, cx);
    }

    pub(in crate::pool) fn revalidate(
        &mut self,
        now: Instant,
        ids: Vec<ConnectionId>,
        cx: &mut Context<'_>,
    ) {
        let deadline = now + cx.config.connect_timeout;
        for id in ids {
            if let Some(slot) = cx.connections.get_mut(id) {
                slot.duty = Duty::Revalidating { deadline };
                cx.connections.probe(now, id);
            }
        }
    }

    pub(in crate::pool) fn settle_duties(&mut self, now: Instant, cx: &mut Context<'_>) {
        cx.connections.all().into_iter().for_each(|id| self.settle_duty(now, id, cx));
    }

    /// After an answer: a session that was only asked takes the duty that its host's state gives
    /// it.
    pub(in crate::pool) fn settle_duty(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let topology = self.cluster.topology();
        let Some(slot) = cx.connections.get(id) else { return };
        let (host, before, is_served) = (slot.host, slot.duty, topology.is_served());
        // A session that waits for an answer gets its duty when the answer has come. A session to a
        // serving host does not wait.
        let serves_on = topology.serves(host) && slot.connection.is_vacant();
        if !serves_on && !slot.connection.is_idle() {
            return;
        }
        let fit = slot.connection.role().is_some_and(|role| fits(cx.config.mode, role));
        let rank = topology.rank(host).filter(|_| fit);
        let duty = match before {
            Duty::Revalidating { .. } => rank.map(|_| Duty::Serving),
            Duty::Joining | Duty::Scouting { .. } | Duty::Challenger { .. } => match rank {
                Some(Rank::Preferred) if self.is_stranger(id, cx) => {
                    return cx.connections.ask_place(now, id);
                }
                Some(Rank::Preferred)
                    if self.counted(cx) < cx.config.pool_size || Mutation::OverfillPool.is_on() =>
                {
                    Some(Duty::Serving)
                }
                Some(Rank::Preferred) if self.may_rebalance(host, cx) => Some(Duty::Rebalancing),
                // One session of each host goes on asking.
                None if !is_served || self.silence.keeps_scouts(now) => match before {
                    Duty::Scouting { .. } if cx.connections.is_replaced(id) => None,
                    Duty::Scouting { .. } => Some(before),
                    _ if cx.connections.is_scouted(host) => None,
                    _ => Some(Duty::Scouting { ask_at: self.flushed_at }),
                },
                Some(_) | None => None,
            },
            Duty::Rebalancing => rank.map(|_| Duty::Rebalancing),
            unchanged @ (Duty::Serving | Duty::Leased { .. } | Duty::LivenessProbe { .. }) => {
                Some(unchanged)
            }
        };
        match (duty, cx.connections.get_mut(id)) {
            (Some(duty), Some(slot)) => {
                let begins = duty == Duty::Serving && slot.duty != Duty::Serving;
                slot.duty = duty;
                if begins {
                    self.ask_the_seated(now, id, cx);
                }
            }
            _ => cx.connections.retire(id),
        }
    }

    /// A session to the host in the seat is new: no call on it is answered before the host was
    /// asked.
    pub(in crate::pool) fn ask_the_seated(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let unproved = |slot: &Slot| self.cluster.topology().is_unproved(slot.host);
        if cx.connections.get(id).is_some_and(unproved) {
            cx.connections.ask_place(now, id);
        }
        if cx.demand.knows_types {
            cx.connections.ask_realm(now, id);
        }
    }
}
