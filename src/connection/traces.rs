//! What statements do to their session: what they leave behind, so that it must be reset before somebody else has it,
//! and whether they change settings, for their transaction or for longer (`settings`).
//!
//! The command tag tells of settings, listening and prepared statements. The rest is seen in the text, which is
//! looked at once for each statement of the pool. What a function does can't be seen, nor what a DO block leaves
//! behind: session work belongs on a dedicated connection, which is always reset.

use super::command::CommandTag;

/// What a statement's text says of what it does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traces {
    leaves: Leaves,
    changes_settings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// Nothing: the command tag has the last word.
    ByTag,
    /// As `ByTag`, and its first word makes it likely.
    LikelyByTag,
    /// Nothing, although its tag says SET: it ends with the transaction.
    Local,
    /// Something that no tag tells of.
    Certain,
}

/// More than this of a text is data.
const LONGEST_LOOK: usize = 64 * 1024;
const WORDS: usize = 5;
/// In lower case; no letter but the five that they begin with is looked at twice.
const MARKS: [&str; 5] = ["advisory_lock", "into temp", "pg_temp", "set_config", "with hold"];

impl Traces {
    pub(super) fn of(sql: &str, may_be_script: bool) -> Self {
        let words = first_words(sql);
        let is = |n: usize, any: &[&str]| {
            let word = words.get(n).copied().unwrap_or_default();
            any.iter().any(|known| word.eq_ignore_ascii_case(known))
        };
        let (leaves_mark, sets) = read_marks(sql);
        let makes_temporary =
            is(0, &["create"]) && (1..WORDS).any(|n| is(n, &["temp", "temporary"]));
        let leaves = if makes_temporary || leaves_mark || (may_be_script && has_word(sql, "temp")) {
            Leaves::Certain
        } else if may_be_script || is(0, &["set", "reset", "listen", "prepare", "load"]) {
            let local = is(0, &["set"]) && is(1, &["local", "transaction", "constraints"]);
            if local && !may_be_script { Leaves::Local } else { Leaves::LikelyByTag }
        } else {
            Leaves::ByTag
        };
        let changes_settings = (is(0, &["set"]) && !is(1, &["transaction", "constraints"]))
            || sets
            || ((may_be_script || is(0, &["do"])) && has_word(sql, "set"));
        Self { leaves, changes_settings }
    }

    /// Whether nothing may be sent behind the statement before its answer has come.
    pub fn is_likely(self) -> bool {
        matches!(self.leaves, Leaves::LikelyByTag | Leaves::Certain)
    }

    /// Whether the statement has left something behind, now that it ran.
    pub(super) fn were_left(self, command: &CommandTag) -> bool {
        match self.leaves {
            Leaves::Certain => true,
            Leaves::Local => false,
            Leaves::ByTag | Leaves::LikelyByTag => {
                matches!(command.name(), "SET" | "RESET" | "LISTEN" | "PREPARE" | "LOAD")
            }
        }
    }

    /// Whether settings may be others behind it, be it only until the end of the transaction.
    pub(super) fn may_change_settings(self) -> bool {
        self.changes_settings
    }

    /// Whether they may stay so beyond it, now that it ran.
    pub(super) fn changed_settings(self, command: &CommandTag) -> bool {
        self.changes_settings && (self.were_left(command) || command.name() == "DO")
    }
}

/// Whether all settings are what they were at startup.
pub(super) fn resets_settings(command: &CommandTag) -> bool {
    command.name() == "DISCARD ALL"
}

/// Whether the server has forgotten the statements that were prepared on this connection.
pub(super) fn deallocates_all(command: &CommandTag) -> bool {
    matches!(command.name(), "DEALLOCATE ALL" | "DISCARD ALL")
}

/// The words that a text begins with, comments aside.
fn first_words(sql: &str) -> [&str; WORDS] {
    let mut words = [""; WORDS];
    let mut rest = sql;
    for place in &mut words {
        rest = skip_blank(rest);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (word, behind) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
        *place = word;
        rest = behind;
    }
    words
}

fn skip_blank(mut text: &str) -> &str {
    loop {
        let trimmed =
            text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';' || c == '(');
        text = if let Some(comment) = trimmed.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, behind)| behind)
        } else if let Some(comment) = trimmed.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, behind)| behind)
        } else {
            return trimmed;
        };
    }
}

/// What the marks in a text tell: whether it leaves something behind, and whether it changes settings.
fn read_marks(sql: &str) -> (bool, bool) {
    let text = sql.as_bytes();
    let text = text.get(..LONGEST_LOOK).unwrap_or(text);
    let mark_at = |at: usize| {
        let begins = |mark: &&&str| {
            let slice = text.get(at..at + mark.len());
            slice.is_some_and(|slice| slice.eq_ignore_ascii_case(mark.as_bytes()))
        };
        let initial = text.get(at).map_or(0, u8::to_ascii_lowercase);
        let may_begin = matches!(initial, b'a' | b'i' | b'p' | b's' | b'w');
        may_begin.then(|| MARKS.iter().find(begins)).flatten().map(|mark| (at, *mark))
    };
    let (mut leaves, mut sets) = (false, false);
    for (at, mark) in (0..text.len()).filter_map(mark_at) {
        let is_setting = mark == "set_config";
        sets |= is_setting;
        // `set_config(name, value, true)` is SET LOCAL.
        leaves |= !(is_setting && is_local(text.get(at..).unwrap_or_default()));
    }
    (leaves, sets)
}

fn is_local(call: &[u8]) -> bool {
    let end = call.iter().position(|byte| *byte == b';').unwrap_or(call.len());
    let call = call.get(..end).unwrap_or_default();
    call.windows(5).any(|slice| {
        slice.split_last().is_some_and(|(last, word)| {
            word.eq_ignore_ascii_case(b"true") && (*last == b')' || last.is_ascii_whitespace())
        })
    })
}

fn has_word(sql: &str, word: &str) -> bool {
    let text = sql.get(..LONGEST_LOOK).unwrap_or(sql);
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|part| part.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(sql: &str, tag: &str) -> bool {
        Traces::of(sql, sql.contains(';')).were_left(&CommandTag::parse(tag))
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
            ("", ""),
        ] {
            assert!(!left(sql, tag), "{sql}");
        }
    }

    #[test]
    fn what_changes_settings_is_seen_and_for_how_long() {
        // In the order of: for a while at least, and beyond the transaction.
        for (sql, tag, expected) in [
            ("SET work_mem = '1MB'", "SET", (true, true)),
            ("/* a */ -- b\n set search_path to x", "SET", (true, true)),
            ("SET LOCAL work_mem = '1MB'", "SET", (true, false)),
            ("SELECT set_config($1, $2, false)", "SELECT 1", (true, true)),
            ("SELECT set_config('app.user', $1, true)", "SELECT 1", (true, false)),
            ("SELECT pg_advisory_lock(1), set_config($1, $2, true)", "SELECT 1", (true, true)),
            ("BEGIN; SET a.b = 1; COMMIT", "SET", (true, true)),
            ("UPDATE t SET a = 1; SELECT 1", "UPDATE 1", (true, false)),
            ("DO $$ BEGIN SET a.b = 1; END $$", "DO", (true, true)),
            ("DO $$ BEGIN PERFORM f(); END $$", "DO", (false, false)),
            ("UPDATE t SET a = 1", "UPDATE 1", (false, false)),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET", (false, false)),
            // They go back to what this client has asked for.
            ("RESET ALL", "RESET", (false, false)),
            ("DISCARD ALL", "DISCARD ALL", (false, false)),
        ] {
            let traces = Traces::of(sql, sql.contains(';'));
            let tag = CommandTag::parse(tag);
            let found = (traces.may_change_settings(), traces.changed_settings(&tag));
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for sql in ["--", "/*", "é", "set", "\u{1f600} set_config", "((;;", "set_confi"] {
            let _ = Traces::of(sql, true);
            let _ = Traces::of(sql, false);
        }
        assert_eq!(read_marks(&format!("{}pg_temp", "x".repeat(1000))), (true, false));
    }
}
