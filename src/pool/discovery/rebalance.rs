//! How connections move to hosts that came back, in modes in which many hosts serve.
//!
//! While the pool is in use, hosts that do not serve are asked about once a second. A session to a
//! host that has less than its share joins the pool if there is room. In a full pool it waits as
//! **rebalancing** until a connection to a host with more than its share is idle, and takes its
//! place. One session at a time is rebalancing, so that connections move one by one and no query
//! notices.

use super::{Context, Discovery};
use crate::base::Instant;
use crate::cluster::{Health, HostId, Rank};
use crate::config::LoadBalance;
use crate::pool::ConnectionId;
use crate::pool::connections::Duty;
use crate::pool::placement::{Candidate, survey};

impl Discovery {
    /// Finds out by one login whether a host is gone, if idle sessions to it were cut and none is
    /// left to ask.
    pub(in crate::pool) fn visit(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(host) = self.next_visit(cx)
            && self.cluster.may_connect_at(host) <= now
        {
            self.open(now, host, Duty::LivenessProbe { ask_at: None }, cx);
        }
    }

    /// The next host to be asked so.
    pub(in crate::pool) fn next_visit(&mut self, cx: &mut Context<'_>) -> Option<HostId> {
        let topology = self.cluster.topology();
        let connections = &mut cx.connections;
        let quiet = topology.host_ids().iter().copied();
        let quiet =
            quiet.filter(|host| topology.is_unannounced(*host) && !connections.is_there(*host));
        let next = quiet.min_by_key(|host| self.cluster.may_connect_at(*host))?;
        (topology.is_served() && cx.demand.is_open).then_some(next)
    }

    /// Asks the hosts that do not serve, or that should serve more.
    pub(in crate::pool) fn look_around(&mut self, now: Instant, cx: &mut Context<'_>) {
        if !cx.demand.is_open || cx.demand.calls == 0 {
            return;
        }
        self.ask_for_lag(now, cx);
        let mut candidates = std::mem::take(&mut self.candidates);
        survey(self.cluster.topology(), cx.connections, cx.config.load_balance, &mut candidates);
        let short = match cx.connections.is_moving() {
            true => None,
            false => self.short_of_its_share(&candidates, cx),
        };
        self.candidates = candidates;
        for host in self.cluster.topology().host_ids().to_vec() {
            let topology = self.cluster.topology();
            let at = match (topology.rank(host), topology.health(host)) {
                (None, Some(Health::Suspected(_))) => self.cluster.may_connect_at(host),
                (Some(_), _) if short != Some(host) => {
                    self.measure(now, host, cx);
                    continue;
                }
                _ => self.cluster.may_ask_at(host),
            };
            if at <= now && !cx.connections.is_asked(host) {
                self.open(now, host, Duty::Joining, cx);
            }
        }
    }

    /// A host with a long round trip gets no query, and only queries measure the round trip. So a
    /// session of its own measures it, and is closed once it has been answered.
    fn measure(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) {
        if cx.config.load_balance == LoadBalance::Nearest
            && self.cluster.topology().is_measurement_old(host, now)
            && self.cluster.may_ask_at(host) <= now
            && !cx.connections.is_probed(host)
        {
            self.open(now, host, Duty::LivenessProbe { ask_at: None }, cx);
        }
    }

    /// The host with the fewest connections, where another one has more than its share.
    fn short_of_its_share(
        &mut self,
        candidates: &[Candidate],
        cx: &mut Context<'_>,
    ) -> Option<HostId> {
        let preferred = candidates.iter().filter(|c| c.rank == Rank::Preferred);
        let short = preferred.min_by_key(|c| c.open)?;
        self.excess(candidates, short.open, cx).is_some().then_some(short.host)
    }

    /// A host that has more than its share, seen from one with `open` connections.
    fn excess<'a>(
        &mut self,
        candidates: &'a [Candidate],
        open: usize,
        cx: &mut Context<'_>,
    ) -> Option<&'a Candidate> {
        let spare = candidates.iter().find(|c| c.rank == Rank::Spare && c.open > 0);
        spare.or_else(|| {
            let most = candidates.iter().max_by_key(|c| c.open)?;
            (most.open >= open + 2 && self.is_full(cx)).then_some(most)
        })
    }

    /// Requests in flight on a host that serves again go on to their end, and their connections
    /// count. If there are too many connections because of that, as many are closed once they are
    /// idle.
    pub(in crate::pool) fn trim(&mut self, cx: &mut Context<'_>) {
        while self.has_surplus {
            self.has_surplus = self.counted(cx) > cx.config.pool_size;
            if !self.has_surplus {
                return;
            }
            let topology = self.cluster.topology();
            let idle = cx.connections.all_free().find(|(_, slot)| topology.serves(slot.host));
            match idle.map(|(id, _)| id) {
                Some(id) => cx.connections.retire(id),
                None => return,
            }
        }
    }

    /// Lets a rebalancing session serve in place of another connection, if one can be spared.
    pub(in crate::pool) fn rebalance(&mut self, cx: &mut Context<'_>) {
        let Some((id, host)) = cx.connections.rebalancing() else { return };
        let mut candidates = std::mem::take(&mut self.candidates);
        survey(self.cluster.topology(), cx.connections, cx.config.load_balance, &mut candidates);
        let own = candidates.iter().find(|c| c.host == host && c.rank == Rank::Preferred);
        match own.map(|own| self.excess(&candidates, own.open, cx)) {
            Some(Some(excess)) => {
                // No connection is idle there now: try later.
                if let Some(victim) = excess.idle {
                    cx.connections.retire(victim);
                    self.set_serving(id, cx);
                }
            }
            Some(None) if !self.is_full(cx) => self.set_serving(id, cx),
            _ => cx.connections.retire(id),
        }
        self.candidates = candidates;
    }

    /// Whether a session that finds no room may take the place of another one.
    pub(in crate::pool) fn may_rebalance(&mut self, host: HostId, cx: &mut Context<'_>) -> bool {
        if cx.connections.rebalancing().is_some() {
            return false;
        }
        let mut candidates = Vec::new();
        survey(self.cluster.topology(), cx.connections, cx.config.load_balance, &mut candidates);
        let own = candidates.iter().find(|c| c.host == host && c.rank == Rank::Preferred);
        // The session itself is counted as one that joins.
        own.is_some_and(|own| self.excess(&candidates, own.open.saturating_sub(1), cx).is_some())
    }

    fn set_serving(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        if let Some(slot) = cx.connections.get_mut(id) {
            slot.duty = Duty::Serving;
        }
    }

    fn is_full(&mut self, cx: &mut Context<'_>) -> bool {
        self.counted(cx) >= cx.config.pool_size
    }
}
