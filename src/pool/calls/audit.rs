//! Whether all that the pool holds is consistent. The simulation asks after each turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Calls, Context};
use crate::base::{Instant, Key};
use crate::cluster::HostId;
use crate::config::Pipelining;
use crate::connection::RequestToken;
use crate::pool::Call;
use crate::pool::connections::{Duty, OVERDUE, Slot};
use crate::pool::leases::Lease;
use crate::pool::loss::MOST_LOSSES;
use crate::pool::requests::Phase;

/// The most connections in addition to `poolSize`: this many logins at the same time, and for each
/// host one that asks it, one that watches it and one that may contest the seat.
const JOINING: usize = 4;

impl Calls {
    /// Says what is inconsistent. Call it at the end of a turn.
    pub(in crate::pool) fn audit(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        self.note_leases(cx);
        if !cx.connections.is_all_followed_up() {
            return Err("what hung on a connection that is gone was left".to_owned());
        }
        cx.connections.audit(now)?;
        self.discover(cx, |discovery, cx| discovery.audit_silence(cx))?;
        self.audit_calls(cx)?;
        self.audit_sent(cx)?;
        self.requests.audit_twins()?;
        self.requests.audit()?;
        self.audit_neighbours(now, cx)?;
        self.audit_line(now)?;
        self.audit_leases(cx)?;
        let counted = cx.connections.iter().filter(|(_, slot)| slot.counts()).count();
        let most = cx.config.pool_size;
        let hosts = self.places(cx);
        let beside = cx.connections.iter().count() - counted;
        for host in cx.discovery.cluster.topology().host_ids() {
            let joins = |slot: &Slot| slot.duty == Duty::Joining && slot.host == *host;
            let joining = cx.connections.iter().filter(|(_, slot)| joins(slot)).count();
            if joining > JOINING {
                return Err(format!("{joining} logins to one host are under way at once"));
            }
        }
        // Those of a host that serves no more go on to their end beside the new ones; where it
        // serves again others go.
        let serving = self.discover(cx, |discovery, cx| discovery.counted(cx));
        let topology = cx.discovery.cluster.topology();
        let is_free = |(_, slot): (_, &Slot)| slot.is_idle() && topology.serves(slot.host);
        let exceeds =
            serving > most && (!cx.discovery.has_surplus || cx.connections.iter().any(is_free));
        if exceeds || beside > JOINING + 3 * hosts {
            return Err(format!("{serving} connections of {most}, and {beside} beside them"));
        }
        Ok(())
    }

    /// The number of hosts, each counted once for every address to which there are sessions.
    fn places(&self, cx: &Context<'_>) -> usize {
        let places = |host: &HostId| {
            let here = cx.connections.iter().filter(|(_, slot)| slot.host == *host);
            let addresses: BTreeSet<_> = here.filter_map(|(_, slot)| slot.address).collect();
            addresses.len().max(1)
        };
        cx.discovery.cluster.topology().host_ids().iter().map(places).sum()
    }

    /// The requests that wait for a connection.
    pub(in crate::pool) fn in_line(&self) -> impl Iterator<Item = u32> {
        self.requests
            .waiting
            .all()
            .filter_map(|(key, _)| self.requests.get(key))
            .map(|call| call.request)
    }

    /// What is still kept of calls and leases when all of them are over, in addition to
    /// `remembered` statements.
    pub(in crate::pool) fn audit_rest(&self, remembered: usize) -> Result<(), String> {
        let (calls, leases, statements) =
            (self.requests.iter().count(), self.leases.len(), self.statements.len());
        if calls + leases > 0 || statements != remembered {
            let leases = &self.leases;
            return Err(format!(
                "left behind: {calls} calls, {statements} statements of {remembered}, leases {leases:?}"
            ));
        }
        Ok(())
    }

    fn audit_sent(&self, cx: &Context<'_>) -> Result<(), String> {
        for (_, call) in self.requests.iter().filter(|(_, call)| call.lease.is_none()) {
            let Phase::Sent { to, at } = call.phase else { continue };
            if let Some(site) = cx.connections.get(to).map(Slot::site) {
                let sent = cx.discovery.audit_sent(at, site);
                sent.map_err(|why| format!("request {} {why}", call.request))?;
            }
        }
        Ok(())
    }

    /// Each call is in one place: in the queue, held back by its lease, in flight, or set aside for
    /// its caller.
    fn audit_calls(&self, cx: &Context<'_>) -> Result<(), String> {
        let mut places: BTreeMap<Key<Call>, Vec<&str>> = BTreeMap::new();
        for (key, _) in self.requests.waiting.all() {
            places.entry(key).or_default().push("in line");
        }
        for key in self.leases.iter().flat_map(|(_, lease)| lease.held()) {
            places.entry(key).or_default().push("held");
        }
        for (_, slot) in cx.connections.iter() {
            for token in slot.connection.requests() {
                places.entry(Key::from_bits(token.0)).or_default().push("in flight");
            }
        }
        for (key, call) in self.requests.iter() {
            if call.is_aside() && call.lease.is_none() {
                places.entry(key).or_default().push("set aside");
            }
            let found = places.remove(&key).unwrap_or_default();
            if found.len() != 1 {
                return Err(format!("request {} is in these places: {found:?}", call.request));
            }
            if call.losses > MOST_LOSSES {
                let Call { request, losses, .. } = call;
                return Err(format!("request {request} is sent again after {losses} losses"));
            }
            let in_flight = found == ["in flight"];
            if in_flight != call.sent_to().is_some() {
                return Err(format!(
                    "request {} is {found:?}, sent to {:?}",
                    call.request,
                    call.sent_to()
                ));
            }
        }
        match places.first_key_value() {
            Some((key, places)) => Err(format!("{key:?}, which is no call, is {places:?}")),
            None => Ok(()),
        }
    }

    /// No call waits after a request that may wait for a lock, and no read waits after a call that
    /// does not answer while a connection is free.
    fn audit_neighbours(&self, now: Instant, cx: &Context<'_>) -> Result<(), String> {
        let call = |token: RequestToken| self.requests.get(Key::from_bits(token.0));
        let topology = cx.discovery.cluster.topology();
        let takes_work = |slot: &Slot| {
            let serves = topology.rank(slot.host).is_some();
            serves
                && slot.takes_calls()
                && slot.connection.is_at_hand()
                && !slot.is_slow_to_reset(now)
        };
        // While the primary does not answer, nothing is sent there: not even what waits elsewhere.
        let is_calling = topology.is_served() && !cx.discovery.is_holding();
        let something_is_free =
            is_calling && cx.connections.iter().any(|(_, slot)| takes_work(slot));
        for (id, Slot { duty, connection, .. }) in cx.connections.iter() {
            let is_alone = connection.requests().nth(1).is_none();
            if is_alone || matches!(duty, Duty::Leased { .. }) {
                continue;
            }
            let reads =
                |call: &Call| call.statement_in(&self.statements).is_some_and(|s| s.is_plain_read);
            if cx.config.pipelining == Pipelining::Reads
                && let Some(call) = connection.requests().filter_map(call).find(|c| !reads(c))
            {
                return Err(format!("request {} shares {id:?}", call.request));
            }
            let silent = connection.head_since().map_or(Duration::ZERO, |since| now.since(since));
            let is_left = |call: &Call| {
                call.may_run_twice(&self.statements) && call.given_up.is_none() && !call.is_copy()
            };
            let mut behind = connection.requests().skip(1).filter_map(call);
            if something_is_free
                && silent >= OVERDUE
                && let Some(call) = behind.find(|call| is_left(call))
            {
                let request = call.request;
                return Err(format!("request {request} is left behind another one for {silent:?}"));
            }
        }
        Ok(())
    }

    fn audit_line(&self, now: Instant) -> Result<(), String> {
        for (key, deadline) in self.requests.waiting.all() {
            let Some(call) = self.requests.get(key) else { continue };
            if call.deadline != deadline {
                let Call { request, deadline: own, .. } = call;
                return Err(format!("request {request} waits until {deadline:?}, not {own:?}"));
            }
            // If a transaction is on no connection, there is nothing to end.
            if call.flags.has(crate::pool::QueryFlags::END) {
                return Err(format!("request {} waits to end a transaction", call.request));
            }
            if call.deadline <= now {
                let late = now.since(call.deadline);
                return Err(format!("request {} waits {late:?} too long", call.request));
            }
        }
        Ok(())
    }

    /// A lease and its connection know each other.
    fn audit_leases(&self, cx: &Context<'_>) -> Result<(), String> {
        self.leases.audit()?;
        for (number, lease) in self.leases.iter() {
            let Some(id) = lease.connection() else { continue };
            let slot = cx.connections.get(id);
            if slot.map(|slot| slot.duty) != Some(Duty::Leased { lease: number }) {
                return Err(format!("lease {number} has {id:?}, which does not know it"));
            }
            let known = slot.and_then(|slot| slot.lease_idle_since);
            if known != lease.idle_since() {
                let since = lease.idle_since();
                return Err(format!("lease {number} is idle since {since:?}, not {known:?}"));
            }
        }
        for (id, Slot { duty, .. }) in cx.connections.iter() {
            if let Duty::Leased { lease } = duty
                && self.leases.get(*lease).and_then(Lease::connection) != Some(id)
            {
                return Err(format!("{id:?} belongs to lease {lease}, which does not know it"));
            }
        }
        Ok(())
    }
}
