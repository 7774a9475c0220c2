//! Hosts that stop answering without closing anything: a frozen process, a pulled cable.
//!
//! A host that owes an answer and sends nothing for `livenessCheckMs` is asked on another
//! connection, a **liveness probe**. If the liveness probe logs in, or is refused, the host lives,
//! and the query is left alone however long it takes; the liveness probe repeats its question by a
//! bare Sync as long as the silence lasts. If it gets no answer within `connectTimeoutMs`, the host
//! is suspected, as if a session on it had broken. Requests in flight there are given up only when
//! another host serves, and a liveness probe to their address has found no server: until then the
//! frozen host may come back and answer. On a host that has left the list they are given up as soon
//! as the liveness probe has found no server.
//!
//! All this is about one **address**: the name of a host may lead to another server by now, which
//! says nothing about the silent one. The liveness probe goes to the address of the silent session,
//! wherever the name leads. If it finds no server there, and the host is served at another address,
//! the requests in flight at the silent address are given up.

use std::collections::BTreeSet;

use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::HostId;
use crate::pool::ConnectionId;
use crate::pool::connections::{Duty, Site, Slot};

impl Discovery {
    /// Opens liveness probes to hosts that have been silent for too long, and gives up the requests
    /// in flight on dead ones.
    pub(in crate::pool) fn watch(&mut self, now: Instant, cx: &mut Context<'_>) {
        // No site is silent for longer than the first connection there that is owed an answer.
        let is_due = self.soonest_silence(cx).is_some_and(|at| at <= now);
        let owing_sites = match is_due || self.probed.is_any_probed() {
            true => cx.connections.owing_sites(),
            false => BTreeSet::new(),
        };
        self.probed.keep(&owing_sites);
        for site in owing_sites {
            if self.silence_ends(site, cx).is_none_or(|at| at > now) {
                continue;
            }
            let asked = cx.connections.is_watched(site);
            if !asked
                && self.may_probe_at(site, cx) <= now
                && !Mutation::ForgetLivenessProbe.is_on()
            {
                self.probed.sent(now, site);
                let at = if Mutation::ProbeByName.is_on() { (site.0, None) } else { site };
                self.open_at(now, at, Duty::LivenessProbe { ask_at: None }, cx);
            }
        }
        let due =
            |duty: Duty| matches!(duty, Duty::LivenessProbe { ask_at: Some(at) } if at <= now);
        let due = cx.connections.those_apart(|slot| due(slot.duty));
        due.into_iter().for_each(|id| self.ask_liveness_probe(now, id, cx));
        self.give_up_frozen(now, cx);
    }

    fn ask_liveness_probe(&mut self, now: Instant, id: ConnectionId, cx: &mut Context<'_>) {
        let Some(site) = cx.connections.get(id).map(Slot::site) else { return };
        let is_owed = cx.connections.owed_at(site).is_some();
        let timeout = cx.config.connect_timeout;
        let again = now + cx.config.liveness_check;
        let Some(slot) = cx.connections.get_mut(id) else { return };
        if slot.connection.is_idle() {
            let kept_until = self.kept_until(slot);
            if !is_owed && kept_until <= now {
                return cx.connections.retire(id);
            }
            if !is_owed {
                slot.duty = Duty::LivenessProbe { ask_at: Some(kept_until) };
                return;
            }
            slot.duty = Duty::LivenessProbe { ask_at: Some(again.min(now + timeout)) };
            cx.connections.probe(now, id);
        } else if slot.is_silent(now, timeout) {
            self.give_up_session(now, id, cx);
        } else if let Some(since) = slot.connection.head_since() {
            slot.duty = Duty::LivenessProbe { ask_at: Some(since + timeout) };
        }
    }

    /// A liveness probe has logged in: the host lives.
    pub(in crate::pool) fn liveness_probe_joined(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) {
        let ask_at = Some(now + cx.config.liveness_check);
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.duty = Duty::LivenessProbe { ask_at };
            cx.connections.probe(now, id);
        }
    }

    /// When a liveness probe may be opened there. Sessions to other addresses of the name don't
    /// delay it.
    fn may_probe_at(&mut self, site: Site, cx: &mut Context<'_>) -> Instant {
        if site.1.is_none() || !cx.connections.is_elsewhere(site) {
            return self.cluster.may_ask_at(site.0);
        }
        self.cluster.may_ask_again(site.0, self.probed.probed_at(site))
    }

    /// When the first connection has been owed an answer for too long.
    fn soonest_silence(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        cx.connections.owed_since().map(|since| since + cx.config.liveness_check)
    }

    pub(in crate::pool) fn liveness_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        let probes = cx.connections.apart().filter_map(|(_, slot)| match slot.duty {
            Duty::LivenessProbe { ask_at } => ask_at,
            _ => None,
        });
        let probes = probes.min();
        let silence = match self.soonest_silence(cx) {
            // Good enough while it lies ahead: another connection may have heard the host since.
            Some(at) if at > self.flushed_at => Some(at),
            Some(_) => self.next_look(cx).into_iter().chain(self.frozen_at(cx)).min(),
            None => None,
        };
        let at = probes.into_iter().chain(silence).min()?;
        Some((at, "liveness"))
    }

    fn next_look(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let (mut next, mut place) = (None, 0);
        while let Some((site, owed_since)) = cx.connections.site(place) {
            place += 1;
            let Some(since) = owed_since else { continue };
            if !cx.connections.is_watched(site) {
                let at = (since + cx.config.liveness_check).max(self.may_probe_at(site, cx));
                next = next.into_iter().chain([at]).min();
            }
        }
        next
    }

    /// When the requests in flight on a host that does not answer are given up.
    fn frozen_at(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let topology = self.cluster.topology();
        let is_dead = |host: HostId| topology.rank(host).is_none() && topology.is_unreachable(host);
        let is_any_dead = topology.host_ids().iter().any(|host| is_dead(*host));
        if !topology.is_served() || !is_any_dead {
            return None;
        }
        let is_gone =
            |slot: &Slot| is_dead(slot.host) && self.probed.is_gone_with_host(slot.site());
        let doomed = cx.connections.owing().filter(|(_, slot)| is_gone(slot));
        let since = doomed.filter_map(|(_, slot)| slot.owes_since()).min()?;
        Some(since + cx.config.liveness_check)
    }
}
