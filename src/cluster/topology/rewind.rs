//! A cluster that goes back to a timeline from before the newest one that served: it was restored
//! from a backup in place, or whoever manages it took the last promotion back. Writes that were
//! acknowledged on the later timeline may be gone, which no client can mend; all that it can do is
//! to be sure that nobody goes on with them.
//!
//! That is so when every host of the list is heard, one claims to be the primary, and none claims
//! the later timeline or follows it. A host that can't be asked may be the one that has it.

use super::{HostId, Member, Primary, Seat, Serving, Standing, Topology, fits};
use crate::base::{Instant, Mutation};
use crate::cluster::member::{Claim, Told};
use crate::connection::{Lineage, Role};

/// Where a host stands, compared to the newest timeline that served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It is on it, or it does not tell, or nobody can ask it.
    Newest,
    /// It has not been asked on its session.
    Untold,
    /// It follows an older one, or belongs to another cluster.
    Behind,
    /// It is the primary of an older one.
    Claims(u32),
}

impl Topology {
    /// What the host said of its place, on a session that was opened then.
    pub fn tell_place(&mut self, id: HostId, told: Told) {
        if let Some(member) = self.members.get_mut(id) {
            member.tell_place(told);
        }
    }

    /// Whether none serves, and no host may be on the newest timeline that served, or follow it.
    pub fn none_is_newest(&self) -> bool {
        let mut stands = self.ordered().map(|member| self.stand_of(member));
        !self.is_served() && !stands.any(|stand| stand == Stand::Newest)
    }

    /// Whether a host claims an older timeline besides.
    pub fn may_have_gone_back(&self) -> bool {
        let claims = self.ordered().any(|m| matches!(self.stand_of(m), Stand::Claims(_)));
        claims && (self.none_is_newest() || Mutation::RewindBlindly.is_on())
    }

    /// The listed hosts that have not said where they stand.
    pub fn untold(&self) -> Vec<HostId> {
        let is_untold = |id: &HostId| {
            self.members.get(*id).is_some_and(|member| self.stand_of(member) == Stand::Untold)
        };
        self.order.iter().copied().filter(is_untold).collect()
    }

    /// The primary of the older timeline, where every host has said so at that time or later, each
    /// on a session that is not older than `opened`.
    pub fn gone_back_to(&self, opened: Instant, told: Instant) -> Option<HostId> {
        if !self.may_have_gone_back() {
            return None;
        }
        let is_new = |member: &Member| {
            member.told().is_some_and(|of| of.opened_at >= opened && of.told_at >= told)
        };
        if !Mutation::RewindBlindly.is_on() && !self.ordered().all(is_new) {
            return None;
        }
        let timeline_of = |id: &HostId| match self.stand_of(self.members.get(*id)?) {
            Stand::Claims(timeline) => Some(timeline),
            Stand::Newest | Stand::Untold | Stand::Behind => None,
        };
        let newest = self.order.iter().filter_map(timeline_of).max();
        let mut claims = self.order.iter().filter(|id| timeline_of(id) == newest);
        // Of two that were promoted side by side nothing tells which one is right.
        claims.next().filter(|_| claims.next().is_none()).copied()
    }

    /// The host serves from now on, on an older timeline than the one that is returned.
    pub fn go_back_to(&mut self, id: HostId) -> Option<u32> {
        let Claim::Proved(claimed) = self.claim(id) else { return None };
        let claimed = claimed.clone();
        let Serving::One { seat, lineage: Some(newest) } = &mut self.serving else { return None };
        *seat = Seat::Taken(id);
        Some(std::mem::replace(newest, claimed).timeline)
    }

    /// The timeline that the host in the seat has gone back from: nobody else had the seat
    /// meanwhile.
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

    fn stand_of(&self, member: &Member) -> Stand {
        let Serving::One { lineage: Some(newest), .. } = &self.serving else {
            return Stand::Newest;
        };
        let Standing::Says(role) = &member.standing else { return Stand::Newest };
        if *role == Role::Standby {
            return match member.told() {
                None => Stand::Untold,
                Some(Told { follows: Some(timeline), .. }) if *timeline < newest.timeline => {
                    Stand::Behind
                }
                Some(_) => Stand::Newest,
            };
        }
        match member.claim() {
            Claim::Unproved => Stand::Untold,
            Claim::Mute => Stand::Newest,
            Claim::Proved(claimed) if claimed.system != newest.system => Stand::Behind,
            Claim::Proved(claimed) if claimed.timeline >= newest.timeline => Stand::Newest,
            Claim::Proved(claimed) if fits(self.mode, *role) => Stand::Claims(claimed.timeline),
            Claim::Proved(_) => Stand::Behind,
        }
    }
}
