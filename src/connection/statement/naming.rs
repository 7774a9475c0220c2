//! What the names in statements mean. A server looks up tables, functions and types when it parses
//! a statement. The result is valid until one of the names means something else.
//!
//! Some statements name their result and are never planned: the result of FETCH and EXECUTE depends
//! on the cursor or prepared statement that has the name when they run. Other statements change
//! what names mean: DDL for all sessions; `search_path`, roles and temporary tables for their own
//! session.

use super::creating::{Created, IntoFinder};
use super::lexer::{SqlToken, SqlTokens, tokens};
use super::plain_read::{calls_user_code, is_plain_read};
use super::session_effects::runs_strings;
use crate::connection::introspection::role::Parameters;

/// Facts about names that the text of a statement shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) struct Naming {
    /// The statement's result is that of the object which has the given name when the statement
    /// runs. The server does not check the result against a description.
    pub(in crate::connection) names_result: bool,
    moves: Moves,
    /// The statement calls a function that is not PostgreSQL's own. The function may change
    /// `search_path`, for its transaction or for the session.
    pub(in crate::connection) calls_user_code: bool,
    /// The statement may change whether its session accepts writes.
    pub(in crate::connection) makes_role: bool,
}

/// Which sessions see names differently after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moves {
    Nobody,
    /// The statement's own session. The statement ends a transaction, and so undoes changes of
    /// names that the transaction had made for itself.
    Back,
    Session,
    Everybody,
}

/// How many tokens at the beginning decide what a statement is.
const WORDS: usize = 5;

impl Naming {
    /// Whether other sessions see names differently once the statement is committed.
    pub(in crate::connection) fn moves_for_all(self) -> bool {
        self.moves == Moves::Everybody
    }

    /// Whether the statement's session sees names differently from others.
    pub(in crate::connection) fn moves_for_session(self) -> bool {
        self.moves == Moves::Session
    }

    pub(in crate::connection) fn of(sql: &str) -> Self {
        let mut moves = Moves::Nobody;
        let mut seen = Seen::default();
        let mut names_result = None;
        let mut all = tokens(sql);
        while let Some(token) = all.next() {
            if token.is_symbol(';') {
                moves = moves.max(seen.moves());
                seen = Seen::default();
            } else {
                let names = token.is_any(&["fetch", "execute", "move"]);
                names_result = names_result.or((!token.is_symbol('(')).then_some(names));
                seen.push(token, &all);
            }
        }
        moves = moves.max(seen.moves());
        let mentions = Mentions::of(sql);
        // A text can change a setting by a function, which it may call anywhere. Escapes can hide
        // the name of the setting.
        let sets = mentions.escapes || (mentions.search_path && !is_plain_read(sql));
        let moves = if sets { moves.max(Moves::Session) } else { moves };
        let makes_role =
            mentions.escapes || mentions.read_only || (moves != Moves::Nobody && mentions.setter);
        let calls_user_code = calls_user_code(sql);
        Self { names_result: names_result.unwrap_or(false), moves, calls_user_code, makes_role }
    }
}

/// Words found anywhere in a text, even in its strings and comments.
#[derive(Clone, Copy, Debug, Default)]
struct Mentions {
    /// An identifier in which escapes may hide any name.
    escapes: bool,
    search_path: bool,
    /// A setting that makes a session refuse writes, or the statement that sets it.
    read_only: bool,
    /// Something that may change any setting.
    setter: bool,
}

impl Mentions {
    fn of(sql: &str) -> Self {
        let mut mentions = Self::default();
        let bytes = sql.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            // Whether the text has this word here, beginning `before` bytes before the current
            // position.
            let is = |before: usize, word: &str| {
                let start = at.checked_sub(before);
                let found = start.and_then(|start| bytes.get(start..start + word.len()));
                found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
            };
            match byte {
                b'_' => {
                    mentions.search_path |= is(6, "search_path");
                    mentions.read_only |= is(4, "read_only");
                    mentions.setter |=
                        is(3, "set_config") || is(2, "pg_settings") || is(2, "to_xml");
                }
                b'&' => mentions.escapes |= is(1, "u&\""),
                b'c' | b'C' => mentions.read_only |= is(0, "characteristics"),
                _ => {}
            }
        }
        mentions
    }
}

/// The part of a statement that has been read.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// Its first tokens.
    head: Vec<SqlToken<'a>>,
    into: IntoFinder<'a>,
    call: SetConfigCall,
    updates: bool,
    moves: Option<Moves>,
}

/// How much of a call of `set_config` has been read.
#[derive(Clone, Copy, Debug, Default)]
enum SetConfigCall {
    #[default]
    None,
    Name,
    Open,
    /// The first argument begins with the name of a setting that does not change names.
    Setting,
}

/// The settings that decide which tables names mean.
const SETTINGS: [&str; 3] = ["search_path", "role", "session_authorization"];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

impl<'a> Seen<'a> {
    /// Reads a token. `rest` is the text after it.
    fn push(&mut self, token: SqlToken<'a>, rest: &SqlTokens<'a>) {
        self.look_at_call(token);
        self.updates |= token.is_word("update");
        let writes_settings = self.updates && is_one_of(token.name(), &["pg_settings"]);
        if writes_settings || runs_strings(token.name()) {
            self.add(Moves::Session);
        }
        // SELECT creates a table by INTO.
        if let Some(created) = self.into.read(token, rest) {
            self.add(moves_of_created(created));
        }
        if self.head.first().is_some_and(|first| first.is_word("explain")) {
            self.look_at_explained(token, rest);
        }
        if self.head.len() < WORDS && !(self.head.is_empty() && token.is_symbol('(')) {
            self.head.push(token);
        }
    }

    /// EXPLAIN ANALYZE runs its statement, which may create a table or run a prepared statement.
    fn look_at_explained(&mut self, token: SqlToken<'a>, rest: &SqlTokens<'a>) {
        if token.is_word("create") {
            self.add(moves_of_created(Created::by_create(rest.clone())));
        } else if token.is_word("execute") {
            self.add(Moves::Session);
        }
    }

    /// Reads a call of `set_config`. Unless the setting's name is a plain string, it may be any
    /// setting.
    fn look_at_call(&mut self, token: SqlToken<'a>) {
        self.call = match (self.call, token) {
            (SetConfigCall::Name, SqlToken::Symbol('(')) => SetConfigCall::Open,
            (SetConfigCall::Open, SqlToken::Text { body, is_ambiguous: false })
                if !body.contains('\\') && !is_one_of(body, &SETTINGS) =>
            {
                SetConfigCall::Setting
            }
            (SetConfigCall::Open, _) => {
                self.add(Moves::Session);
                SetConfigCall::None
            }
            // A cast of the setting's name.
            (SetConfigCall::Setting, SqlToken::Symbol(':') | SqlToken::Word(_)) => {
                SetConfigCall::Setting
            }
            (SetConfigCall::Setting, token) => {
                if !token.is_symbol(',') {
                    self.add(Moves::Session);
                }
                SetConfigCall::None
            }
            (_, token) if is_one_of(token.name(), &["set_config"]) => SetConfigCall::Name,
            _ => SetConfigCall::None,
        };
    }

    fn add(&mut self, moves: Moves) {
        self.moves = self.moves.max(Some(moves));
    }

    fn moves(&self) -> Moves {
        moves_of(&self.head).max(self.moves.unwrap_or(Moves::Nobody))
    }
}

fn moves_of_created(created: Created) -> Moves {
    match created {
        Created::Temporary => Moves::Session,
        Created::ForAll => Moves::Everybody,
    }
}

fn moves_of(head: &[SqlToken<'_>]) -> Moves {
    let Some((first, rest)) = head.split_first() else { return Moves::Nobody };
    let has = |words: &[&str]| rest.iter().any(|token| token.is_any(words));
    if first.is_word("create") {
        return moves_of_created(Created::by_create(rest.iter().copied()));
    }
    // If a role has no right to use a schema, the server skips that schema. So a statement that
    // changes rights or owners changes what names mean.
    if first.is_any(&["alter", "drop", "import", "grant", "revoke", "reassign"]) {
        return Moves::Everybody;
    }
    // Such code may contain any statement.
    if first.is_any(&["do", "call"]) {
        return Moves::Everybody;
    }
    if first.is_word("commit") && has(&["prepared"]) {
        return Moves::Everybody;
    }
    if first.is_word("discard") || (first.is_any(&["set", "reset"]) && sets_names(rest)) {
        return Moves::Session;
    }
    // The prepared statement may call `set_config`.
    if first.is_word("execute") {
        return Moves::Session;
    }
    // DEALLOCATE ALL also drops the statements that this client has prepared.
    if first.is_word("deallocate") && has(&["all"]) {
        return Moves::Session;
    }
    if first.is_any(&["rollback", "abort", "commit", "end"]) {
        return Moves::Back;
    }
    Moves::Nobody
}

/// Whether the tokens after SET or RESET name a setting that decides which tables names mean.
/// `app.role` is a setting of the user's own.
fn sets_names(rest: &[SqlToken<'_>]) -> bool {
    let mut words = rest.iter().skip_while(|word| word.is_any(&["session", "local"]));
    words.next().is_some_and(|setting| {
        let is_own = words.next().is_some_and(|next| next.is_symbol('.'));
        let is_named = setting.is_any(&["schema", "authorization", "all"]);
        !is_own && (is_named || is_one_of(setting.name(), &SETTINGS))
    })
}

/// How often the meaning of names has changed in one session, as far as its statements show. A
/// statement counts when it is sent, since the server looks up names in the same order.
#[derive(Debug, Default)]
pub(in crate::connection) struct Names {
    epoch: u64,
    /// The server reports each change of `search_path`, as PostgreSQL 18 does. It reports none of
    /// the tables that a function creates.
    are_reported: bool,
    /// Names have changed since the session was last idle, perhaps for its transaction only.
    moved: bool,
    /// Names have changed for other sessions too, once the transaction is committed.
    moved_for_all: bool,
}

impl Names {
    /// `parameters`: what the server has reported at the login.
    pub(in crate::connection) fn new(parameters: &Parameters) -> Self {
        Self { are_reported: parameters.value("search_path").is_some(), ..Self::default() }
    }

    pub(in crate::connection) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Counts a statement that is being sent, after which earlier names may mean something else.
    /// Returns whether this affects other sessions too. It affects them at once: if a statement of
    /// theirs waits for a lock, it continues at the commit, before the answer has arrived here.
    ///
    /// `leased`: the session has statements of one caller only, who may call a function that sets
    /// `search_path` for the statements that follow.
    pub(in crate::connection) fn sent(&mut self, naming: Naming, leased: bool) -> bool {
        let moves_unseen = naming.calls_user_code && leased && !self.are_reported;
        match naming.moves {
            Moves::Nobody if moves_unseen => self.moved = true,
            Moves::Nobody => return false,
            Moves::Back if !self.moved => return false,
            Moves::Back => {}
            Moves::Session => self.moved = true,
            Moves::Everybody => (self.moved, self.moved_for_all) = (true, true),
        }
        self.epoch += 1;
        naming.moves == Moves::Everybody
    }

    /// The server itself has reported a new `search_path`.
    pub(in crate::connection) fn search_path_reported(&mut self) {
        self.epoch += 1;
    }

    /// Whether other sessions see names differently once the statements in flight are committed.
    pub(in crate::connection) fn have_moved_for_all(&self) -> bool {
        self.moved_for_all
    }

    /// Called when the session is idle: nothing is in flight, and no transaction is open. Returns
    /// whether other sessions may see names differently now.
    pub(in crate::connection) fn on_idle(&mut self) -> bool {
        if std::mem::take(&mut self.moved) {
            self.epoch += 1;
        }
        std::mem::take(&mut self.moved_for_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Naming {
        Naming::of(sql)
    }

    #[test]
    fn what_names_its_result_is_seen_behind_comments() {
        for sql in
            ["FETCH 1 FROM c", ";;execute p", "/* x */ execute p", "-- y\nFetch ALL c", "MOVE 1 c"]
        {
            assert!(of(sql).names_result, "{sql}");
        }
        for sql in ["SELECT 'fetch'", "EXPLAIN EXECUTE p", "SELECT 1 FETCH FIRST ROW ONLY", ""] {
            assert!(!of(sql).names_result, "{sql}");
        }
    }

    #[test]
    fn statements_that_move_names_are_recognized() {
        let everybody = [
            "ALTER TABLE t ADD a int",
            "SELECT 1; drop function f()",
            "DO $$ $$",
            "/* x */ call s.p(1)",
            "SELECT * INTO s FROM t",
            "; (WITH t AS (SELECT 1) SELECT * INTO UNLOGGED s FROM t)",
            "EXPLAIN (ANALYZE, COSTS off) CREATE TABLE s AS TABLE t",
            "GRANT USAGE ON SCHEMA s TO a",
            "COMMIT PREPARED 'x'",
            "REASSIGN OWNED BY a TO b",
            "INSERT INTO s VALUES (E'it'\n'\\'s'); ALTER TABLE t ALTER v TYPE text; INSERT INTO s VALUES ('')",
            // In each of these, TEMP is a name.
            "ALTER TABLE t ALTER temp TYPE text",
            "ALTER TABLE temp ALTER v TYPE text",
            "DROP TABLE temporary",
            "CREATE TABLE temp (v int)",
            "SELECT * INTO temp FROM t",
            "EXPLAIN ANALYZE CREATE TABLE temporary AS TABLE t",
            "SELECT insert INTO s FROM t",
        ];
        let session = [
            "CREATE TEMP TABLE t (a int)",
            "create local temporary table t (a int)",
            "SET search_path TO a",
            "SET LOCAL ROLE a",
            "SET SCHEMA 'a'",
            "RESET ALL",
            "SELECT * INTO TEMP s FROM t",
            "select 1; select * into local temporary s from t",
            "EXPLAIN ANALYZE CREATE TEMP TABLE s AS TABLE t",
            "DEALLOCATE PREPARE ALL",
            "DISCARD PLANS",
            "SELECT set_config('Search_Path', $1, true)",
            "SELECT set_config('role', $1, true)",
            "EXPLAIN ANALYZE SELECT pg_catalog.\"set_config\"($1, $2, false)",
            "SELECT set_config('ro' || 'le', $1, true)",
            "SELECT set_config(E'r\\157le', $1, true)",
            "SELECT set_config('session_authorization', 'a', false)",
            "SET LOCAL \"role\" = 'a'",
            "SET session_authorization = 'a'",
            "UPDATE pg_settings SET setting = $2 WHERE name = $1",
            "SELECT query_to_xml($1, true, false, '')",
            "EXECUTE p('a')",
            "EXPLAIN ANALYZE EXECUTE p('a')",
            "create or replace local temp view temp as select 1",
            "SELECT 1; SET SESSION AUTHORIZATION a",
        ];
        let nobody = [
            "SELECT 'ALTER TABLE'",
            "SET LOCAL statement_timeout = 1",
            "SET LOCAL app.role = 'role'",
            "SET CONSTRAINTS ALL DEFERRED",
            "SELECT set_config('app.tenant', $1, true)",
            "SELECT set_config('app.tenant'::text, $1, true)",
            "SELECT setting FROM pg_settings WHERE name = 'role'",
            "INSERT INTO role VALUES ('create')",
            "WITH t AS (INSERT /* */ INTO s VALUES (1) RETURNING 1 AS into) SELECT 'into', \"into\" FROM t",
            "MERGE INTO s USING t ON true WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "EXPLAIN SELECT 1",
            "SHOW search_path",
            "SELECT current_setting('search_path'), current_schemas(true)",
            "",
        ];
        for (texts, moves) in [
            (&everybody[..], Moves::Everybody),
            (&session, Moves::Session),
            (&nobody, Moves::Nobody),
            (&["/* x */ ROLLBACK TO a", "END"], Moves::Back),
        ] {
            for sql in texts {
                assert_eq!(of(sql).moves, moves, "{sql}");
            }
        }
    }

    #[test]
    fn a_text_is_looked_at_to_its_end() {
        let rows = "(1),".repeat(40_000);
        for (behind, moves) in [
            ("ALTER TABLE t ADD a int", Moves::Everybody),
            ("SET ROLE a", Moves::Session),
            ("SELECT set_config('search_path', '', false)", Moves::Session),
            ("SELECT 1", Moves::Nobody),
        ] {
            let sql = format!("INSERT INTO s VALUES {rows} (1); {behind}");
            assert_eq!(of(&sql).moves, moves, "{behind}");
        }
        let sql = |behind: &str| format!("SELECT {} 1 {behind}", "1,".repeat(40_000));
        assert_eq!(of(&sql("INTO s")).moves, Moves::Everybody);
        assert_eq!(of(&sql(", set_config($1, $2, true)")).moves, Moves::Session);
        assert_eq!(of(&sql("AS into")).moves, Moves::Nobody);
        let sql = format!("DO $$ -- {} SET transaction_read_only = on $$", "x\n".repeat(40_000));
        assert!(of(&sql).makes_role);
    }

    #[test]
    fn what_makes_a_session_refuse_writes_is_seen() {
        for sql in [
            "SET default_transaction_read_only = on",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SELECT set_config($1, $2, false)",
            "DO $$ BEGIN SET Default_Transaction_Read_Only = on; END $$",
        ] {
            assert!(of(sql).makes_role, "{sql}");
        }
        for sql in ["SET work_mem = '8MB'", "CREATE TEMP TABLE t (a int)", "LISTEN a", "BEGIN"] {
            assert!(!of(sql).makes_role, "{sql}");
        }
    }

    #[test]
    fn what_a_transaction_has_set_for_itself_goes_with_it() {
        let mut names = Names::default();
        names.sent(of("COMMIT"), true);
        assert_eq!((names.on_idle(), names.epoch()), (false, 0));
        names.sent(of("SET LOCAL search_path TO a"), true);
        let inside = names.epoch();
        names.sent(of("SELECT 1"), true);
        assert_eq!(names.epoch(), inside);
        names.sent(of("COMMIT"), true);
        let behind = names.epoch();
        assert!(behind > inside && !names.on_idle() && names.epoch() > behind);
        let tenant = of("SELECT app.set_tenant($1)");
        names.sent(tenant, false);
        assert_eq!((names.on_idle(), names.epoch()), (false, behind + 1));
        names.sent(tenant, true);
        assert_eq!(names.epoch(), behind + 2);
        names.sent(of("ALTER TABLE t ADD a int"), true);
        assert!(names.on_idle() && !names.on_idle());
    }
}
