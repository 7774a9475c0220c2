//! Which statements may commit in their middle, so that one that fails may have had an effect: a procedure, a block of
//! code, and what does its work in several transactions of its own (PostgreSQL manual, the notes of each command).
//! In a transaction block the server refuses all of that.

use super::lexer::{SqlToken, tokens};
use super::script::first_tokens;

/// Whether a statement may commit in its middle.
pub(super) fn may_commit_halfway(statement: &str) -> bool {
    let [first, second, third] = first_tokens::<3>(statement);
    // A partitioned table is clustered or reindexed part by part, which its name does not tell.
    if first.is_any(&["call", "do", "vacuum", "cluster", "reindex", "repack"]) {
        return true;
    }
    if first.is_any(&["analyze", "analyse"]) {
        return analyzes_several(statement);
    }
    if first.is_word("alter") && second.is_any(&["system", "database", "subscription"]) {
        return true;
    }
    let makes = first.is_any(&["create", "drop"]);
    if makes && second.is_any(&["database", "tablespace", "subscription"]) {
        return true;
    }
    let of_index = second.is_word("index") || (second.is_word("unique") && third.is_word("index"));
    let of_table = first.is_word("alter") && second.is_word("table");
    ((makes && of_index) || of_table) && tokens(statement).any(|t| t.is_word("concurrently"))
}

/// ANALYZE of a single table is one transaction.
fn analyzes_several(analyze: &str) -> bool {
    let (mut depth, mut tables, mut commas) = (0_usize, 0_usize, 0_usize);
    for token in tokens(analyze).skip(1) {
        match token {
            SqlToken::Symbol('(') => depth += 1,
            SqlToken::Symbol(')') => depth = depth.saturating_sub(1),
            SqlToken::Symbol(',') if depth == 0 => commas += 1,
            SqlToken::Symbol(';') => {}
            _ if depth == 0 && !token.is_word("verbose") => tables += 1,
            _ => {}
        }
    }
    tables == 0 || commas > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_commit_in_its_middle_is_known_by_its_words() {
        for sql in [
            "CALL p()",
            "/* a */ do $$ begin commit; end $$",
            "vacuum t",
            "ANALYZE",
            "analyze verbose;",
            "ANALYZE (skip_locked, verbose false) ",
            "ANALYZE a (x, y), b",
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
            assert!(may_commit_halfway(sql), "{sql}");
        }
        for sql in [
            "",
            "SELECT 'call'",
            "INSERT INTO call VALUES (1)",
            "ANALYZE t",
            "ANALYZE VERBOSE a.t (x, y)",
            "ANALYZE (verbose) t;",
            "CREATE INDEX i ON t (a)",
            "CREATE INDEX \"concurrently\" ON t (a)",
            "CREATE TABLE t (a int)",
            "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "COMMIT",
        ] {
            assert!(!may_commit_halfway(sql), "{sql}");
        }
    }
}
