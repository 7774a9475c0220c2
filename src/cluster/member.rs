//! One host of the cluster: what was last heard of it, since when, and how far away it is.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, HostReport, Instant, Key, Mutation, ServerFields};
use crate::config::Host;
use crate::connection::{Lineage, QUERY_WAIT_TIMEOUT, Role, was_never_handed_on};

/// Names a host of the cluster; a host that is taken out of the list leaves nobody its name.
pub type HostId = Key<Member>;

/// How far away a host is, nobody knows for longer than this: where no query measures it, something
/// else must.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// What was last heard of a host.
#[derive(Clone, Debug)]
pub enum Standing {
    Unheard,
    Says(Role),
    /// A session on it broke, or it was silent. Its other sessions are asked.
    Suspected(Error),
    /// No session with it can be had.
    Failed(Error),
}

#[derive(Clone, Debug)]
pub enum Observation {
    /// A session of this host reported its role.
    Says(Role),
    /// A session could not be opened, or was silent when it was asked.
    ConnectFailed(Error),
    /// A session that had been established broke.
    SessionLost(Error),
    /// One was ended while nobody had asked anything in it, and nobody said why.
    IdleCut(Error),
}

#[derive(Clone, Debug)]
pub struct Member {
    pub(super) host: Arc<Host>,
    pub(super) standing: Standing,
    /// It is suspected because of idle sessions alone that were cut, which something in between may
    /// do: it is asked, and nobody is told.
    is_quiet: bool,
    /// As last said, by whatever session.
    role: Option<Role>,
    /// When a session last said it, as far as that has ended or had something new to say.
    role_at: Option<Instant>,
    /// When the host was last found to be out of reach.
    failed_at: Option<Instant>,
    /// Since when the standing is what it is.
    since: Instant,
    last_error: Option<Error>,
    round_trip: Option<Duration>,
    /// When that was last measured.
    measured_at: Instant,
    /// How far it was behind when it last said so, as a standby.
    lag: Option<Duration>,
    /// When that was.
    lag_at: Instant,
    claim: Claim,
    /// Sessions were opened since it showed that: the server may have been started anew.
    is_claim_old: bool,
    /// What it reports of its role was contradicted by its own answers: a pooler stands in between.
    is_distrusted: bool,
    /// What its newest session was told of its place.
    told: Option<Told>,
    /// It was decided, and told, what becomes of its claim to be the primary on this timeline.
    judged: Option<Option<u32>>,
}

/// What a host said of its place in the history of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The timeline that it follows, as a standby.
    pub follows: Option<u32>,
    pub told_at: Instant,
    /// When the session was opened.
    pub opened_at: Instant,
}

/// What a host can show for being the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It has not been asked since it was last heard to be a primary.
    Unproved,
    Proved(Lineage),
    /// It was asked, and did not tell.
    Mute,
}

/// A host as users see it.
#[derive(Clone, Debug)]
pub struct HostView {
    pub host: Arc<str>,
    /// As last said; `None` before it said anything.
    pub role: Option<Role>,
    pub state: &'static str,
    pub since: Instant,
    pub last_error: Option<Error>,
    pub round_trip: Option<Duration>,
    /// As last said, of a standby that is at work.
    pub lag: Option<Duration>,
    /// When each of them was true: as far as sessions that are open have not said it again since.
    pub role_at: Option<Instant>,
    pub failed_at: Option<Instant>,
    pub measured_at: Instant,
    pub lag_at: Instant,
}

impl Standing {
    /// `None`: it is what it was.
    fn after(&self, observation: &Observation) -> Option<Self> {
        match (self, observation) {
            (Self::Says(known), Observation::Says(role)) if known == role => None,
            (_, Observation::Says(role)) => Some(Self::Says(*role)),
            // A host without a free place for one more session is well.
            (Self::Says(_) | Self::Suspected(_), Observation::ConnectFailed(error))
                if error.code() == TOO_MANY_CONNECTIONS && !Mutation::SuspectFullHost.is_on() =>
            {
                None
            }
            (
                Self::Says(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            ) if is_own_end(error) => None,
            // It is being asked already.
            (Self::Suspected(_), Observation::IdleCut(_)) => None,
            (
                Self::Says(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            )
            | (Self::Suspected(_), Observation::SessionLost(error)) => {
                Some(Self::Suspected(error.clone()))
            }
            (
                Self::Unheard | Self::Suspected(_) | Self::Failed(_),
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error),
            ) => Some(Self::Failed(error.clone())),
        }
    }

    /// In one word. `'refusing'`: it answers, and will have no session.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Unheard => "unknown",
            Self::Says(_) => "up",
            Self::Suspected(_) => "suspected",
            Self::Failed(error) if error.server().is_some() => "refusing",
            Self::Failed(_) => "down",
        }
    }
}

impl Member {
    pub(super) fn new(host: Arc<Host>, now: Instant) -> Self {
        Self {
            host,
            standing: Standing::Unheard,
            is_quiet: false,
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
            told: None,
            judged: None,
        }
    }

    pub(super) fn observe(&mut self, now: Instant, observation: &Observation) {
        match observation {
            Observation::Says(role) => {
                self.role = Some(*role);
                self.role_at = Some(now);
            }
            Observation::ConnectFailed(error) | Observation::SessionLost(error) => {
                self.failed_at = Some(now);
                self.last_error = Some(error.clone());
            }
            Observation::IdleCut(_) => {}
        }
        let before = self.state();
        // What says nothing against a host that is up says nothing against one that is quietly
        // looked into.
        let says_nothing = self.is_quiet
            && match observation {
                Observation::Says(_) => false,
                Observation::ConnectFailed(error)
                | Observation::SessionLost(error)
                | Observation::IdleCut(error) => is_own_end(error),
            };
        if !says_nothing && let Some(standing) = self.standing.after(observation) {
            // Behind this it may have been rewound, or promoted anew.
            if matches!(standing, Standing::Failed(_) | Standing::Says(Role::Standby)) {
                self.claim = Claim::Unproved;
                self.told = None;
                self.judged = None;
            }
            if !matches!(standing, Standing::Says(Role::Standby)) {
                self.lag = None;
            }
            self.is_quiet = matches!(
                (&standing, observation),
                (Standing::Suspected(_), Observation::IdleCut(_))
            );
            self.standing = standing;
            if before != self.state() {
                self.since = now;
            }
        }
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn set_claim(&mut self, lineage: Option<Lineage>) {
        self.claim = lineage.map_or(Claim::Mute, Claim::Proved);
        self.is_claim_old = false;
    }

    pub(super) fn is_claim_old(&self) -> bool {
        self.is_claim_old
    }

    pub(super) fn age_claim(&mut self) {
        self.is_claim_old = true;
    }

    /// What it showed was of an earlier session. It may have been promoted since.
    pub(super) fn doubt_claim(&mut self) {
        self.claim = Claim::Unproved;
        self.told = None;
    }

    pub(super) fn distrust(&mut self) {
        self.is_distrusted = true;
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.is_distrusted
    }

    pub(super) fn tell_place(&mut self, told: Told) {
        self.told = Some(told);
    }

    pub(super) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    pub(super) fn timeline(&self) -> Option<u32> {
        match &self.claim {
            Claim::Proved(lineage) => Some(lineage.timeline),
            Claim::Unproved | Claim::Mute => None,
        }
    }

    pub(super) fn is_judged(&self) -> bool {
        self.judged == Some(self.timeline())
    }

    /// Says whether it was not judged before.
    pub(super) fn judge(&mut self) -> bool {
        let timeline = Some(self.timeline());
        std::mem::replace(&mut self.judged, timeline) != timeline
    }

    /// A turn of a loop that was busy makes a sample longer and never shorter: what is short is
    /// believed sooner than what is long.
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

    /// A session that said the same as before, and is over, said it until then.
    pub(super) fn said_until(&mut self, then: Instant) {
        self.role_at = self.role_at.map(|at| at.max(then));
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// As last said, by whatever session.
    pub(super) fn role(&self) -> Option<Role> {
        self.role
    }

    /// Whether a session with it could ever be had.
    pub(super) fn has_served(&self) -> bool {
        self.role.is_some() && !Mutation::ForgetServed.is_on()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// In one word, as users see it.
    fn state(&self) -> &'static str {
        if self.is_quiet { "up" } else { self.standing.state() }
    }

    pub(super) fn glance(&self) -> (&'static str, Option<Role>) {
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
        let why = match &self.standing {
            Standing::Unheard => "no answer yet".to_owned(),
            Standing::Says(Role::ReadWrite) => "takes writes".to_owned(),
            Standing::Says(Role::ReadOnly) => "is read-only (default_transaction_read_only is on: \
                                               a fence, or a setting of this role or database)"
                .to_owned(),
            Standing::Says(Role::Standby) => "is a standby (in recovery)".to_owned(),
            Standing::Suspected(error) | Standing::Failed(error) => error.message().to_owned(),
        };
        let cause = match &self.standing {
            Standing::Suspected(error) | Standing::Failed(error) if error.server().is_some() => {
                Some(error.clone())
            }
            Standing::Suspected(error) | Standing::Failed(error) => error.cause().cloned(),
            Standing::Unheard | Standing::Says(_) => None,
        };
        HostReport { host: Arc::clone(&self.host.name), why, cause }
    }
}

/// `too_many_connections`.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// A session that its own time limits ended: `idle_session_timeout`,
/// `idle_in_transaction_session_timeout` and `transaction_timeout` say nothing of the host, and no
/// more does a pooler that has no session free.
fn is_own_end(error: &Error) -> bool {
    let is_crowded =
        |fields: &ServerFields| was_never_handed_on(fields) && fields.message == QUERY_WAIT_TIMEOUT;
    let says_nothing = matches!(error.code(), "57P05" | "25P03" | "25P04")
        || error.server().is_some_and(is_crowded);
    says_nothing && !Mutation::SuspectTidyHost.is_on()
}

/// Which of two failures, at two addresses of a host, says more of it: a server's own word, and of
/// two of these the one that may pass.
pub fn more_telling(earlier: Error, later: Error) -> Error {
    let weight = |error: &Error| (error.server().is_some(), !is_permanent(error));
    if weight(&earlier) > weight(&later) { earlier } else { later }
}

/// Wrong password, role, database, privilege or startup parameter, or an authentication that can't
/// work: only a person can heal these.
pub(super) fn is_permanent(error: &Error) -> bool {
    if Mutation::RefuseToWait.is_on() && error.code() == "57P03" {
        return true;
    }
    match error.code() {
        "28P01" | "28000" | "3D000" | "42501" | "HYPERION_AUTHENTICATION" => true,
        "42704" | "22023" | "42601" => true,
        "08P01" => error.server().is_some_and(is_final_word_of_pooler),
        _ => false,
    }
}

/// PgBouncer has one code for all that it refuses, and names no routine. In 1.18 an unknown
/// database, too, is a login that failed.
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
