//! Where a server stands in its cluster, which no server reports by itself. For a primary: its
//! place in the history of the data, which tells apart two hosts that both claim to be the primary.
//! For a standby: how far it is behind.

use std::time::Duration;

use crate::protocol::data_row::{check_data_row, fields};

/// Any role that can log in may call these functions, and every operator is qualified, so that no
/// schema can replace one. A standby that has replayed everything it received counts as 0 behind,
/// since it can't know what the primary has not sent yet. A standby that receives nothing can't
/// tell its lag. The timeline that it follows is in its control file sooner or later, and
/// `pg_stat_wal_receiver` shows the timeline that it is being sent, to roles that may see it.
pub(in crate::connection) const QUESTION: &str = "\
    SELECT s.system_identifier, extract(epoch FROM pg_catalog.pg_postmaster_start_time()), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr(\
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END, \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
    OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN NULL \
    WHEN pg_catalog.pg_last_wal_receive_lsn() OPERATOR(pg_catalog.=) pg_catalog.pg_last_wal_replay_lsn() THEN 0 \
    ELSE extract(epoch FROM (pg_catalog.clock_timestamp() \
    OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp())) END, \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN GREATEST(c.timeline_id, r.min_recovery_end_timeline, \
    (SELECT w.received_tli FROM pg_catalog.pg_stat_wal_receiver AS w)) END \
    FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_control_checkpoint() AS c, \
    pg_catalog.pg_control_recovery() AS r";

const COLUMNS: usize = 5;
/// The longest text that is kept of a column, in bytes: a server can send anything.
const LONGEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The system identifier, which all hosts of a cluster have in common.
    pub system: String,
    /// Each promotion begins a new one, with a higher number.
    pub timeline: u32,
    /// When this server started. Two names of one server have it in common.
    pub started: String,
}

/// A server's place, as it reports it. All fields are empty for a server that is not PostgreSQL and
/// answers something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// For a primary only.
    pub lineage: Option<Lineage>,
    /// For a standby only: the age of the last transaction that it has replayed, by its own clock.
    /// `None` if it receives nothing.
    pub lag: Option<Duration>,
    /// For a standby only: the timeline that it follows.
    pub follows: Option<u32>,
    /// The question was cancelled, so its answer says nothing of the server.
    pub cancelled: bool,
    /// The server does not understand the question, or refuses to answer it.
    pub refused: bool,
}

impl Place {
    /// The answer to [`QUESTION`].
    pub(in crate::connection) fn from_row(body: &[u8]) -> Self {
        if check_data_row(body, COLUMNS).is_err() {
            return Self::default();
        }
        let text = |field: Option<&[u8]>| {
            let text = std::str::from_utf8(field?).ok()?;
            (text.len() <= LONGEST).then(|| text.to_owned())
        };
        let mut columns = fields(body).map(text);
        let mut next = || columns.next().flatten();
        let (system, started, timeline, lag) = (next(), next(), next(), next());
        let follows = next().and_then(|number| number.parse().ok());
        // The first eight digits of a WAL file's name are its timeline.
        let timeline = timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
        let lineage = match (system, timeline, started) {
            (Some(system), Some(timeline), Some(started)) => {
                Some(Lineage { system, timeline, started })
            }
            _ => None,
        };
        // The clocks of the standby and the primary may differ, so the age may be negative.
        let seconds = lag.and_then(|text| text.parse::<f64>().ok()).map(|seconds| seconds.max(0.0));
        let lag = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        Self { lineage, lag, follows, cancelled: false, refused: false }
    }
}

impl Lineage {
    /// Whether both are the same server, under two names.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.system == other.system && self.started == other.started
    }
}
