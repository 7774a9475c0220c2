//! A statement's operations and tables in a few words, for OpenTelemetry's `db.query.summary`:
//! `SELECT users orders`. It has no constants, so that there are few different summaries.
//!
//! Operations are in upper case, and tables are written as in the text. For a statement that does
//! not query or change rows, the summary is the command only: `CREATE TABLE`, `COMMIT`.

use std::iter::Peekable;

use super::lexer::{NONE, SqlToken, SqlTokens, tokens};

/// The most bytes of a summary (OpenTelemetry's semantic conventions for databases).
const LONGEST: usize = 255;

/// Words that begin a query of rows anywhere, even after a WITH or in parentheses.
const OPERATIONS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
/// Words before an operation that is a part of another operation: `FOR UPDATE`, `ON DELETE`, `DO
/// UPDATE`, `WHEN MATCHED THEN UPDATE`.
const PARTS: [&str; 6] = ["FOR", "KEY", "ON", "DO", "THEN", "OF"];
/// Words before the name of a table.
const TARGETS: [&str; 5] = ["FROM", "INTO", "JOIN", "UPDATE", "USING"];
/// Commands whose next words name their object.
const DEFINITIONS: [&str; 5] = ["CREATE", "ALTER", "DROP", "COMMENT", "REINDEX"];
/// Words between such a command and its object.
const QUALIFIERS: [&str; 9] =
    ["OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "RECURSIVE", "GLOBAL", "LOCAL"];

/// The summary of a text, which may contain several statements.
pub fn summarize(sql: &str) -> String {
    let mut summary = Summary::default();
    // For each open parenthesis, whether it contains a query.
    let mut queries = Vec::new();
    let mut before = NONE;
    let mut is_first = true;
    // The FROM of a COPY names a file, a program or STDIN.
    let mut is_copy = false;
    let mut rest = tokens(sql).peekable();
    while let Some(token) = rest.next() {
        let in_query = queries.last().copied().unwrap_or(true);
        match token {
            SqlToken::Symbol('(') => {
                let inside = rest.peek().copied().unwrap_or(NONE);
                queries.push(inside.is_any(&OPERATIONS) || inside.is_word("WITH"));
            }
            SqlToken::Symbol(')') => drop(queries.pop()),
            SqlToken::Symbol(';') => {
                queries.clear();
                is_first = true;
                before = NONE;
                continue;
            }
            SqlToken::Word(word) if token.is_any(&OPERATIONS) && !before.is_any(&PARTS) => {
                summary.add(&word.to_ascii_uppercase());
            }
            SqlToken::Word(word) if is_first && !token.is_word("WITH") => {
                summary.add(&word.to_ascii_uppercase());
                is_copy = token.is_word("COPY");
                if is_copy {
                    summary.add(&name_of(&mut rest));
                }
                if token.is_any(&DEFINITIONS) {
                    while rest.peek().is_some_and(|next| next.is_any(&QUALIFIERS)) {
                        rest.next();
                    }
                    let about = rest.peek().copied().unwrap_or(NONE).name();
                    summary.add(&about.to_ascii_uppercase());
                }
            }
            _ => {}
        }
        let is_target = in_query
            && !is_copy
            && token.is_any(&TARGETS)
            && !before.is_word("DISTINCT")
            && !(before.is_any(&PARTS) && token.is_any(&OPERATIONS));
        if is_target {
            let name = name_of(&mut rest);
            let is_function = rest.peek().is_some_and(|next| next.is_symbol('('));
            if !is_function || token.is_word("INTO") {
                summary.add(&name);
            }
        }
        is_first = false;
        before = token;
    }
    summary.text
}

/// The name of a table, with its schema, if a name comes next.
fn name_of(rest: &mut Peekable<SqlTokens<'_>>) -> String {
    while rest.peek().is_some_and(|next| next.is_any(&["ONLY", "LATERAL"])) {
        rest.next();
    }
    let mut name = String::new();
    while let Some(part @ (SqlToken::Word(_) | SqlToken::Quoted(_))) = rest.peek().copied() {
        rest.next();
        name.push_str(part.name());
        if rest.next_if(|next| next.is_symbol('.')).is_none() {
            break;
        }
        name.push('.');
    }
    name
}

#[derive(Default)]
struct Summary {
    text: String,
    is_full: bool,
}

impl Summary {
    /// Adds a word, unless it would make the summary too long.
    fn add(&mut self, word: &str) {
        if word.is_empty() || self.is_full {
            return;
        }
        let space = usize::from(!self.text.is_empty());
        if self.text.len() + space + word.len() > LONGEST {
            self.is_full = true;
            return;
        }
        if space > 0 {
            self.text.push(' ');
        }
        self.text.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_operations_and_tables_and_no_constants() {
        for (sql, summary) in [
            ("SELECT * FROM users WHERE id = 7", "SELECT users"),
            ("select 1", "SELECT"),
            ("SELECT a FROM s.t JOIN \"My Table\" m USING (id)", "SELECT s.t My Table"),
            ("insert into t (a, b) values (1, 'FROM x')", "INSERT t"),
            ("INSERT INTO t SELECT * FROM u", "INSERT t SELECT u"),
            ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1", "INSERT t"),
            ("UPDATE ONLY t SET a = b FROM u", "UPDATE t u"),
            ("DELETE FROM t USING u WHERE t.a = u.a", "DELETE t u"),
            ("SELECT a FROM t WHERE b IS DISTINCT FROM c FOR UPDATE", "SELECT t"),
            ("SELECT a FROM t FOR NO KEY UPDATE", "SELECT t"),
            ("SELECT extract(year FROM d), substring(a from 2) FROM t", "SELECT t"),
            ("SELECT * FROM (SELECT * FROM t) AS x", "SELECT SELECT t"),
            ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", "DELETE t SELECT a"),
            ("SELECT * FROM generate_series(1, 3)", "SELECT"),
            ("MERGE INTO t USING u ON true WHEN MATCHED THEN UPDATE SET a = 1", "MERGE t u"),
            ("/* SELECT */ COMMIT", "COMMIT"),
            ("COPY s.t (a) FROM STDIN", "COPY s.t"),
            ("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT"),
            ("CREATE OR REPLACE FUNCTION f() RETURNS int", "CREATE FUNCTION"),
            ("create temp table t (a int)", "CREATE TABLE"),
            ("SELECT 1; UPDATE t SET a = 1", "SELECT UPDATE t"),
            ("", ""),
            ("((((", ""),
            ("FROM", "FROM"),
        ] {
            assert_eq!(summarize(sql), summary, "{sql}");
        }
    }

    #[test]
    fn a_summary_is_no_longer_than_its_bound() {
        let sql = format!("SELECT * FROM {}", "t JOIN ".repeat(1000));
        let summary = summarize(&sql);
        assert!(summary.len() <= LONGEST && summary.starts_with("SELECT t t"), "{summary}");
        assert_eq!(summarize(&format!("SELECT * FROM {}", "t".repeat(1000))), "SELECT");
    }
}
