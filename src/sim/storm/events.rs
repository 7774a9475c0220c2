//! Compares the events of the pool with the state that it shows, and with the truth.

use std::collections::BTreeMap;

use super::Storm;
use crate::base::Error;
use crate::cluster::{Decision, fits};
use crate::connection::Role;
use crate::pool::PoolEvent;

/// The state of a host before any event about it.
const UNKNOWN: Known = ("unknown", None);
/// Errors that don't speak against their host: it has no free connection, or sessions ended by
/// their own time limits.
const HARMLESS: [&str; 4] = ["53300", "57P05", "25P03", "25P04"];
const CROWDED: &str = "query_wait_timeout";

/// A host's state and role, as users see them.
type Known = (&'static str, Option<Role>);

#[derive(Debug, Default)]
pub(super) struct Events {
    /// The states of the last events.
    hosts: BTreeMap<String, Known>,
    /// The host that was last announced to serve.
    primary: Option<String>,
    /// The host that served at the end of an earlier turn, and was not announced as replaced or
    /// fenced since.
    seat: Option<String>,
    /// Hosts whose fence was announced when all of their sessions had heard of it, each with its
    /// node and the number of role changes of that node at that time.
    fenced: BTreeMap<String, (usize, usize)>,
    /// Nothing has happened that speaks against a host.
    pub(super) expects_no_suspicion: bool,
    /// No serving host is fenced.
    pub(super) expects_no_fence: bool,
    /// Sessions that were announced, and the ends of sessions that were.
    connects: u64,
    removes: u64,
    /// A server has answered, with any answer.
    pub(super) has_heard: bool,
}

impl Storm {
    pub(super) fn heard(&mut self, event: &PoolEvent) {
        self.note(|| format!("event {event:?}"));
        let judged = match event {
            PoolEvent::Host { host, state, previous, role, error } => {
                self.events.host_changed(host, (*state, *role), previous, error.as_ref())
            }
            PoolEvent::Primary { host, previous, .. } => {
                self.events.primary_changed(host, previous.as_deref())
            }
            PoolEvent::Fence { host, role } => self.fence_event(host, role),
            PoolEvent::Rival { decision: Decision::Contested, .. } => {
                self.events.seat = None;
                Ok(())
            }
            PoolEvent::Rewound { .. } if self.nodes.rewinds == 0 => {
                Err("a cluster that never went back".to_owned())
            }
            PoolEvent::Rewound { .. } => Ok(()),
            PoolEvent::Connect { .. } => {
                self.events.connects += 1;
                Ok(())
            }
            PoolEvent::Remove { .. } => {
                self.events.removes += 1;
                Ok(())
            }
            PoolEvent::Rival { .. }
            | PoolEvent::Notice { .. }
            | PoolEvent::Weak { .. }
            | PoolEvent::Reclaimed { .. } => Ok(()),
        };
        if let Err(why) = judged {
            self.fail(format!("{why}: {event:?}"));
        }
    }

    /// A fence is announced once, unless sessions that have not heard of it say otherwise
    /// meanwhile.
    fn fence_event(&mut self, host: &str, role: &str) -> Result<(), String> {
        if self.events.primary.as_deref() != Some(host) {
            return Err("a fence of a host that did not serve".to_owned());
        }
        if self.events.expects_no_fence {
            return Err("a fence of a server that does not serve".to_owned());
        }
        self.events.seat = None;
        let number = self.nodes.names.find(host, None, &[]).first().copied().unwrap_or(usize::MAX);
        let Some(node) = self.nodes.get(number) else {
            return Err("a fence of no host".to_owned());
        };
        if self.events.fenced.get(host) == Some(&(number, node.changes)) {
            return Err("a fence that was told before".to_owned());
        }
        // Answers that were on their way at the end of a server may still contradict each other,
        // and so may sessions of another server that the name has left behind.
        let is_certain = !node.server.has_deaf_sessions() && !self.nodes.were_moved;
        if is_certain && node.server.role.as_str() == role {
            self.events.fenced.insert(host.to_owned(), (number, node.changes));
        }
        Ok(())
    }

    /// A listener to the events knows the same as a caller that asks for the state.
    pub(super) fn check_events(&mut self) -> Result<(), String> {
        let (open, Events { connects, removes, .. }) = (self.pool.sessions() as u64, &self.events);
        if connects - removes != open {
            return Err(format!("{open} sessions are open, of {connects} less {removes}"));
        }
        let counters = self.pool.counters();
        let counted = (counters.created, counters.closed.iter().sum::<u64>());
        if counted != (*connects, *removes) {
            return Err(format!("{counted:?} sessions were counted, of {connects} and {removes}"));
        }
        let mode = self.config.mode;
        for status in self.pool.cluster(self.now) {
            let (name, is) = (&*status.view.host, (status.view.state, status.view.role));
            let said = self.events.hosts.get(name).copied().unwrap_or(UNKNOWN);
            if said != is {
                return Err(format!("{name} is {is:?}, and was said to be {said:?}"));
            }
            // In modes in which many hosts serve, no event says which do.
            if !self.has_seat() {
                continue;
            }
            if status.serves {
                if self.events.primary.as_deref() != Some(name) {
                    return Err(format!(
                        "{name} serves, and {:?} was said to",
                        self.events.primary
                    ));
                }
                self.events.seat = Some(name.to_owned());
            } else if self.events.seat.as_deref() == Some(name)
                && let ("up", Some(role)) = is
                && !fits(mode, role)
            {
                return Err(format!("{name} serves no longer, and no fence was told"));
            }
        }
        Ok(())
    }
}

impl Events {
    /// The host's name leads elsewhere: a node to which it led before may be found fenced again.
    pub(super) fn forget_fence(&mut self, number: usize) {
        self.fenced.retain(|name, _| !name.starts_with(&format!("h{number}:")));
    }

    /// The pool has forgotten everything about a host.
    pub(super) fn forget(&mut self, number: usize) {
        let of = |name: &str| name.starts_with(&format!("h{number}:"));
        self.hosts.retain(|name, _| !of(name));
        self.forget_fence(number);
        self.seat = self.seat.take().filter(|name| !of(name));
    }

    fn host_changed(
        &mut self,
        host: &str,
        is: Known,
        previous: &str,
        error: Option<&Error>,
    ) -> Result<(), String> {
        self.has_heard |= is.1.is_some() || error.is_some_and(|error| error.server().is_some());
        let before = self.hosts.insert(host.to_owned(), is).unwrap_or(UNKNOWN);
        if before == is || before.0 != previous {
            return Err(format!("no change of {before:?}"));
        }
        match error {
            Some(_) if previous == "up" && self.expects_no_suspicion => {
                Err("no reason to suspect a host".to_owned())
            }
            Some(error)
                if previous == "up"
                    && (HARMLESS.contains(&error.code()) || error.message() == CROWDED) =>
            {
                Err("no reason to suspect a host".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn primary_changed(&mut self, host: &str, previous: Option<&str>) -> Result<(), String> {
        let before = self.primary.replace(host.to_owned());
        self.seat = None;
        if before.as_deref() != previous || previous == Some(host) {
            return Err(format!("no change of who serves, who was {before:?}"));
        }
        Ok(())
    }
}
