//! Questions about all connections that a query or a timer asks.

use std::num::NonZeroU32;
use std::time::Duration;

use super::facts::{Facts, Kind};
use super::index::OnHost;
use super::slot::OVERDUE;
use super::{ConnectionId, Connections, Duty, Slot};
use crate::base::{Error, ErrorClass, Instant};
use crate::cluster::HostId;

/// The pool's connections to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Load {
    /// The first idle connection.
    pub(in crate::pool) idle: Option<ConnectionId>,
    /// How many connections are busy.
    pub(in crate::pool) busy: usize,
    /// How many connections count against `poolSize`, including logins that have begun.
    pub(in crate::pool) open: usize,
}

impl Connections {
    fn on(&mut self, host: HostId) -> Option<&OnHost> {
        self.look().0.on(host)
    }

    fn is_any(&mut self, host: HostId, kinds: &[Kind]) -> bool {
        self.on(host).is_some_and(|on| on.is_any(kinds))
    }

    fn key(&self, place: usize) -> Option<ConnectionId> {
        self.slots.at(place).map(|(id, _)| id)
    }

    /// The number of connections that count against `poolSize`.
    pub(in crate::pool) fn size(&mut self) -> usize {
        self.counted(|_| true)
    }

    /// How many connections to hosts for which `serves` is true count against `poolSize`.
    pub(in crate::pool) fn counted(&mut self, serves: impl Fn(HostId) -> bool) -> usize {
        self.look().0.hosts().filter(|on| serves(on.host)).map(OnHost::counted).sum()
    }

    pub(in crate::pool) fn available(&mut self) -> usize {
        self.look().0.available
    }

    pub(in crate::pool) fn taking_calls(&mut self) -> usize {
        self.look().0.taking_calls
    }

    /// How many calls wait behind others, not counting those for which a connection is free, or
    /// those on connections that are kept busy on purpose.
    pub(in crate::pool) fn behind(&mut self) -> usize {
        let (index, _) = self.look();
        index.behind.saturating_sub(index.available)
    }

    pub(in crate::pool) fn is_there(&mut self, host: HostId) -> bool {
        self.on(host).is_some_and(|on| on.all() > 0)
    }

    /// Whether a session asks the host for its role, or will ask.
    pub(in crate::pool) fn is_asked(&mut self, host: HostId) -> bool {
        self.is_any(host, &[Kind::Joining, Kind::Scouting, Kind::Challenger])
    }

    pub(in crate::pool) fn is_scouted(&mut self, host: HostId) -> bool {
        self.is_any(host, &[Kind::Scouting])
    }

    /// Whether a session to the host is being opened.
    pub(in crate::pool) fn is_joined(&mut self, host: HostId) -> bool {
        self.is_any(host, &[Kind::Joining, Kind::Challenger])
    }

    /// Whether a session is being opened to ask the host for its lineage.
    pub(in crate::pool) fn is_challenged_by(&mut self, host: HostId) -> bool {
        self.is_any(host, &[Kind::Challenger])
    }

    pub(in crate::pool) fn is_probed(&mut self, host: HostId) -> bool {
        self.is_any(host, &[Kind::LivenessProbe])
    }

    /// Whether connections are about to move between hosts.
    pub(in crate::pool) fn is_moving(&mut self) -> bool {
        let moving = [Kind::Joining, Kind::Rebalancing, Kind::Scouting];
        self.look().0.hosts().any(|on| on.is_any(&moving))
    }

    /// A connection that waits to replace another connection.
    pub(in crate::pool) fn rebalancing(&mut self) -> Option<(ConnectionId, HostId)> {
        self.look().0.hosts().find(|on| on.is_any(&[Kind::Rebalancing]))?;
        let mut apart = self.apart();
        apart.find(|(_, slot)| slot.duty == Duty::Rebalancing).map(|(id, slot)| (id, slot.host))
    }

    pub(in crate::pool) fn load(&mut self, host: HostId) -> Load {
        let Some(on) = self.look().0.on(host) else { return Load { idle: None, busy: 0, open: 0 } };
        let busy = on.count(Kind::Serving) + on.count(Kind::Leased) - on.empty.len();
        let open = on.counted() + on.count(Kind::Joining) + on.count(Kind::Scouting);
        let place = on.empty.first();
        Load { idle: place.and_then(|place| self.key(place)), busy, open }
    }

    /// The first idle connection to the host.
    pub(in crate::pool) fn first_empty(&mut self, host: HostId) -> Option<ConnectionId> {
        let place = self.look().0.on(host)?.empty.first()?;
        self.key(place)
    }

    /// The last connection to such a host on which only the pool's own questions are in flight,
    /// after which a call may be sent.
    pub(in crate::pool) fn at_hand(
        &mut self,
        now: Instant,
        serves: impl Fn(HostId) -> bool,
    ) -> Option<ConnectionId> {
        let (index, slots) = self.look();
        let fits = |slot: &Slot| serves(slot.host) && !slot.is_slow_to_reset(now);
        let serves = |id: &ConnectionId| slots.get(*id).is_some_and(fits);
        index.at_hand.iter().rev().find(|id| serves(id)).copied()
    }

    /// The connections that are being reset while no call waits for the reset, and since when.
    fn resets(&mut self) -> impl Iterator<Item = (ConnectionId, Instant)> {
        let (index, slots) = self.look();
        let all = index.at_hand.iter().chain(&index.recovering);
        let resets = all.filter_map(|id| Some((*id, slots.get(*id)?)));
        let resets = resets.filter(|(_, slot)| slot.connection.is_resetting());
        resets.filter_map(|(id, slot)| Some((id, slot.connection.head_since()?)))
    }

    /// Closes connections whose reset is not answered in time, whatever else the host answers. No
    /// caller loses anything by this.
    pub(in crate::pool) fn drop_unreset(&mut self, now: Instant, bound: Duration) {
        let late: Vec<_> = self.resets().filter(|(_, since)| now.since(*since) >= bound).collect();
        for (id, _) in late {
            let message = "the connection was closed, because its reset (DISCARD ALL) was not answered in time";
            let why = Error::new(ErrorClass::Connection, "HYPERION_CONNECTION_LOST", message);
            self.drop_slot(id, why);
        }
    }

    /// When the next reset reaches its time limit.
    pub(in crate::pool) fn next_unreset(
        &mut self,
        bound: Duration,
    ) -> Option<(Instant, &'static str)> {
        self.resets().map(|(_, since)| (since + bound, "reset")).min_by_key(|(at, _)| *at)
    }

    /// The connection to such a host with the fewest requests in flight among those that a quick
    /// call may join, and how many they are.
    pub(in crate::pool) fn least_joined(
        &mut self,
        now: Instant,
        serves: impl Fn(HostId) -> bool,
    ) -> Option<(usize, ConnectionId)> {
        self.look();
        let mut least: Option<(usize, usize)> = None;
        for on in self.index.hosts_mut().filter(|on| serves(on.host)) {
            while let Some((place, depth)) = on.quick.first_least() {
                if self.slots.at(place).is_some_and(|(_, slot)| slot.is_overdue(now)) {
                    on.quick.set(place, Facts::ALONE);
                    continue;
                }
                if least.is_none_or(|least| (depth, place) < least) {
                    least = Some((depth, place));
                }
                break;
            }
        }
        let (depth, place) = least?;
        Some((depth, self.key(place)?))
    }

    /// Whether a quick call may join `count` connections to the host.
    pub(in crate::pool) fn are_joined(&mut self, now: Instant, host: HostId, count: usize) -> bool {
        let (index, slots) = self.look();
        let Some(on) = index.on(host) else { return count == 0 };
        let is_overdue = |place| slots.at(place).is_some_and(|(_, slot)| slot.is_overdue(now));
        let joined = on.quick.iter().filter(|(place, _)| !is_overdue(*place));
        joined.take(count).count() == count
    }

    /// How many cores the host shares with this process, if its sessions report their role.
    pub(in crate::pool) fn cores(&mut self, host: HostId) -> Option<usize> {
        let (index, slots) = self.look();
        let place = index.on(host)?.with_cores.first()?;
        slots.at(place)?.1.shared_cores
    }

    /// The connections that take no calls, in their order: logins, and sessions that ask hosts for
    /// something.
    pub(in crate::pool) fn apart(&mut self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        let (index, slots) = self.look();
        index.apart.iter().filter_map(|id| Some((*id, slots.get(*id)?)))
    }

    /// Those of these connections for which `is` is true now.
    pub(in crate::pool) fn those_apart(&mut self, is: impl Fn(&Slot) -> bool) -> Vec<ConnectionId> {
        self.apart().filter(|(_, slot)| is(slot)).map(|(id, _)| id).collect()
    }

    /// The connections that are being reset, and for which calls wait.
    pub(in crate::pool) fn recovering(&mut self) -> impl Iterator<Item = &Slot> {
        let (index, slots) = self.look();
        index.recovering.iter().filter_map(|id| slots.get(*id))
    }

    /// The connections on which a running call was given up.
    pub(in crate::pool) fn cancelling(&mut self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        let (index, slots) = self.look();
        index.cancelling.iter().filter_map(|id| Some((*id, slots.get(*id)?)))
    }

    /// How many connections are idle.
    pub(in crate::pool) fn free(&mut self) -> usize {
        self.look().0.free
    }

    /// Since when the connection is idle that has been idle for the longest time.
    pub(in crate::pool) fn free_since(&mut self) -> Option<Instant> {
        self.look().0.free_since.least()
    }

    /// The idle connections, in their order.
    pub(in crate::pool) fn all_free(&mut self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        let (index, slots) = self.look();
        index.free_since.iter().filter_map(|(place, _)| slots.at(place))
    }

    /// The connections that have been idle for this long, and since when, in order.
    pub(in crate::pool) fn free_for(
        &mut self,
        now: Instant,
        time: Duration,
    ) -> Vec<(Instant, ConnectionId)> {
        let (index, slots) = self.look();
        let free = before(now, time).into_iter().flat_map(|at| index.free_since.within(at));
        free.filter_map(|(place, since)| Some((since, slots.at(place)?.0))).collect()
    }

    /// Since when the server has sent nothing that has been silent for the longest time while it
    /// owes an answer.
    pub(in crate::pool) fn owed_since(&mut self) -> Option<Instant> {
        self.look().0.owes_since.least()
    }

    /// The connections whose servers owe an answer, in their order.
    pub(in crate::pool) fn owing(&mut self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        let (index, slots) = self.look();
        index.owes_since.iter().filter_map(|(place, _)| slots.at(place))
    }

    /// The connections whose servers have owed an answer for this long and sent nothing, in order.
    pub(in crate::pool) fn silent_for(
        &mut self,
        now: Instant,
        bound: Duration,
    ) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        let (index, slots) = self.look();
        let silent = before(now, bound).into_iter().flat_map(|at| index.owes_since.within(at));
        silent.filter_map(|(place, _)| slots.at(place))
    }

    /// Since when the transaction of a lease is idle that has been idle for the longest time.
    pub(in crate::pool) fn lease_idle_since(&mut self) -> Option<Instant> {
        self.look().0.lease_idle_since.least()
    }

    /// The leases whose transactions have been idle for this long.
    pub(in crate::pool) fn leases_idle_for(
        &mut self,
        now: Instant,
        time: Duration,
    ) -> Vec<(NonZeroU32, ConnectionId)> {
        let (index, slots) = self.look();
        let idle = before(now, time).into_iter().flat_map(|at| index.lease_idle_since.within(at));
        let idle = idle.filter_map(|(place, _)| slots.at(place));
        let leases = idle.filter_map(|(id, slot)| match slot.duty {
            Duty::Leased { lease } => Some((lease, id)),
            _ => None,
        });
        leases.collect()
    }

    /// The connections on which requests wait behind a request that the server has run for too
    /// long, in order.
    pub(in crate::pool) fn stuck(&mut self, now: Instant) -> Vec<ConnectionId> {
        let Some(bound) = before(now, OVERDUE) else { return Vec::new() };
        let (index, slots) = self.look();
        let stuck = index.shared_since.within(bound);
        stuck.filter_map(|(place, _)| Some(slots.at(place)?.0)).collect()
    }

    /// When this will be true for the next connection, after `at`.
    pub(in crate::pool) fn stuck_after(&mut self, at: Instant) -> Option<Instant> {
        let shared_since = &self.look().0.shared_since;
        let next = match before(at, OVERDUE) {
            Some(bound) => shared_since.least_above(bound),
            None => shared_since.least(),
        };
        next.map(|since| since + OVERDUE)
    }

    /// When the next login reaches its time limit.
    pub(in crate::pool) fn next_timeout(&mut self) -> Option<(Instant, &'static str)> {
        let timeouts = self.apart().filter_map(|(_, slot)| slot.connection.poll_timeout());
        timeouts.min_by_key(|(at, _)| *at)
    }

    /// When the next step of a cancellation is due.
    pub(in crate::pool) fn next_cancel(&mut self) -> Option<(Instant, &'static str)> {
        let deadlines = self.cancelling().filter_map(|(_, slot)| slot.cancel_deadline());
        deadlines.min().map(|at| (at, "cancel"))
    }

    /// When the next connection expires.
    pub(in crate::pool) fn next_expiry(&mut self) -> Option<Instant> {
        self.look().0.expires_at.least()
    }

    /// The expired connections that still take calls, in their order.
    pub(in crate::pool) fn expired(&mut self, now: Instant) -> Vec<ConnectionId> {
        let (index, slots) = self.look();
        let expired = index.expires_at.within(now);
        expired.filter_map(|(place, _)| Some(slots.at(place)?.0)).collect()
    }
}

fn before(at: Instant, by: Duration) -> Option<Instant> {
    let by = u64::try_from(by.as_micros()).ok()?;
    at.as_micros().checked_sub(by).map(Instant::from_micros)
}
