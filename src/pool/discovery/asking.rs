//! A primary that does not answer for a moment: it is asked at once, and the other hosts are asked
//! while it stays silent.
//!
//! The most common failure closes nothing: a host is frozen, or cut off from the network. A server
//! that works on a long query is just as silent, and must keep its seat. So the pool asks, and
//! nothing that it does here ends a call:
//!
//! 1. A primary that owes an answer, and that no connection has heard for a moment, is **asked** by
//!    a bare Sync on a free session. Without one it is asked by a login. If no connection has heard
//!    it for [`STALE`], it is asked before the next call is sent.
//! 2. If it does not answer in time, it is **uneasy** ([`Primary::Silent`]). New calls wait in line
//!    in place of being sent into a hole, and one session to each other host is opened and asked
//!    every `failoverProbeMs`.
//! 3. Any byte that it sends ends this. The sessions to other hosts stay for [`KEPT_FOR`].
//! 4. If another host claims the seat and shows a **later timeline**, it has the seat
//!    (`super::rivals`). Nothing else takes the seat away, except the much longer time after which
//!    the silent host is suspected (`super::liveness`).
//!
//! All of this needs a timeline for the proof. A primary that does not tell its timeline is only
//! suspected, after its time. So is a primary behind a pooler that answers logins by itself: no
//! bare Sync asks there, because it would wait with all others for a session of the server. So is
//! the only host of a list.

use std::time::Duration;

use super::silence::{AGAIN, AddressState, Episode, KEPT_FOR, STALE};
use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::{HostId, Observation, Primary};
use crate::pool::ConnectionId;
use crate::pool::connections::{Duty, Site, Slot};

/// For so long other hosts are asked every `failoverProbeMs`, and then every [`SLOWER`].
const EAGER: Duration = Duration::from_secs(1);
const SLOWER: Duration = Duration::from_millis(100);

impl Discovery {
    /// The primary, if the proof can be had by which another host takes its seat.
    fn asked_primary(&self) -> Option<HostId> {
        let topology = self.cluster.topology();
        let host = topology.primary().serving()?;
        let is_provable = topology.host_ids().len() > 1 && topology.timeline(host).is_some();
        is_provable.then_some(host)
    }

    /// Asks a primary that owes an answer, and takes note of one that has not answered in time.
    /// Called when what has come by now was read.
    pub(in crate::pool) fn watch_silence(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.end_episode(now, cx);
        let Some(host) = self.asked_primary() else { return };
        let mut place = 0;
        while let Some((site, owed_at)) = cx.connections.site(place) {
            place += 1;
            if site.0 != host {
                continue;
            }
            match self.silence.state(site) {
                None => {
                    if owed_at.is_some_and(|since| self.ask_after(site, since) <= now) {
                        self.ask_address(now, site, owed_at.unwrap_or(now), cx);
                    }
                }
                Some(AddressState::Asked { until, .. }) if until <= now => {
                    let pause = self.silence.patience(site).as_micros();
                    let most = u64::try_from(pause).unwrap_or(0).saturating_add(1);
                    let pause = Duration::from_micros(self.random.below(most));
                    self.silence.becomes_uneasy(now, site, pause);
                    self.hurry_scouts(now, cx);
                }
                Some(AddressState::Asked { .. } | AddressState::Uneasy { .. }) => {}
            }
        }
        self.forget_answered(now, host, cx);
        self.observe_silence(now, cx);
    }

    /// When an address that has owed an answer since then is asked.
    fn ask_after(&self, site: Site, since: Instant) -> Instant {
        (since + self.silence.patience(site)).max(self.silence.ask_at(site))
    }

    /// An address that owes nothing any more, because its connections are gone, is not silent.
    fn forget_answered(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) {
        if self.silence.is_calm() {
            return;
        }
        let states: Vec<_> = self.silence.states().map(|(site, _)| site).collect();
        for site in states {
            let owes = cx.connections.owed_at(site).is_some()
                || cx.connections.at(site).any(|(_, slot)| slot.is_unanswered_probe());
            if site.0 != host || !owes {
                self.silence.heard(now, site);
            }
        }
    }

    /// Asks by a bare Sync, or by a login where no session is free.
    fn ask_address(&mut self, now: Instant, site: Site, owed_at: Instant, cx: &mut Context<'_>) {
        if let Some(id) = free_at(site, cx) {
            cx.connections.probe(now, id);
            let until = now + self.silence.patience(site);
            return self.silence.asked(now, site, until, false);
        }
        // A login costs the server a process, so it comes later than a Sync, and seldom.
        let patience = self.silence.patience(site);
        let last = self.silence.login_at(site);
        let login_at =
            (owed_at + patience + patience).max(self.cluster.may_ask_again(site.0, last));
        if cx.connections.is_watched(site) {
            // Its own question has no answer yet.
            let until = now + self.silence.login_patience(site);
            self.silence.asked(now, site, until, false);
        } else if login_at > now {
            self.silence.wait_until(site, login_at);
        } else {
            self.silence.logs_in(now, site);
            self.open_at(now, site, Duty::LivenessProbe { ask_at: None }, cx);
            let until = now + self.silence.login_patience(site);
            self.silence.asked(now, site, until, false);
        }
    }

    /// Whether new calls wait in line, because the primary does not answer, or is asked first
    /// because no connection has heard it for [`STALE`].
    pub(in crate::pool) fn holds_calls(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        if Mutation::SendIntoHole.is_on() {
            return false;
        }
        let Some(host) = self.asked_primary() else { return false };
        if self.cluster.topology().primary() == Primary::Silent(host) || self.silence.holds_calls()
        {
            return true;
        }
        if cx.demand.waiting == 0 {
            return false;
        }
        let heard_at = cx.connections.host_heard_at(host);
        if heard_at.is_none_or(|at| now.since(at) < STALE) {
            return false;
        }
        self.ask_first(now, host, cx)
    }

    fn ask_first(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) -> bool {
        let free = cx.connections.iter().find(|(_, slot)| slot.host == host && is_free(slot));
        let Some((id, site)) = free.map(|(id, slot)| (id, slot.site())) else { return false };
        if self.silence.state(site).is_some() {
            return false;
        }
        cx.connections.probe(now, id);
        self.silence.asked(now, site, now + self.silence.patience(site), true);
        true
    }

    /// Whether calls are held at the moment.
    pub(in crate::pool) fn is_holding(&self) -> bool {
        let is_silent = matches!(self.cluster.topology().primary(), Primary::Silent(_));
        is_silent || self.silence.holds_calls()
    }

    /// Whether the host is silent: each of its addresses with connections is uneasy.
    pub(in crate::pool) fn is_silent(&self, host: HostId, cx: &Context<'_>) -> bool {
        let is_uneasy = |site: Site| self.silence.is_uneasy(site);
        let mut uneasy =
            self.silence.states().map(|(site, _)| site).filter(|site| is_uneasy(*site));
        uneasy.any(|site| site.0 == host)
            && !cx
                .connections
                .iter()
                .any(|(_, slot)| slot.host == host && slot.counts() && !is_uneasy(slot.site()))
    }

    /// Has the topology know whether the host in the seat is silent.
    pub(in crate::pool) fn observe_silence(&mut self, now: Instant, cx: &mut Context<'_>) {
        let primary = self.cluster.topology().primary();
        let Some(host) = primary.serving() else { return };
        let is_silent = self.asked_primary() == Some(host)
            && !self.silence.is_calm()
            && self.is_silent(host, cx)
            && !Mutation::ForgetSilence.is_on();
        let observation = match (primary, is_silent) {
            (Primary::Known(_), true) => Observation::FellSilent,
            (Primary::Silent(_), false) => Observation::Heard,
            _ => return,
        };
        self.cluster.observe(now, host, &observation);
    }

    /// The primary is silent exactly while it is uneasy.
    #[cfg(feature = "sim")]
    pub(in crate::pool) fn audit_silence(&self, cx: &Context<'_>) -> Result<(), String> {
        let primary = self.cluster.topology().primary();
        let Some(host) = primary.serving() else { return Ok(()) };
        let is_silent = self.asked_primary() == Some(host) && self.is_silent(host, cx);
        match is_silent == matches!(primary, Primary::Silent(_)) {
            true => Ok(()),
            false => Err(format!("the primary is {primary:?}, and silent: {is_silent}")),
        }
    }

    /// No call is sent to an address that does not answer, unless its caller has a connection there.
    #[cfg(feature = "sim")]
    pub(in crate::pool) fn audit_sent(&self, at: Instant, site: Site) -> Result<(), String> {
        let is_silent = self.cluster.topology().primary() == Primary::Silent(site.0);
        match self.silence.uneasy_since(site).filter(|_| is_silent) {
            Some(since) if at > since => Err("was sent to a host that does not answer".to_owned()),
            _ => Ok(()),
        }
    }

    /// Opens a session to each other host while the primary is silent.
    pub(in crate::pool) fn scout_others(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(Episode::Uneasy { scout_at, .. }) = self.silence.episode() else { return };
        let Some(primary) = self.asked_primary().filter(|_| scout_at <= now) else { return };
        if Mutation::ForgetScouts.is_on() || cx.demand.has_ended {
            return;
        }
        for host in self.cluster.topology().host_ids().to_vec() {
            let is_due = host != primary && self.cluster.may_ask_at(host) <= now;
            if is_due && !cx.connections.is_asked(host) {
                self.open(now, host, Duty::Joining, cx);
            }
        }
    }

    /// The pause before a session to a host that does not serve is asked again.
    pub(in crate::pool) fn scout_pause(&mut self, now: Instant, cx: &Context<'_>) -> Duration {
        let eager = cx.config.failover_probe;
        let slower = match self.silence.episode() {
            _ if !self.cluster.topology().is_served() => return eager,
            Some(Episode::Uneasy { since, .. }) if now.since(since) < EAGER => return eager,
            Some(Episode::Uneasy { .. }) => SLOWER,
            Some(Episode::Over { .. }) | None => AGAIN,
        };
        let jitter = u64::try_from(slower.as_micros() / 4).unwrap_or(0);
        slower.max(eager) + Duration::from_micros(self.random.below(jitter.saturating_add(1)))
    }

    /// Sessions that have been kept are asked at once.
    fn hurry_scouts(&mut self, now: Instant, cx: &mut Context<'_>) {
        for id in cx.connections.those_apart(|slot| matches!(slot.duty, Duty::Scouting { .. })) {
            if let Some(slot) = cx.connections.get_mut(id) {
                slot.duty = Duty::Scouting { ask_at: now };
            }
        }
    }

    /// Closes the sessions to other hosts when the primary has answered for long enough.
    fn end_episode(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(primary) = self.asked_primary() else {
            self.silence.forget_states();
            self.leave_scouts(cx);
            return;
        };
        if self.silence.states().any(|(site, _)| site.0 != primary) {
            self.silence.forget_states();
        }
        if self.silence.is_any_uneasy() || self.silence.keeps_scouts(now) {
            return;
        }
        self.leave_scouts(cx);
    }

    fn leave_scouts(&mut self, cx: &mut Context<'_>) {
        let connections = &*cx.connections;
        self.silence.keep(|site| connections.at(site).next().is_some());
        if !self.silence.end_episode() {
            return;
        }
        let topology = self.cluster.topology();
        if !topology.is_served() || !topology.has_seat() {
            return;
        }
        let asks = |slot: &Slot| {
            matches!(slot.duty, Duty::Joining | Duty::Scouting { .. })
                && topology.rank(slot.host).is_none()
        };
        let ids = cx.connections.those_apart(asks);
        ids.into_iter().for_each(|id| cx.connections.retire(id));
    }

    /// When a silent primary is to be asked, or others in its place.
    pub(in crate::pool) fn silence_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        let mut next = match self.silence.episode() {
            Some(Episode::Over { keep_until }) => keep_until,
            Some(Episode::Uneasy { scout_at, .. }) => self.next_scout(scout_at, cx),
            None => Instant::NEVER,
        };
        if let Some(host) = self.asked_primary() {
            let mut place = 0;
            while let Some((site, owed_at)) = cx.connections.site(place) {
                place += 1;
                let at = match (self.silence.state(site), owed_at) {
                    _ if site.0 != host => continue,
                    (Some(AddressState::Asked { until, .. }), _) => until,
                    (None, Some(since)) => self.ask_after(site, since),
                    (Some(AddressState::Uneasy { .. }), _) | (None, None) => continue,
                };
                next = next.min(at);
            }
        }
        (next < Instant::NEVER).then_some((next, "silence"))
    }

    /// When the next session to another host is due. What was due at the last flush is done, or
    /// can't be done.
    fn next_scout(&self, scout_at: Instant, cx: &mut Context<'_>) -> Instant {
        let mut next = Instant::NEVER;
        for host in self.cluster.topology().host_ids() {
            let at = self.cluster.may_ask_at(*host).max(scout_at);
            let is_due = self.asked_primary() != Some(*host) && !cx.connections.is_asked(*host);
            if is_due && at > self.flushed_at {
                next = next.min(at);
            }
        }
        next
    }

    /// A liveness probe of the primary has failed. Whether that says nothing yet: the primary has
    /// not been silent for `livenessCheckMs`, and was asked early.
    pub(in crate::pool) fn is_too_early(
        &mut self,
        now: Instant,
        site: Site,
        cx: &mut Context<'_>,
    ) -> bool {
        let silence_ends = cx.connections.owed_at(site).map(|at| at + cx.config.liveness_check);
        self.asked_primary() == Some(site.0) && silence_ends.is_none_or(|at| at > now)
    }

    /// For how long a liveness probe without a question is kept, so that the next long query does
    /// not cost a login.
    pub(in crate::pool) fn kept_until(&self, slot: &Slot) -> Instant {
        match self.asked_primary() == Some(slot.host) {
            true => slot.opened_at + KEPT_FOR,
            false => Instant::ORIGIN,
        }
    }
}

/// A session that can be asked without delay: a free connection, a liveness probe, or a lease
/// between two statements.
fn free_at(site: Site, cx: &Context<'_>) -> Option<ConnectionId> {
    cx.connections.at(site).find(|(_, slot)| is_free(slot)).map(|(id, _)| id)
}

fn is_free(slot: &Slot) -> bool {
    let is_open = slot.connection.is_idle() && !slot.is_dropped && !slot.connection.is_pooled();
    is_open
        && match slot.duty {
            Duty::Serving => slot.is_idle(),
            Duty::LivenessProbe { ask_at } => ask_at.is_some(),
            // In a transaction a server is not asked for its role.
            Duty::Leased { .. } => slot.cancelling.is_none() && slot.connection.reports_role(),
            _ => false,
        }
}
