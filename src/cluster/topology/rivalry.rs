//! Hosts that claim a seat which another host has or had. They report the same role, so the history
//! of their data distinguishes them.
//!
//! A promotion begins a new timeline. Of two primaries of one cluster, the one with the higher
//! timeline was promoted later, and takes the seat. The one with the lower timeline is an old
//! primary that does not know it yet. Equal timelines on two servers mean that two standbys were
//! promoted side by side. Neither gets the seat until the other gives up, because with either of
//! them the writes made on the other would be lost. A host of another cluster never gets the seat.

use std::cmp::Ordering;

use super::{Health, HostId, HostState, Primary, Seat, Serving, Topology, fits};
use crate::base::Mutation;
use crate::cluster::host_state::Claim;
use crate::connection::{Lineage, Role};

/// What to do about a second host that claims the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RivalVerdict {
    /// The decision needs more facts: the hosts marked here have to be asked first.
    Ask {
        rival: bool,
        primary: bool,
    },
    /// Nothing: it is the primary itself, under another name.
    Same,
    Decided(Decision),
}

/// The decision about a host that claims to be the primary in addition to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The seat stays with its present host.
    Stays,
    /// The host was promoted later, and has the seat from now on.
    Taken,
    /// Nothing distinguishes the two, and neither has the seat.
    Contested,
    /// No host has the seat at the moment, and this one must not get it.
    Refused,
}

impl Decision {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stays => "stays",
            Self::Taken => "taken",
            Self::Contested => "contested",
            Self::Refused => "refused",
        }
    }
}

impl Topology {
    /// Takes the history that the host has shown; `None` if it shows none.
    pub fn set_claim(&mut self, id: HostId, lineage: Option<Lineage>) {
        if let Some(host_state) = self.host_states.get_mut(id) {
            host_state.set_claim(lineage);
        }
        if self.seat().is(id) {
            self.remember(id);
        }
    }

    pub(super) fn claim(&self, id: HostId) -> &Claim {
        self.host_states.get(id).map_or(&Claim::Unanswered, |host_state| host_state.claim())
    }

    /// The history that the host has shown.
    pub fn lineage(&self, id: HostId) -> Option<&Lineage> {
        match self.claim(id) {
            Claim::Proved(lineage) => Some(lineage),
            Claim::Unproved | Claim::Unanswered => None,
        }
    }

    pub fn timeline(&self, id: HostId) -> Option<u32> {
        self.host_states.get(id)?.timeline()
    }

    /// A session of the host is new. A claim that the host proved on an earlier session is no
    /// longer certain, unless the host has the seat.
    pub fn begin_session(&mut self, id: HostId) {
        let is_seated = self.seat().is(id);
        match self.host_states.get_mut(id) {
            Some(host_state) if is_seated => host_state.age_claim(),
            Some(host_state) => host_state.reset_claim(),
            None => {}
        }
    }

    /// Whether the host in the seat could have rivals, and was not asked for the history that would
    /// distinguish it from them.
    pub fn is_unproved(&self, id: HostId) -> bool {
        self.seat().is(id) && self.order.len() > 1 && *self.claim(id) == Claim::Unproved
    }

    /// Whether a host that reports this role must show its history before it gets the seat, because
    /// another host had the seat, or this one was away.
    pub fn must_prove(&self, id: HostId, role: Role) -> bool {
        let is_challenge = match (self.primary(), &self.serving) {
            (Primary::Unknown, Serving::One { lineage: Some(_), .. }) => true,
            (Primary::Suspected(seat), Serving::One { lineage: Some(_), .. }) => seat != id,
            _ => false,
        };
        is_challenge && fits(self.mode, role) && *self.claim(id) == Claim::Unproved
    }

    /// Why the host must not get the seat, whichever other hosts claim it; `None` if it may.
    pub fn refuses(&self, id: HostId) -> Option<String> {
        let Serving::One { lineage: Some(newest), .. } = &self.serving else { return None };
        let Claim::Proved(lineage) = self.claim(id) else { return None };
        let name = &self.host(id)?.name;
        if Mutation::ServeOldPrimary.is_on() {
            return None;
        }
        if lineage.system != newest.system {
            return Some(format!(
                "{name} belongs to another cluster: its system identifier is {}, that of the cluster which \
                 was served is {} (behind a pg_upgrade or a new initdb, make a new pool)",
                lineage.system, newest.system
            ));
        }
        (lineage.timeline < newest.timeline).then(|| {
            format!(
                "{name} is an old primary: it is on timeline {}, and timeline {} has been served (behind a \
                 restored backup it serves once every listed host is heard, and none has the later one)",
                lineage.timeline, newest.timeline
            )
        })
    }

    /// Whether the host was promoted later than any that had the seat.
    pub(super) fn is_newer(&self, id: HostId) -> bool {
        let Serving::One { lineage: Some(newest), .. } = &self.serving else { return false };
        self.timeline(id).is_some_and(|timeline| timeline > newest.timeline)
    }

    /// The hosts that claim a seat which another host has or had, and whose claims were not decided
    /// yet.
    pub fn rivals(&self) -> Vec<HostId> {
        let is_rival = |id: &HostId| match self.primary().serving() {
            Some(primary) => *id != primary,
            None => self.refuses(*id).is_some(),
        };
        self.order
            .iter()
            .copied()
            .filter(is_rival)
            .filter(|id| self.has_undecided_claim(*id))
            .collect()
    }

    fn has_undecided_claim(&self, id: HostId) -> bool {
        self.host_states.get(id).is_some_and(|host_state| {
            let claims = matches!(host_state.health, Health::Up(role) if fits(self.mode, role));
            claims && !host_state.is_decided()
        })
    }

    /// Records that a host's claim was decided. Returns whether it had not been decided before.
    pub fn mark_decided(&mut self, id: HostId) -> bool {
        self.host_states.get_mut(id).is_some_and(HostState::mark_decided)
    }

    /// Decides about one of the rivals.
    pub fn decide(&mut self, rival: HostId) -> RivalVerdict {
        let Some(primary) = self.primary().serving() else {
            return RivalVerdict::Decided(Decision::Refused);
        };
        let (of_rival, of_primary) = (self.claim(rival), self.claim(primary));
        let (rival_unproved, primary_unproved) =
            (*of_rival == Claim::Unproved, *of_primary == Claim::Unproved);
        let decision = match (of_rival, of_primary) {
            _ if rival_unproved || primary_unproved => {
                return RivalVerdict::Ask { rival: rival_unproved, primary: primary_unproved };
            }
            (Claim::Proved(new), Claim::Proved(old)) if new.is_same_server(old) => {
                return RivalVerdict::Same;
            }
            (Claim::Proved(new), Claim::Proved(old)) if new.system == old.system => {
                match new.timeline.cmp(&old.timeline) {
                    Ordering::Greater => Decision::Taken,
                    Ordering::Equal => Decision::Contested,
                    Ordering::Less => Decision::Stays,
                }
            }
            _ => Decision::Stays,
        };
        // One server under two names looks like two after a restart, so it is asked under both.
        let is_old = self.host_states.get(primary).is_some_and(HostState::is_claim_old);
        if decision == Decision::Contested
            && is_old
            && let Some(host_state) = self.host_states.get_mut(primary)
        {
            host_state.reset_claim();
            return RivalVerdict::Ask { rival: false, primary: true };
        }
        match decision {
            Decision::Taken => drop(self.take_seat(rival)),
            Decision::Contested => self.set_seat(Seat::Contested(primary, rival)),
            Decision::Stays | Decision::Refused => {}
        }
        RivalVerdict::Decided(decision)
    }

    /// The two hosts that both claim the seat, so that neither has it.
    pub fn contest(&self) -> Option<(HostId, HostId)> {
        match self.seat() {
            Seat::Contested(a, b) => Some((a, b)),
            Seat::Empty | Seat::Taken { .. } => None,
        }
    }

    /// Keeps the newest history that a host in the seat had. It never becomes an older one here.
    pub(super) fn remember(&mut self, id: HostId) {
        let Claim::Proved(claimed) = self.claim(id) else { return };
        let claimed = claimed.clone();
        if let Serving::One { lineage, .. } = &mut self.serving
            && lineage.as_ref().is_none_or(|newest| newest.timeline < claimed.timeline)
        {
            *lineage = Some(claimed);
        }
    }
}
