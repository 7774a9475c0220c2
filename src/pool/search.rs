//! Where connections are opened: to the host that serves while there is demand, and to every host while
//! none serves.
//!
//! There is one way for the first connection, for a failover and for a switchover: one session to each
//! host is opened side by side, so that a silent host costs nothing but its own attempt. Who fits serves
//! at once; who does not is kept and asked every `failoverProbeMs`, so that a promoted standby serves with
//! its login long done. When a host serves, the sessions to the others are closed.

use std::sync::Arc;
use std::time::Duration;

use super::slot::{Duty, Slot};
use super::{ConnectionId, Life, Output, Pool, PoolEvent};
use crate::base::{Error, ErrorClass, Instant};
use crate::cluster::{Change, HostId, Observation, Primary, fits};
use crate::connection::{Connection, Role};

/// Logins under way at once to the host that serves: a pool that refills must not run it over.
const MOST_JOINING: usize = 4;
/// How long hosts are asked after the last one was lost, while nobody waits. After that the next call
/// starts the search.
const SEARCH_LINGER: Duration = Duration::from_secs(30);

/// Who served last, and since when nobody does.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    last: Option<HostId>,
}

impl Outage {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, last: None }
    }
}

impl Pool {
    /// A login is done.
    pub(super) fn joined(&mut self, now: Instant, id: ConnectionId, role: Role) {
        if let Some(slot) = self.slots.get_mut(id) {
            // Until the topology has heard it, the session is one that can't serve.
            slot.duty = Duty::Scouting { ask_at: now + self.config.failover_probe };
            self.observe_session(now, id, role);
            self.settle_duty(id);
        }
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, now: Instant, id: ConnectionId, role: Option<Role>) {
        if let Some(role) = role {
            self.observe_session(now, id, role);
        }
        self.settle_duty(id);
    }

    /// What a session said of its host.
    pub(super) fn observe_session(&mut self, now: Instant, id: ConnectionId, role: Role) {
        if let Some(slot) = self.slots.get(id) {
            let host = slot.host;
            self.observe(now, host, Observation::Says(role));
        }
    }

    pub(super) fn observe(&mut self, now: Instant, host: HostId, observation: Observation) {
        let role = match &observation {
            Observation::Says(role) => Some(*role),
            Observation::ConnectFailed(_) | Observation::SessionLost(_) => None,
        };
        match self.cluster.observe(now, host, observation) {
            Change::Nothing => {}
            Change::Found(host) => self.found(now, host),
            Change::Lost(host) => {
                self.outage.since = now;
                self.search_until = now + SEARCH_LINGER;
                if let (Some(name), Some(role)) = (self.name(host), role) {
                    let event = PoolEvent::Fence { host: name, role: role.as_str() };
                    self.outputs.push_back(Output::Event(event));
                }
                self.unseat(now, host);
            }
            Change::Suspected(host) => {
                self.outage.since = now;
                self.search_until = now + SEARCH_LINGER;
                self.doubt(now, host);
            }
            Change::Rival(host) => {
                if let Primary::Known(primary) = self.cluster.topology().primary()
                    && let (Some(host), Some(primary)) = (self.name(host), self.name(primary))
                {
                    self.outputs.push_back(Output::Event(PoolEvent::Rival { host, primary }));
                }
            }
        }
    }

    /// A host serves: its scout joins the pool, and nobody else is needed.
    fn found(&mut self, now: Instant, host: HostId) {
        let previous = self.outage.last.replace(host);
        if previous != Some(host)
            && let Some(name) = self.name(host)
        {
            let previous = previous.and_then(|id| self.name(id));
            let outage = now.since(self.outage.since);
            let event = PoolEvent::Primary { host: name, previous, outage };
            self.outputs.push_back(Output::Event(event));
        }
        let ids: Vec<_> = self.slots.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(slot) = self.slots.get(id) else { continue };
            let useless = match slot.duty {
                Duty::Joining | Duty::Scouting { .. } | Duty::Doubted { .. } => true,
                Duty::Serving => slot.is_idle(),
                Duty::Leased { .. } => false,
            };
            if slot.host == host {
                self.settle_duty(id);
            } else if useless {
                self.retire(id);
            }
        }
    }

    /// The host that served no longer fits: one of its idle sessions is kept to ask it, the others are
    /// closed; those at work go on to their end.
    fn unseat(&mut self, now: Instant, host: HostId) {
        let ask_at = now + self.config.failover_probe;
        let idle = |slot: &Slot| {
            slot.host == host && (slot.is_idle() || matches!(slot.duty, Duty::Doubted { .. }))
        };
        let ids: Vec<_> =
            self.slots.iter().filter(|(_, slot)| idle(slot)).map(|(id, _)| id).collect();
        for (id, first) in
            ids.into_iter().zip(std::iter::once(true).chain(std::iter::repeat(false)))
        {
            match self.slots.get_mut(id) {
                Some(slot) if first => slot.duty = Duty::Scouting { ask_at },
                _ => self.retire(id),
            }
        }
    }

    /// A session of the serving host broke: its idle sessions are asked at once, all together.
    fn doubt(&mut self, now: Instant, host: HostId) {
        let deadline = now + self.config.connect_timeout;
        let idle = |slot: &Slot| slot.host == host && slot.is_idle();
        let ids: Vec<_> =
            self.slots.iter().filter(|(_, slot)| idle(slot)).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.duty = Duty::Doubted { deadline };
                slot.connection.probe(now);
                self.mark_writing(id);
            }
        }
    }

    /// After an answer: a session that was only asked takes up what its host is there for.
    fn settle_duty(&mut self, id: ConnectionId) {
        let serves = self.may_serve(id);
        let searching = !matches!(self.cluster.topology().primary(), Primary::Known(_));
        let full = self.counted() >= self.config.pool_size;
        let Some(slot) = self.slots.get_mut(id) else { return };
        // A session that waits for an answer is looked at again when that has come.
        if !slot.connection.is_idle() {
            return;
        }
        let mode = self.config.mode;
        let fit = serves && slot.connection.role().is_some_and(|role| fits(mode, role));
        match slot.duty {
            Duty::Doubted { .. } if fit => slot.duty = Duty::Serving,
            Duty::Joining | Duty::Scouting { .. } if fit && !full => slot.duty = Duty::Serving,
            // It goes on asking.
            Duty::Scouting { .. } if searching => {}
            Duty::Joining | Duty::Scouting { .. } | Duty::Doubted { .. } => self.retire(id),
            Duty::Serving | Duty::Leased { .. } => {}
        }
    }

    /// Opens what is missing.
    pub(super) fn search(&mut self, now: Instant) {
        match self.cluster.topology().primary() {
            Primary::Known(host) => self.grow(now, host),
            Primary::Unknown | Primary::Suspected(_) if self.is_wanted(now) => {
                for host in self.cluster.topology().host_ids() {
                    if !self.is_asked(host) && self.cluster.may_connect_at(host) <= now {
                        self.open(now, host);
                    }
                }
            }
            Primary::Unknown | Primary::Suspected(_) => self.stop_asking(),
        }
    }

    fn grow(&mut self, now: Instant, host: HostId) {
        if self.cluster.may_connect_at(host) > now {
            return;
        }
        let joining = self.slots.iter().filter(|(_, slot)| slot.duty == Duty::Joining).count();
        let room = self.config.pool_size.saturating_sub(self.counted() + joining);
        let wanted = self.demand().saturating_sub(joining);
        for _ in 0..wanted.min(room).min(MOST_JOINING.saturating_sub(joining)) {
            self.open(now, host);
        }
    }

    /// Calls that would be served sooner by one more connection: those that wait, and those behind others.
    fn demand(&self) -> usize {
        let behind = |(_, slot): (ConnectionId, &Slot)| match slot.duty {
            Duty::Serving => slot.connection.depth().saturating_sub(2),
            _ => 0,
        };
        self.waiting.len() + self.slots.iter().map(behind).sum::<usize>()
    }

    fn counted(&self) -> usize {
        let topology = self.cluster.topology();
        let counts = |slot: &Slot| slot.counts() && topology.serves(slot.host);
        self.slots.iter().filter(|(_, slot)| counts(slot)).count()
    }

    fn open(&mut self, now: Instant, host: HostId) {
        let Some(target) = self.cluster.topology().host(host).cloned() else { return };
        let deadline = now + self.config.connect_timeout;
        let slot = Slot {
            connection: Connection::new(Arc::clone(&target.name), deadline),
            host,
            duty: Duty::Joining,
            writing: false,
            quick: false,
        };
        let connection = self.slots.insert(slot);
        self.outputs.push_back(Output::Open { connection, host: target });
    }

    /// Whether a host is worth asking: somebody waits, or the last one was lost a moment ago.
    fn is_wanted(&self, now: Instant) -> bool {
        let open = !matches!(self.life, Life::Ended);
        open && (!self.waiting.is_empty() || now < self.search_until)
    }

    fn is_asked(&self, host: HostId) -> bool {
        let asks = |slot: &Slot| matches!(slot.duty, Duty::Joining | Duty::Scouting { .. });
        self.slots.iter().any(|(_, slot)| slot.host == host && asks(slot))
    }

    fn stop_asking(&mut self) {
        let asks = |slot: &Slot| matches!(slot.duty, Duty::Joining | Duty::Scouting { .. });
        let ids: Vec<_> =
            self.slots.iter().filter(|(_, slot)| asks(slot)).map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.retire(id));
    }

    /// Asks the scouts whose time has come, and gives up on sessions that did not answer in time.
    pub(super) fn ask_scouts(&mut self, now: Instant) {
        let ids: Vec<_> = self.slots.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(slot) = self.slots.get_mut(id) else { continue };
            match slot.duty {
                Duty::Scouting { ask_at } if ask_at <= now => {
                    if slot.connection.is_idle() {
                        slot.duty = Duty::Scouting { ask_at: now + self.config.failover_probe };
                        slot.connection.probe(now);
                        self.mark_writing(id);
                    } else if slot.is_silent(now, self.config.connect_timeout) {
                        self.give_up_session(now, id);
                    } else {
                        slot.duty = Duty::Scouting { ask_at: now + self.config.failover_probe };
                    }
                }
                Duty::Doubted { deadline } if deadline <= now => self.give_up_session(now, id),
                _ => {}
            }
        }
    }

    fn give_up_session(&mut self, now: Instant, id: ConnectionId) {
        let Some(host) = self.slots.get(id).map(|slot| slot.host) else { return };
        let after = self.config.connect_timeout.as_millis();
        let name = self.name(host).unwrap_or_else(|| Arc::from("a host"));
        let message = format!("{name}: no answer within {after} ms while asking for its role");
        let error = Error::new(ErrorClass::Connection, "HYPERION_CONNECT_TIMEOUT", message);
        self.remove_slot(id, Vec::new());
        self.observe(now, host, Observation::ConnectFailed(error));
    }

    /// When the search has something to do next.
    pub(super) fn search_timeout(&self) -> Option<(Instant, &'static str)> {
        let duties = self.slots.iter().filter_map(|(_, slot)| match slot.duty {
            Duty::Scouting { ask_at } => Some((ask_at, "scout")),
            Duty::Doubted { deadline } => Some((deadline, "doubted session")),
            Duty::Joining | Duty::Serving | Duty::Leased { .. } => None,
        });
        let searching = match self.cluster.topology().primary() {
            Primary::Known(host) if !self.waiting.is_empty() => {
                self.backoff_of(host).into_iter().min()
            }
            Primary::Known(_) => None,
            Primary::Unknown | Primary::Suspected(_) => {
                let hosts = self.cluster.topology().host_ids();
                hosts.filter(|host| !self.is_asked(*host)).filter_map(|h| self.backoff_of(h)).min()
            }
        };
        duties.chain(searching).min_by_key(|(at, _)| *at)
    }

    fn backoff_of(&self, host: HostId) -> Option<(Instant, &'static str)> {
        let at = self.cluster.may_connect_at(host);
        let wanted = !self.waiting.is_empty() || at < self.search_until;
        // What was due at the last flush has been done then, or can't be done.
        (wanted && at > self.flushed_at).then_some((at, "backoff"))
    }

    fn name(&self, host: HostId) -> Option<Arc<str>> {
        self.cluster.topology().host(host).map(|host| Arc::clone(&host.name))
    }
}
