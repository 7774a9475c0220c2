//! Facts about the statements in a text that the pool needs before a server has read the text: how
//! many statements there are, which of them begin and end transactions, and whether there is one
//! that this client does not support.

use super::control::Control;
use super::halfway::Halfway;
use super::lexer::{NONE, SqlToken, SqlTokens, contains_ignoring_case, first_tokens, tokens};
use crate::base::{Error, ErrorClass, Outcome};

const COPY: &str = "HYPERION_COPY";
const REPLICATION: &str = "HYPERION_REPLICATION";

/// Facts about the statements in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::connection) struct Script {
    /// There may be more than one statement.
    pub(in crate::connection) may_be_script: bool,
    /// One of them may commit the statements before it.
    pub(in crate::connection) may_commit: bool,
    /// One of them may end its transaction, and another may run after that.
    pub(in crate::connection) may_go_on: bool,
    /// The text may move the session into a transaction, or out of one.
    pub(in crate::connection) may_move: bool,
    /// What one of them may commit in its middle.
    pub(in crate::connection) halfway: Halfway,
    /// There is certainly more than one statement, so the simple protocol runs them in one
    /// transaction block.
    pub(in crate::connection) is_block: bool,
    /// The text ends inside a string, a quoted identifier or a comment, so the server refuses all
    /// of it.
    pub(in crate::connection) is_cut: bool,
    /// One of them is PREPARE TRANSACTION.
    pub(in crate::connection) prepares_transaction: bool,
    pub(in crate::connection) unfit: Option<Unfit>,
}

/// Why this client refuses to send a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It leaves a transaction open. This is refused on a connection that its caller shares.
    LeavesTransactionOpen,
    Copy,
    Listen,
    Encoding,
    Replication,
}

impl Unfit {
    /// The error for the caller. `None` if the text may be sent because the caller has the
    /// connection to itself.
    pub fn refusal(self, is_leased: bool) -> Option<Error> {
        let error = match self {
            Self::LeavesTransactionOpen if is_leased => return None,
            Self::LeavesTransactionOpen => {
                left_open("the text begins a transaction and does not end it, and was not sent")
            }
            Self::Copy => {
                let message = "COPY by query() is not supported: the statement was not sent";
                Error::new(ErrorClass::Configuration, COPY, message)
            }
            Self::Listen => {
                let message = "LISTEN by query() is not supported: this client does not deliver notifications";
                Error::new(ErrorClass::Configuration, "HYPERION_LISTEN", message)
            }
            Self::Encoding => {
                let message = "client_encoding can't be changed: this client speaks UTF8 alone";
                Error::new(ErrorClass::Configuration, "HYPERION_CLIENT_ENCODING", message)
            }
            Self::Replication => {
                let message = "the replication protocol is not supported";
                Error::new(ErrorClass::Configuration, REPLICATION, message)
            }
        };
        Some(error.with_outcome(Outcome::NotSent))
    }
}

/// A COPY that would transfer data to or from this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Copied {
    FromStdin,
    ToStdout,
    /// In both directions at once, as in replication.
    Both,
}

impl Copied {
    /// The error that says why it is not supported.
    pub(in crate::connection) fn refusal(self) -> Error {
        self.refused("")
    }

    fn refused(self, behind: &str) -> Error {
        let (code, what) = match self {
            Self::FromStdin => (COPY, "COPY FROM STDIN by query()"),
            Self::ToStdout => (COPY, "COPY TO STDOUT by query()"),
            Self::Both => {
                (REPLICATION, "replication, which the server has begun (CopyBothResponse),")
            }
        };
        let message = format!("{what} is not supported{behind}");
        Error::new(ErrorClass::Configuration, code, message)
    }
}

pub(in crate::connection) fn copied_error(copied: Copied, is_undone: bool, failed: bool) -> Error {
    let what = match (is_undone, failed) {
        (true, true) => "it was refused, and its transaction has failed with it",
        (true, false) => "it was refused, and what stood in front of it in the text was undone",
        (false, _) => "its data was not kept, and what the text did besides it may have been done",
    };
    let outcome = if is_undone { Outcome::NotCommitted } else { Outcome::Unknown };
    copied.refused(&format!(": {what}")).with_outcome(outcome)
}

/// The error for a transaction that is left open. `what` says what happened, or would happen.
pub fn left_open(what: &str) -> Error {
    let message = format!(
        "{what}: its connection would go to other callers with the transaction open. Use pool.transaction, \
         pool.begin or pool.connect"
    );
    Error::new(ErrorClass::Transaction, "HYPERION_TRANSACTION_LEFT_OPEN", message)
}

impl Script {
    pub(in crate::connection) fn of(sql: &str) -> Self {
        let mut script = Self::default();
        let (mut count, mut is_open, mut has_ended, mut is_ambiguous) =
            (0_usize, false, false, false);
        let mut all = parts(sql);
        for part in all.by_ref() {
            count += 1;
            let control = Control::of(part.text);
            script.may_go_on |= has_ended;
            script.may_move |= control.moves();
            script.halfway = script.halfway.max(Halfway::of(part.text));
            match control {
                Control::Begin => is_open = true,
                Control::Commit { chain } => {
                    script.may_commit = true;
                    (is_open, has_ended) = (is_open && chain, true);
                }
                Control::Rollback { chain } => (is_open, has_ended) = (is_open && chain, true),
                Control::CommitPrepared => script.may_commit = true,
                Control::PrepareTransaction => {
                    script.may_commit = true;
                    script.prepares_transaction = true;
                    (is_open, has_ended) = (false, true);
                }
                Control::None => {}
            }
            // After a string with an uncertain end, the beginning of a statement is uncertain too.
            if !is_ambiguous && script.unfit.is_none() {
                script.unfit = unfit(part.text);
            }
            is_ambiguous |= part.is_ambiguous;
        }
        script.is_cut = all.is_cut();
        script.may_be_script = count > 1;
        script.is_block = count > 1 && !is_ambiguous;
        if is_ambiguous {
            let has = |word: &str| contains_ignoring_case(sql, word);
            script.may_be_script |= has_inner_semicolon(sql);
            script.may_move |= script.may_be_script;
            script.may_commit |= has("commit") || has("prepare") || has("end");
            script.may_go_on |= script.may_be_script;
        } else if is_open && script.unfit.is_none() {
            script.unfit = Some(Unfit::LeavesTransactionOpen);
        }
        script
    }
}

/// Whether the server accepts the statement in a failed transaction, because it ends the
/// transaction or a part of it.
pub(in crate::connection) fn is_end(statement: &str) -> bool {
    let [first] = first_tokens::<1>(statement);
    first.is_any(&["commit", "end", "rollback", "abort", "prepare"])
}

/// Whether the statements form one transaction: the first begins it, the last ends it, and no other
/// statement begins or ends a transaction.
pub(in crate::connection) fn is_framed(script: &str) -> bool {
    let controls: Vec<_> = parts(script).map(|part| Control::of(part.text)).collect();
    let [Control::Begin, inner @ .., last] = &controls[..] else { return false };
    matches!(last, Control::Commit { chain: false } | Control::Rollback { chain: false })
        && inner.iter().all(|control| *control == Control::None)
}

fn unfit(statement: &str) -> Option<Unfit> {
    let [first, second, third, fourth, fifth] = first_tokens::<5>(statement);
    if first.is_word("copy") {
        return copies_to_client(statement).then_some(Unfit::Copy);
    }
    if first.is_word("listen") {
        return Some(Unfit::Listen);
    }
    if first.is_any(&["start_replication", "base_backup"]) {
        return Some(Unfit::Replication);
    }
    if first.is_word("set") {
        let scoped = second.is_any(&["session", "local"]);
        let (name, sign, value) =
            if scoped { (third, fourth, fifth) } else { (second, third, fourth) };
        let value = match name {
            _ if name.is_word("names") => sign,
            _ if name.name().eq_ignore_ascii_case("client_encoding") => value,
            _ => return None,
        };
        return (!is_utf8(value)).then_some(Unfit::Encoding);
    }
    first.is_word("select").then(|| sets_encoding(statement)).flatten()
}

/// Whether a COPY transfers data to or from this client.
fn copies_to_client(copy: &str) -> bool {
    let (mut depth, mut before) = (0_usize, NONE);
    let mut all = tokens(copy);
    while let Some(token) = all.next() {
        match token {
            SqlToken::Symbol('(') => depth += 1,
            SqlToken::Symbol(')') => depth = depth.saturating_sub(1),
            // After the name of a schema, this may be the name of a table.
            _ if depth == 0 && token.is_any(&["from", "to"]) && !before.is_symbol('.') => {
                return all.next().is_some_and(|end| end.is_any(&["stdin", "stdout"]));
            }
            _ => {}
        }
        before = token;
    }
    false
}

/// Finds `set_config('client_encoding', '...', ...)` whose arguments are plain strings.
fn sets_encoding(select: &str) -> Option<Unfit> {
    let mut all = tokens(select);
    while let Some(token) = all.next() {
        if !token.name().eq_ignore_ascii_case("set_config") {
            continue;
        }
        let [open, name, comma, value, behind] = next_tokens::<5>(&mut all.clone());
        let is_call = open.is_symbol('(') && comma.is_symbol(',') && behind.is_symbol(',');
        if let (true, SqlToken::Text { body, .. }, SqlToken::Text { .. }) = (is_call, name, value)
            && body.eq_ignore_ascii_case("client_encoding")
            && !is_utf8(value)
        {
            return Some(Unfit::Encoding);
        }
    }
    None
}

/// Whether a value of `client_encoding` keeps it at UTF8. DEFAULT does, since the login has set
/// UTF8.
fn is_utf8(value: SqlToken<'_>) -> bool {
    match value {
        SqlToken::Text { body, .. } => is_utf8_by_name(body),
        SqlToken::Word(word) => is_utf8_by_name(word) || value.is_word("default"),
        SqlToken::Quoted(name) => is_utf8_by_name(name),
        // The value is wrong or unknown.
        _ => true,
    }
}

/// Whether the name is one of the server's names for UTF-8. The server compares only letters and
/// digits.
pub(in crate::connection) fn is_utf8_by_name(name: &str) -> bool {
    let clean = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    let clean: String = clean.take(8).collect();
    matches!(clean.as_str(), "utf8" | "unicode")
}

/// One statement of a text.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) struct Part<'a> {
    pub(in crate::connection) text: &'a str,
    /// The byte of the text at which the statement begins.
    pub(in crate::connection) start: usize,
    pub(in crate::connection) is_ambiguous: bool,
}

/// The statements of a text, split as by the server's parser. Empty statements are left out.
pub(in crate::connection) fn parts(sql: &str) -> Parts<'_> {
    Parts { sql, rest: tokens(sql) }
}

pub(in crate::connection) struct Parts<'a> {
    sql: &'a str,
    rest: SqlTokens<'a>,
}

impl Parts<'_> {
    /// Whether the text has ended inside a string, a quoted identifier or a comment.
    fn is_cut(&self) -> bool {
        self.rest.is_cut()
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        loop {
            let start = self.sql.len() - self.rest.rest().len();
            let (part, is_empty) = next_part(&mut self.rest)?;
            if !is_empty {
                return Some(Part { start, ..part });
            }
        }
    }
}

fn next_part<'a>(rest: &mut SqlTokens<'a>) -> Option<(Part<'a>, bool)> {
    let whole = rest.rest();
    let [first, second, third, fourth] = next_tokens::<4>(&mut rest.clone());
    let what = if second.is_word("or") && third.is_word("replace") { fourth } else { second };
    // An SQL body contains statements of its own (PostgreSQL manual, CREATE FUNCTION, sql_body).
    let may_have_body = first.is_word("create") && what.is_any(&["function", "procedure"]);
    let (mut is_empty, mut depth, mut body, mut is_ambiguous) = (true, 0_usize, Body::None, false);
    let mut end = whole.len();
    while let Some(token) = rest.next() {
        match token {
            // CREATE RULE has a list of statements in parentheses.
            SqlToken::Symbol('(') => depth += 1,
            SqlToken::Symbol(')') => depth = depth.saturating_sub(1),
            SqlToken::Symbol(';') if depth == 0 && !body.is_open() => {
                end = whole.len() - rest.rest().len();
                break;
            }
            SqlToken::Text { is_ambiguous: true, .. } => is_ambiguous = true,
            _ => {}
        }
        if may_have_body && depth == 0 {
            body = body.behind(token);
        }
        is_empty = false;
    }
    let text = whole.get(..end)?;
    (!whole.is_empty()).then_some((Part { text, start: 0, is_ambiguous }, is_empty))
}

/// How far the SQL body of a function or procedure has been read. It begins with BEGIN ATOMIC, each
/// of its statements ends with a semicolon, and END comes where another statement would begin.
/// Anywhere else these words are names or belong to CASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    /// After BEGIN. ATOMIC must follow.
    Begun,
    Statement,
    /// Where a statement begins.
    Start,
}

impl Body {
    fn is_open(self) -> bool {
        matches!(self, Self::Statement | Self::Start)
    }

    fn behind(self, token: SqlToken<'_>) -> Self {
        match self {
            Self::None | Self::Begun if token.is_word("begin") => Self::Begun,
            Self::Begun if token.is_word("atomic") => Self::Start,
            Self::None | Self::Begun => Self::None,
            Self::Start if token.is_word("end") => Self::None,
            Self::Statement | Self::Start if token.is_symbol(';') => Self::Start,
            Self::Statement | Self::Start => Self::Statement,
        }
    }
}

fn next_tokens<'a, const N: usize>(all: &mut SqlTokens<'a>) -> [SqlToken<'a>; N] {
    std::array::from_fn(|_| all.next().unwrap_or(NONE))
}

/// Whether an uncertain text has to be sent by the simple protocol, which accepts a single
/// statement too. The extended protocol would refuse several statements, and the error would make a
/// transaction fail.
fn has_inner_semicolon(sql: &str) -> bool {
    sql.trim_end_matches(|c: char| c.is_ascii_whitespace() || c == ';').contains(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_as_the_server_counts_them() {
        for (sql, count) in [
            ("", 0),
            (" ; -- a;b\n;", 0),
            ("SELECT 1", 1),
            ("SELECT 1;;/* ; */", 1),
            ("; SELECT ';x', $$;$$, \";\"", 1),
            ("SELECT 1; SELECT 2 ;", 2),
            ("CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b); SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", 1),
            (
                "create or replace procedure p(a int) begin atomic select case when a = 1 then 1 end; \
                 select 2; end; select 3",
                2,
            ),
            // Each of these is one function, and one SELECT.
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT begin FROM t; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT a end; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT t.case FROM t; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS begin BEGIN ATOMIC SELECT 1; END; SELECT 1", 2),
            ("CREATE FUNCTION f() RETURNS int BEGIN/**/ATOMIC SELECT (1); END; SELECT 1", 2),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN CASE WHEN b THEN 1 END ELSE 2 END; SELECT 2; END; SELECT 1",
                2,
            ),
            ("CREATE FUNCTION f(begin atomic) RETURNS int SET a TO begin RETURN 1; SELECT 1", 2),
            (
                "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2'; SELECT 3",
                2,
            ),
            ("BEGIN; SELECT 1; END", 3),
        ] {
            assert_eq!(parts(sql).count(), count, "{sql}");
            assert_eq!(Script::of(sql).may_be_script, count > 1, "{sql}");
        }
        assert!(Script::of("SELECT 1; SELECT 2; /* x").is_cut);
        assert!(!Script::of("SELECT 1; SELECT '/*'; -- '").is_cut);
        let ambiguous = r"SELECT 'a\'; SELECT 'b'";
        assert!(Script::of(ambiguous).may_be_script);
        assert!(Script::of(r"SELECT 'a\';x'").may_be_script);
        assert!(!Script::of(r"SELECT 'C:\;x'").may_be_script);
    }

    #[test]
    fn what_commits_is_seen_behind_comments_and_not_in_strings() {
        for sql in [
            "COMMIT",
            " end;",
            "\n;commit and chain",
            "/* a */ -- b\n COMMIT",
            "Prepare Transaction 'x'",
            "COMMIT PREPARED 'x'",
            "SELECT 1; COMMIT",
            "BEGIN; INSERT INTO t VALUES (1); /* end */ end -- now",
            r"SELECT 'a\'; COMMIT; --'",
        ] {
            assert!(Script::of(sql).may_commit, "{sql}");
        }
        for sql in [
            "",
            "SELECT 'commit'",
            "/* app */ INSERT INTO ends VALUES (1)",
            "-- name: save\nINSERT INTO t VALUES (';commit')",
            "SELECT 1; SELECT CASE WHEN true THEN 1 END AS one",
            "DO $$ BEGIN COMMIT; END $$",
            "PREPARE p AS SELECT 1",
            "PREPARE transaction AS SELECT 1",
            "PREPARE transaction (text) AS SELECT 1",
            "ROLLBACK; SELECT 1",
            "committed",
        ] {
            assert!(!Script::of(sql).may_commit, "{sql}");
        }
    }

    #[test]
    fn what_runs_behind_the_end_of_its_transaction_is_seen() {
        assert!(Script::of("ROLLBACK; INSERT INTO t VALUES (1)").may_go_on);
        assert!(Script::of("COMMIT; BEGIN").may_go_on);
        assert!(!Script::of("INSERT INTO t VALUES (1); ROLLBACK").may_go_on);
        assert!(!Script::of("ROLLBACK TO s; INSERT INTO t VALUES (1)").may_go_on);
    }

    #[test]
    fn a_transaction_that_a_text_leaves_open_is_seen() {
        let leaves = |sql: &str| Script::of(sql).unfit == Some(Unfit::LeavesTransactionOpen);
        for sql in [
            "BEGIN",
            "begin transaction isolation level serializable;",
            "/* a */ START TRANSACTION READ ONLY",
            "SELECT 1; BEGIN",
            "BEGIN; INSERT INTO t VALUES ('COMMIT')",
            "BEGIN; COMMIT AND CHAIN",
            "BEGIN; ROLLBACK WORK AND CHAIN",
            "BEGIN; SAVEPOINT s; ROLLBACK TO s",
            "BEGIN; ROLLBACK WORK TO SAVEPOINT s",
            "BEGIN; COMMIT; BEGIN",
        ] {
            assert!(leaves(sql), "{sql}");
        }
        for sql in [
            "COMMIT",
            "ROLLBACK",
            "COMMIT AND CHAIN",
            "BEGIN; INSERT INTO t VALUES (1); COMMIT",
            "BEGIN; COMMIT AND NO CHAIN",
            "BEGIN; ABORT",
            "BEGIN; END WORK",
            "BEGIN; PREPARE TRANSACTION 'x'",
            "SELECT 'BEGIN'",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
            r"SELECT 'a\'; BEGIN; --'",
        ] {
            assert!(!leaves(sql), "{sql}");
        }
    }

    #[test]
    fn what_this_client_has_no_use_for_is_seen() {
        for (sql, expected) in [
            ("COPY t FROM STDIN", Some(Unfit::Copy)),
            ("/* a */ copy t (a, b) from stdin with (format csv)", Some(Unfit::Copy)),
            ("COPY (SELECT a FROM t WHERE b IN (SELECT 1)) TO STDOUT", Some(Unfit::Copy)),
            ("SELECT 1; COPY t TO STDOUT", Some(Unfit::Copy)),
            ("COPY s.to FROM STDIN", Some(Unfit::Copy)),
            ("COPY t FROM '/stdin'", None),
            ("COPY t TO PROGRAM 'cat'", None),
            ("SELECT 'COPY t FROM STDIN'", None),
            ("LISTEN a", Some(Unfit::Listen)),
            ("SELECT 1; LISTEN a", Some(Unfit::Listen)),
            ("UNLISTEN *", None),
            ("NOTIFY a", None),
            ("START_REPLICATION SLOT a LOGICAL 0/0", Some(Unfit::Replication)),
            ("SET client_encoding = 'LATIN1'", Some(Unfit::Encoding)),
            ("SET LOCAL Client_Encoding TO latin1", Some(Unfit::Encoding)),
            ("SET SESSION \"client_encoding\" TO latin1", Some(Unfit::Encoding)),
            ("set names 'latin1'", Some(Unfit::Encoding)),
            ("SET NAMES 'UTF-8'", None),
            ("SET client_encoding = unicode", None),
            ("SET client_encoding TO DEFAULT", None),
            ("SELECT set_config('client_encoding', 'LATIN1', true)", Some(Unfit::Encoding)),
            ("SELECT pg_catalog.set_config('client_encoding', 'utf8', true)", None),
            ("SELECT set_config('client_encoding', $1, true)", None),
            ("SET work_mem = '1MB'", None),
        ] {
            assert_eq!(Script::of(sql).unfit, expected, "{sql}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for sql in
            ["--", "/*", "é;", "((;;", "))", "CREATE FUNCTION begin atomic end end; end", "'"]
        {
            let _ = Script::of(sql);
        }
    }
}
