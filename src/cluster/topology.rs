//! The cluster as a value: what each host last said, and who serves. It changes by observations
//! alone, and tells what each of them changed.
//!
//! In the modes that name the primary one host serves, because a cluster has one primary: it keeps
//! its seat until it says that it no longer fits, or until another one fits while it is suspected.
//! In all other modes every host serves that fits, and nothing but the hosts' own standings decides
//! which.

use std::sync::Arc;

use super::member::{HostId, HostView, Member, Observation, Standing, is_permanent};
use crate::base::{Arena, Error, HostReport, Instant, Mutation};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::{Lineage, Role};

/// Who serves, in the modes in which one host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    Unknown,
    Known(HostId),
    /// A session on it broke. Its other sessions are asked, and so is everybody else.
    Suspected(HostId),
}

/// How well a host serves. Work goes to the best that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Preferred,
    /// It would do if no better host were there: it uses up the sessions it has, and gets no new
    /// ones.
    Spare,
}

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// The host serves from now on; where one alone serves, whoever did before does no longer.
    Found(HostId),
    /// The host that served says that it no longer fits, or can't be reached.
    Lost(HostId),
    /// The host that serves may be gone.
    Suspected(HostId),
    /// The host claims what another one has, or had more right to. Said once.
    Rival,
    /// No better host is to be waited for: those that would merely do serve from now on.
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Empty,
    Taken(HostId),
    /// Two hosts were promoted side by side, and nothing tells which of them is right.
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
        /// The newest history that a host in the seat had: nobody with an older one gets it.
        lineage: Option<Lineage>,
    },
    Many {
        /// Every host has been heard once, or was waited for long enough: a host that would merely
        /// do (`prefer-standby`) is not held back any more.
        settled: bool,
    },
}

#[derive(Debug)]
pub struct Topology {
    members: Arena<Member>,
    /// As the user listed them.
    order: Vec<HostId>,
    mode: TargetSessionAttrs,
    serving: Serving,
}

/// Whether a session with this role is what `target_session_attrs` asks for (PostgreSQL manual,
/// 34.1.2).
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
        let mut topology = Self { members: Arena::default(), order: Vec::new(), mode, serving };
        for host in hosts {
            topology.order.push(topology.members.insert(Member::new(host, now)));
        }
        topology
    }

    /// Takes this list of hosts in place of the one before. Hosts that are in both keep what is
    /// known of them; those that are gone come back as names that name nothing any more.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Arc<Host>>) -> Vec<HostId> {
        let mut old = std::mem::take(&mut self.order);
        for host in hosts {
            let known = old.iter().position(|id| self.host(*id) == Some(&host));
            let id = match known {
                Some(at) => old.remove(at),
                None => self.members.insert(Member::new(host, now)),
            };
            self.order.push(id);
        }
        for id in &old {
            self.members.remove(*id);
        }
        if let Serving::One { seat, lineage } = &mut self.serving {
            let kept = matches!(seat, Seat::Taken(host) if !old.contains(host));
            if !kept {
                *seat = Seat::Empty;
            }
            // Another list may be another cluster.
            if !old.is_empty() {
                *lineage = None;
            }
        }
        old
    }

    pub fn mode(&self) -> TargetSessionAttrs {
        self.mode
    }

    /// Whether one host alone serves.
    pub fn has_seat(&self) -> bool {
        matches!(self.serving, Serving::One { .. })
    }

    /// `Unknown` in the modes in which many hosts serve.
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
        self.members.get(id).map(|member| &member.host)
    }

    pub(super) fn member_mut(&mut self, id: HostId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// The host's state and role, as users see them.
    pub fn glance(&self, id: HostId) -> Option<(&'static str, Option<Role>)> {
        self.members.get(id).map(Member::glance)
    }

    /// Whether nothing but idle sessions that were cut speaks against the host.
    pub fn is_quiet(&self, id: HostId) -> bool {
        self.members.get(id).is_some_and(Member::is_quiet)
    }

    /// Whether what the host reports of its role says nothing.
    pub fn is_distrusted(&self, id: HostId) -> bool {
        self.members.get(id).is_some_and(Member::is_distrusted)
    }

    pub fn round_trip(&self, id: HostId) -> Option<std::time::Duration> {
        self.members.get(id)?.round_trip()
    }

    /// Whether the host was measured so long ago that it may have come nearer since, or gone
    /// farther away.
    pub fn is_measurement_old(&self, id: HostId, now: Instant) -> bool {
        self.members.get(id).is_some_and(|member| member.is_measurement_old(now))
    }

    pub fn standing(&self, id: HostId) -> Option<&Standing> {
        self.members.get(id).map(|member| &member.standing)
    }

    /// The role that is known of the host, where nothing speaks against that.
    pub fn said(&self, id: HostId) -> Option<Role> {
        match self.standing(id)? {
            Standing::Says(role) => Some(*role),
            Standing::Unheard | Standing::Suspected(_) | Standing::Failed(_) => None,
        }
    }

    /// How well the host serves; `None` where it takes no new work.
    pub fn rank(&self, id: HostId) -> Option<Rank> {
        let &Standing::Says(role) = self.standing(id)? else { return None };
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id).then_some(Rank::Preferred),
            Serving::Many { .. } if !fits(self.mode, role) => None,
            &Serving::Many { settled } if self.merely_does(role) => {
                if self.members.iter().any(|(_, member)| is_standby(member)) {
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

    /// Whether sessions of this host are worth keeping: it serves, or is asked whether it still
    /// does.
    pub fn serves(&self, id: HostId) -> bool {
        match &self.serving {
            Serving::One { seat, .. } => seat.is(id),
            Serving::Many { .. } => match self.members.get(id) {
                Some(member) if matches!(member.standing, Standing::Suspected(_)) => {
                    member.role().is_some_and(|role| fits(self.mode, role))
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
        let Some(member) = self.members.get_mut(host) else { return Change::Nothing };
        let claimed = matches!(&member.standing, Standing::Says(role) if fits(self.mode, *role));
        member.observe(now, observation);
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
            // A third one, promoted over the heads of the two.
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

    /// Whether the host serves and said this role last, so that nothing changes when it says it
    /// again.
    pub fn knows(&self, id: HostId, role: Role) -> bool {
        matches!(self.standing(id), Some(Standing::Says(said)) if *said == role)
            && self.rank(id).is_some()
    }

    /// Whether no server answers there: neither in an open session nor at a login.
    pub fn is_silent(&self, id: HostId) -> bool {
        match self.standing(id) {
            Some(Standing::Suspected(error)) => error.code() == "HYPERION_CONNECT_TIMEOUT",
            Some(Standing::Failed(error)) => error.server().is_none(),
            _ => false,
        }
    }

    /// Holds no host back any more that would merely do. Returns whether any was.
    pub fn settle(&mut self) -> bool {
        match &mut self.serving {
            Serving::Many { settled } => !std::mem::replace(settled, true),
            Serving::One { .. } => false,
        }
    }

    /// Whether hosts that would merely do are held back.
    pub fn is_settled(&self) -> bool {
        !matches!(self.serving, Serving::Many { settled: false })
    }

    fn try_settle(&mut self) -> bool {
        let heard = |member: &Member| !matches!(member.standing, Standing::Unheard);
        self.members.iter().all(|(_, member)| heard(member)) && self.settle()
    }

    pub fn reports(&self) -> Vec<HostReport> {
        let report = |id: &HostId| {
            let report = self.members.get(*id)?.report();
            let refusal = self.refuses(*id).filter(|_| self.primary() != Primary::Known(*id));
            Some(match refusal {
                Some(why) => HostReport { why, ..report },
                None => report,
            })
        };
        self.order.iter().filter_map(report).collect()
    }

    pub fn views(&self) -> Vec<(HostId, HostView)> {
        let view = |id: &HostId| self.members.get(*id).map(|member| (*id, member.view()));
        self.order.iter().filter_map(view).collect()
    }

    fn ordered(&self) -> impl Iterator<Item = &Member> {
        self.order.iter().filter_map(|id| self.members.get(*id))
    }

    /// Whether the last attempt at each host was refused outright.
    pub fn is_nowhere(&self) -> bool {
        let refused = |member: &Member| match &member.standing {
            Standing::Failed(error) => error.cause().is_some_and(Error::names_no_server),
            Standing::Unheard | Standing::Says(_) | Standing::Suspected(_) => false,
        };
        self.ordered().all(refused)
    }

    /// Whether no waiting heals what the host said last.
    pub fn refuses_for_good(&self, id: HostId) -> bool {
        matches!(self.standing(id), Some(Standing::Failed(error)) if is_permanent(error))
    }

    /// An error that no waiting heals, where no host can still turn out to fit: each one has been
    /// heard, none of them speaks as a server that just has another role or is not ready yet, and
    /// none that is down has ever had a session: it is being started anew.
    pub fn hopeless(&self) -> Option<&Error> {
        let mut found = None;
        for member in self.ordered() {
            match &member.standing {
                Standing::Failed(error) if is_permanent(error) => found = found.or(Some(error)),
                Standing::Failed(error) if error.server().is_none() && !member.has_served() => {}
                Standing::Unheard
                | Standing::Says(_)
                | Standing::Suspected(_)
                | Standing::Failed(_) => return None,
            }
        }
        found
    }
}

fn is_standby(member: &Member) -> bool {
    matches!(member.standing, Standing::Says(Role::Standby))
}

mod rewind;
mod rivalry;
pub use rivalry::{Decision, Verdict};

#[cfg(test)]
mod tests;
