//! Which statements may commit in their middle, so that they may have had an effect although they
//! failed: procedures, DO blocks, and commands that work in several transactions of their own
//! (PostgreSQL manual, the notes of each command). In a transaction block the server refuses all of
//! these commits.

use super::lexer::{SqlToken, contains_ignoring_case, first_tokens, tokens};
use crate::base::ServerFields;

/// What a statement other than COMMIT may have committed when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::connection) enum Halfway {
    #[default]
    Never,
    /// The statement works in transactions of its own. In a transaction block the server refuses it
    /// before it does anything.
    Alone,
    /// The statement runs code, which may commit at any point.
    ByCode,
}

impl Halfway {
    pub(in crate::connection) fn of(statement: &str) -> Self {
        let [first, second, third] = first_tokens::<3>(statement);
        let makes = first.is_any(&["create", "drop"]);
        let changes = first.is_word("alter");
        let of_index =
            second.is_word("index") || (second.is_word("unique") && third.is_word("index"));
        let may_be_beside = (makes && of_index) || (changes && second.is_word("table"));
        // ANALYZE, CLUSTER and REINDEX process a partitioned table in parts. The table's name does
        // not show that it is partitioned.
        let is_alone = first
            .is_any(&["vacuum", "analyze", "analyse", "cluster", "reindex", "repack"])
            || (changes && second.is_any(&["system", "database", "subscription"]))
            || (makes && second.is_any(&["database", "tablespace", "subscription"]))
            || (may_be_beside && tokens(statement).any(|token| token.is_word("concurrently")));
        if first.is_word("call") || (first.is_word("do") && is_code_that_commits(statement)) {
            Self::ByCode
        } else if is_alone {
            Self::Alone
        } else {
            Self::Never
        }
    }

    /// Whether the statement may have committed something, if the server had begun to run it and
    /// then sent the error `refused`.
    pub(in crate::connection) fn may_have_committed(self, refused: &ServerFields) -> bool {
        match self {
            Self::Never => false,
            Self::Alone => !is_refused_in_block(refused) && !names_no_table(refused),
            Self::ByCode => true,
        }
    }
}

/// Whether the server refused to run the statement in a transaction block. The routine that reports
/// this runs before any work.
fn is_refused_in_block(refused: &ServerFields) -> bool {
    const ACTIVE_SQL_TRANSACTION: &str = "25001";
    refused.code == ACTIVE_SQL_TRANSACTION
        && refused.routine.as_deref() == Some("PreventInTransactionBlock")
}

/// Whether the server found no table for a name in the statement. It looks up all tables before it
/// begins. An error in a function that the statement calls has a context.
fn names_no_table(refused: &ServerFields) -> bool {
    const UNDEFINED_TABLE: &str = "42P01";
    refused.code == UNDEFINED_TABLE
        && refused.routine.as_deref() == Some("RangeVarGetRelidExtended")
        && refused.where_.is_none()
}

/// Whether a DO block may commit. In PL/pgSQL one of three words shows it. For other languages, it
/// always counts as one that may.
fn is_code_that_commits(block: &str) -> bool {
    let (mut code, mut all) = ("", tokens(block).skip(1));
    while let Some(token) = all.next() {
        let names_language = token.is_word("language");
        let is_known = names_language && all.next().is_some_and(|name| name.is_word("plpgsql"));
        match token {
            _ if is_known => {}
            SqlToken::Text { body, .. } if code.is_empty() => code = body,
            // A string that continues after a line break, or UESCAPE, which defines another escape
            // character.
            SqlToken::Text { .. } | SqlToken::Word(_) => return true,
            _ => {}
        }
    }
    // With a backslash, any word can be hidden.
    ["commit", "call", "execute", "\\"].iter().any(|word| contains_ignoring_case(code, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_commit_in_its_middle_is_known_by_its_words() {
        for sql in [
            "CALL p()",
            "/* a */ do $$ begin commit; end $$",
            "DO LANGUAGE plpgsql 'begin com'\n'mit; end'",
            r"DO U&'begin !0063ommit; end' UESCAPE '!'",
            r"DO E'begin \x63ommit; end'",
            "DO $$ begin execute 'call p()'; end $$ LANGUAGE plpgsql",
            "DO LANGUAGE plperl $$ 1 $$",
            "vacuum t",
            "ANALYZE",
            "analyze verbose;",
            "ANALYZE (skip_locked, verbose false) ",
            "ANALYZE a (x, y), b",
            "ANALYZE VERBOSE a.t (x, y)",
            "CLUSTER",
            "REINDEX TABLE CONCURRENTLY t",
            "create index concurrently i on t (a)",
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
            "CREATE DATABASE d",
            "DROP DATABASE IF EXISTS d WITH (FORCE)",
            "ALTER SYSTEM SET work_mem = 1",
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
            "DROP TABLESPACE t",
        ] {
            assert_ne!(Halfway::of(sql), Halfway::Never, "{sql}");
        }
        for sql in [
            "",
            "SELECT 'call'",
            "DO $$ begin perform f(); end $$",
            "DO LANGUAGE plpgsql $$ begin raise 'no'; end $$;",
            "INSERT INTO call VALUES (1)",
            "CREATE INDEX i ON t (a)",
            "CREATE INDEX \"concurrently\" ON t (a)",
            "CREATE TABLE t (a int)",
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "COMMIT",
        ] {
            assert_eq!(Halfway::of(sql), Halfway::Never, "{sql}");
        }
    }
}
