//! Where a primary stands in the history of its cluster: what tells two hosts apart that both claim to be
//! the primary, which what they report of themselves does not.

use crate::protocol::data_row::{check_data_row, fields};

/// Whatever role may log in may call these.
pub(super) const QUESTION: &str = "\
    SELECT s.system_identifier, extract(epoch FROM pg_catalog.pg_postmaster_start_time()), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr(\
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END \
    FROM pg_catalog.pg_control_system() AS s";

const COLUMNS: usize = 3;
/// An identifier or a number; a server can send anything.
const LONGEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The system identifier, which all hosts of a cluster have in common.
    pub system: String,
    /// Each promotion begins a new one, with a higher number.
    pub timeline: u32,
    /// When this server started: two names for one server have it in common too.
    pub started: String,
}

impl Lineage {
    /// The answer to [`QUESTION`]; `None` from a standby, and from what is no PostgreSQL and answers something else.
    pub(super) fn from_row(body: &[u8]) -> Option<Self> {
        check_data_row(body, COLUMNS).ok()?;
        let text = |field: Option<&[u8]>| {
            let text = std::str::from_utf8(field?).ok()?;
            (text.len() <= LONGEST).then(|| text.to_owned())
        };
        let mut columns = fields(body).map(text);
        let mut next = || columns.next().flatten();
        let (system, started, timeline) = (next(), next(), next());
        // The first eight digits of a WAL file's name are its timeline.
        let timeline = timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
        Some(Self { system: system?, timeline: timeline?, started: started? })
    }

    /// Whether both are the same server, under two names.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.system == other.system && self.started == other.started
    }
}
