//! Addresses that did not fit: when they were tried last, and the role that was reported there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::base::{Instant, Mutation};
use crate::cluster::HostId;
use crate::connection::Role;
use crate::pool::connections::Site;

#[derive(Debug, Default)]
pub(in crate::pool) struct UnfitAddresses(BTreeMap<Site, (Instant, Option<Role>)>);

impl UnfitAddresses {
    /// The addresses of a host, the one that was tried longest ago first.
    pub(in crate::pool) fn of(&self, host: HostId) -> Vec<SocketAddr> {
        if Mutation::TryOneAddress.is_on() {
            return Vec::new();
        }
        let tried = self.0.iter().filter(|((of, _), _)| *of == host);
        let mut tried: Vec<_> =
            tried.filter_map(|((_, at), when)| Some((when.0, (*at)?))).collect();
        tried.sort_unstable();
        tried.into_iter().map(|(_, address)| address).collect()
    }

    /// A host's name leads to these addresses by now. Forgets hosts that are gone, and addresses to
    /// which the name leads no more.
    pub(in crate::pool) fn keep(
        &mut self,
        host: HostId,
        lookup: &[SocketAddr],
        is_listed: impl Fn(HostId) -> bool,
    ) {
        self.0.retain(|(of, at), _| match at {
            Some(at) if *of == host => lookup.contains(at),
            _ => is_listed(*of),
        });
    }

    /// An address did not fit.
    pub(in crate::pool) fn add(&mut self, now: Instant, site: Site, said: Option<Role>) {
        self.0.insert(site, (now, said));
    }

    /// An address fits.
    pub(in crate::pool) fn remove(&mut self, site: Site) {
        self.0.remove(&site);
    }

    /// The role that was last reported there.
    pub(in crate::pool) fn said(&self, site: Site) -> Option<Role> {
        self.0.get(&site)?.1
    }
}
