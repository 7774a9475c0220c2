//! The command tag of a CommandComplete message (PostgreSQL manual, 55.7): which command ran, and
//! on how many rows.

use std::borrow::Cow;

use crate::transfer::contract::commands::COMMANDS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTag {
    name: Cow<'static, str>,
    count: Option<u64>,
}

impl CommandTag {
    /// The answer to an empty query string: no command ran.
    pub const EMPTY: Self = Self { name: Cow::Borrowed(""), count: None };

    /// `INSERT 0 5` is an INSERT of 5 rows, `SELECT 3` is a SELECT of 3 rows, and `CREATE TABLE`
    /// has no count. A count that does not fit in 64 bits counts as none.
    pub fn parse(tag: &str) -> Self {
        let Some((words, last)) = tag.rsplit_once(' ') else {
            return Self { name: name_of(tag), count: None };
        };
        if last.is_empty() || !last.bytes().all(|b| b.is_ascii_digit()) {
            return Self { name: name_of(tag), count: None };
        }
        // Only INSERT has an oid between its name and its count.
        let name = if words.starts_with("INSERT ") { "INSERT" } else { words };
        Self { name: name_of(name), count: last.parse().ok() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// Whether the command commits the statements before it, or itself. Otherwise the statements of
    /// one text are a single transaction, and if one of them fails, the server rolls it back
    /// (PostgreSQL manual, 55.2.2.1).
    pub(in crate::connection) fn commits(&self) -> bool {
        const NAMES: [&str; 12] = [
            "COMMIT",
            "COMMIT PREPARED",
            "PREPARE TRANSACTION",
            "CALL",
            "VACUUM",
            "CLUSTER",
            "REINDEX",
            "ALTER SYSTEM",
            "CREATE DATABASE",
            "DROP DATABASE",
            "CREATE TABLESPACE",
            "DROP TABLESPACE",
        ];
        NAMES.contains(&self.name())
    }

    /// The command's index in [`COMMANDS`].
    pub fn number(&self) -> Option<u8> {
        COMMANDS.iter().zip(0u8..).find(|(known, _)| **known == self.name).map(|(_, n)| n)
    }
}

fn name_of(name: &str) -> Cow<'static, str> {
    match COMMANDS.iter().find(|known| **known == name) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_manual_and_broken_ones() {
        let check = |tag: &str, name: &str, count: Option<u64>| {
            let parsed = CommandTag::parse(tag);
            assert_eq!((parsed.name(), parsed.count()), (name, count), "{tag:?}");
        };
        check("INSERT 0 5", "INSERT", Some(5));
        check("SELECT 0", "SELECT", Some(0));
        check("CREATE TABLE", "CREATE TABLE", None);
        check("COPY 12", "COPY", Some(12));
        check("BEGIN", "BEGIN", None);
        check("", "", None);
        check("INSERT 0 99999999999999999999", "INSERT", None);
        check("REFRESH MATERIALIZED VIEW", "REFRESH MATERIALIZED VIEW", None);
        check("SELECT ", "SELECT ", None);
        assert_eq!(CommandTag::parse("UPDATE 1").number(), Some(3));
        assert_eq!(CommandTag::parse("SECURITY LABEL").number(), None);
    }
}
