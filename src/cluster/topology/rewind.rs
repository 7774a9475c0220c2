//! A cluster that goes back to a timeline before the newest one that served: it was restored in
//! place from a backup, or its administrator took the last promotion back. Acknowledged writes of
//! the later timeline may be gone, and no client can restore them. A client can only make sure that
//! no other host goes on from them.
//!
//! That is certain when every host of the list has been heard, one claims to be the primary, and
//! none claims the later timeline or follows it. A host that can't be asked may be the one that has
//! it.

use super::{Health, HostId, HostState, Seat, Serving, Topology, fits};
use crate::base::{Instant, Mutation};
use crate::cluster::host_state::{Claim, TimelineReport};
use crate::connection::{Lineage, Role};

/// A host's place, compared to the newest timeline that served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// It is on that timeline, or does not report its own, or can't be asked.
    Newest,
    /// It has a session that was not asked yet.
    Unreported,
    /// It follows an older timeline, or belongs to another cluster.
    Behind,
    /// It is the primary of an older timeline.
    Claims(u32),
}

impl Topology {
    /// Takes the host's report of its place.
    pub fn set_timeline_report(&mut self, id: HostId, report: TimelineReport) {
        if let Some(host_state) = self.host_states.get_mut(id) {
            host_state.set_timeline_report(report);
        }
    }

    /// Whether no host serves, and none may be on the newest timeline that served, or follow it.
    pub fn none_is_newest(&self) -> bool {
        let mut positions = self.ordered().map(|host_state| self.position_of(host_state));
        !self.is_served() && !positions.any(|position| position == Position::Newest)
    }

    /// Whether, in addition, a host claims an older timeline.
    pub fn may_have_gone_back(&self) -> bool {
        let claims = self.ordered().any(|m| matches!(self.position_of(m), Position::Claims(_)));
        claims && (self.none_is_newest() || Mutation::RewindBlindly.is_on())
    }

    /// The listed hosts that have not reported their place.
    pub fn unreported(&self) -> Vec<HostId> {
        let is_unreported = |id: &HostId| {
            self.host_states
                .get(*id)
                .is_some_and(|host_state| self.position_of(host_state) == Position::Unreported)
        };
        self.order.iter().copied().filter(is_unreported).collect()
    }

    /// The primary of the older timeline, if every host has reported its place at `reported` or
    /// later, on a session that was opened at `opened` or later.
    pub fn gone_back_to(&self, opened: Instant, reported: Instant) -> Option<HostId> {
        if !self.may_have_gone_back() {
            return None;
        }
        let is_new = |host_state: &HostState| {
            host_state
                .timeline_report()
                .is_some_and(|of| of.opened_at >= opened && of.reported_at >= reported)
        };
        if !Mutation::RewindBlindly.is_on() && !self.ordered().all(is_new) {
            return None;
        }
        let timeline_of = |id: &HostId| match self.position_of(self.host_states.get(*id)?) {
            Position::Claims(timeline) => Some(timeline),
            Position::Newest | Position::Unreported | Position::Behind => None,
        };
        let newest = self.order.iter().filter_map(timeline_of).max();
        let mut claims = self.order.iter().filter(|id| timeline_of(id) == newest);
        // Of two hosts that were promoted side by side, nothing shows which one is right.
        claims.next().filter(|_| claims.next().is_none()).copied()
    }

    /// Gives the seat to a host on an older timeline than the newest one that served. Returns that
    /// newest timeline.
    pub fn go_back_to(&mut self, id: HostId) -> Option<u32> {
        let Claim::Proved(claimed) = self.claim(id) else { return None };
        let claimed = claimed.clone();
        let Serving::One { seat, lineage: Some(newest) } = &mut self.serving else { return None };
        *seat = Seat::taken(id);
        Some(std::mem::replace(newest, claimed).timeline)
    }

    /// If the host in the seat has gone back to an older timeline, accepts that and returns the
    /// newer one. No other host had the seat meanwhile.
    pub fn seat_went_back(&mut self, id: HostId) -> Option<u32> {
        let is_older = |newest: &Lineage, claimed: &Lineage| {
            claimed.system == newest.system && claimed.timeline < newest.timeline
        };
        let serves = self.primary().serving() == Some(id);
        match (self.claim(id), &self.serving) {
            (Claim::Proved(claimed), Serving::One { lineage: Some(newest), .. })
                if serves && is_older(newest, claimed) =>
            {
                self.go_back_to(id)
            }
            _ => None,
        }
    }

    fn position_of(&self, host_state: &HostState) -> Position {
        let Serving::One { lineage: Some(newest), .. } = &self.serving else {
            return Position::Newest;
        };
        let Health::Up(role) = &host_state.health else { return Position::Newest };
        if *role == Role::Standby {
            return match host_state.timeline_report() {
                None => Position::Unreported,
                Some(TimelineReport { follows: Some(timeline), .. })
                    if *timeline < newest.timeline =>
                {
                    Position::Behind
                }
                Some(_) => Position::Newest,
            };
        }
        match host_state.claim() {
            Claim::Unproved => Position::Unreported,
            Claim::Unanswered => Position::Newest,
            Claim::Proved(claimed) if claimed.system != newest.system => Position::Behind,
            Claim::Proved(claimed) if claimed.timeline >= newest.timeline => Position::Newest,
            Claim::Proved(claimed) if fits(self.mode, *role) => Position::Claims(claimed.timeline),
            Claim::Proved(_) => Position::Behind,
        }
    }
}
