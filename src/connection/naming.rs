//! What the names in statements mean: tables, functions and types are looked up when a server parses a statement, and
//! what it was told to look up there holds until a name means something else.
//!
//! Some statements name their result themselves and are never planned: what FETCH and EXECUTE bring depends on what a
//! cursor or a prepared statement of that name is when they run. Others change what names mean: DDL for everybody,
//! `search_path`, roles and temporary tables for their session.

use super::lexer::{SqlToken, tokens};

/// What a statement's text says of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    /// Its result is that of whatever has a name when it runs. The server checks no description of it.
    pub(super) names_result: bool,
    moves: Moves,
}

/// For whom names mean something else behind a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moves {
    Nobody,
    /// It ends a transaction, and with it what that has set for itself.
    Back,
    Session,
    Everybody,
}

/// More than this of a script is not looked at: it may do anything.
const LONGEST_LOOK: usize = 64 * 1024;
/// So much of a statement tells what it is.
const WORDS: usize = 5;

impl Naming {
    pub(super) fn of(sql: &str, may_be_script: bool) -> Self {
        let head = head_of(sql);
        let first = head.first().copied();
        let names_result = first.is_some_and(|first| first.is_any(&["fetch", "execute", "move"]));
        let moves = if may_be_script && sql.len() > LONGEST_LOOK {
            Moves::Everybody
        } else if may_be_script {
            moves_of_script(sql)
        } else {
            moves_of(&head)
        };
        let mentions = |word: &str| contains_ignoring_case(sql, word);
        // By a function, which can be called anywhere.
        let sets = mentions("search_path") || (mentions("set_config") && mentions("role"));
        let moves = if sets { moves.max(Moves::Session) } else { moves };
        Self { names_result, moves }
    }
}

/// The first tokens of a statement.
fn head_of(sql: &str) -> Vec<SqlToken<'_>> {
    let is_open = |token: &SqlToken<'_>| token.is_symbol(';') || token.is_symbol('(');
    tokens(sql).skip_while(is_open).take(WORDS).collect()
}

fn moves_of_script(sql: &str) -> Moves {
    let (mut moves, mut head) = (Moves::Nobody, Vec::new());
    for token in tokens(sql) {
        if token.is_symbol(';') {
            moves = moves.max(moves_of(&head));
            head.clear();
        } else if head.len() < WORDS {
            head.push(token);
        }
    }
    moves.max(moves_of(&head))
}

fn moves_of(head: &[SqlToken<'_>]) -> Moves {
    let Some((first, rest)) = head.split_first() else { return Moves::Nobody };
    let has = |words: &[&str]| rest.iter().any(|token| token.is_any(words));
    if first.is_any(&["create", "alter", "drop", "import"]) {
        let is_temporary = has(&["temp", "temporary"]);
        return if is_temporary { Moves::Session } else { Moves::Everybody };
    }
    // A block of code may hold any of them.
    if first.is_word("do") {
        return Moves::Everybody;
    }
    let settings = ["search_path", "role", "schema", "authorization", "all"];
    if first.is_word("discard") || (first.is_any(&["set", "reset"]) && has(&settings)) {
        return Moves::Session;
    }
    if first.is_any(&["rollback", "abort", "commit", "end"]) {
        return Moves::Back;
    }
    Moves::Nobody
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    let text = text.as_bytes().get(..LONGEST_LOOK).unwrap_or(text.as_bytes());
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// How often names have come to mean something else in one session, as far as its statements show it. Statements are
/// counted when they are sent, which is the order in which the server looks names up.
#[derive(Debug, Default)]
pub(super) struct Names {
    epoch: u64,
    /// Something has moved since the session was last at rest, perhaps for its transaction alone.
    moved: bool,
    /// So it has for other sessions, once it is committed.
    moved_for_all: bool,
}

impl Names {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A statement is on its way. What was parsed before it may mean something else behind it.
    pub(super) fn sent(&mut self, naming: Naming) {
        match naming.moves {
            Moves::Nobody => return,
            Moves::Back if !self.moved => return,
            Moves::Back => {}
            Moves::Session => self.moved = true,
            Moves::Everybody => (self.moved, self.moved_for_all) = (true, true),
        }
        self.epoch += 1;
    }

    /// The server says so itself.
    pub(super) fn told(&mut self) {
        self.epoch += 1;
    }

    /// Nothing is under way, and no transaction is open. Returns whether other sessions may see it now.
    pub(super) fn rest(&mut self) -> bool {
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
        Naming::of(sql, sql.contains(';'))
    }

    #[test]
    fn what_names_its_result_is_seen_behind_comments() {
        for sql in ["FETCH 1 FROM c", "/* x */ execute p", "-- y\nFetch ALL c", "MOVE 1 c"] {
            assert!(of(sql).names_result, "{sql}");
        }
        for sql in ["SELECT 'fetch'", "EXPLAIN EXECUTE p", "SELECT 1 FETCH FIRST ROW ONLY", ""] {
            assert!(!of(sql).names_result, "{sql}");
        }
    }

    #[test]
    fn what_moves_names_is_told_from_the_rest() {
        let everybody = ["ALTER TABLE t ADD a int", "SELECT 1; drop function f()", "DO $$ $$"];
        let session = [
            "CREATE TEMP TABLE t (a int)",
            "create local temporary table t (a int)",
            "SET search_path TO a",
            "SET LOCAL ROLE a",
            "SET SCHEMA 'a'",
            "RESET ALL",
            "DISCARD PLANS",
            "SELECT set_config('Search_Path', $1, true)",
            "SELECT set_config('role', $1, true)",
            "SELECT 1; SET SESSION AUTHORIZATION a",
        ];
        let nobody = [
            "SELECT 'ALTER TABLE'",
            "SET LOCAL statement_timeout = 1",
            "SELECT set_config('app.tenant', $1, true)",
            "INSERT INTO role VALUES ('create')",
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
    fn what_a_transaction_has_set_for_itself_goes_with_it() {
        let mut names = Names::default();
        names.sent(of("COMMIT"));
        assert_eq!((names.rest(), names.epoch()), (false, 0));
        names.sent(of("SET LOCAL search_path TO a"));
        let inside = names.epoch();
        names.sent(of("SELECT 1"));
        assert_eq!(names.epoch(), inside);
        names.sent(of("COMMIT"));
        let behind = names.epoch();
        assert!(behind > inside && !names.rest() && names.epoch() > behind);
        names.sent(of("ALTER TABLE t ADD a int"));
        assert!(names.rest() && !names.rest());
    }
}
