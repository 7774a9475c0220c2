//! Whether the counters equal what a scan finds.

use std::collections::BTreeSet;

use super::facts::Kind;
use super::index::{Index, OnHost};
use super::min_tree::MinTree;
use super::{ConnectionId, Connections, Duty, Site, Slot};
use crate::base::Instant;
use crate::cluster::HostId;

impl Connections {
    pub(in crate::pool) fn audit(&mut self, now: Instant) -> Result<(), String> {
        self.look();
        let Self { slots, index, .. } = &*self;
        let all = || slots.iter().map(|(_, slot)| slot);
        let count = |is: fn(&Slot) -> bool| all().filter(|slot| is(slot)).count();
        let behind = all().filter(|slot| slot.duty == Duty::Serving && !slot.kept_at_work);
        let behind: usize = behind.map(|slot| slot.connection.depth().saturating_sub(2)).sum();
        for (what, kept, found) in [
            ("take calls", index.taking_calls, count(Slot::takes_calls)),
            ("are available", index.available, count(Slot::is_available)),
            ("are free", index.free, count(Slot::is_idle)),
            ("calls are behind", index.behind, behind),
        ] {
            check(what, kept, found)?;
        }
        let ids = |is: fn(&Slot) -> bool| {
            slots.iter().filter(move |(_, slot)| is(slot)).map(|(id, _)| id)
        };
        check("apart", &index.apart, &ids(|slot| slot.duty.kind().is_apart()).collect())?;
        let is_at_hand = |slot: &Slot| slot.connection.depth() > 0 && slot.connection.is_at_hand();
        let at_hand =
            ids(Slot::takes_calls).filter(|id| slots.get(*id).is_some_and(is_at_hand)).collect();
        check("at hand", &index.at_hand, &at_hand)?;
        let recovers = |slot: &Slot| slot.recovering_since().is_some();
        check("recovering", &index.recovering, &ids(recovers).collect())?;
        let cancels = |slot: &Slot| slot.cancelling.is_some();
        check("cancelling", &index.cancelling, &ids(cancels).collect())?;
        let times = |of: fn(&Slot) -> Option<Instant>| -> Vec<_> {
            slots.iter().filter_map(|(id, slot)| Some((id.place(), of(slot)?))).collect()
        };
        check("free since", &in_order(&index.free_since), &times(Slot::free_since))?;
        check("owed since", &in_order(&index.owes_since), &times(Slot::owes_since))?;
        check("shared since", &in_order(&index.shared_since), &times(shared_since))?;
        check("expire at", &in_order(&index.expires_at), &times(expires_at))?;
        let idle = in_order(&index.lease_idle_since);
        check("leased and idle since", &idle, &times(Slot::lease_idle_since))?;
        let sites: BTreeSet<_> = all().map(Slot::site).collect();
        check("sites", &index.sites().iter().map(|on| on.site).collect(), &sites)?;
        for on in index.sites() {
            check("owed at a site since", on.owed_since(), self.scan_owed(on.site))?;
        }
        for host in all().map(|slot| slot.host) {
            self.audit_host(now, host, index)?;
        }
        Ok(())
    }

    /// Since when the server has owed an answer and sent nothing, by a scan.
    pub(in crate::pool) fn scan_owed(&self, site: Site) -> Option<Instant> {
        let here = || self.at(site).map(|(_, slot)| slot);
        let works = |slot: &&Slot| matches!(slot.duty, Duty::Serving | Duty::Leased { .. });
        let asked = here().filter(works).filter_map(|slot| slot.connection.head_since()).min()?;
        Some(here().map(|slot| slot.heard_at).max()?.max(asked))
    }

    fn audit_host(&self, now: Instant, host: HostId, index: &Index) -> Result<(), String> {
        let here = || self.slots.iter().filter(|(_, slot)| slot.host == host);
        let Some(on) = index.on(host) else { return Err(format!("{host:?} is not known")) };
        check("there", on.all(), here().count())?;
        let counted = here().filter(|(_, slot)| slot.counts()).count();
        check("counted", OnHost::counted(on), counted)?;
        let asked = here().any(|(_, slot)| slot.asks_for(host));
        check("scouted", on.is_any(&[Kind::Scouting]), asked)?;
        let joining = here().filter(|(_, slot)| slot.is_joining()).count();
        let kinds = [Kind::Joining, Kind::Challenger, Kind::LivenessProbe];
        let may_join: usize = kinds.iter().map(|kind| on.count(*kind)).sum();
        if joining > may_join {
            return Err(format!("{joining} logins to {host:?}, not {may_join} at most"));
        }
        let is_empty = |slot: &Slot| slot.takes_calls() && slot.connection.depth() == 0;
        let empty = || here().filter(|(_, slot)| is_empty(slot)).map(|(id, _)| id.place());
        check("empty", (on.empty.len(), on.empty.first()), (empty().count(), empty().next()))?;
        let knows = |slot: &Slot| slot.shared_cores.is_some() && slot.connection.reports_role();
        let knowing = || here().filter(|(_, slot)| knows(slot)).map(|(id, _)| id.place());
        let known = (on.with_cores.len(), on.with_cores.first());
        check("with cores", known, (knowing().count(), knowing().next()))?;
        let place = |(id, slot): (ConnectionId, &Slot)| (id.place(), slot.connection.depth());
        let may_join = |slot: &Slot| {
            slot.takes_calls() && slot.quick && slot.connection.is_clean() && !slot.is_overdue(now)
        };
        let quick: Vec<_> = here().filter(|(_, slot)| may_join(slot)).map(place).collect();
        let is_overdue = |place| self.slots.at(place).is_none_or(|(_, slot)| slot.is_overdue(now));
        let kept: Vec<_> = on.quick.iter().filter(|(place, _)| !is_overdue(*place)).collect();
        check("quick", kept, quick)
    }
}

fn shared_since(slot: &Slot) -> Option<Instant> {
    let is_shared = !matches!(slot.duty, Duty::Leased { .. });
    let has_others = is_shared && slot.connection.requests().nth(1).is_some();
    slot.connection.head_since().filter(|_| has_others)
}

fn expires_at(slot: &Slot) -> Option<Instant> {
    let expires = slot.counts() && !slot.expired && slot.expires_at < Instant::NEVER;
    expires.then_some(slot.expires_at)
}

fn in_order(times: &MinTree<Instant>) -> Vec<(usize, Instant)> {
    times.iter().collect()
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, kept: T, found: T) -> Result<(), String> {
    match kept == found {
        true => Ok(()),
        false => Err(format!("connections, {what}: {found:?}, and not {kept:?}")),
    }
}
