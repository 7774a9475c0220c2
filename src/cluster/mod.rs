//! Floor 3: the hosts, what each of them last said, and where to look for those that serve.
//!
//! Owns: the topology, a value that changes by observations alone, and when each host may be asked
//! again. Imports `base`, `config` and `connection`. Never holds a connection, never does I/O,
//! never reads a clock.
//!
//! ```text
//! The seat of a mode in which one host serves:
//! Unknown ──a host fits──▶ Known ──a session breaks──▶ Suspected ──it answers, or another host fits──▶ Known
//!    ▲                       └──the host says that it no longer fits──┐
//!    └─────────────────────────────────────────────────────────────────┘
//! A host's standing, which alone decides in all other modes:
//! Unheard ──▶ Says(role) ──a session breaks──▶ Suspected ──no session can be had──▶ Failed ──▶ Says(role)
//! ```

mod asking;
mod backoff;
mod member;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use asking::Asking;
pub use member::{HostId, HostView, Member, Observation, Standing, Told, more_telling};
pub use topology::{Change, Decision, Primary, Rank, Topology, Verdict, fits};

use crate::base::{Error, HostReport, Instant, Mutation, Random};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::{Lineage, Role};

/// The topology together with the times at which hosts may be asked again.
#[derive(Debug)]
pub struct Cluster {
    topology: Topology,
    asking: BTreeMap<HostId, Asking>,
    random: Random,
    /// A server has answered, whatever it said.
    is_met: bool,
}

impl Cluster {
    pub fn new(hosts: Vec<Arc<Host>>, mode: TargetSessionAttrs, seed: u64, now: Instant) -> Self {
        let topology = Topology::new(hosts, mode, now);
        let asking = topology.host_ids().iter().map(|id| (*id, Asking::default())).collect();
        Self { topology, asking, random: Random::from_seed(seed), is_met: false }
    }

    /// Takes another list of hosts, and returns those that are no longer in it.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Arc<Host>>) -> Vec<HostId> {
        let gone = self.topology.set_hosts(now, hosts);
        self.asking.retain(|id, _| !gone.contains(id));
        for id in self.topology.host_ids() {
            self.asking.entry(*id).or_default();
        }
        gone
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The host in the seat, where that is not in doubt.
    pub fn known_primary(&self) -> Option<HostId> {
        match self.topology().primary() {
            Primary::Known(host) => Some(host),
            Primary::Unknown | Primary::Suspected(_) => None,
        }
    }

    /// What a host of the list is called.
    pub fn name(&self, host: HostId) -> Option<Arc<str>> {
        self.topology().host(host).map(|host| Arc::clone(&host.name))
    }

    pub fn observe(&mut self, now: Instant, host: HostId, observation: &Observation) -> Change {
        if let Some(asking) = self.asking.get_mut(&host) {
            match observation {
                Observation::ConnectFailed(_) => asking.failed(now, &mut self.random),
                Observation::Says(role) if !fits(self.topology.mode(), *role) => asking.denied(now),
                Observation::Says(_) | Observation::SessionLost(_) | Observation::IdleCut(_) => {}
            }
        }
        self.is_met |= match observation {
            Observation::Says(_) => true,
            Observation::ConnectFailed(error)
            | Observation::SessionLost(error)
            | Observation::IdleCut(error) => error.server().is_some(),
        };
        self.topology.update(now, host, observation)
    }

    /// Whether a session that was asked at that time may have answered before its host denied that
    /// it fits: another session's answer was faster.
    pub fn is_old_news(&self, host: HostId, role: Role, asked_at: Instant) -> bool {
        self.asking.get(&host).is_some_and(|asking| asking.has_denied_since(asked_at))
            && !Mutation::BelieveOldNews.is_on()
            && fits(self.topology.mode(), role)
    }

    /// An attempt to open a session begins.
    pub fn asked(&mut self, now: Instant, host: HostId) {
        if let Some(asking) = self.asking.get_mut(&host) {
            asking.asked(now);
        }
    }

    /// The host is asked on a session that its name leads to now.
    pub fn renewed(&mut self, now: Instant, host: HostId) {
        if let Some(asking) = self.asking.get_mut(&host) {
            asking.renewed(now, &mut self.random);
        }
    }

    /// When a host whose sessions do not fit is to be asked on a new one, behind a new look-up of
    /// its name.
    pub fn renewal_at(&self, host: HostId) -> Instant {
        self.asking.get(&host).map_or(Instant::ORIGIN, Asking::renewal_at)
    }

    /// A login has succeeded. What older sessions say proves nothing of that: a host may refuse new
    /// ones.
    pub fn logged_in(&mut self, host: HostId) {
        self.topology.begin_session(host);
        if let Some(asking) = self.asking.get_mut(&host) {
            asking.succeeded();
        }
    }

    /// Asks the host for no session for a while, as after an attempt that failed.
    pub fn leave_alone(&mut self, now: Instant, host: HostId) {
        if let Some(asking) = self.asking.get_mut(&host) {
            asking.failed(now, &mut self.random);
        }
    }

    /// A session of the host answered a bare Sync after so long.
    pub fn measured(&mut self, now: Instant, host: HostId, round_trip: Duration) {
        if let Some(member) = self.topology.member_mut(host) {
            member.measured(now, round_trip);
        }
    }

    /// How far the host said that it is behind, as a standby.
    pub fn lags(&mut self, now: Instant, host: HostId, lag: Option<Duration>) {
        if let Some(member) = self.topology.member_mut(host) {
            member.lags(now, lag);
        }
    }

    /// A session of the host is over, which said last at that time what is known of it.
    pub fn said_until(&mut self, host: HostId, then: Instant) {
        if let Some(member) = self.topology.member_mut(host) {
            member.said_until(then);
        }
    }

    /// What the host answered to the question for its history.
    pub fn set_claim(&mut self, host: HostId, lineage: Option<Lineage>) {
        self.topology.set_claim(host, lineage);
    }

    /// What the host reports of its role says nothing.
    pub fn distrust(&mut self, host: HostId) {
        if let Some(member) = self.topology.member_mut(host) {
            member.distrust();
        }
    }

    /// What the host said of its place.
    pub fn tell_place(&mut self, host: HostId, told: Told) {
        self.topology.tell_place(host, told);
    }

    /// The host serves, on an older timeline than the one that is returned.
    pub fn go_back_to(&mut self, host: HostId) -> Option<u32> {
        self.topology.go_back_to(host)
    }

    /// The timeline that the host in the seat has gone back from.
    pub fn seat_went_back(&mut self, host: HostId) -> Option<u32> {
        self.topology.seat_went_back(host)
    }

    /// Decides about a host that claims the seat of another one.
    pub fn decide(&mut self, rival: HostId) -> Verdict {
        self.topology.decide(rival)
    }

    /// Takes note that a host's claim has been decided about, and says whether it had not been
    /// before.
    pub fn judge(&mut self, rival: HostId) -> bool {
        self.topology.judge(rival)
    }

    /// Hosts that would merely do were held back for long enough.
    pub fn settle(&mut self) -> bool {
        self.topology.settle()
    }

    /// When the host may be asked again; the past, where it may be asked now.
    pub fn may_connect_at(&self, host: HostId) -> Instant {
        self.asking.get(&host).map_or(Instant::ORIGIN, Asking::may_connect_at)
    }

    /// When a host that nobody waits for may be asked again.
    pub fn may_look_at(&self, host: HostId) -> Instant {
        self.asking.get(&host).map_or(Instant::ORIGIN, Asking::may_look_at)
    }

    /// When a host that was last looked at then may be asked again, whoever else asked it
    /// meanwhile.
    pub fn may_look_again(&self, host: HostId, looked_at: Option<Instant>) -> Instant {
        self.asking.get(&host).map_or(Instant::ORIGIN, |asking| asking.may_look_again(looked_at))
    }

    /// A number below `bound`, for a choice among equals.
    pub fn draw(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    /// Why no host will do, host by host.
    pub fn reports(&self) -> Vec<HostReport> {
        self.topology.reports()
    }

    /// Whether there is no server at any host as far as the system knows, and none has ever
    /// answered: the list of hosts may be wrong. Where one has, it is a restart or a failover,
    /// which ends.
    pub fn is_nowhere(&self) -> bool {
        (!self.is_met || Mutation::ForgetServer.is_on()) && self.topology.is_nowhere()
    }

    /// The error that no waiting heals, where every host that answers at all gave one.
    pub fn hopeless(&self) -> Option<&Error> {
        self.topology.hopeless()
    }
}
