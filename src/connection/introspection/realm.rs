//! Which database a session is in. The oids of user-made types mean something in their own database
//! only, and begin at the same number in each cluster. An address may lead to another cluster from
//! one login to the next, or to an older copy of the same one. Such a copy assigns the same oids
//! again to other types.

use crate::protocol::data_row::{check_data_row, fields};

/// Asked by three statements: a role without the right to call one function still gets the other
/// answers.
pub(in crate::connection) const DATABASE: &str = "\
    SELECT NULL, d.oid, NULL FROM pg_catalog.pg_database AS d \
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";
/// In microseconds since 1970, so that no setting of the session changes its form.
pub(in crate::connection) const STARTED: &str = "\
    SELECT NULL, NULL, (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) \
    OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";
pub(in crate::connection) const SYSTEM: &str =
    "SELECT s.system_identifier, NULL, NULL FROM pg_catalog.pg_control_system() AS s";

const COLUMNS: usize = 3;

/// A server's database, as it reports it. All fields are empty for a server that is not PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Realm {
    /// The system identifier, which a primary and its standbys have in common.
    system: Option<u64>,
    /// The oid of the database.
    database: Option<u32>,
    /// When the server was started.
    started: Option<i64>,
}

impl Realm {
    /// Whether the two certainly are different databases.
    pub fn differs(self, other: Self) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        differ(self.system, other.system) || differ(self.database, other.database)
    }

    /// When the server was started, in microseconds since 1970.
    pub fn started(self) -> Option<i64> {
        self.started
    }

    /// This, completed with what else is known of the same database.
    pub fn with(self, other: Self) -> Self {
        Self {
            system: self.system.or(other.system),
            database: self.database.or(other.database),
            started: self.started.or(other.started),
        }
    }

    /// Takes a row of an answer; false for any other row.
    pub(in crate::connection) fn take_row(&mut self, body: &[u8]) -> bool {
        if check_data_row(body, COLUMNS).is_err() {
            return false;
        }
        let mut columns = fields(body).map(|field| std::str::from_utf8(field?).ok());
        let mut next = || columns.next().flatten();
        let system = next().and_then(|number| number.parse().ok());
        let database = next().and_then(|number| number.parse().ok());
        let started = next().and_then(|number| number.parse().ok());
        *self = self.with(Self { system, database, started });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(system: Option<u64>, database: Option<u32>) -> Realm {
        Realm { system, database, started: None }
    }

    #[test]
    fn realms_are_compared_by_the_fields_that_both_have() {
        let full = realm(Some(7), Some(16_384));
        for other in [full, Realm::default(), realm(None, Some(16_384)), realm(Some(7), None)] {
            assert!(!full.differs(other) && !other.differs(full), "{other:?}");
            assert_eq!(other.with(full), full);
        }
        for other in [realm(Some(8), Some(16_384)), realm(None, Some(5)), realm(Some(8), None)] {
            assert!(full.differs(other) && other.differs(full), "{other:?}");
        }
    }
}
