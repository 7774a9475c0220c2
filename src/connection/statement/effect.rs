//! What a statement may have changed if it succeeded, as far as its text shows it.
//!
//! The command tag does not show that: `SELECT f()` may write, and WITH may contain an INSERT. If a
//! host turns out to accept no writes any more, only statements that certainly changed nothing are
//! sent again to another host.

use super::lexer::{SqlToken, first_tokens, tokens};
use super::plain_read::changes_nothing;
use super::script::{is_framed, parts};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing. The whole text is known and only reads.
    None,
    /// The statement calls code that may do anything, even in a read-only transaction: NOTIFY, a
    /// message to a replication slot, a statement on another server.
    Possible,
    /// The statement changes a table, so a read-only server would have refused it.
    Certain,
}

/// The longest text that is examined, in bytes. The effect of a longer text is `Possible`.
const LONGEST: usize = 1 << 16;

impl Effect {
    pub(in crate::connection) fn of(sql: &str) -> Self {
        if sql.len() > LONGEST {
            return Self::Possible;
        }
        let frame = if is_framed(sql) { 1 } else { 0 };
        let count = parts(sql).count();
        let inner = parts(sql).take(count - frame.min(count)).skip(frame);
        inner
            .map(|part| match part.is_ambiguous {
                true => Self::Possible,
                false if changes_nothing(part.text) || is_local(part.text) => Self::None,
                false if modifies_within(part.text) => Self::Certain,
                false => Self::Possible,
            })
            .max()
            .unwrap_or(Self::None)
    }
}

/// Whether the statement's effect ends with its transaction, and it returns no rows.
fn is_local(statement: &str) -> bool {
    let [first, second] = first_tokens::<2>(statement);
    let sets = first.is_word("set") && second.is_any(&["local", "transaction"]);
    sets || first.is_any(&["savepoint", "release"])
}

/// Whether a statement that returns rows changes a table in its WITH list.
fn modifies_within(statement: &str) -> bool {
    const CHANGES: [&str; 4] = ["insert", "update", "delete", "merge"];
    let mut words = tokens(statement).skip_while(|token| token.is_symbol('('));
    let Some(first) = words.next() else { return false };
    if !first.is_word("with") {
        return false;
    }
    // WITH name AS MATERIALIZED ( INSERT INTO ...
    let (mut earlier, mut before) = (first, first);
    while let Some(token) = words.next() {
        let begins = before.is_symbol('(') && earlier.is_any(&["as", "materialized"]);
        if begins && token.is_any(&CHANGES) {
            let names =
                |next: SqlToken<'_>| matches!(next, SqlToken::Word(_) | SqlToken::Quoted(_));
            return words.next().is_some_and(names);
        }
        (earlier, before) = (before, token);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effect_of_a_text_is_that_of_all_its_statements() {
        let none = [
            "SELECT 1",
            "SHOW a; SELECT pg_catalog.now(); TABLE t;",
            "BEGIN; SELECT a FROM t; COMMIT",
            "BEGIN; SET LOCAL a = 1; SAVEPOINT a; SELECT a FROM t; RELEASE a; COMMIT",
            "SELECT pg_sleep(1), pg_catalog.random(), gen_random_uuid()",
            "",
        ];
        let possible = [
            "SELECT f(1)",
            "SELECT pg_notify('a', 'b')",
            "SELECT 1; SELECT f(1)",
            "SELECT 1; COMMIT",
            "BEGIN; SELECT f(1); COMMIT",
            "BEGIN; SELECT 1; COMMIT; SELECT 2; COMMIT",
            "WITH a AS (SELECT 1) SELECT (update) FROM t WHERE (delete IS NULL)",
            "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
            "FETCH ALL FROM c",
            "SELECT 'a\\';SELECT 1'",
        ];
        let certain = [
            "WITH a AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM a",
            "(with a as materialized (delete from t returning *) select 1)",
            "SELECT f(1); WITH a AS (UPDATE \"t\" SET a = 1 RETURNING a) TABLE a",
        ];
        for (texts, effect) in
            [(&none[..], Effect::None), (&possible, Effect::Possible), (&certain, Effect::Certain)]
        {
            for sql in texts {
                assert_eq!(Effect::of(sql), effect, "{sql}");
            }
        }
    }
}
