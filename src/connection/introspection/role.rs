//! What a server reports of itself: its role and its run-time parameters.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::Error;
use crate::connection::statement::script::is_utf8_by_name;
use crate::protocol::data_row::{check_data_row, fields};

/// The role of a server, as it last reported it: what a session there may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Out of recovery, and new transactions may write.
    ReadWrite,
    /// Out of recovery, and new transactions are read-only: `default_transaction_read_only` is on.
    /// Administrators fence a primary in this way.
    ReadOnly,
    /// In recovery.
    Standby,
}

/// For servers that do not report their role.
pub(in crate::connection) const QUESTION: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' \
                                   ELSE pg_catalog.current_setting('transaction_read_only') END";

/// For servers that speak the protocol and have no `pg_is_in_recovery()`, or forbid calling it.
pub(in crate::connection) const PLAIN_QUESTION: &str = "SHOW transaction_read_only";

/// Whether this error code says that the server does not understand the question or may not answer
/// it, so that it will say the same the next time.
pub(in crate::connection) fn is_refusal(code: &str) -> bool {
    matches!(code, "42883" | "42P01" | "42703" | "3F000" | "42704" | "42601" | "42501" | "0A000")
}

impl Role {
    /// The answer to [`QUESTION`] or [`PLAIN_QUESTION`].
    pub(in crate::connection) fn from_row(body: &[u8]) -> Result<Self, Error> {
        check_data_row(body, 1)?;
        match fields(body).next().flatten() {
            Some(b"on") => Ok(Self::ReadOnly),
            Some(b"off") => Ok(Self::ReadWrite),
            Some(b"standby") => Ok(Self::Standby),
            _ => Err(Error::protocol("the server did not report its role")),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Standby => "standby",
        }
    }
}

const MOST_PARAMETERS: usize = 256;
const LONGEST_PARAMETER: usize = 1024;

/// The run-time parameters that the server reports (PostgreSQL manual, 55.2.7). Their number and
/// length are bounded, since a server can send as many as it likes.
#[derive(Debug, Default)]
pub(in crate::connection) struct Parameters {
    values: BTreeMap<String, String>,
}

impl Parameters {
    pub(in crate::connection) fn set(&mut self, name: &str, value: &str) {
        if name.len() > LONGEST_PARAMETER || value.len() > LONGEST_PARAMETER {
            return;
        }
        if let Some(kept) = self.values.get_mut(name) {
            value.clone_into(kept);
        } else if self.values.len() < MOST_PARAMETERS {
            self.values.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(in crate::connection) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(in crate::connection) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A hash of all reported settings that only the session's user changes. The role is left out,
    /// since a fence and a promotion change it.
    pub(in crate::connection) fn fingerprint(&self) -> u64 {
        const OF_ROLE: [&str; 2] = ["default_transaction_read_only", "in_hot_standby"];
        let mut hasher = DefaultHasher::new();
        let settings = self.values.iter().filter(|(name, _)| !OF_ROLE.contains(&name.as_str()));
        settings.for_each(|setting| setting.hash(&mut hasher));
        hasher.finish()
    }

    /// The role, if the server reports it: PostgreSQL 14 and newer.
    pub(in crate::connection) fn role(&self) -> Option<Role> {
        match (self.value("in_hot_standby")?, self.value("default_transaction_read_only")?) {
            ("on", _) => Some(Role::Standby),
            (_, "on") => Some(Role::ReadOnly),
            _ => Some(Role::ReadWrite),
        }
    }
}

/// Checks the encoding of the texts that the server sends.
pub(in crate::connection) fn check_encoding(client_encoding: &str) -> Result<(), Error> {
    match is_utf8_by_name(client_encoding) {
        true => Ok(()),
        false => Err(Error::protocol(format!(
            "client_encoding is {client_encoding:?}, but this client speaks UTF8 alone"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_needs_both_reports() {
        let mut parameters = Parameters::default();
        assert_eq!(parameters.role(), None);
        parameters.set("in_hot_standby", "off");
        assert_eq!(parameters.role(), None);
        parameters.set("default_transaction_read_only", "off");
        assert_eq!(parameters.role(), Some(Role::ReadWrite));
        parameters.set("default_transaction_read_only", "on");
        assert_eq!(parameters.role(), Some(Role::ReadOnly));
        parameters.set("in_hot_standby", "on");
        assert_eq!(parameters.role(), Some(Role::Standby));
    }

    #[test]
    fn what_a_server_reports_is_bounded() {
        let mut parameters = Parameters::default();
        for n in 0..1000 {
            parameters.set(&format!("p{n}"), "x");
        }
        parameters.set("p1", "y");
        parameters.set("p2", &"z".repeat(LONGEST_PARAMETER + 1));
        assert_eq!(parameters.values.len(), MOST_PARAMETERS);
        assert_eq!(parameters.value("p1"), Some("y"));
        assert_eq!(parameters.value("p2"), Some("x"));
    }
}
