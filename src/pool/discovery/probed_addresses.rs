//! What liveness probes have found out about addresses.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Instant;
use crate::pool::connections::Site;

#[derive(Debug, Default)]
pub(in crate::pool) struct ProbedAddresses {
    /// A liveness probe has found no server there.
    unreachable: BTreeSet<Site>,
    /// When the last liveness probe was sent there.
    probed_at: BTreeMap<Site, Instant>,
}

impl ProbedAddresses {
    /// A server there has sent something.
    pub(in crate::pool) fn heard(&mut self, site: Site) {
        if !self.unreachable.is_empty() {
            self.unreachable.remove(&site);
        }
    }

    /// Whether a liveness probe was sent to any address that may still be silent.
    pub(in crate::pool) fn is_any_probed(&self) -> bool {
        !self.probed_at.is_empty()
    }

    /// Forgets the sites that owe no answer any more.
    pub(in crate::pool) fn keep(&mut self, owing_sites: &BTreeSet<Site>) {
        self.probed_at.retain(|site, _| owing_sites.contains(site));
    }

    /// A liveness probe is sent there.
    pub(in crate::pool) fn sent(&mut self, now: Instant, site: Site) {
        self.probed_at.insert(site, now);
    }

    pub(in crate::pool) fn probed_at(&self, site: Site) -> Option<Instant> {
        self.probed_at.get(&site).copied()
    }

    /// A liveness probe has found no server there.
    pub(in crate::pool) fn mark_unreachable(&mut self, site: Site) {
        self.unreachable.insert(site);
    }

    /// Whether the server at this address of a host that can't be reached is known to be gone. The
    /// name of the host may lead elsewhere by now, so that failed logins do not say so: a liveness
    /// probe to the address does.
    pub(in crate::pool) fn is_gone_with_host(&self, site: Site) -> bool {
        site.1.is_none() || self.unreachable.contains(&site)
    }

    pub(in crate::pool) fn is_any_unreachable(&self) -> bool {
        !self.unreachable.is_empty()
    }

    /// Takes the unreachable sites from which the host has moved, among those that still have
    /// connections.
    pub(in crate::pool) fn take_moved(
        &mut self,
        is_there: impl Fn(Site) -> bool,
        has_moved: impl Fn(Site) -> bool,
    ) -> Vec<Site> {
        self.unreachable.retain(|site| is_there(*site));
        let moved: Vec<_> =
            self.unreachable.iter().copied().filter(|site| has_moved(*site)).collect();
        self.unreachable.retain(|site| !moved.contains(site));
        moved
    }
}
