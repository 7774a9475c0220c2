//! A cluster that goes back to a timeline before the newest one that served: it was restored in
//! place from a backup, or its administrator took the last promotion back. Acknowledged writes of
//! the later timeline may be gone, and no client can restore them. A client can only make sure that
//! no other host goes on from them.
//!
//! That is certain when every host of the list has been heard, one claims to be the primary, and
//! none claims the later timeline or follows it. A host that can't be asked may be the one that has
//! it.

use super::{HostId, HostState, Primary, Seat, Serving, Standing, Topology, fits};
use crate::base::{Instant, Mutation};
use crate::cluster::host_state::{Claim, Told};
use crate::connection::{Lineage, Role};

/// A host's place, compared to the newest timeline that served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It is on that timeline, or does not tell, or can't be asked.
    Newest,
    /// It has a session that was not asked yet.
    Untold,
    /// It follows an older timeline, or belongs to another cluster.
    Behind,
    /// It is the primary of an older timeline.
    Claims(u32),
}

impl Topology {
    /// Takes the place that the host has told.
    pub fn tell_place(&mut self, id: HostId, told: Told) {
        if let Some(host_state) = self.host_states.get_mut(id) {
            host_state.tell_place(told);
        }
    }

    /// Whether no host serves, and none may be on the newest timeline that served, or follow it.
    pub fn none_is_newest(&self) -> bool {
        let mut stands = self.ordered().map(|host_state| self.stand_of(host_state));
        !self.is_served() && !stands.any(|stand| stand == Stand::Newest)
    }

    /// Whether, in addition, a host claims an older timeline.
    pub fn may_have_gone_back(&self) -> bool {
        let claims = self.ordered().any(|m| matches!(self.stand_of(m), Stand::Claims(_)));
        claims && (self.none_is_newest() || Mutation::RewindBlindly.is_on())
    }

    /// The listed hosts that have not told their place.
    pub fn untold(&self) -> Vec<HostId> {
        let is_untold = |id: &HostId| {
            self.host_states
                .get(*id)
                .is_some_and(|host_state| self.stand_of(host_state) == Stand::Untold)
        };
        self.order.iter().copied().filter(is_untold).collect()
    }

    /// The primary of the older timeline, if every host has told its place at `told` or later, on a
    /// session that was opened at `opened` or later.
    pub fn gone_back_to(&self, opened: Instant, told: Instant) -> Option<HostId> {
        if !self.may_have_gone_back() {
            return None;
        }
        let is_new = |host_state: &HostState| {
            host_state.told().is_some_and(|of| of.opened_at >= opened && of.told_at >= told)
        };
        if !Mutation::RewindBlindly.is_on() && !self.ordered().all(is_new) {
            return None;
        }
        let timeline_of = |id: &HostId| match self.stand_of(self.host_states.get(*id)?) {
            Stand::Claims(timeline) => Some(timeline),
            Stand::Newest | Stand::Untold | Stand::Behind => None,
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
        *seat = Seat::Taken(id);
        Some(std::mem::replace(newest, claimed).timeline)
    }

    /// If the host in the seat has gone back to an older timeline, accepts that and returns the
    /// newer one. No other host had the seat meanwhile.
    pub fn seat_went_back(&mut self, id: HostId) -> Option<u32> {
        let is_older = |newest: &Lineage, claimed: &Lineage| {
            claimed.system == newest.system && claimed.timeline < newest.timeline
        };
        match (self.primary(), self.claim(id), &self.serving) {
            (
                Primary::Known(seat),
                Claim::Proved(claimed),
                Serving::One { lineage: Some(newest), .. },
            ) if seat == id && is_older(newest, claimed) => self.go_back_to(id),
            _ => None,
        }
    }

    fn stand_of(&self, host_state: &HostState) -> Stand {
        let Serving::One { lineage: Some(newest), .. } = &self.serving else {
            return Stand::Newest;
        };
        let Standing::Says(role) = &host_state.standing else { return Stand::Newest };
        if *role == Role::Standby {
            return match host_state.told() {
                None => Stand::Untold,
                Some(Told { follows: Some(timeline), .. }) if *timeline < newest.timeline => {
                    Stand::Behind
                }
                Some(_) => Stand::Newest,
            };
        }
        match host_state.claim() {
            Claim::Unproved => Stand::Untold,
            Claim::Mute => Stand::Newest,
            Claim::Proved(claimed) if claimed.system != newest.system => Stand::Behind,
            Claim::Proved(claimed) if claimed.timeline >= newest.timeline => Stand::Newest,
            Claim::Proved(claimed) if fits(self.mode, *role) => Stand::Claims(claimed.timeline),
            Claim::Proved(_) => Stand::Behind,
        }
    }
}
