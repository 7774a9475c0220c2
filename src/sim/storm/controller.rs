//! What happens to the cluster: faults, and a controller that fences and promotes as a good one
//! does.
//!
//! A play is a few deeds, each some time after the one before. A deed that can't be done yet is
//! tried again. Since only one play runs at a time, no more than one node is lost, which three
//! nodes survive.

use std::collections::VecDeque;
use std::time::Duration;

use super::Storm;
use super::ledger::describe;
use super::network::{Backend, IDLE_CUT, Link, Stage};
use super::nodes::Power;
use crate::base::Instant;
use crate::connection::Role;
use crate::sim::driver::Driver;
use crate::sim::messages::{dismissal, error, quick_death, shut_down, unreplicated};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The server process and all of its backends are killed.
    Crash(usize),
    /// The machine goes off, and closes nothing.
    PowerOff(usize),
    /// A fast shutdown: 57P01 and the end of the stream.
    ShutDown(usize),
    /// A backend crashed, and all others have to end: a WARNING 57P02 and the end of the stream.
    CrashOfABackend(usize),
    Start(usize),
    Promote,
    /// A second standby is promoted, unknown to the controller.
    PromoteBeside,
    /// Comes back as the primary that it was, although another node has been promoted.
    Revive(usize),
    /// A primary in addition to the leader is shut down, and started as the leader's standby.
    Depose,
    Freeze(usize),
    Thaw(usize),
    Cut(usize),
    Mend(usize),
    Fence(usize),
    Unfence(usize),
    /// The controller's step between the fence and the promotion: every session has heard of the
    /// fence, and older transactions are ended.
    Seal(usize),
    Starting(usize),
    Burst(usize),
    Uncrowd(usize),
    SlowLogins(usize),
    /// It stutters: most of the time nothing gets through to it.
    Stutter(usize),
    /// Its pg_hba.conf refuses every login, or accepts logins again.
    Bar(usize, bool),
    /// All nodes do, as after a wrong rule was rolled out everywhere.
    BarAll(bool),
    /// Some or all of its connections are reset.
    Reset(usize),
    ResetLeader,
    /// The pool gets a list of hosts without it, and later one with it again.
    Unlist(usize),
    Relist(usize),
    /// Its time limits end idle sessions: 57P05, or 25P03 or 25P04 in a transaction.
    EndIdle(usize),
    /// A network device in front of it ends idle sessions without any message.
    CutIdle(usize),
    /// Its name leads to the leader.
    Readdress(usize),
    /// Its name leads to it, and to another node.
    Spread(usize),
    /// Each name leads to its own node again.
    RestoreNames,
    /// All nodes are stopped, and started on the timeline before the newest.
    Rewind,
    /// A pooler in front of it reports to sessions that it has never passed on their requests.
    Dismiss(usize),
    /// All nodes lose their power, and come back in their roles.
    CrashAll,
    StartAll,
    /// The node is fenced and sealed, and another one is promoted and written to, all before the
    /// pool hears of it. Then the pool is asked for the keys.
    SwitchUnseen(usize),
}

#[derive(Debug, Default)]
pub(super) struct Controller {
    play: VecDeque<Deed>,
    due: Instant,
}

impl Storm {
    pub(super) fn direct(&mut self) {
        if self.controller.due > self.now {
            return;
        }
        let Some(deed) = self.controller.play.pop_front() else {
            self.controller.play = self.next_play();
            self.wait_for_next_deed();
            return;
        };
        if self.perform(deed) {
            self.note(|| format!("{deed:?}"));
        } else {
            self.controller.play.push_front(deed);
        }
        self.wait_for_next_deed();
    }

    /// Ends the play at once, and undoes what is left of it.
    pub(super) fn end_the_play(&mut self) {
        for node in 0..self.nodes.all.len() {
            self.perform(Deed::Uncrowd(node));
            self.perform(Deed::Bar(node, false));
            self.perform(Deed::Mend(node));
            self.perform(Deed::Relist(node));
            if self.nodes.get(node).is_some_and(|node| node.power == Power::Frozen) {
                self.perform(Deed::Thaw(node));
            }
        }
        while let Some(deed) = self.controller.play.pop_front() {
            self.note(|| format!("at last {deed:?}"));
            self.perform(deed);
        }
        for node in 0..self.nodes.all.len() {
            if let Some(node) = self.nodes.get_mut(node) {
                node.starting_until = Instant::ORIGIN;
                node.slow_until = Instant::ORIGIN;
                node.stutters_until = Instant::ORIGIN;
            }
            if self.nodes.get(node).is_some_and(|node| node.power == Power::Down) {
                self.perform(Deed::Start(node));
            }
        }
        self.perform(Deed::RestoreNames);
        let leader = self.nodes.leader;
        self.perform(Deed::Unfence(leader));
        // In this calm the old primary stays silent for good.
        let served_by = self.primary();
        if self.nodes.all.len() > 2 && self.dice.percent(10) {
            self.follow_a_name();
        } else if self.nodes.all.len() > 2 && self.dice.percent(25) {
            let dark = self.dice.pick(&[Deed::Freeze(leader), Deed::Cut(leader)]);
            // Its name may lead to the new one. Two that were promoted side by side are another
            // matter.
            let moves = self.dice.percent(40) && !self.nodes.were_split;
            let moves = moves.then_some(Deed::Readdress(leader));
            for deed in dark.into_iter().chain([Deed::Promote]).chain(moves) {
                self.note(|| format!("and at last {deed:?}"));
                self.perform(deed);
            }
            let is_known = served_by == Some(leader)
                && self.pool.is_primary_proved()
                && !self.nodes.were_moved;
            self.silent_since = is_known.then_some(self.now);
        }
    }

    /// The node that serves as the only one, by the pool's own account.
    pub(super) fn primary(&self) -> Option<usize> {
        let hosts = self.pool.cluster(self.now);
        let serves = hosts.iter().position(|host| host.serves);
        serves.filter(|_| self.has_seat() && !self.apps.ended)
    }

    /// A calm in which the pool has a single name, which follows the primary. The server to which
    /// it led before is fenced, and keeps answering.
    fn follow_a_name(&mut self) {
        let leader = self.nodes.leader;
        if !self.is_read_write() || self.nodes.were_split {
            return;
        }
        (0..self.nodes.all.len()).filter(|node| *node != leader).for_each(|n| self.list(n, false));
        // Or the name leads to the old server as well.
        let leads = match self.dice.percent(50) {
            true => Deed::Spread(leader),
            false => Deed::Readdress(leader),
        };
        for deed in [Deed::Fence(leader), Deed::Seal(leader), Deed::Promote, leads] {
            self.note(|| format!("and at last {deed:?}"));
            self.perform(deed);
        }
    }

    fn wait_for_next_deed(&mut self) {
        let pause = self.dice.time(Duration::from_millis(1), Duration::from_millis(2500));
        self.controller.due = self.now + pause;
    }

    pub(super) fn next_deed_at(&self) -> Instant {
        self.controller.due
    }

    /// Whether there is a primary in addition to the leader, or will be in this play.
    pub(super) fn has_usurper(&self) -> bool {
        let plays = |deed: &Deed| matches!(deed, Deed::Revive(_) | Deed::PromoteBeside);
        self.nodes.usurper().is_some() || self.controller.play.iter().any(plays)
    }

    /// Returns whether the deed could be done.
    fn perform(&mut self, deed: Deed) -> bool {
        match deed {
            Deed::Crash(node) => self.stop(node, Stop::Killed),
            Deed::PowerOff(node) => self.stop(node, Stop::Silent),
            Deed::ShutDown(node) => self.stop(node, Stop::Said(shut_down)),
            Deed::CrashOfABackend(node) => self.stop(node, Stop::Said(quick_death)),
            Deed::Start(node) => {
                self.nodes.start(node);
                self.forget_lost(node);
            }
            Deed::Promote => return self.promote(),
            Deed::PromoteBeside => {
                self.tick();
                return self.nodes.promote_beside();
            }
            Deed::Revive(node) => {
                self.nodes.revive(node);
                self.forget_lost(node);
            }
            Deed::Depose => {
                if let Some(usurper) = self.nodes.usurper() {
                    self.stop(usurper, Stop::Said(shut_down));
                    self.nodes.start(usurper);
                }
            }
            Deed::Freeze(node) => self.set_power(node, Power::Frozen),
            Deed::Thaw(node) => self.set_power(node, Power::Up),
            Deed::Cut(node) => self.set_cut(node, true),
            Deed::Mend(node) => self.set_cut(node, false),
            Deed::Fence(node) => self.reload(node, Role::ReadOnly),
            Deed::Unfence(node) => self.reload(node, Role::ReadWrite),
            Deed::Seal(node) => self.seal(node),
            Deed::Starting(node) => {
                let until =
                    self.now + self.dice.time(Duration::from_millis(20), Duration::from_secs(2));
                if let Some(node) = self.nodes.get_mut(node) {
                    node.starting_until = until;
                }
            }
            Deed::Burst(node) => self.limit_sessions(node, 1),
            Deed::Uncrowd(node) => self.limit_sessions(node, usize::MAX),
            Deed::SlowLogins(node) => {
                let until =
                    self.now + self.dice.time(Duration::from_millis(20), Duration::from_secs(4));
                if let Some(node) = self.nodes.get_mut(node) {
                    node.slow_until = until;
                }
            }
            Deed::Stutter(node) => {
                let until =
                    self.now + self.dice.time(Duration::from_millis(20), Duration::from_secs(2));
                if let Some(node) = self.nodes.get_mut(node) {
                    node.stutters_until = until;
                }
            }
            Deed::Bar(node, is_barred) => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.is_barred = is_barred;
                }
            }
            Deed::BarAll(are_barred) => {
                self.nodes.all.iter_mut().for_each(|node| node.is_barred = are_barred);
            }
            Deed::Unlist(node) => self.list(node, false),
            Deed::Relist(node) => self.list(node, true),
            Deed::EndIdle(node) => self.end_idle(node),
            Deed::Dismiss(node) => self.dismiss(node),
            Deed::CutIdle(node) => self.cut_idle(node),
            Deed::Readdress(node) => {
                self.nodes.readdress(node);
                self.events.forget_fence(node);
            }
            Deed::Spread(node) => {
                self.nodes.spread(node);
                self.events.forget_fence(node);
            }
            Deed::RestoreNames => {
                let moved = self.nodes.names.restore();
                moved.into_iter().for_each(|node| self.events.forget_fence(node));
            }
            Deed::CrashAll => (0..self.nodes.all.len()).for_each(|n| self.stop(n, Stop::Killed)),
            Deed::StartAll => {
                for node in 0..self.nodes.all.len() {
                    self.perform(Deed::Start(node));
                    self.perform(Deed::Starting(node));
                }
            }
            Deed::Rewind => {
                (0..self.nodes.all.len()).for_each(|n| self.stop(n, Stop::Killed));
                self.nodes.rewind();
                for node in 0..self.nodes.all.len() {
                    self.perform(Deed::Start(node));
                }
            }
            Deed::SwitchUnseen(node) => return self.switch_unseen(node),
            Deed::ResetLeader => return self.perform(Deed::Reset(self.nodes.leader)),
            Deed::Reset(node) => {
                let some = self.dice.percent(50);
                for link in self.links_of(node) {
                    if !some || self.dice.percent(50) {
                        self.reset(link);
                    }
                }
            }
        }
        true
    }

    /// Adds a host to the pool's list, or removes it. The list of a pool that is ending stays as it
    /// is.
    fn list(&mut self, number: usize, listed: bool) {
        match self.nodes.get_mut(number) {
            Some(node) if node.listed != listed && !self.apps.ended => node.listed = listed,
            _ => return,
        }
        // Earlier events about the host are heard first.
        self.take_outputs();
        let hosts = self.config.hosts.iter().zip(&self.nodes.all);
        let hosts = hosts.filter(|(_, node)| node.listed).map(|(host, _)| host.clone()).collect();
        match self.pool.set_hosts(self.now, hosts) {
            Ok(()) => self.events.forget(number),
            Err(error) => self.fail(describe(&error)),
        }
    }

    /// Makes the list complete.
    pub(super) fn list_all(&mut self) {
        (0..self.nodes.all.len()).for_each(|node| self.list(node, true));
    }

    fn promote(&mut self) -> bool {
        self.tick();
        self.nodes.promote().is_some()
    }

    fn switch_unseen(&mut self, node: usize) -> bool {
        self.perform(Deed::Fence(node));
        self.perform(Deed::Seal(node));
        if !self.promote() {
            return false;
        }
        self.write_elsewhere();
        (0..3).for_each(|_| self.read());
        true
    }

    fn end_idle(&mut self, number: usize) {
        for link in self.links_of(number) {
            let idle = |link: &Link| link.stage == Stage::Session(Backend::Idle);
            if !self.links.get(&link).is_some_and(idle) || self.dice.percent(30) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(number) else { return };
            if !node.server.is_logged_in(link) {
                continue;
            }
            let mut said = Vec::new();
            let (code, limit) = match node.server.is_in_transaction(link) {
                true if number.is_multiple_of(2) => ("25P03", "idle-in-transaction"),
                true => ("25P04", "transaction"),
                false => ("57P05", "idle-session"),
            };
            let text = format!("terminating connection due to {limit} timeout");
            error("FATAL", code, &text, &mut said);
            node.server.hang_up(link);
            if let Some(link) = self.links.get_mut(&link) {
                link.close("end of stream", &said);
            }
        }
    }

    fn cut_idle(&mut self, number: usize) {
        for link in self.links_of(number) {
            let Some(node) = self.nodes.get_mut(number) else { return };
            // Bytes that the pool is about to send count as on their way.
            let is_quiet =
                |link: &Link| link.is_quiet() && self.pool.outgoing(link.connection).is_empty();
            let is_cut = self.links.get(&link).is_some_and(is_quiet)
                && node.server.is_at_rest(link)
                && !self.dice.percent(20);
            if !is_cut {
                continue;
            }
            node.server.hang_up(link);
            if let Some(link) = self.links.get_mut(&link) {
                link.close(IDLE_CUT, &[]);
            }
        }
    }

    /// Bytes that have not reached the server by now never do.
    fn dismiss(&mut self, number: usize) {
        for link in self.links_of(number) {
            let waits = |link: &Link| {
                link.stage == Stage::Session(Backend::Idle)
                    && !link.to_server.is_empty()
                    && link.unsent.is_empty()
            };
            if !self.links.get(&link).is_some_and(waits) || self.dice.percent(30) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(number) else { return };
            // A session in a transaction has a server connection to itself, and an answer that has
            // begun is completed.
            if !node.server.is_at_rest(link) {
                continue;
            }
            let reason = self.dice.pick(&[
                ("08P01", "query_wait_timeout"),
                ("08P01", "server login has been failing"),
                ("28000", "the role is not permitted to log in"),
            ]);
            let mut said = Vec::new();
            dismissal(reason.unwrap_or_default(), &mut said);
            node.server.hang_up(link);
            if let Some(link) = self.links.get_mut(&link) {
                link.close("end of stream", &said);
            }
        }
    }

    fn stop(&mut self, node: usize, how: Stop) {
        for number in self.links_of(node) {
            match how {
                Stop::Killed => self.reset(number),
                Stop::Silent => {
                    if let Some(link) = self.links.get_mut(&number) {
                        link.lost = true;
                        link.close("the machine was switched off", &[]);
                        link.ending = None;
                    }
                }
                Stop::Said(last_words) => {
                    let said = self.last_words(number, last_words);
                    if let Some(link) = self.links.get_mut(&number)
                        && let Stage::Session(_) = link.stage
                    {
                        link.close("end of stream", &said);
                    } else {
                        self.reset(number);
                    }
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.server.hang_up_all();
            node.power = Power::Down;
        }
    }

    /// The connection breaks, with or without the bytes that were on their way.
    fn reset(&mut self, number: u64) {
        let spares = self.dice.percent(60);
        if let Some(link) = self.links.get_mut(&number)
            && link.stage != Stage::Connecting
        {
            if !spares {
                link.to_pool.clear();
            }
            link.close("ECONNRESET", &[]);
            if let Some(node) = self.nodes.get_mut(link.node) {
                node.server.hang_up(number);
            }
        }
    }

    /// A machine that comes back knows nothing of its former connections, and resets them when it
    /// gets a packet.
    fn forget_lost(&mut self, node: usize) {
        for link in self.links.values_mut().filter(|link| link.node == node && link.lost) {
            link.lost = false;
            link.ending = Some("ECONNRESET");
        }
    }

    fn reload(&mut self, node: usize, role: Role) {
        self.tick();
        if let Some(node) = self.nodes.get_mut(node) {
            node.reload(role);
        }
    }

    /// Moves the clock, so that earlier questions are older than what comes now.
    pub(super) fn tick(&mut self) {
        self.now = self.now + Duration::from_micros(1);
    }

    fn seal(&mut self, number: usize) {
        self.tick();
        for link in self.links_of(number) {
            let Some(node) = self.nodes.get_mut(number) else { return };
            node.server.deliver_signal(link);
            let old = node.server.is_in_transaction(link)
                || self.links.get(&link).is_some_and(Link::is_at_work);
            if old {
                node.server.hang_up(link);
                let said = self.last_words(link, shut_down);
                if let Some(link) = self.links.get_mut(&link) {
                    link.close("end of stream", &said);
                }
            }
        }
    }

    /// The last words of a backend. One that has committed must not seem to refuse the commit.
    pub(super) fn last_words(&self, link: u64, words: fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut said = Vec::new();
        match self.links.get(&link).map(|link| link.stage) {
            Some(Stage::Session(Backend::Replicating { .. })) => unreplicated(&mut said),
            _ => words(&mut said),
        }
        said
    }

    fn set_power(&mut self, node: usize, power: Power) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.power = power;
        }
    }

    fn set_cut(&mut self, node: usize, cut: bool) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.cut = cut;
        }
    }

    fn limit_sessions(&mut self, node: usize, limit: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.session_limit = limit;
        }
    }

    pub(super) fn links_of(&self, node: usize) -> Vec<u64> {
        let of_node = self.links.iter().filter(|(_, link)| link.node == node);
        of_node.map(|(number, _)| *number).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    Killed,
    Silent,
    Said(fn(&mut Vec<u8>)),
}

impl Link {
    fn is_at_work(&self) -> bool {
        matches!(self.stage, Stage::Session(Backend::Asleep | Backend::Replicating { .. }))
    }
}
