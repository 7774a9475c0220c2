//! One host of the cluster: its last report and when it came, and the round trip to it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, ErrorKind, HostReport, Instant, Key, Mutation, ServerFields};
use crate::config::Host;
use crate::connection::{Lineage, QUERY_WAIT_TIMEOUT, Role, was_never_handed_on};

/// Names a host of the cluster. The name of a host that was taken out of the list is never given to
/// another host.
pub type HostId = Key<HostState>;

/// How long a measured round trip counts as current. If no query measures it again, the pool has
/// to.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// The health of a host, by what was heard of it last.
#[derive(Clone, Debug)]
pub enum Health {
    Unknown,
    Up(Role),
    /// One of its sessions broke or was silent. Its other sessions are being asked.
    Suspected(Error),
    /// No session of it can be opened.
    Failed(Error),
}

#[derive(Clone, Debug)]
pub enum Observation {
    /// A session of this host has reported its role.
    RoleReported(Role),
    /// A session could not be opened, or was silent when it was asked.
    ConnectFailed(Error),
    /// An established session broke.
    SessionLost(Error),
    /// An idle session was cut, with no request in flight and no reason given by the server.
    IdleCut(Error),
    /// The host has not answered a question in time.
    FellSilent,
    /// The host has answered, or owes nothing any more.
    Heard,
}

#[derive(Clone, Debug)]
pub struct HostState {
    pub(super) host: Arc<Host>,
    pub(super) health: Health,
    /// The host is suspected only because idle sessions were cut, which a network device may have
    /// done. So the host is asked, and no event announces the suspicion.
    is_unannounced: bool,
    /// The role that a session of it reported last.
    role: Option<Role>,
    /// When a session last reported the role. Open sessions that repeat a known role are not
    /// counted here.
    role_at: Option<Instant>,
    /// When the host was last found to be unreachable.
    failed_at: Option<Instant>,
    /// Since when users have seen its present state.
    since: Instant,
    last_error: Option<Error>,
    round_trip: Option<Duration>,
    /// When the round trip was last measured.
    measured_at: Instant,
    /// How far it was behind when it last reported that, as a standby.
    lag: Option<Duration>,
    /// When it reported that.
    lag_at: Instant,
    claim: Claim,
    /// Sessions were opened since the host proved its claim, so the server may have been restarted
    /// since.
    is_claim_old: bool,
    /// Its reports of its role were contradicted by its own answers: a pooler stands in between.
    is_distrusted: bool,
    /// Its place in the history of the data, as its newest session reported it.
    timeline_report: Option<TimelineReport>,
    /// The timeline with which its claim to be the primary was decided and announced; outer `None`
    /// if it was not.
    decided: Option<Option<u32>>,
}

/// A host's report of its place in the history of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineReport {
    /// The timeline that it follows, if it is a standby.
    pub follows: Option<u32>,
    pub reported_at: Instant,
    /// When the session was opened that reported this.
    pub opened_at: Instant,
}

/// What a host can prove of its claim to be the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It was not asked since its claim was last reset.
    Unproved,
    Proved(Lineage),
    /// It was asked, and did not answer.
    Unanswered,
}

/// A host as users see it.
#[derive(Clone, Debug)]
pub struct HostView {
    pub host: Arc<str>,
    /// The role that it reported last; `None` before it reported any.
    pub role: Option<Role>,
    pub state: &'static str,
    pub since: Instant,
    pub last_error: Option<Error>,
    pub round_trip: Option<Duration>,
    /// The lag that it reported last, while it is a reachable standby.
    pub lag: Option<Duration>,
    /// When each of these facts was last true, not counting open sessions that have confirmed it
    /// since.
    pub role_at: Option<Instant>,
    pub failed_at: Option<Instant>,
    pub measured_at: Instant,
    pub lag_at: Instant,
}

impl Health {
    /// The health after an observation; `None` if it stays the same.
    fn after(&self, observation: &Observation) -> Option<Self> {
        match (self, observation) {
            (Self::Up(known), Observation::RoleReported(role)) if known == role => None,
            (_, Observation::RoleReported(role)) => Some(Self::Up(*role)),
            (_, Observation::FellSilent | Observation::Heard) => None,
            // A host that only has no room for another connection is in order.
            (Self::Up(_) | Self::Suspected(_), Observation::ConnectFailed(error))
                if error.kind() == ErrorKind::TooManyConnections
                    && !Mutation::SuspectFullHost.is_on() =>
            {
                None
            }
            (
                Self::Up(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            ) if is_own_end(error) => None,
            // The host is being asked already.
            (Self::Suspected(_), Observation::IdleCut(_)) => None,
            (
                Self::Up(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            )
            | (Self::Suspected(_), Observation::SessionLost(error)) => {
                Some(Self::Suspected(error.clone()))
            }
            (
                Self::Unknown | Self::Suspected(_) | Self::Failed(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            ) => Some(Self::Failed(error.clone())),
        }
    }

    /// The health in one word. `'refusing'` means that a server answers there and accepts no
    /// session.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up(_) => "up",
            Self::Suspected(_) => "suspected",
            Self::Failed(error) if error.server().is_some() => "refusing",
            Self::Failed(_) => "down",
        }
    }
}

impl HostState {
    pub(super) fn new(host: Arc<Host>, now: Instant) -> Self {
        Self {
            host,
            health: Health::Unknown,
            is_unannounced: false,
            role: None,
            role_at: None,
            failed_at: None,
            since: now,
            last_error: None,
            round_trip: None,
            measured_at: now,
            lag: None,
            lag_at: now,
            claim: Claim::Unproved,
            is_claim_old: false,
            is_distrusted: false,
            timeline_report: None,
            decided: None,
        }
    }

    pub(super) fn observe(&mut self, now: Instant, observation: &Observation) {
        match observation {
            Observation::RoleReported(role) => {
                self.role = Some(*role);
                self.role_at = Some(now);
            }
            Observation::ConnectFailed(error) | Observation::SessionLost(error) => {
                self.failed_at = Some(now);
                self.last_error = Some(error.clone());
            }
            Observation::IdleCut(_) | Observation::FellSilent | Observation::Heard => {}
        }
        let before = self.state();
        // An error that would not make a host suspected changes nothing either while the suspicion
        // is not announced.
        let says_nothing = self.is_unannounced
            && match observation {
                Observation::RoleReported(_) | Observation::FellSilent | Observation::Heard => {
                    false
                }
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error) => is_own_end(error),
            };
        if !says_nothing && let Some(health) = self.health.after(observation) {
            // After this the host may have been rewound, or promoted once more.
            if matches!(health, Health::Failed(_) | Health::Up(Role::Standby)) {
                self.claim = Claim::Unproved;
                self.timeline_report = None;
                self.decided = None;
            }
            if !matches!(health, Health::Up(Role::Standby)) {
                self.lag = None;
            }
            self.is_unannounced =
                matches!((&health, observation), (Health::Suspected(_), Observation::IdleCut(_)));
            self.health = health;
            if before != self.state() {
                self.since = now;
            }
        }
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn set_claim(&mut self, lineage: Option<Lineage>) {
        self.claim = lineage.map_or(Claim::Unanswered, Claim::Proved);
        self.is_claim_old = false;
    }

    pub(super) fn is_claim_old(&self) -> bool {
        self.is_claim_old
    }

    pub(super) fn age_claim(&mut self) {
        self.is_claim_old = true;
    }

    /// The claim was proved on an earlier session, and the host may have been promoted since.
    pub(super) fn reset_claim(&mut self) {
        self.claim = Claim::Unproved;
        self.timeline_report = None;
    }

    pub(super) fn distrust(&mut self) {
        self.is_distrusted = true;
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.is_distrusted
    }

    pub(super) fn set_timeline_report(&mut self, report: TimelineReport) {
        self.timeline_report = Some(report);
    }

    pub(super) fn timeline_report(&self) -> Option<&TimelineReport> {
        self.timeline_report.as_ref()
    }

    pub(super) fn timeline(&self) -> Option<u32> {
        match &self.claim {
            Claim::Proved(lineage) => Some(lineage.timeline),
            Claim::Unproved | Claim::Unanswered => None,
        }
    }

    pub(super) fn is_decided(&self) -> bool {
        self.decided == Some(self.timeline())
    }

    /// Records the decision about the present claim. Returns whether it had not been decided
    /// before.
    pub(super) fn mark_decided(&mut self) -> bool {
        let timeline = Some(self.timeline());
        std::mem::replace(&mut self.decided, timeline) != timeline
    }

    /// Takes a measured round trip. A busy event loop makes a sample longer and never shorter, so a
    /// short sample counts for more than a long one.
    pub(super) fn measured(&mut self, now: Instant, sample: Duration) {
        let is_old = self.is_measurement_old(now);
        self.measured_at = now;
        self.round_trip = Some(match self.round_trip {
            None => sample,
            Some(mean) if sample < mean && is_old => sample,
            Some(mean) if sample < mean => (mean + sample) / 2,
            Some(mean) => mean + (sample - mean) / 8,
        });
    }

    pub(super) fn is_measurement_old(&self, now: Instant) -> bool {
        self.round_trip.is_some() && now.since(self.measured_at) >= MEASURE_EVERY
    }

    pub(super) fn lags(&mut self, now: Instant, lag: Option<Duration>) {
        self.lag = lag;
        self.lag_at = now;
    }

    /// A session is over that confirmed the known role until `then`.
    pub(super) fn confirmed_until(&mut self, then: Instant) {
        self.role_at = self.role_at.map(|at| at.max(then));
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The role that a session of it reported last.
    pub(super) fn role(&self) -> Option<Role> {
        self.role
    }

    /// Whether a session of it was ever open.
    pub(super) fn has_served(&self) -> bool {
        self.role.is_some() && !Mutation::ForgetServed.is_on()
    }

    /// The error of the last attempt, if no waiting can mend it. Nothing vouches for what is said
    /// before a connection is encrypted: a balancer whose server is away says it too. So a host that
    /// had a session is taken to be restarting.
    pub(super) fn permanent_error(&self) -> Option<&Error> {
        match &self.health {
            Health::Failed(error) if error.code() == "HYPERION_TLS" && self.has_served() => None,
            Health::Failed(error) if is_permanent(error) => Some(error),
            Health::Unknown | Health::Up(_) | Health::Suspected(_) | Health::Failed(_) => None,
        }
    }

    pub(super) fn is_unannounced(&self) -> bool {
        self.is_unannounced
    }

    /// The state in one word, as users see it.
    fn state(&self) -> &'static str {
        if self.is_unannounced { "up" } else { self.health.state() }
    }

    pub(super) fn summary(&self) -> (&'static str, Option<Role>) {
        (self.state(), self.role)
    }

    pub(super) fn view(&self) -> HostView {
        HostView {
            host: Arc::clone(&self.host.name),
            role: self.role,
            state: self.state(),
            since: self.since,
            last_error: self.last_error.clone(),
            round_trip: self.round_trip,
            lag: self.lag,
            role_at: self.role_at,
            failed_at: self.failed_at,
            measured_at: self.measured_at,
            lag_at: self.lag_at,
        }
    }

    pub(super) fn report(&self) -> HostReport {
        let why = match &self.health {
            Health::Unknown => "no answer yet".to_owned(),
            Health::Up(Role::ReadWrite) => "takes writes".to_owned(),
            Health::Up(Role::ReadOnly) => "is read-only (default_transaction_read_only is on: \
                                               a fence, or a setting of this role or database)"
                .to_owned(),
            Health::Up(Role::Standby) => "is a standby (in recovery)".to_owned(),
            Health::Suspected(error) | Health::Failed(error) => error.message().to_owned(),
        };
        let cause = match &self.health {
            Health::Suspected(error) | Health::Failed(error) if error.server().is_some() => {
                Some(error.clone())
            }
            Health::Suspected(error) | Health::Failed(error) => error.cause().cloned(),
            Health::Unknown | Health::Up(_) => None,
        };
        HostReport { host: Arc::clone(&self.host.name), why, cause }
    }
}

/// Whether an error says nothing about its host: the session's own time limits ended it
/// (`idle_session_timeout`, `idle_in_transaction_session_timeout`, `transaction_timeout`), or a
/// pooler had no server connection free.
fn is_own_end(error: &Error) -> bool {
    let is_crowded =
        |fields: &ServerFields| was_never_handed_on(fields) && fields.message == QUERY_WAIT_TIMEOUT;
    let is_time_limit = matches!(
        error.kind(),
        ErrorKind::IdleSessionTimeout
            | ErrorKind::IdleInTransactionTimeout
            | ErrorKind::TransactionTimeout
    );
    let says_nothing = is_time_limit || error.server().is_some_and(is_crowded);
    says_nothing && !Mutation::SuspectTidyHost.is_on()
}

/// The failure that says more about a host, of two at different addresses of it: an error that a
/// server reported, and of two such errors the one that may pass.
pub fn more_conclusive(earlier: Error, later: Error) -> Error {
    let weight = |error: &Error| (error.server().is_some(), !is_permanent(error));
    if weight(&earlier) > weight(&later) { earlier } else { later }
}

/// Whether only a person can mend the error: a wrong password, role, database, privilege or startup
/// parameter, a method of authentication that can't work, or a certificate that is not trusted.
fn is_permanent(error: &Error) -> bool {
    if Mutation::RefuseToWait.is_on() && error.kind() == ErrorKind::CannotConnectNow {
        return true;
    }
    match error.code() {
        "28P01" | "28000" | "3D000" | "42501" | "HYPERION_AUTHENTICATION" | "HYPERION_TLS" => true,
        "42704" | "22023" | "42601" => true,
        "08P01" => error.server().is_some_and(is_final_word_of_pooler),
        _ => false,
    }
}

/// Whether a refusal of PgBouncer's is permanent. PgBouncer uses one code for all refusals, and
/// names no routine. In 1.18 it reports an unknown database as a failed login too.
fn is_final_word_of_pooler(fields: &ServerFields) -> bool {
    const REFUSALS: [&str; 6] = [
        "SASL authentication failed",
        "password authentication failed",
        "unsupported startup parameter",
        "no such user",
        "no such database",
        "login rejected",
    ];
    fields.routine.is_none() && REFUSALS.iter().any(|text| fields.message.starts_with(text))
}
