//! The cluster as a value: what each host last reported, and which hosts serve. It changes only by
//! observations, and returns what each observation changed.
//!
//! In the modes that name the primary, one host serves, because a cluster has one primary. It keeps
//! its seat until it reports that it no longer fits, or until another host fits while it is
//! suspected. In all other modes every host that fits serves, and each host's own health decides
//! that.

use std::sync::Arc;

use super::host_state::{Health, HostId, HostState, HostView, Observation};
use crate::base::{Arena, Error, ErrorKind, HostReport, Instant, Mutation};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::{Lineage, Role};

/// Which host serves, in the modes in which only one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    Unknown,
    Known(HostId),
    /// It has the seat, and has not answered a question in time. New calls wait, and all other
    /// hosts are asked. Only a later timeline takes the seat.
    Silent(HostId),
    /// A session on it broke. Its other sessions are being asked, and so are all other hosts.
    Suspected(HostId),
}

impl Primary {
    /// The host in the seat, unless it is suspected. A silent host keeps the seat.
    pub fn serving(self) -> Option<HostId> {
        match self {
            Self::Known(host) | Self::Silent(host) => Some(host),
            Self::Unknown | Self::Suspected(_) => None,
        }
    }
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
    /// The host that served has reported that it no longer fits, or can't be reached.
    Lost(HostId),
    /// The host that serves may be down.
    Suspected(HostId),
    /// The host claims a seat that another host has or had a better right to. Returned once for
    /// each claim.
    Rival,
    /// A better host is no longer waited for: acceptable hosts serve from now on.
    SpareAccepted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Empty,
    Taken {
        host: HostId,
        is_silent: bool,
    },
    /// Two hosts were promoted side by side, and nothing shows which of them is right.
    Contested(HostId, HostId),
}

impl Seat {
    /// The host takes the seat, or has been heard there.
    fn taken(host: HostId) -> Self {
        Self::Taken { host, is_silent: false }
    }

    fn is(self, id: HostId) -> bool {
        matches!(self, Self::Taken { host, .. } if host == id)
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
        accepts_spare: bool,
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
            Mode::PreferStandby => Serving::Many { accepts_spare: false },
            Mode::ReadOnly | Mode::Standby | Mode::Any => Serving::Many { accepts_spare: true },
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
            let kept = matches!(seat, Seat::Taken { host, .. } if !old.contains(host));
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
        let Serving::One { seat: Seat::Taken { host, is_silent }, .. } = self.serving else {
            return Primary::Unknown;
        };
        match self.health(host) {
            Some(Health::Up(_)) if is_silent => Primary::Silent(host),
            Some(Health::Up(_)) => Primary::Known(host),
            _ => Primary::Suspected(host),
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

    /// Whether the host is suspected only because idle sessions were cut, which is not announced.
    pub fn is_unannounced(&self, id: HostId) -> bool {
        self.host_states.get(id).is_some_and(HostState::is_unannounced)
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

    pub fn health(&self, id: HostId) -> Option<&Health> {
        self.host_states.get(id).map(|host_state| &host_state.health)
    }

    /// The host's role, unless the host is suspected or has failed.
    pub fn reported_role(&self, id: HostId) -> Option<Role> {
        match self.health(id)? {
            Health::Up(role) => Some(*role),
            Health::Unknown | Health::Suspected(_) | Health::Failed(_) => None,
        }
    }

    /// How well the host serves; `None` if it takes no new work.
    pub fn rank(&self, id: HostId) -> Option<Rank> {
        let &Health::Up(role) = self.health(id)? else { return None };
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id).then_some(Rank::Preferred),
            Serving::Many { .. } if !fits(self.mode, role) => None,
            &Serving::Many { accepts_spare } if self.is_spare(role) => {
                if self.host_states.iter().any(|(_, host_state)| is_standby(host_state)) {
                    Some(Rank::Spare)
                } else {
                    accepts_spare.then_some(Rank::Preferred)
                }
            }
            Serving::Many { .. } => Some(Rank::Preferred),
        }
    }

    fn is_spare(&self, role: Role) -> bool {
        self.mode == TargetSessionAttrs::PreferStandby && role != Role::Standby
    }

    /// Whether sessions of this host are worth keeping: it serves, or is being asked whether it
    /// still does.
    pub fn serves(&self, id: HostId) -> bool {
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id),
            Serving::Many { .. } => match self.host_states.get(id) {
                Some(host_state) if matches!(host_state.health, Health::Suspected(_)) => {
                    host_state.role().is_some_and(|role| fits(self.mode, role))
                }
                _ => self.rank(id).is_some(),
            },
        }
    }

    /// Whether any host takes new work.
    pub fn is_served(&self) -> bool {
        match self.has_seat() {
            true => self.primary().serving().is_some(),
            false => self.order.iter().any(|id| self.rank(*id).is_some()),
        }
    }

    pub fn update(&mut self, now: Instant, host: HostId, observation: &Observation) -> Change {
        if matches!(observation, Observation::FellSilent | Observation::Heard) {
            self.set_silent(host, matches!(observation, Observation::FellSilent));
            return Change::Nothing;
        }
        let (primary, ranked, served) = (self.primary(), self.rank(host), self.serves(host));
        let Some(host_state) = self.host_states.get_mut(host) else { return Change::Nothing };
        let claimed = matches!(&host_state.health, Health::Up(role) if fits(self.mode, *role));
        host_state.observe(now, observation);
        if self.has_seat() {
            return self.update_seat(host, observation, primary, claimed);
        }
        let accepts_spare = self.try_accept_spare();
        match (ranked.is_some(), self.rank(host).is_some(), self.serves(host)) {
            (false, true, _) => {
                self.accept_spare();
                Change::Found(host)
            }
            (true, false, true) => Change::Suspected(host),
            (_, false, false) if served => Change::Lost(host),
            _ if accepts_spare => Change::SpareAccepted,
            _ => Change::Nothing,
        }
    }

    fn update_seat(
        &mut self,
        host: HostId,
        observation: &Observation,
        before: Primary,
        claimed: bool,
    ) -> Change {
        let health = self.health(host);
        let given_up = match health {
            Some(Health::Up(role)) => !fits(self.mode, *role),
            Some(Health::Failed(_)) | None => true,
            Some(Health::Unknown | Health::Suspected(_)) => false,
        };
        let fit = matches!(health, Some(Health::Up(_))) && !given_up;
        let is_report = matches!(observation, Observation::RoleReported(_));
        let wins = fit && is_report && self.refuses(host).is_none();
        // A host that is suspected is known to be more than silent.
        if !fit {
            self.set_silent(host, false);
        }
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
            (Seat::Taken { host: known, .. }, _) if known == host && is_report && !fit => {
                self.set_seat(Seat::Empty);
                Change::Lost(host)
            }
            (Seat::Taken { host: known, .. }, Primary::Suspected(_))
                if known == host && fit && is_report =>
            {
                Change::Found(host)
            }
            (Seat::Taken { host: known, .. }, Primary::Known(_) | Primary::Silent(_))
                if known == host && !fit =>
            {
                Change::Suspected(host)
            }
            (Seat::Taken { host: known, .. }, Primary::Known(_) | Primary::Silent(_))
                if known != host && fit && !claimed =>
            {
                match self.primary() {
                    Primary::Silent(_) if Mutation::MoveWithoutProof.is_on() => {
                        self.take_seat(host)
                    }
                    _ => Change::Rival,
                }
            }
            (Seat::Taken { host: known, .. }, Primary::Suspected(_)) if known != host && wins => {
                self.take_seat(host)
            }
            (Seat::Empty | Seat::Taken { .. }, _) if fit && is_report && !wins && !claimed => {
                Change::Rival
            }
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

    /// Notes whether the host is silent, if it has the seat.
    fn set_silent(&mut self, id: HostId, silent: bool) {
        if let Serving::One { seat: Seat::Taken { host, is_silent }, .. } = &mut self.serving
            && *host == id
        {
            *is_silent = silent;
        }
    }

    fn take_seat(&mut self, host: HostId) -> Change {
        self.set_seat(Seat::taken(host));
        self.remember(host);
        Change::Found(host)
    }

    /// Whether the host serves and reported this role last, so that hearing it again changes
    /// nothing.
    pub fn knows(&self, id: HostId, role: Role) -> bool {
        matches!(self.health(id), Some(Health::Up(reported)) if *reported == role)
            && self.rank(id).is_some()
    }

    /// Whether no server answers at the host, neither in an open session nor at a login.
    pub fn is_unreachable(&self, id: HostId) -> bool {
        match self.health(id) {
            Some(Health::Suspected(error)) => error.kind() == ErrorKind::ConnectTimeout,
            Some(Health::Failed(error)) => error.server().is_none(),
            _ => false,
        }
    }

    /// Stops holding back acceptable hosts. Returns whether they were held back.
    pub fn accept_spare(&mut self) -> bool {
        match &mut self.serving {
            Serving::Many { accepts_spare } => !std::mem::replace(accepts_spare, true),
            Serving::One { .. } => false,
        }
    }

    /// Whether acceptable hosts are no longer held back.
    pub fn accepts_spare(&self) -> bool {
        !matches!(self.serving, Serving::Many { accepts_spare: false })
    }

    fn try_accept_spare(&mut self) -> bool {
        let heard = |host_state: &HostState| !matches!(host_state.health, Health::Unknown);
        self.host_states.iter().all(|(_, host_state)| heard(host_state)) && self.accept_spare()
    }

    pub fn reports(&self) -> Vec<HostReport> {
        let report = |id: &HostId| {
            let report = self.host_states.get(*id)?.report();
            let refusal = self.refuses(*id).filter(|_| self.primary().serving() != Some(*id));
            Some(match refusal {
                _ if self.primary() == Primary::Silent(*id) => {
                    let why = "has not answered for a moment, and is asked".to_owned();
                    HostReport { why, ..report }
                }
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
    pub fn no_server_exists(&self) -> bool {
        let refused = |host_state: &HostState| match &host_state.health {
            Health::Failed(error) => error.cause().is_some_and(Error::names_no_server),
            Health::Unknown | Health::Up(_) | Health::Suspected(_) => false,
        };
        self.ordered().all(refused)
    }

    /// Whether no waiting can mend the error that the host gave last.
    pub fn refuses_for_good(&self, id: HostId) -> bool {
        self.host_states.get(id).is_some_and(|host_state| host_state.permanent_error().is_some())
    }

    /// An error that no waiting can mend, if no host can still turn out to fit: every host was
    /// heard, no server there merely has another role or is not ready yet, and no host that is down
    /// ever had a session. A host that had one is taken to be restarting.
    pub fn permanent_error(&self) -> Option<&Error> {
        let mut found = None;
        for host_state in self.ordered() {
            if let Some(error) = host_state.permanent_error() {
                found = found.or(Some(error));
                continue;
            }
            match &host_state.health {
                Health::Failed(error) if error.server().is_none() && !host_state.has_served() => {}
                Health::Unknown | Health::Up(_) | Health::Suspected(_) | Health::Failed(_) => {
                    return None;
                }
            }
        }
        found
    }
}

fn is_standby(host_state: &HostState) -> bool {
    matches!(host_state.health, Health::Up(Role::Standby))
}

mod rewind;
mod rivalry;
pub use rivalry::{Decision, RivalVerdict};

#[cfg(test)]
mod tests;
