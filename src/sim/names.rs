//! The names of the simulated hosts, h0, h1, ..., and the addresses to which they lead.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Default)]
pub(super) struct Names {
    /// Names that lead to other hosts than the one of their number, in this order.
    moved: BTreeMap<usize, Vec<usize>>,
    /// A name that leads to several hosts gives one of them at each look-up, in turn.
    pub(super) take_turns: bool,
    /// How often names were looked up.
    pub(super) lookups: usize,
}

/// The address of a host.
pub(super) fn address_of(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(host).unwrap_or(u8::MAX)], 5432))
}

/// The host at an address.
fn host_at(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[3]),
        IpAddr::V6(_) => usize::MAX,
    }
}

impl Names {
    /// From now on the name leads to these hosts, in this order. Open connections stay where they
    /// are.
    pub(super) fn lead(&mut self, name: usize, hosts: Vec<usize>) {
        self.moved.insert(name, hosts);
    }

    /// Leads each name to its own host again. Returns the names that led elsewhere.
    pub(super) fn restore(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.moved).into_keys().collect()
    }

    /// For each name that leads elsewhere, the hosts to which it leads.
    pub(super) fn moved(&self) -> impl Iterator<Item = &[usize]> {
        self.moved.values().map(Vec::as_slice)
    }

    /// The hosts that an attempt tries, in this order: the one at an address, or those to which the
    /// name leads now, with the addresses that were tried last behind the others.
    pub(super) fn find(
        &self,
        name: &str,
        address: Option<SocketAddr>,
        last: &[SocketAddr],
    ) -> Vec<usize> {
        if let Some(address) = address {
            return vec![host_at(address)];
        }
        let number = name.trim_start_matches('h').split(':').next().unwrap_or("");
        let number = number.parse().unwrap_or(usize::MAX);
        let mut named = self.moved.get(&number).cloned().unwrap_or_else(|| vec![number]);
        if self.take_turns && !named.is_empty() {
            let turn = self.lookups % named.len();
            named.rotate_left(turn);
            named.truncate(1);
        }
        named.sort_by_key(|host| last.iter().position(|last| *last == address_of(*host)));
        named
    }
}
