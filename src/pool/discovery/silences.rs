//! What is known of silent addresses.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Instant;
use crate::pool::connections::Site;

#[derive(Debug, Default)]
pub(in crate::pool) struct Silences {
    /// A liveness probe has found no server there.
    deserted: BTreeSet<Site>,
    /// When the last liveness probe was sent there.
    looked_at: BTreeMap<Site, Instant>,
}

impl Silences {
    /// Something came from there.
    pub(in crate::pool) fn end(&mut self, site: Site) {
        if !self.deserted.is_empty() {
            self.deserted.remove(&site);
        }
    }

    /// Whether a liveness probe was sent anywhere that may still be silent.
    pub(in crate::pool) fn is_any_looked_at(&self) -> bool {
        !self.looked_at.is_empty()
    }

    /// What owes no answer any more is forgotten.
    pub(in crate::pool) fn keep(&mut self, debtors: &BTreeSet<Site>) {
        self.looked_at.retain(|site, _| debtors.contains(site));
    }

    /// A liveness probe is sent there.
    pub(in crate::pool) fn look(&mut self, now: Instant, site: Site) {
        self.looked_at.insert(site, now);
    }

    pub(in crate::pool) fn looked_at(&self, site: Site) -> Option<Instant> {
        self.looked_at.get(&site).copied()
    }

    /// A liveness probe has found no server there.
    pub(in crate::pool) fn desert(&mut self, site: Site) {
        self.deserted.insert(site);
    }

    pub(in crate::pool) fn is_any_deserted(&self) -> bool {
        !self.deserted.is_empty()
    }

    /// The addresses where no server was found and that are to be left, of those where anything is.
    pub(in crate::pool) fn take_left(
        &mut self,
        is_there: impl Fn(Site) -> bool,
        has_moved: impl Fn(Site) -> bool,
    ) -> Vec<Site> {
        self.deserted.retain(|site| is_there(*site));
        let left: Vec<_> = self.deserted.iter().copied().filter(|site| has_moved(*site)).collect();
        self.deserted.retain(|site| !left.contains(site));
        left
    }
}
