//! Effects of statements on their session: whether they leave something behind, so that the session
//! must be reset before another caller gets it, and whether they change settings, for their
//! transaction or for longer (`settings`).
//!
//! The command tag shows settings, LISTEN and prepared statements. Other effects show in the text,
//! which is examined once for each statement of the pool, and in the server's reports of its
//! settings. Other effects of functions can't be seen. So session work belongs on a dedicated
//! connection, which is always reset.

use super::creating::{Created, IntoFinder};
use super::lexer::{NONE, SqlToken, SqlTokens, contains_ignoring_case, first_tokens, tokens};
use super::script::parts;
use crate::base::Mutation;
use crate::connection::request::command::CommandTag;

/// The effects on the session that the text of a statement shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEffects {
    leaves: Leaves,
    changes_settings: bool,
    /// The statement may leave something behind even if it fails.
    leaves_by_failing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leaves {
    /// Nothing, unless the command tag says otherwise.
    ByTag,
    /// Nothing, although the command tag is SET: the setting ends with the transaction.
    Local,
    /// Like `ByTag`, but the first word makes a change likely.
    LikelyByTag,
    /// A change that no command tag shows.
    Certain,
}

impl SessionEffects {
    pub(in crate::connection) fn of(sql: &str, may_be_script: bool) -> Self {
        let (mut leaves, mut changes_settings, mut leaves_by_failing) =
            (Leaves::ByTag, false, false);
        for part in parts(sql) {
            let marks = Marks::of(part.text);
            let [first, second] = first_tokens::<2>(part.text);
            let sets = first.is_word("set") && !second.is_any(&["transaction", "constraints"]);
            changes_settings |= marks.sets || sets;
            leaves_by_failing |= marks.leaves_by_failing;
            let by_tag = first.is_any(&["set", "reset", "listen", "prepare", "load"]);
            let found = if marks.leaves {
                Leaves::Certain
            } else if may_be_script || (by_tag && !(first.is_word("set") && is_local(second))) {
                Leaves::LikelyByTag
            } else if by_tag {
                Leaves::Local
            } else {
                Leaves::ByTag
            };
            leaves = leaves.max(found);
        }
        Self { leaves, changes_settings, leaves_by_failing }
    }

    /// Whether nothing may be sent after the statement until its answer has come.
    pub fn is_likely(self) -> bool {
        matches!(self.leaves, Leaves::LikelyByTag | Leaves::Certain)
    }

    /// Whether the statement has left something behind, after it ran.
    pub(in crate::connection) fn were_left(self, command: &CommandTag) -> bool {
        match self.leaves {
            Leaves::Certain => true,
            Leaves::Local => false,
            Leaves::ByTag | Leaves::LikelyByTag => {
                matches!(command.name(), "SET" | "RESET" | "LISTEN" | "PREPARE" | "LOAD")
            }
        }
    }

    /// Whether the statement may have left something behind if the server had begun to run it and
    /// then sent an error. An advisory lock of the session outlasts the transaction that took it,
    /// and so do the effects of code before it commits. Everything else is undone.
    pub(in crate::connection) fn may_be_left_by_failing(self) -> bool {
        self.leaves_by_failing && !Mutation::TrustRefusals.is_on()
    }

    /// Whether settings may differ after the statement, even if only until the end of the
    /// transaction.
    pub(in crate::connection) fn may_change_settings(self) -> bool {
        self.changes_settings
    }

    /// Whether settings may differ after the end of the transaction, now that the statement ran.
    pub(in crate::connection) fn changed_settings(self, command: &CommandTag) -> bool {
        self.changes_settings && self.were_left(command)
    }
}

/// Whether all settings have the values of the login again.
pub(in crate::connection) fn resets_settings(command: &CommandTag) -> bool {
    command.name() == "DISCARD ALL"
}

/// Whether the server has dropped the statements that were prepared on this connection.
pub(in crate::connection) fn deallocates_all(command: &CommandTag) -> bool {
    matches!(command.name(), "DEALLOCATE ALL" | "DISCARD ALL")
}

/// Whether a SET with this second word ends with its transaction.
fn is_local(scope: SqlToken<'_>) -> bool {
    scope.is_any(&["local", "transaction", "constraints"])
}

/// Effects that words anywhere in a statement show.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// Whether the statement leaves something behind that no command tag shows.
    leaves: bool,
    /// Whether the statement changes settings.
    sets: bool,
    /// Whether the statement may leave something behind even if it fails.
    leaves_by_failing: bool,
}

/// Functions that run a statement given as a string.
const RUN_STRINGS: [&str; 5] =
    ["query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "ts_rewrite", "ts_stat"];
/// Words of a DO block that may change the session, and not only its tables. UPDATE contains one of
/// these words too, and then a reset that is not needed does no harm.
const IN_BLOCKS: [&str; 7] = ["set", "reset", "execute", "listen", "load", "prepare", "discard"];

/// Whether a function of this name runs a statement given as a string.
pub(in crate::connection) fn runs_strings(name: &str) -> bool {
    RUN_STRINGS.iter().any(|one| one.eq_ignore_ascii_case(name))
}

impl Marks {
    fn of(statement: &str) -> Self {
        let mut marks = Self::default();
        // Escapes in such an identifier can hide any name.
        let hides_names = contains_ignoring_case(statement, "u&\"");
        marks.leaves |= hides_names;
        marks.sets |= hides_names;
        marks.leaves_by_failing |= hides_names;
        let (mut updates, mut names_settings) = (false, false);
        let mut into = IntoFinder::default();
        let mut all = tokens(statement);
        while let Some(token) = all.next() {
            marks.leaves |= into.read(token, &all) == Some(Created::Temporary);
            let initial = token.name().bytes().next().unwrap_or(0).to_ascii_lowercase();
            match initial {
                b'c' if token.is_word("create") => {
                    marks.leaves |= Created::by_create(all.clone()) == Created::Temporary;
                }
                b'p' => {
                    let name = token.name();
                    marks.leaves |= begins_with(name, "pg_temp");
                    let locks = contains_ignoring_case(name, "advisory_lock");
                    marks.leaves |= locks;
                    marks.leaves_by_failing |= locks;
                    names_settings |= name.eq_ignore_ascii_case("pg_settings");
                }
                b'q' | b't' => {
                    let runs_string = runs_strings(token.name());
                    marks.leaves |= runs_string;
                    marks.sets |= runs_string;
                    marks.leaves_by_failing |= runs_string;
                }
                b's' if token.name().eq_ignore_ascii_case("set_config") => {
                    marks.sets = true;
                    marks.leaves |= !sets_locally(all.clone());
                }
                b'u' => updates |= token.is_word("update"),
                b'w' if token.is_word("with") => {
                    marks.leaves |= all.clone().next().is_some_and(|next| next.is_word("hold"));
                }
                _ => {}
            }
        }
        // An UPDATE of this view sets the setting for the session.
        if updates && names_settings {
            (marks.leaves, marks.sets) = (true, true);
        }
        let [first] = first_tokens::<1>(statement);
        if first.is_word("do") {
            marks.add_block(statement);
        }
        marks.leaves_by_failing |= marks.leaves && first.is_any(&["do", "call"]);
        marks
    }

    /// Adds the effects of a DO statement's code. The functions that the code calls are not
    /// examined.
    fn add_block(&mut self, statement: &str) {
        let mut all = tokens(statement);
        let mut before = NONE;
        while let Some(token) = all.next() {
            match token {
                SqlToken::Text { body, .. } => {
                    // Escapes can hide a word, and so can a string that continues on another line.
                    let is_unclear = body.contains('\\') || matches!(before, SqlToken::Text { .. });
                    let changes = is_unclear || tokens(body).any(|word| word.is_any(&IN_BLOCKS));
                    let inner = Self::of(body);
                    self.leaves |= changes || inner.leaves;
                    self.sets |= changes || inner.sets;
                }
                _ if token.is_word("language") => {
                    let language = all.clone().next().unwrap_or(token);
                    let is_read = language.name().eq_ignore_ascii_case("plpgsql")
                        || matches!(language, SqlToken::Text { body: "plpgsql", .. });
                    self.leaves |= !is_read;
                    self.sets |= !is_read;
                }
                // UESCAPE defines another escape character.
                _ if token.is_word("uescape") => (self.leaves, self.sets) = (true, true),
                _ => {}
            }
            before = token;
        }
    }
}

/// Whether a call of `set_config` is a SET LOCAL: its third argument must be `true`. An argument
/// that can't be read counts as something else.
fn sets_locally(call: SqlTokens<'_>) -> bool {
    let (mut depth, mut commas) = (0_usize, 0);
    let mut third = [None; 2];
    for token in call {
        match token {
            SqlToken::Symbol('(' | '[') => depth += 1,
            SqlToken::Symbol(')' | ']') if depth <= 1 => break,
            SqlToken::Symbol(')' | ']') => depth -= 1,
            SqlToken::Symbol(',') if depth == 1 => commas += 1,
            _ if depth == 0 => return false,
            _ if commas == 2 => {
                let [first, second] = &mut third;
                if first.is_none() { *first = Some(token) } else { *second = Some(token) }
            }
            _ => {}
        }
    }
    matches!(third, [Some(only), None] if commas == 2 && only.is_word("true"))
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(sql: &str, tag: &str) -> bool {
        SessionEffects::of(sql, parts(sql).count() > 1).were_left(&CommandTag::parse(tag))
    }

    #[test]
    fn what_changes_a_session_is_seen() {
        for (sql, tag) in [
            ("SET work_mem = '1MB'", "SET"),
            ("/* a */ -- b\n set search_path to x", "SET"),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
            ("SET LOCAL a.b = 1; SET a.b = 2", "SET"),
            ("reset all", "RESET"),
            ("LISTEN news", "LISTEN"),
            ("PREPARE p AS SELECT 1", "PREPARE"),
            ("CREATE TEMP TABLE t ()", "CREATE TABLE"),
            ("create or replace temporary view v as select 1", "CREATE VIEW"),
            ("SELECT 1 AS a INTO TEMP t", "SELECT 1"),
            ("SELECT 1; CREATE TEMPORARY TABLE t ()", "CREATE TABLE"),
            ("SELECT pg_advisory_lock(1)", "SELECT 1"),
            ("SELECT pg_try_advisory_lock_shared($1)", "SELECT 1"),
            ("SELECT set_config($1, $2, false)", "SELECT 1"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DECLARE CURSOR"),
            ("DECLARE c CURSOR WITH\nHOLD FOR SELECT 1", "DECLARE CURSOR"),
            ("SELECT 1 AS a INTO  TEMP t", "SELECT 1"),
            ("SELECT 1 AS a INTO /* a */ TEMPORARY TABLE t", "SELECT 1"),
            ("SELECT 1 AS a INTO LOCAL TEMP t", "SELECT 1"),
            ("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", "EXPLAIN"),
            ("CREATE TABLE pg_temp.t ()", "CREATE TABLE"),
            ("DO $$ BEGIN SET ROLE lim; END $$", "DO"),
            ("DO LANGUAGE plpgsql 'BEGIN EXECUTE ''SET ROLE lim''; END'", "DO"),
            ("DO E'BEGIN S\\105T ROLE lim; END'", "DO"),
            ("DO $$ plan() $$ LANGUAGE plperl", "DO"),
            ("DO 'BEGIN SE'\n'T ROLE lim; END'", "DO"),
            ("DO U&'BEGIN S!0045T ROLE lim; END' UESCAPE '!'", "DO"),
            ("SELECT insert INTO TEMP t FROM s", "SELECT 1"),
            ("DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$", "DO"),
            ("DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$", "DO"),
            ("SELECT set_config('a.b', 'c', false) FROM (SELECT 1 WHERE true) x", "SELECT 1"),
            ("SELECT set_config('a.b', 'c', f(true, true))", "SELECT 1"),
            ("SELECT set_config('a.b', ',true', false), true", "SELECT 1"),
            ("SELECT pg_catalog.\"set_config\"('a.b', 'c', not true)", "SELECT 1"),
            ("SELECT set_config('a', 'b', true), set_config('a', 'b', $1)", "SELECT 1"),
            ("SELECT U&\"set\\005fconfig\"('a.b', 'c', false)", "SELECT 1"),
            ("SELECT u&\"pg!005fadvisory!005flock\" UESCAPE '!' (1)", "SELECT 1"),
            ("UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'", "UPDATE 1"),
            ("WITH a AS (UPDATE pg_catalog.pg_settings SET setting = 1) SELECT 1", "SELECT 1"),
            ("SELECT query_to_xml('SELECT set_config(1, 2, false)', true, true, '')", "SELECT 1"),
        ] {
            assert!(left(sql, tag), "{sql}");
        }
    }

    #[test]
    fn what_leaves_nothing_behind_costs_nothing() {
        for (sql, tag) in [
            ("SELECT temp, advisory FROM weather", "SELECT 1"),
            ("SET LOCAL work_mem = '1MB'", "SET"),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET"),
            ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS"),
            ("SELECT set_config('app.user', $1, true)", "SELECT 1"),
            ("SELECT pg_advisory_xact_lock(1)", "SELECT 1"),
            ("DECLARE c CURSOR FOR SELECT 1", "DECLARE CURSOR"),
            ("CREATE TABLE t (a int)", "CREATE TABLE"),
            ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
            ("SELECT set_config('a.b', f('c', g(1, 2)), TRUE ) FROM t", "SELECT 1"),
            ("SELECT 'set_config', 'pg_advisory_lock', 'into temp', 'with hold'", "SELECT 1"),
            ("INSERT INTO temp VALUES (1)", "INSERT 0 1"),
            ("SELECT * INTO temp FROM t", "SELECT 1"),
            ("ALTER TABLE t ALTER temp TYPE text", "ALTER TABLE"),
            ("INSERT INTO temperature VALUES (1)", "INSERT 0 1"),
            ("SELECT name, setting FROM pg_settings", "SELECT 1"),
            ("SELECT a FROM t -- set_config(", "SELECT 1"),
            ("DO $$ BEGIN INSERT INTO t VALUES (1); PERFORM f(); END $$", "DO"),
            ("", ""),
        ] {
            assert!(!left(sql, tag), "{sql}");
        }
    }

    #[test]
    fn effects_that_outlast_a_failure_are_recognized() {
        let is_left = |sql: &str| SessionEffects::of(sql, false).may_be_left_by_failing();
        for sql in [
            "SELECT pg_advisory_lock(1), 1/(SELECT 0)",
            "SELECT id FROM jobs WHERE pg_catalog.\"pg_try_advisory_lock\"(id) LIMIT 10",
            "BEGIN; SELECT 1; SELECT pg_try_advisory_lock_shared($1); COMMIT",
            "INSERT INTO t SELECT 1 FROM pg_advisory_lock(1)",
            "SELECT U&\"pg!005fadvisory!005flock\" UESCAPE '!' (1)",
            "SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, true, '')",
            "DO $$ BEGIN PERFORM pg_advisory_lock(1); RAISE 'x'; END $$",
            "DO $$ BEGIN SET ROLE lim; COMMIT; RAISE 'x'; END $$",
            "DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; RAISE 'x'; END $$",
            "DO $$ plan() $$ LANGUAGE plperl",
            "CALL p(set_config('a.b', 'c', false))",
        ] {
            assert!(is_left(sql), "{sql}");
        }
        for sql in [
            "SELECT 1/0",
            "INSERT INTO t VALUES ('pg_advisory_lock')",
            "SELECT pg_advisory_xact_lock(1)",
            "SELECT set_config('a.b', 'c', false), 1/0",
            "SET a.b = 'c'",
            "CREATE TEMP TABLE t AS SELECT 1/0",
            "DO $$ BEGIN INSERT INTO t VALUES (1); RAISE 'x'; END $$",
            "CALL p(1)",
        ] {
            assert!(!is_left(sql), "{sql}");
        }
    }

    #[test]
    fn what_changes_settings_is_seen_and_for_how_long() {
        // The expected values: whether settings change for a while at least, and whether they
        // change for longer than the transaction.
        for (sql, tag, expected) in [
            ("SET work_mem = '1MB'", "SET", (true, true)),
            ("/* a */ -- b\n set search_path to x", "SET", (true, true)),
            ("SET LOCAL work_mem = '1MB'", "SET", (true, false)),
            ("SELECT set_config($1, $2, false)", "SELECT 1", (true, true)),
            ("SELECT set_config('app.user', $1, true)", "SELECT 1", (true, false)),
            ("SELECT pg_advisory_lock(1), set_config($1, $2, true)", "SELECT 1", (true, true)),
            ("BEGIN; SET a.b = 1; COMMIT", "SET", (true, true)),
            ("UPDATE t SET a = 1; SELECT 1", "UPDATE 1", (false, false)),
            ("UPDATE t SET a = 1; SET LOCAL a.b = 1", "UPDATE 1", (true, false)),
            ("UPDATE pg_settings SET setting = 'a'", "UPDATE 1", (true, true)),
            ("DO $$ BEGIN SET a.b = 1; END $$", "DO", (true, true)),
            ("DO $$ BEGIN PERFORM f(); END $$", "DO", (false, false)),
            ("UPDATE t SET a = 1", "UPDATE 1", (false, false)),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET", (false, false)),
            // These restore the values that this client asked for at the login.
            ("RESET ALL", "RESET", (false, false)),
            ("DISCARD ALL", "DISCARD ALL", (false, false)),
        ] {
            let session_effects = SessionEffects::of(sql, parts(sql).count() > 1);
            let tag = CommandTag::parse(tag);
            let found =
                (session_effects.may_change_settings(), session_effects.changed_settings(&tag));
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for sql in ["--", "/*", "é", "set", "\u{1f600} set_config", "((;;", "set_confi"] {
            let _ = SessionEffects::of(sql, true);
            let _ = SessionEffects::of(sql, false);
        }
        let long = "x".repeat(70_000);
        assert!(left(&format!("SELECT '{long}', set_config('a.b', 'c', false)"), "SELECT 1"));
        assert!(left(&format!("SELECT '{long}'; CREATE TEMP TABLE t ()"), "SELECT 1"));
    }
}
