//! A cluster that has gone back to an older timeline than the newest one that served
//! (`src/cluster/topology/rewind.rs`).
//!
//! While no host serves, and a host claims an older timeline, every host is asked for its timeline.
//! Where all of them are behind the newest timeline, the pool opens new sessions and asks again,
//! because a name may lead to another server by now. It goes on asking for [`STEADY`], because an
//! operator may be about to start the server that has the newest timeline. Then the older timeline
//! is served.

use std::time::Duration;

use super::{Context, Discovery};
use crate::base::{Instant, Mutation};
use crate::cluster::HostId;
use crate::pool::ConnectionId;
use crate::pool::connections::{Duty, Slot};

/// How long the answers of all hosts must have stayed the same.
const STEADY: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_secs(1);

/// All hosts have said that they are behind the newest timeline that served.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Rewinding {
    since: Instant,
    ask_at: Instant,
}

impl Discovery {
    /// Checks whether the cluster has gone back for good. Called at the end of each turn.
    pub(in crate::pool) fn watch_rewind(&mut self, now: Instant, cx: &mut Context<'_>) {
        let topology = self.cluster.topology();
        // New sessions have to report again what was reported before.
        let goes_on = match self.rewinding {
            None => !topology.is_served() && topology.may_have_gone_back(),
            Some(_) => topology.none_is_newest(),
        };
        if !goes_on || Mutation::ForgetRewind.is_on() {
            self.rewinding = None;
            return;
        }
        match self.rewinding {
            None if topology.gone_back_to(Instant::ORIGIN, Instant::ORIGIN).is_some() => {
                self.rewinding = Some(Rewinding { since: now, ask_at: now + ASK_EVERY });
                self.outage.search_until(now + STEADY + STEADY);
                self.renew_scouts(now, cx);
                if Mutation::RewindBlindly.is_on() {
                    self.go_back(now, Instant::ORIGIN, Instant::ORIGIN, cx);
                }
            }
            Some(Rewinding { since, ask_at }) => {
                if now >= since + STEADY {
                    self.go_back(now, since, since + STEADY, cx);
                }
                if self.rewinding.is_some() && ask_at <= now {
                    self.rewinding = Some(Rewinding { since, ask_at: now + ASK_EVERY });
                    // Some logins were under way then.
                    self.renew_scouts(since, cx);
                    for host in self.cluster.topology().host_ids().to_vec() {
                        self.ask_scout(now, host, cx);
                    }
                }
            }
            None => {}
        }
        for host in self.cluster.topology().unreported() {
            self.ask_scout(now, host, cx);
        }
    }

    fn go_back(&mut self, now: Instant, opened: Instant, reported: Instant, cx: &mut Context<'_>) {
        let Some(host) = self.cluster.topology().gone_back_to(opened, reported) else { return };
        self.rewinding = None;
        if let Some(previous) = self.cluster.go_back_to(host) {
            self.emit_rewound(host, previous);
            self.found(now, host, cx);
        }
    }

    /// Closes scouts that are older. The next search opens new ones.
    fn renew_scouts(&mut self, since: Instant, cx: &mut Context<'_>) {
        let is_old = |slot: &Slot| is_scout(slot) && slot.opened_at < since;
        let scouts = cx.connections.those_apart(is_old);
        scouts.into_iter().for_each(|id| cx.connections.retire(id));
    }

    fn ask_scout(&mut self, now: Instant, host: HostId, cx: &mut Context<'_>) {
        let of = |slot: &Slot| slot.host == host && is_scout(slot);
        // An older session's answer at another address is not taken for the host's place.
        let scouts = cx.connections.apart().filter(|(_, slot)| of(slot));
        let newest: Option<ConnectionId> =
            scouts.max_by_key(|(_, slot)| slot.opened_at).map(|(id, _)| id);
        if let Some(id) = newest
            && cx.connections.get(id).is_some_and(|slot| !slot.connection.is_asking_place())
        {
            cx.connections.ask_place(now, id);
        }
    }

    pub(in crate::pool) fn rewind_timeout(&self) -> Option<(Instant, &'static str)> {
        self.rewinding.map(|rewinding| (rewinding.ask_at, "rewind"))
    }
}

fn is_scout(slot: &Slot) -> bool {
    matches!(slot.duty, Duty::Scouting { .. }) && slot.connection.role().is_some()
}
