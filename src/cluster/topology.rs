//! The cluster as a value: what each host last told, and which hosts serve. It changes only by
//! observations, and returns what each observation changed.
//!
//! In the modes that name the primary, one host serves, because a cluster has one primary. It keeps
//! its seat until it tells that it no longer fits, or until another host fits while it is
//! suspected. In all other modes every host that fits serves, and each host's own standing decides
//! that.

use std::sync::Arc;

use super::host_state::{HostId, HostState, HostView, Observation, Standing, is_permanent};
use crate::base::{Arena, Error, ErrorKind, HostReport, Instant, Mutation};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::{Lineage, Role};

/// Which host serves, in the modes in which only one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    Unknown,
    Known(HostId),
    /// A session on it broke. Its other sessions are being asked, and so are all other hosts.
    Suspected(HostId),
}

/// How well a host serves. Work goes to the best host that is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Preferred,
    /// Acceptable only if no better host is available. It uses the sessions that it has, and gets
    /// no new ones.
    Spare,
}

/// The effect of an observation on which hosts serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// The host serves from now on. In a mode with one seat, it replaces the host that served
    /// before.
    Found(HostId),
    /// The host that served has told that it no longer fits, or can't be reached.
    Lost(HostId),
    /// The host that serves may be down.
    Suspected(HostId),
    /// The host claims a seat that another host has or had a better right to. Returned once for
    /// each claim.
    Rival,
    /// A better host is no longer waited for: acceptable hosts serve from now on.
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Empty,
    Taken(HostId),
    /// Two hosts were promoted side by side, and nothing shows which of them is right.
    Contested(HostId, HostId),
}

impl Seat {
    fn is(self, host: HostId) -> bool {
        self == Self::Taken(host)
    }
}

#[derive(Debug)]
enum Serving {
    One {
        seat: Seat,
        /// The newest history that a host in the seat had. A host with an older one does not get
        /// the seat.
        lineage: Option<Lineage>,
    },
    Many {
        /// Every host was heard once, or waited for long enough. From now on an acceptable host
        /// (`prefer-standby`) is not held back.
        settled: bool,
    },
}

#[derive(Debug)]
pub struct Topology {
    host_states: Arena<HostState>,
    /// In the order of the user's list.
    order: Vec<HostId>,
    mode: TargetSessionAttrs,
    serving: Serving,
}

/// Whether `target_session_attrs` asks for a session with this role (PostgreSQL manual, 34.1.2).
pub fn fits(mode: TargetSessionAttrs, role: Role) -> bool {
    use TargetSessionAttrs as Mode;
    match mode {
        Mode::ReadWrite => {
            matches!(role, Role::ReadWrite)
                || (Mutation::ServeStandby.is_on() && matches!(role, Role::Standby))
        }
        Mode::ReadOnly => matches!(role, Role::ReadOnly | Role::Standby),
        Mode::Primary => matches!(role, Role::ReadWrite | Role::ReadOnly),
        Mode::Standby => matches!(role, Role::Standby),
        Mode::PreferStandby | Mode::Any => true,
    }
}

impl Topology {
    pub fn new(hosts: Vec<Arc<Host>>, mode: TargetSessionAttrs, now: Instant) -> Self {
        use TargetSessionAttrs as Mode;
        let serving = match mode {
            Mode::ReadWrite | Mode::Primary => Serving::One { seat: Seat::Empty, lineage: None },
            Mode::PreferStandby => Serving::Many { settled: false },
            Mode::ReadOnly | Mode::Standby | Mode::Any => Serving::Many { settled: true },
        };
        let mut topology = Self { host_states: Arena::default(), order: Vec::new(), mode, serving };
        for host in hosts {
            topology.order.push(topology.host_states.insert(HostState::new(host, now)));
        }
        topology
    }

    /// Replaces the list of hosts. Hosts in both lists keep what is known of them. Returns the ids
    /// of the other old hosts, which name no host any more.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Arc<Host>>) -> Vec<HostId> {
        let mut old = std::mem::take(&mut self.order);
        for host in hosts {
            let known = old.iter().position(|id| self.host(*id) == Some(&host));
            let id = match known {
                Some(at) => old.remove(at),
                None => self.host_states.insert(HostState::new(host, now)),
            };
            self.order.push(id);
        }
        for id in &old {
            self.host_states.remove(*id);
        }
        if let Serving::One { seat, lineage } = &mut self.serving {
            let kept = matches!(seat, Seat::Taken(host) if !old.contains(host));
            if !kept {
                *seat = Seat::Empty;
            }
            // Another list may be that of another cluster.
            if !old.is_empty() {
                *lineage = None;
            }
        }
        old
    }

    pub fn mode(&self) -> TargetSessionAttrs {
        self.mode
    }

    /// Whether only one host serves in this mode.
    pub fn has_seat(&self) -> bool {
        matches!(self.serving, Serving::One { .. })
    }

    /// The host in the seat. Always `Unknown` in the modes in which many hosts serve.
    pub fn primary(&self) -> Primary {
        let Serving::One { seat: Seat::Taken(seat), .. } = self.serving else {
            return Primary::Unknown;
        };
        match self.standing(seat) {
            Some(Standing::Says(_)) => Primary::Known(seat),
            _ => Primary::Suspected(seat),
        }
    }

    pub fn host_ids(&self) -> &[HostId] {
        &self.order
    }

    pub fn host(&self, id: HostId) -> Option<&Arc<Host>> {
        self.host_states.get(id).map(|host_state| &host_state.host)
    }

    pub(super) fn host_state_mut(&mut self, id: HostId) -> Option<&mut HostState> {
        self.host_states.get_mut(id)
    }

    /// The host's state and role, as users see them.
    pub fn summary(&self, id: HostId) -> Option<(&'static str, Option<Role>)> {
        self.host_states.get(id).map(HostState::summary)
    }

    /// Whether only idle sessions that were cut speak against the host.
    pub fn is_quiet(&self, id: HostId) -> bool {
        self.host_states.get(id).is_some_and(HostState::is_quiet)
    }

    /// Whether the host's reports of its role prove nothing.
    pub fn is_distrusted(&self, id: HostId) -> bool {
        self.host_states.get(id).is_some_and(HostState::is_distrusted)
    }

    pub fn round_trip(&self, id: HostId) -> Option<std::time::Duration> {
        self.host_states.get(id)?.round_trip()
    }

    /// Whether the round trip to the host was measured so long ago that it may be another by now.
    pub fn is_measurement_old(&self, id: HostId, now: Instant) -> bool {
        self.host_states.get(id).is_some_and(|host_state| host_state.is_measurement_old(now))
    }

    pub fn standing(&self, id: HostId) -> Option<&Standing> {
        self.host_states.get(id).map(|host_state| &host_state.standing)
    }

    /// The host's role, unless the host is suspected or has failed.
    pub fn said(&self, id: HostId) -> Option<Role> {
        match self.standing(id)? {
            Standing::Says(role) => Some(*role),
            Standing::Unheard | Standing::Suspected(_) | Standing::Failed(_) => None,
        }
    }

    /// How well the host serves; `None` if it takes no new work.
    pub fn rank(&self, id: HostId) -> Option<Rank> {
        let &Standing::Says(role) = self.standing(id)? else { return None };
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id).then_some(Rank::Preferred),
            Serving::Many { .. } if !fits(self.mode, role) => None,
            &Serving::Many { settled } if self.merely_does(role) => {
                if self.host_states.iter().any(|(_, host_state)| is_standby(host_state)) {
                    Some(Rank::Spare)
                } else {
                    settled.then_some(Rank::Preferred)
                }
            }
            Serving::Many { .. } => Some(Rank::Preferred),
        }
    }

    fn merely_does(&self, role: Role) -> bool {
        self.mode == TargetSessionAttrs::PreferStandby && role != Role::Standby
    }

    /// Whether sessions of this host are worth keeping: it serves, or is being asked whether it
    /// still does.
    pub fn serves(&self, id: HostId) -> bool {
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id),
            Serving::Many { .. } => match self.host_states.get(id) {
                Some(host_state) if matches!(host_state.standing, Standing::Suspected(_)) => {
                    host_state.role().is_some_and(|role| fits(self.mode, role))
                }
                _ => self.rank(id).is_some(),
            },
        }
    }

    /// Whether any host takes new work.
    pub fn is_served(&self) -> bool {
        match self.primary() {
            Primary::Known(_) => true,
            Primary::Unknown | Primary::Suspected(_) => {
                !self.has_seat() && self.order.iter().any(|id| self.rank(*id).is_some())
            }
        }
    }

    pub fn update(&mut self, now: Instant, host: HostId, observation: &Observation) -> Change {
        let (primary, ranked, served) = (self.primary(), self.rank(host), self.serves(host));
        let Some(host_state) = self.host_states.get_mut(host) else { return Change::Nothing };
        let claimed =
            matches!(&host_state.standing, Standing::Says(role) if fits(self.mode, *role));
        host_state.observe(now, observation);
        if self.has_seat() {
            return self.update_seat(host, observation, primary, claimed);
        }
        let settled = self.try_settle();
        match (ranked.is_some(), self.rank(host).is_some(), self.serves(host)) {
            (false, true, _) => {
                self.settle();
                Change::Found(host)
            }
            (true, false, true) => Change::Suspected(host),
            (_, false, false) if served => Change::Lost(host),
            _ if settled => Change::Settled,
            _ => Change::Nothing,
        }
    }

    fn update_seat(
        &mut self,
        host: HostId,
        said: &Observation,
        before: Primary,
        claimed: bool,
    ) -> Change {
        let standing = self.standing(host);
        let given_up = match standing {
            Some(Standing::Says(role)) => !fits(self.mode, *role),
            Some(Standing::Failed(_)) | None => true,
            Some(Standing::Unheard | Standing::Suspected(_)) => false,
        };
        let fit = matches!(standing, Some(Standing::Says(_))) && !given_up;
        let says = matches!(said, Observation::Says(_));
        let wins = fit && says && self.refuses(host).is_none();
        match (self.seat(), before) {
            (Seat::Contested(a, b), _) if a == host || b == host => {
                if given_up {
                    self.set_seat(Seat::Empty);
                }
                Change::Nothing
            }
            (Seat::Empty, _) if wins => self.take_seat(host),
            // A third host, which was promoted after the other two.
            (Seat::Contested(..), _) if wins && self.is_newer(host) => self.take_seat(host),
            (Seat::Taken(known), _) if known == host && says && !fit => {
                self.set_seat(Seat::Empty);
                Change::Lost(host)
            }
            (Seat::Taken(known), Primary::Suspected(_)) if known == host && fit && says => {
                Change::Found(host)
            }
            (Seat::Taken(known), Primary::Known(_)) if known == host && !fit => {
                Change::Suspected(host)
            }
            (Seat::Taken(known), Primary::Known(_)) if known != host && fit && !claimed => {
                Change::Rival
            }
            (Seat::Taken(known), Primary::Suspected(_)) if known != host && wins => {
                self.take_seat(host)
            }
            (Seat::Empty | Seat::Taken(_), _) if fit && says && !wins && !claimed => Change::Rival,
            _ => Change::Nothing,
        }
    }

    fn seat(&self) -> Seat {
        match self.serving {
            Serving::One { seat, .. } => seat,
            Serving::Many { .. } => Seat::Empty,
        }
    }

    fn set_seat(&mut self, to: Seat) {
        if let Serving::One { seat, .. } = &mut self.serving {
            *seat = to;
        }
    }

    fn take_seat(&mut self, host: HostId) -> Change {
        self.set_seat(Seat::Taken(host));
        self.remember(host);
        Change::Found(host)
    }

    /// Whether the host serves and told this role last, so that hearing it again changes nothing.
    pub fn knows(&self, id: HostId, role: Role) -> bool {
        matches!(self.standing(id), Some(Standing::Says(said)) if *said == role)
            && self.rank(id).is_some()
    }

    /// Whether no server answers at the host, neither in an open session nor at a login.
    pub fn is_silent(&self, id: HostId) -> bool {
        match self.standing(id) {
            Some(Standing::Suspected(error)) => error.kind() == ErrorKind::ConnectTimeout,
            Some(Standing::Failed(error)) => error.server().is_none(),
            _ => false,
        }
    }

    /// Stops holding back acceptable hosts. Returns whether they were held back.
    pub fn settle(&mut self) -> bool {
        match &mut self.serving {
            Serving::Many { settled } => !std::mem::replace(settled, true),
            Serving::One { .. } => false,
        }
    }

    /// Whether acceptable hosts are no longer held back.
    pub fn is_settled(&self) -> bool {
        !matches!(self.serving, Serving::Many { settled: false })
    }

    fn try_settle(&mut self) -> bool {
        let heard = |host_state: &HostState| !matches!(host_state.standing, Standing::Unheard);
        self.host_states.iter().all(|(_, host_state)| heard(host_state)) && self.settle()
    }

    pub fn reports(&self) -> Vec<HostReport> {
        let report = |id: &HostId| {
            let report = self.host_states.get(*id)?.report();
            let refusal = self.refuses(*id).filter(|_| self.primary() != Primary::Known(*id));
            Some(match refusal {
                Some(why) => HostReport { why, ..report },
                None => report,
            })
        };
        self.order.iter().filter_map(report).collect()
    }

    pub fn views(&self) -> Vec<(HostId, HostView)> {
        let view =
            |id: &HostId| self.host_states.get(*id).map(|host_state| (*id, host_state.view()));
        self.order.iter().filter_map(view).collect()
    }

    fn ordered(&self) -> impl Iterator<Item = &HostState> {
        self.order.iter().filter_map(|id| self.host_states.get(*id))
    }

    /// Whether, at each host, the last attempt failed with an error that says no server exists
    /// there.
    pub fn is_nowhere(&self) -> bool {
        let refused = |host_state: &HostState| match &host_state.standing {
            Standing::Failed(error) => error.cause().is_some_and(Error::names_no_server),
            Standing::Unheard | Standing::Says(_) | Standing::Suspected(_) => false,
        };
        self.ordered().all(refused)
    }

    /// Whether no waiting can mend the error that the host gave last.
    pub fn refuses_for_good(&self, id: HostId) -> bool {
        matches!(self.standing(id), Some(Standing::Failed(error)) if is_permanent(error))
    }

    /// An error that no waiting can mend, if no host can still turn out to fit: every host was
    /// heard, no server there merely has another role or is not ready yet, and no host that is down
    /// ever had a session. A host that had one is taken to be restarting.
    pub fn hopeless(&self) -> Option<&Error> {
        let mut found = None;
        for host_state in self.ordered() {
            match &host_state.standing {
                Standing::Failed(error) if is_permanent(error) => found = found.or(Some(error)),
                Standing::Failed(error) if error.server().is_none() && !host_state.has_served() => {
                }
                Standing::Unheard
                | Standing::Says(_)
                | Standing::Suspected(_)
                | Standing::Failed(_) => return None,
            }
        }
        found
    }
}

fn is_standby(host_state: &HostState) -> bool {
    matches!(host_state.standing, Standing::Says(Role::Standby))
}

mod rewind;
mod rivalry;
pub use rivalry::{Decision, RivalVerdict};

#[cfg(test)]
mod tests;
