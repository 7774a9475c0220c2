//! Floor 3: the hosts, what each of them last reported, and which hosts to ask next.
//!
//! Owns: the topology, a value that changes only by observations, and the times at which each host
//! may be asked again. Imports `base`, `config` and `connection`. Never holds a connection, never
//! does I/O, never reads a clock.
//!
//! ```text
//! The seat, in a mode in which one host serves:
//! Unknown ─a host fits─▶ Known ─a session breaks─▶ Suspected ─it or another host fits─▶ Known
//!    ▲                     │ ▲└─an answer is overdue─▶ Silent ─a session breaks─▶ Suspected
//!    │                     │ └──the host answers───────┘
//!    │                     └──the host says that it no longer fits──┐
//!    └─────────────────────────────────────────────────────────────┘
//! The health of a host, which alone decides in all other modes:
//! Unknown ─▶ Up(role) ─a session breaks─▶ Suspected ─no session opens─▶ Failed ─▶ Up(role)
//! ```

mod backoff;
mod host_state;
mod retry_schedule;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use host_state::{
    Health, HostId, HostState, HostView, Observation, TimelineReport, more_conclusive,
};
use retry_schedule::RetrySchedule;
pub use topology::{Change, Decision, Primary, Rank, RivalVerdict, Topology, fits};

use crate::base::{Error, HostReport, Instant, Mutation, Random};
use crate::config::{Host, TargetSessionAttrs};
use crate::connection::{Lineage, Role};

/// The topology together with the times at which hosts may be asked again.
#[derive(Debug)]
pub struct Cluster {
    topology: Topology,
    schedules: BTreeMap<HostId, RetrySchedule>,
    random: Random,
    /// A server of the cluster has answered, with any answer.
    has_answered: bool,
}

impl Cluster {
    pub fn new(hosts: Vec<Arc<Host>>, mode: TargetSessionAttrs, seed: u64, now: Instant) -> Self {
        let topology = Topology::new(hosts, mode, now);
        let schedules =
            topology.host_ids().iter().map(|id| (*id, RetrySchedule::default())).collect();
        Self { topology, schedules, random: Random::from_seed(seed), has_answered: false }
    }

    /// Takes another list of hosts, and returns the hosts that are no longer in it.
    pub fn set_hosts(&mut self, now: Instant, hosts: Vec<Arc<Host>>) -> Vec<HostId> {
        let gone = self.topology.set_hosts(now, hosts);
        self.schedules.retain(|id, _| !gone.contains(id));
        for id in self.topology.host_ids() {
            self.schedules.entry(*id).or_default();
        }
        gone
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The host in the seat, unless it is suspected.
    pub fn known_primary(&self) -> Option<HostId> {
        self.topology().primary().serving()
    }

    /// The name of a host that is in the list.
    pub fn name(&self, host: HostId) -> Option<Arc<str>> {
        self.topology().host(host).map(|host| Arc::clone(&host.name))
    }

    pub fn observe(&mut self, now: Instant, host: HostId, observation: &Observation) -> Change {
        if let Some(schedule) = self.schedules.get_mut(&host) {
            match observation {
                Observation::ConnectFailed(_) => schedule.failed(now, &mut self.random),
                Observation::RoleReported(role) if !fits(self.topology.mode(), *role) => {
                    schedule.unfit(now)
                }
                Observation::RoleReported(_)
                | Observation::SessionLost(_)
                | Observation::IdleCut(_)
                | Observation::FellSilent
                | Observation::Heard => {}
            }
        }
        self.has_answered |= match observation {
            Observation::RoleReported(_) => true,
            Observation::FellSilent | Observation::Heard => false,
            Observation::ConnectFailed(error)
            | Observation::SessionLost(error)
            | Observation::IdleCut(error) => error.server().is_some(),
        };
        self.topology.update(now, host, observation)
    }

    /// Whether an answer is out of date: its session was asked before the host reported, on another
    /// session, that it no longer fits.
    pub fn is_outdated(&self, host: HostId, role: Role, asked_at: Instant) -> bool {
        self.schedules.get(&host).is_some_and(|schedule| schedule.was_unfit_since(asked_at))
            && !Mutation::BelieveOldNews.is_on()
            && fits(self.topology.mode(), role)
    }

    /// An attempt to open a session of the host begins.
    pub fn asked(&mut self, now: Instant, host: HostId) {
        if let Some(schedule) = self.schedules.get_mut(&host) {
            schedule.asked(now);
        }
    }

    /// The host is being asked on a session to the address that its name leads to now.
    pub fn renewed(&mut self, now: Instant, host: HostId) {
        if let Some(schedule) = self.schedules.get_mut(&host) {
            schedule.renewed(now, &mut self.random);
        }
    }

    /// When a host whose sessions do not fit has to be asked on a new session, behind a new look-up
    /// of its name.
    pub fn renewal_at(&self, host: HostId) -> Instant {
        self.schedules.get(&host).map_or(Instant::ORIGIN, RetrySchedule::renewal_at)
    }

    /// A login at the host has succeeded. Only a login proves that: a host with open sessions may
    /// refuse new ones.
    pub fn logged_in(&mut self, host: HostId) {
        self.topology.begin_session(host);
        if let Some(schedule) = self.schedules.get_mut(&host) {
            schedule.succeeded();
        }
    }

    /// Asks the host for no session for a while, as after a failed attempt.
    pub fn back_off(&mut self, now: Instant, host: HostId) {
        if let Some(schedule) = self.schedules.get_mut(&host) {
            schedule.failed(now, &mut self.random);
        }
    }

    /// A session of the host has answered a bare Sync after `round_trip`.
    pub fn measured(&mut self, now: Instant, host: HostId, round_trip: Duration) {
        if let Some(host_state) = self.topology.host_state_mut(host) {
            host_state.measured(now, round_trip);
        }
    }

    /// The host has reported, as a standby, how far it is behind.
    pub fn lags(&mut self, now: Instant, host: HostId, lag: Option<Duration>) {
        if let Some(host_state) = self.topology.host_state_mut(host) {
            host_state.lags(now, lag);
        }
    }

    /// A session of the host is over. It last confirmed the known role at `then`.
    pub fn confirmed_until(&mut self, host: HostId, then: Instant) {
        if let Some(host_state) = self.topology.host_state_mut(host) {
            host_state.confirmed_until(then);
        }
    }

    /// The host has answered the question for its history, or refused it.
    pub fn set_claim(&mut self, host: HostId, lineage: Option<Lineage>) {
        self.topology.set_claim(host, lineage);
    }

    /// The host's reports of its role prove nothing from now on.
    pub fn distrust(&mut self, host: HostId) {
        if let Some(host_state) = self.topology.host_state_mut(host) {
            host_state.distrust();
        }
    }

    /// The host has reported its place in the history of the data.
    pub fn set_timeline_report(&mut self, host: HostId, report: TimelineReport) {
        self.topology.set_timeline_report(host, report);
    }

    /// Gives the seat to a host on an older timeline than the newest one that served. Returns that
    /// newest timeline.
    pub fn go_back_to(&mut self, host: HostId) -> Option<u32> {
        self.topology.go_back_to(host)
    }

    /// If the host in the seat has gone back to an older timeline, accepts that and returns the
    /// newer one.
    pub fn seat_went_back(&mut self, host: HostId) -> Option<u32> {
        self.topology.seat_went_back(host)
    }

    /// Decides about a host that claims another host's seat.
    pub fn decide(&mut self, rival: HostId) -> RivalVerdict {
        self.topology.decide(rival)
    }

    /// Records that a host's claim was decided. Returns whether it had not been decided before.
    pub fn mark_decided(&mut self, rival: HostId) -> bool {
        self.topology.mark_decided(rival)
    }

    /// Stops holding back hosts that are acceptable and not preferred. Returns whether any was held
    /// back.
    pub fn accept_spare(&mut self) -> bool {
        self.topology.accept_spare()
    }

    /// When the host may be asked for a session again. A time in the past means now.
    pub fn may_connect_at(&self, host: HostId) -> Instant {
        self.schedules.get(&host).map_or(Instant::ORIGIN, RetrySchedule::may_connect_at)
    }

    /// When a host may be asked again that no call is waiting for.
    pub fn may_ask_at(&self, host: HostId) -> Instant {
        self.schedules.get(&host).map_or(Instant::ORIGIN, RetrySchedule::may_ask_at)
    }

    /// When a host may be asked again that was last probed then, without regard to other
    /// questions that it was asked since.
    pub fn may_ask_again(&self, host: HostId, probed_at: Option<Instant>) -> Instant {
        self.schedules
            .get(&host)
            .map_or(Instant::ORIGIN, |schedule| schedule.may_ask_again(probed_at))
    }

    /// A random number below `bound`, for a choice among equals.
    pub fn draw(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    /// Why none of the hosts serves, for each host.
    pub fn reports(&self) -> Vec<HostReport> {
        self.topology.reports()
    }

    /// Whether the operating system says that no server exists at any host, and no server has ever
    /// answered: the list of hosts may be wrong. Once a server has answered, such errors mean a
    /// restart or a failover, which ends.
    pub fn no_server_exists(&self) -> bool {
        (!self.has_answered || Mutation::ForgetServer.is_on()) && self.topology.no_server_exists()
    }

    /// An error that no waiting can mend, if every host that answers at all gave such an error.
    pub fn permanent_error(&self) -> Option<&Error> {
        self.topology.permanent_error()
    }
}
