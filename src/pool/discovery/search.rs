//! Where connections are opened: to the hosts that serve while there is demand, and to every host
//! while none serves.
//!
//! There is one way for the first connection, for a failover and for a switchover. The pool opens
//! one session to each host side by side, so that a silent host costs only its own attempt. A host
//! that fits serves at once. A host that does not fit is kept and asked every `failoverProbeMs`, so
//! that a promoted standby serves with its login long done. When a host serves, the sessions to
//! hosts that do not serve are closed.

use std::time::Duration;

use super::role_reports::CHECK_EVERY;
use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::{HostId, Rank};
use crate::pool::connections::{Duty, Slot};
use crate::pool::placement::{Candidate, survey};

/// Logins under way at once to the host that serves: a pool that refills must not run it over.
const MOST_JOINING: usize = 4;
/// About how long a login takes. One more connection would not serve a call sooner that is answered
/// by then. After a failover all pools of all clients find the new primary at once, and the server
/// has to start a process for each login.
const LOGIN: Duration = Duration::from_millis(10);
/// How long an acceptable host is held back for a preferred one that has not answered yet, and how
/// long the pool waits for a login while another host may serve as well. A host that answers later
/// joins if there is room.
const BETTER_HOST_WITHIN: Duration = Duration::from_millis(250);

impl Discovery {
    /// A connection to a host that may be gone is asked once it becomes free: it may be the only
    /// one that can be asked.
    fn revalidate_the_free(&mut self, now: Instant, cx: &mut Context<'_>) {
        let topology = self.cluster.topology();
        let may_be_gone =
            |slot: &Slot| topology.serves(slot.host) && topology.rank(slot.host).is_none();
        let suspected = cx.connections.all_free().filter(|(_, slot)| may_be_gone(slot));
        let ids = suspected.map(|(id, _)| id).collect();
        self.revalidate(now, ids, cx);
    }

    /// Opens the missing connections.
    pub(in crate::pool) fn search(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.cluster.topology().is_served() {
            // More connections to a host that does not answer would serve no call.
            if !self.is_holding() {
                self.grow(now, cx);
            }
            self.scout_others(now, cx);
            self.visit(now, cx);
            if !self.cluster.topology().has_seat() {
                self.look_around(now, cx);
            }
        } else if self.is_wanted(now, cx) {
            self.outage.miss(now);
            self.revalidate_the_free(now, cx);
            if !self.cluster.topology().accepts_spare() {
                self.outage.be_patient(now + BETTER_HOST_WITHIN);
            }
            for host in self.cluster.topology().host_ids().to_vec() {
                if self.next_login_at(host, cx).is_some_and(|at| at <= now) {
                    self.open(now, host, Duty::Joining, cx);
                }
            }
        } else {
            self.stop_asking(cx);
        }
    }

    fn grow(&mut self, now: Instant, cx: &mut Context<'_>) {
        let topology = self.cluster.topology();
        let has_seat = topology.has_seat();
        let (mut joining, mut expected) = (0_usize, 0);
        for (_, slot) in cx.connections.apart() {
            // A session that still has to show which server it is at may be replaced by a login.
            let joins = matches!(slot.duty, Duty::Joining | Duty::Scouting { .. });
            if joins && topology.rank(slot.host).is_some() {
                joining += 1;
                expected += usize::from(late_at(has_seat, slot) > now);
            }
        }
        let room = match Mutation::OverfillPool.is_on() {
            false => cx.config.pool_size.saturating_sub(self.counted(cx) + expected),
            true => usize::MAX,
        };
        let wanted = (self.demand(now, cx) + self.missing(cx)).saturating_sub(expected);
        let most = if Mutation::Stampede.is_on() { usize::MAX } else { MOST_JOINING };
        for _ in 0..wanted.min(room).min(most.saturating_sub(joining)) {
            let Some(host) = self.roomiest(now, cx) else { return };
            self.open(now, host, Duty::Joining, cx);
        }
    }

    /// The host that gets the next connection: the one with the fewest.
    fn roomiest(&mut self, now: Instant, cx: &mut Context<'_>) -> Option<HostId> {
        if let Some(host) = self.cluster.known_primary() {
            return (self.cluster.may_connect_at(host) <= now).then_some(host);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        survey(self.cluster.topology(), cx.connections, cx.config.load_balance, &mut candidates);
        let has_seat = self.cluster.topology().has_seat();
        let late = cx.connections.apart().filter(|(_, slot)| late_at(has_seat, slot) <= now);
        let late: Vec<_> = late.map(|(_, slot)| slot.host).collect();
        let open = |c: &&Candidate| {
            c.rank == Rank::Preferred
                && self.cluster.may_connect_at(c.host) <= now
                && !late.contains(&c.host)
        };
        let fewest = candidates.iter().filter(open).map(|c| c.open).min();
        let mut equals: Vec<_> = candidates.iter().filter(open).collect();
        equals.retain(|c| Some(c.open) == fewest);
        let hosts: Vec<_> = equals.into_iter().map(|c| c.host).collect();
        self.candidates = candidates;
        let drawn = self.cluster.draw(hosts.len());
        hosts.get(drawn).copied()
    }

    /// The number of calls that one more connection would serve sooner: the waiting ones, and calls
    /// behind others if that lasts and no connection is free.
    fn demand(&mut self, now: Instant, cx: &mut Context<'_>) -> usize {
        let behind = cx.connections.behind();
        let recovers = |until: &Instant| *until > now;
        let recovering = self.recovering_until(cx).filter(recovers).count();
        let waiting = cx.demand.waiting.saturating_sub(recovering);
        if behind == 0 {
            self.backlog_since = None;
            return waiting + cx.demand.stranded;
        }
        let since = *self.backlog_since.get_or_insert(now);
        let lasts = now.since(since) >= LOGIN;
        waiting + if lasts { behind } else { cx.demand.stranded }
    }

    /// Until when connections that are being reset are waited for before others are opened.
    fn recovering_until(&mut self, cx: &mut Context<'_>) -> impl Iterator<Item = Instant> {
        let topology = self.cluster.topology();
        let recovering = cx.connections.recovering().filter(|slot| topology.serves(slot.host));
        recovering.filter_map(Slot::recovering_since).map(|since| since + LOGIN)
    }

    /// Ends the backlog after answers if no call is behind others, even if new calls are about to
    /// come.
    pub(in crate::pool) fn end_backlog(&mut self, cx: &mut Context<'_>) {
        if self.backlog_since.is_some() && cx.connections.behind() == 0 {
            self.backlog_since = None;
        }
    }

    /// Whether a host is worth asking: a caller waits, or the last one was lost a moment ago.
    fn is_wanted(&self, now: Instant, cx: &Context<'_>) -> bool {
        let open = !cx.demand.has_ended;
        open && (self.somebody_waits(cx) || self.outage.is_searching(now))
    }

    fn stop_asking(&mut self, cx: &mut Context<'_>) {
        self.outage.stop_search();
        let asks = |slot: &Slot| matches!(slot.duty, Duty::Joining | Duty::Scouting { .. });
        let ids = cx.connections.those_apart(asks);
        ids.into_iter().for_each(|id| cx.connections.retire(id));
    }

    /// Asks the scouts whose time has come, and gives up on sessions that did not answer in time.
    pub(in crate::pool) fn ask_scouts(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.dismiss_challengers(now, cx);
        if self.outage.is_patience_over(now) && self.cluster.accept_spare() {
            self.settle_duties(now, cx);
        }
        let timeout = cx.config.connect_timeout;
        for id in cx.connections.those_apart(|_| true) {
            let pause = self.scout_pause(now, cx);
            let Some(slot) = cx.connections.get_mut(id) else { continue };
            match slot.duty {
                Duty::Scouting { ask_at } if slot.scouts_at(ask_at, timeout) <= now => {
                    if slot.connection.is_idle() {
                        slot.duty = Duty::Scouting { ask_at: now + pause };
                        slot.connection.recheck_role(now, CHECK_EVERY);
                        cx.connections.probe(now, id);
                    } else if slot.is_silent(now, timeout) {
                        self.give_up_session(now, id, cx);
                    }
                }
                Duty::Revalidating { deadline } if deadline <= now => {
                    self.give_up_session(now, id, cx)
                }
                _ => {}
            }
        }
    }

    /// When the search has something to do next.
    pub(in crate::pool) fn search_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Instant, &'static str)> {
        let timeout = cx.config.connect_timeout;
        let duties = cx.connections.apart().filter_map(|(_, slot)| match slot.duty {
            Duty::Scouting { ask_at } => Some((slot.scouts_at(ask_at, timeout), "scout")),
            Duty::Revalidating { deadline } => Some((deadline, "revalidation")),
            Duty::Challenger { deadline } => deadline.map(|at| (at, "challenger")),
            Duty::Joining
            | Duty::Serving
            | Duty::Leased { .. }
            | Duty::Rebalancing
            | Duty::LivenessProbe { .. } => None,
        });
        let duties = duties.min_by_key(|(at, _)| *at);
        let is_served = self.cluster.topology().is_served();
        let is_missing = is_served && !self.is_holding() && self.wants_connections(cx);
        let wanted = is_served || self.somebody_waits(cx);
        let mut login: Option<Instant> = None;
        for place in 0..self.cluster.topology().host_ids().len() {
            let at = self.login_at(place, is_served, is_missing, cx);
            let at = at.filter(|at| self.is_to_come(*at, wanted));
            login = login.into_iter().chain(at).min();
        }
        let patience = self.outage.patient_until().map(|until| (until, "patience"));
        let (has_seat, flushed_at) = (self.cluster.topology().has_seat(), self.flushed_at);
        let late = match is_missing {
            true => {
                let logins = cx.connections.apart().map(|(_, slot)| late_at(has_seat, slot));
                logins.filter(|at| *at > flushed_at).min()
            }
            false => None,
        };
        let recovery = match cx.demand.waiting == 0 {
            true => None,
            false => self.recovering_until(cx).filter(|at| *at > flushed_at).min(),
        };
        let visit = self.next_visit(cx).map(|host| (self.cluster.may_connect_at(host), "visit"));
        let all = [
            duties,
            login.map(|at| (at, "login")),
            patience,
            late.map(|at| (at, "late login")),
            recovery.map(|at| (at, "reset")),
            visit,
        ];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the next session to the host at this index of the list is due.
    fn login_at(
        &mut self,
        place: usize,
        is_served: bool,
        is_missing: bool,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        let topology = self.cluster.topology();
        let host = topology.host_ids().get(place).copied()?;
        match is_served {
            // A connection is missing there.
            true => {
                let missing = is_missing && topology.rank(host) == Some(Rank::Preferred);
                missing.then(|| self.cluster.may_connect_at(host))
            }
            false => self.next_login_at(host, cx),
        }
    }

    fn is_to_come(&self, at: Instant, wanted: bool) -> bool {
        // Whatever was due at the last flush is done, or can't be done.
        (wanted || self.outage.is_searching(at)) && at > self.flushed_at
    }
}

/// When a login has taken so long that another host may be faster.
fn late_at(has_seat: bool, slot: &Slot) -> Instant {
    match slot.duty {
        Duty::Joining if !has_seat => slot.opened_at + BETTER_HOST_WITHIN,
        _ => Instant::NEVER,
    }
}
