//! A storm: one pool, some applications, and a cluster to which everything happens that can, in an
//! order that a seed determines. No sockets, no real time.
//!
//! Everything happens in any order that it can: bytes arrive in parts and late, connections end
//! before or after the bytes sent on them, signals, standbys and cancels take their time, timers
//! are late, and the loop is blocked at times. The storm knows the truth: the keys of every node,
//! and the answers to every application. A broken rule ends the storm, and its seed repeats it.
//!
//! After the faults there is a calm. Then every call must be answered soon, a new write must be
//! served, and the pool must come to rest: ended, or idle without a timer.

mod applications;
mod ask;
mod controller;
mod dice;
mod events;
mod judgement;
mod ledger;
mod network;
mod nodes;
mod plays;
mod run;
mod visits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use applications::Applications;
use controller::Controller;
use dice::Dice;
use events::Events;
use network::{Backend, Errand, IDLE_CUT, Link, Stage};
use nodes::{Node, Nodes, Power};
pub use run::run;

use super::driver::{Answer, Driver};
use super::messages::{error, too_many_clients, unreplicated};
use super::names::Names;
use super::server::Pause;
use crate::base::Instant;
use crate::config::{Config, TargetSessionAttrs};
use crate::pool::{ConnectionId, Pool, PoolEvent, Trace};

#[derive(Debug)]
struct Storm {
    now: Instant,
    dice: Dice,
    config: Arc<Config>,
    pool: Pool,
    nodes: Nodes,
    links: BTreeMap<u64, Link>,
    /// The link of each connection that the pool has.
    numbers: BTreeMap<u64, u64>,
    next_link: u64,
    /// Connections that have bytes to write.
    unwritten: BTreeSet<ConnectionId>,
    errands: Vec<Errand>,
    controller: Controller,
    apps: Applications,
    events: Events,
    /// How many processor cores the nodes share with the pool.
    cores: Option<usize>,
    /// Since when the host in the seat is silent for good, and another one promoted, in this calm.
    silent_since: Option<Instant>,
    /// Hosts fall silent in this storm, and stutter, more often than in others.
    has_silences: bool,
    /// The first broken rule.
    failure: Option<String>,
    /// Takes the lines of the trace.
    trace: Option<fn(&str)>,
    /// How often the pool was woken by a deadline.
    wakes: usize,
    /// How many connections have ended, on either side.
    losses: usize,
}

impl Storm {
    /// Whether the pool must find the one host that accepts writes, with everything that was
    /// acknowledged.
    fn is_read_write(&self) -> bool {
        self.config.mode == TargetSessionAttrs::ReadWrite
    }

    /// Whether only one host serves.
    fn has_seat(&self) -> bool {
        use TargetSessionAttrs as Mode;
        matches!(self.config.mode, Mode::ReadWrite | Mode::Primary)
    }

    fn fail(&mut self, why: String) {
        if self.failure.is_none() {
            self.note(|| format!("{:#?}", self.pool));
            self.note(|| format!("FAILED: {why}"));
            self.failure = Some(why);
        }
    }

    /// Writes a line of the trace, if there is one.
    fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace {
            trace(&format!("{:?} {}", self.now, line()));
        }
    }

    /// Ends a turn of the loop. The pool must be in order then.
    fn end_turn(&mut self) {
        self.supply_values();
        match self.finish_turn() {
            Ok(wakes) => self.wakes += wakes,
            Err(why) => return self.fail(format!("a busy loop: {why}")),
        }
        self.write_some();
        let audited = self.pool.audit(self.now).and_then(|()| self.check_line());
        let in_time = audited.and_then(|()| self.check_limits());
        let right =
            in_time.and_then(|()| self.check_events()).and_then(|()| self.check_questions());
        if let Err(why) =
            right.and_then(|()| self.check_settings()).and_then(|()| self.check_statements())
        {
            self.fail(why);
        }
    }

    fn write_some(&mut self) {
        for id in std::mem::take(&mut self.unwritten) {
            let waiting = self.pool.outgoing(id).len();
            if waiting == 0 {
                continue;
            }
            let count = self.dice.part(waiting);
            let bytes = self.take_outgoing(id, count);
            if count < waiting {
                self.unwritten.insert(id);
            }
            let number = self.numbers.get(&id.to_bits()).copied();
            if let Some(link) = number.and_then(|number| self.links.get_mut(&number)) {
                link.is_written_to |= link.ending.is_some();
                if link.ending.is_none() {
                    link.to_server.extend_from_slice(&bytes);
                }
            }
        }
    }

    /// One CancelRequest makes progress.
    fn move_an_errand(&mut self) {
        if self.errands.is_empty() {
            return;
        }
        let at = self.dice.below(self.errands.len());
        let Some(errand) = self.errands.get_mut(at) else { return };
        let (link, connection) = (errand.link, errand.connection);
        let node = self.nodes.get(errand.node);
        let gone = node.is_none_or(|node| node.power == Power::Down && !node.cut);
        let reached = if errand.signalled {
            Some(true)
        } else if gone || errand.deadline <= self.now {
            Some(false)
        } else {
            if node.is_some_and(|node| node.is_up() && !node.cut) {
                errand.signalled = true;
                self.signal(link);
            }
            None
        };
        if let Some(reached) = reached {
            self.errands.swap_remove(at);
            self.note(|| format!("link {link}: the CancelRequest is over, reached: {reached}"));
            self.pool.cancel_ended(self.now, connection, reached);
        }
    }

    /// The signal of a CancelRequest hits the statement that the session runs at that moment.
    fn signal(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(node) = self.nodes.get_mut(link.node) else { return };
        match link.stage {
            Stage::Session(Backend::Asleep) => {
                node.server.cancel(number, &mut link.unsent);
                self.work(number);
            }
            Stage::Session(Backend::Replicating { .. }) => {
                // The wait is over. The commit stays, on this node only.
                let commits = node.server.last_statement(number) == "COMMIT";
                unreplicated(&mut link.unsent);
                self.note(|| format!("link {number}: its wait for the standbys is cancelled"));
                if commits {
                    self.fail(format!("link {number}: a COMMIT was cancelled"));
                }
                self.work(number);
            }
            _ => {}
        }
    }

    /// Some bytes or a connection make progress between the pool and the nodes.
    fn move_a_link(&mut self) {
        let numbers: Vec<_> = self.links.keys().copied().collect();
        if let Some(number) = self.dice.pick(&numbers) {
            if self.dice.percent(50) {
                self.move_to_server(number);
            } else {
                self.move_to_pool(number);
            }
        }
    }

    fn move_to_server(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let can_be_had = |node: &Node| node.power != Power::Down && !node.cut;
        if link.stage == Stage::Connecting
            && !link.others.is_empty()
            && !self.nodes.get(link.node).is_some_and(can_be_had)
        {
            link.node = link.others.remove(0);
        }
        let Some(node) = self.nodes.get_mut(link.node) else { return };
        if node.stutters_until > self.now && !self.dice.percent(10) {
            return;
        }
        if link.lost || node.cut || link.ending.is_some() {
            return self.clear_away(number);
        }
        if link.stage == Stage::Connecting {
            return self.connect(number);
        }
        if node.power == Power::Down {
            link.close("ECONNRESET", &[]);
            return self.clear_away(number);
        }
        let slow = link.stage == Stage::Accepted && node.slow_until > self.now;
        if !node.is_up() || slow || !link.is_idle() {
            return;
        }
        if link.to_server.is_empty() {
            return self.clear_away(number);
        }
        if link.stage == Stage::Accepted && !Self::admit(self.now, node, link, number) {
            return;
        }
        let count = self.dice.part(link.to_server.len());
        let bytes: Vec<_> = link.to_server.drain(..count).collect();
        node.server.take(number, &bytes);
        self.work(number);
    }

    /// The server begins a session, or refuses it.
    fn admit(now: Instant, node: &mut Node, link: &mut Link, number: u64) -> bool {
        let mut said = Vec::new();
        if node.starting_until > now {
            error("FATAL", "57P03", "the database system is starting up", &mut said);
        } else if node.is_barred {
            error("FATAL", "28000", "no pg_hba.conf entry for host", &mut said);
        } else if node.server.session_count() >= node.session_limit {
            too_many_clients(&mut said);
        }
        if !said.is_empty() {
            link.close("end of stream", &said);
            return false;
        }
        node.server.accept(number);
        link.stage = Stage::Session(Backend::Idle);
        true
    }

    /// The backend works until there is a reason to pause.
    fn work(&mut self, number: u64) {
        loop {
            let Some(link) = self.links.get_mut(&number) else { return };
            let Some(node) = self.nodes.get_mut(link.node) else { return };
            let committed = node.server.keys.len();
            let pause = node.server.work(number, &mut link.unsent);
            let said = match pause {
                Pause::Committed => Vec::new(),
                Pause::Idle | Pause::Ready | Pause::Asleep => std::mem::take(&mut link.unsent),
            };
            if !link.left {
                link.to_pool.extend_from_slice(&said);
            }
            link.stage = Stage::Session(match pause {
                Pause::Idle | Pause::Ready => Backend::Idle,
                Pause::Committed => Backend::Replicating { length: node.server.keys.len() },
                Pause::Asleep => Backend::Asleep,
            });
            if pause == Pause::Idle && !node.server.has_session(number) {
                link.close("end of stream", &[]);
            }
            if pause == Pause::Committed {
                let keys = node.server.keys.get(committed..).unwrap_or_default().join(", ");
                self.note(|| format!("link {number} commits {keys}"));
            }
            if pause != Pause::Ready {
                return self.clear_away(number);
            }
        }
    }

    fn connect(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let is_down = self.nodes.get(link.node).is_none_or(|node| node.power == Power::Down);
        let id = link.connection;
        if is_down {
            self.links.remove(&number);
            self.numbers.remove(&id.to_bits());
            self.note(|| format!("link {number} is refused"));
            self.refused(id);
        } else {
            link.stage = Stage::Accepted;
            let (node, others) = (link.node, link.others.clone());
            // No other session has these random bytes.
            let mut nonce = [7; 18];
            nonce[10..].copy_from_slice(&number.to_be_bytes());
            self.reached(id, node, &others, nonce);
        }
    }

    fn move_to_pool(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let stutters = self.nodes.get(link.node).is_some_and(|it| it.stutters_until > self.now);
        if stutters && !self.dice.percent(10) {
            return;
        }
        let cut = self.nodes.get(link.node).is_none_or(|node| node.cut);
        if link.lost || cut || link.left {
            return self.clear_away(number);
        }
        let id = link.connection;
        if !link.to_pool.is_empty() {
            let count = self.dice.part(link.to_pool.len());
            let bytes: Vec<_> = link.to_pool.drain(..count).collect();
            self.received(id, &bytes);
        } else if let Some(why) = link.ending {
            let harmless = why == IDLE_CUT && !link.is_written_to;
            self.links.remove(&number);
            self.numbers.remove(&id.to_bits());
            self.losses += 1;
            self.note(|| format!("link {number} ends: {why}"));
            if harmless {
                self.take_outputs();
            }
            // Bytes that were not written yet are not lost with the connection.
            let asked = self.pool.waits_for(id);
            self.ended(id, why);
            if harmless && !asked {
                self.events.expects_no_suspicion = true;
                self.take_outputs();
                self.events.expects_no_suspicion = false;
            }
        }
    }

    /// Removes a connection that the pool has closed, once nothing is left on it.
    fn clear_away(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        let done = link.to_server.is_empty() && link.is_idle();
        if link.left && (link.ending.is_some() || done) {
            if let Some(node) = self.nodes.get_mut(link.node) {
                node.server.hang_up(number);
            }
            self.links.remove(&number);
        }
    }

    /// Something happens at the nodes.
    fn move_the_cluster(&mut self) {
        match self.dice.below(100) {
            0..40 => {
                let standbys: Vec<_> = self.nodes.standbys().collect();
                if let Some(standby) = self.dice.pick(&standbys) {
                    self.nodes.replicate(standby);
                    self.answer_commits();
                }
            }
            40..60 => {
                let asleep = self.links.iter().filter(|(_, link)| {
                    link.stage == Stage::Session(Backend::Asleep)
                        && self.nodes.get(link.node).is_some_and(Node::is_up)
                });
                let asleep: Vec<_> = asleep.map(|(number, _)| *number).collect();
                if let Some(number) = self.dice.pick(&asleep) {
                    self.wake(number);
                }
            }
            60..75 => {
                let numbers: Vec<_> = self.links.keys().copied().collect();
                if let Some(number) = self.dice.pick(&numbers) {
                    self.deliver_signal(number);
                }
            }
            75..90 => self.move_an_errand(),
            _ => self.direct(),
        }
    }

    /// A backend learns of the reload.
    fn deliver_signal(&mut self, number: u64) {
        self.tick();
        if let Some(link) = self.links.get(&number)
            && let Some(node) = self.nodes.get_mut(link.node)
        {
            node.server.deliver_signal(number);
        }
    }

    fn wake(&mut self, number: u64) {
        if let Some(link) = self.links.get(&number)
            && link.stage == Stage::Session(Backend::Asleep)
            && let Some(node) = self.nodes.get_mut(link.node)
        {
            node.server.wake(number);
            self.work(number);
        }
    }

    /// Answers the commits that a standby has by now.
    fn answer_commits(&mut self) {
        let done = self.links.iter().filter(|(_, link)| match link.stage {
            Stage::Session(Backend::Replicating { length }) => {
                let is_up = self.nodes.get(link.node).is_some_and(Node::is_up);
                is_up && self.nodes.is_replicated(link.node, length)
            }
            _ => false,
        });
        let done: Vec<_> = done.map(|(number, _)| *number).collect();
        done.into_iter().for_each(|number| self.work(number));
    }

    /// Lets time pass: a little, up to the next deadline, or more than any timer expects.
    fn pass_time(&mut self) {
        let short = Duration::from_micros(10)..Duration::from_millis(20);
        let pause = match self.dice.below(100) {
            0..72 => self.dice.time(short.start, short.end),
            72..92 => {
                let next = self.next_deadline().min(self.next_deed_at());
                next.since(self.now).min(Duration::from_secs(10))
            }
            92..99 => self.dice.time(short.end, Duration::from_millis(800)),
            _ => self.dice.time(Duration::from_millis(800), Duration::from_secs(6)),
        };
        self.now = self.now + pause;
    }
}

impl Driver for Storm {
    fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn names(&mut self) -> &mut Names {
        &mut self.nodes.names
    }

    fn cores(&self) -> Option<usize> {
        self.cores
    }

    fn open(&mut self, connection: ConnectionId, mut hosts: Vec<usize>) {
        let node = hosts.remove(0);
        self.next_link += 1;
        let number = self.next_link;
        self.note(|| format!("link {number} to h{node}"));
        self.links.insert(number, Link::new(connection, node, hosts));
        self.numbers.insert(connection.to_bits(), number);
    }

    fn write(&mut self, connection: ConnectionId) {
        self.unwritten.insert(connection);
    }

    fn close(&mut self, connection: ConnectionId, terminate: &[u8]) {
        self.unwritten.remove(&connection);
        let Some(number) = self.numbers.remove(&connection.to_bits()) else { return };
        self.losses += 1;
        self.note(|| format!("link {number} is left"));
        let Some(link) = self.links.get_mut(&number) else { return };
        link.left = true;
        link.to_pool.clear();
        link.to_server.extend_from_slice(terminate);
        if link.stage == Stage::Connecting {
            self.links.remove(&number);
        }
    }

    fn cancel(&mut self, connection: ConnectionId) {
        let Some(&link) = self.numbers.get(&connection.to_bits()) else { return };
        let Some(node) = self.links.get(&link).map(|link| link.node) else { return };
        self.note(|| format!("link {link}: a CancelRequest"));
        let deadline = self.now + self.config.connect_timeout;
        self.errands.push(Errand { link, connection, node, signalled: false, deadline });
    }

    fn trace(&mut self, request: u32, trace: Trace) {
        self.traced(request, trace);
    }

    fn complete(&mut self, request: u32, result: Answer) {
        self.answered(request, result);
    }

    fn tell_types(&mut self, request: u32) {
        self.apps.values_due.push(request);
    }

    fn hear(&mut self, event: PoolEvent) {
        self.heard(&event);
    }
}
