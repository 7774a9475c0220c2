//! The statements of the whole pool.
//!
//! Owns: the texts, what they show about themselves, and their descriptions.
//!
//! The first server that runs a statement describes it, on any connection. Then every connection
//! prepares and runs the statement in one flight, and follows the description that its own server
//! returns there. A description from another connection is only a hint for that one flight.
//!
//! The tests on servers are in `test/integration/prepared.test.js`, `stale-types.test.js` and
//! `moved-names.test.js`.

pub(in crate::connection) mod control;
pub(in crate::connection) mod creating;
mod description;
pub(in crate::connection) mod effect;
pub(in crate::connection) mod halfway;
pub(in crate::connection) mod lexer;
pub(in crate::connection) mod naming;
pub(in crate::connection) mod plain_names;
pub(in crate::connection) mod plain_read;
pub(in crate::connection) mod prepared;
pub(in crate::connection) mod sanitized;
pub(in crate::connection) mod script;
pub(in crate::connection) mod session_effects;
pub(in crate::connection) mod staleness;
pub(in crate::connection) mod stats;
pub(in crate::connection) mod summary;

use std::sync::Arc;
use std::time::Duration;

pub use self::description::Description;

use self::effect::Effect;
use self::lexer::{contains_ignoring_case, first_tokens};
use self::naming::Naming;
use self::plain_read::{is_plain_read, is_sure};
use self::script::{Script, Unfit, parts};
use self::session_effects::SessionEffects;
use self::stats::Stats;
use crate::base::{Instant, ServerFields};
use crate::connection::request::step::Sending;
use crate::connection::request::text_results::{TextResults, names_styles};
use crate::types::{DomainArrays, Shape, UserType, Verbatim, is_of_users};

/// Names a statement as long as JavaScript remembers its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(pub u32);

/// How a statement can be sent.
#[derive(Clone, Debug)]
pub enum Form {
    /// No server has described the statement yet. Parameters and results are sent as text, and the
    /// same flight asks for the description.
    Undescribed,
    Described(Arc<Description>),
}

#[derive(Debug)]
pub struct Statement {
    pub sql: Arc<str>,
    pub form: Form,
    pub verbatim: Verbatim,
    pub stats: Stats,
    /// Facts about the statements in its text.
    script: Script,
    pub session_effects: SessionEffects,
    pub(super) text_results: TextResults,
    /// Whether the statement is a script that may change the text format of its own results.
    pub(super) restyles: bool,
    /// Whether the statement is a script whose results have only values of type text.
    pub(super) is_plain_script: bool,
    pub(super) naming: Naming,
    /// When a server described it differently from an earlier description.
    pub(super) changed_at: Option<Instant>,
    /// The value of `Statements::generation` when a server last described the statement.
    described_in: u64,
    /// When a server last refused the statement in a transaction, perhaps because of an outdated
    /// description.
    pub(super) invalidated_at: Option<Instant>,
    /// When an answer of the statement could not be read, because no server described the types in
    /// it.
    pub(super) unread_at: Option<Instant>,
    /// Whether the statement may be sent after other requests: it has no effect if it is refused at
    /// any point.
    pub may_share: bool,
    /// Whether the whole text is known and only reads.
    pub is_plain_read: bool,
    /// What the statement may have changed if it succeeded.
    pub effect: Effect,
    /// Whether it may run twice.
    pub may_run_twice: bool,
    /// How many calls still use the statement. A forgotten statement is dropped with the last of
    /// them.
    holders: usize,
    forgotten: bool,
}

impl Statement {
    /// The oids of the parameters' types. `None` until a server has described the statement.
    pub fn parameter_types(&self) -> Option<&[u32]> {
        match &self.form {
            Form::Undescribed => None,
            Form::Described(description) => Some(&description.parameter_types),
        }
    }

    /// Whether the description names users' types, and so is valid in one database only.
    pub fn has_user_types(&self) -> bool {
        match &self.form {
            Form::Undescribed => false,
            Form::Described(description) => {
                description.parameter_types.iter().any(|oid| is_of_users(*oid))
                    || description.shape.as_deref().is_some_and(Shape::has_user_types)
            }
        }
    }

    /// Whether an answer of the statement could not be read lately, because no server described the
    /// types in it.
    pub const fn is_restless(&self) -> bool {
        self.unread_at.is_some()
    }

    /// Takes a server's description. Returns the description that is known now, and whether it is
    /// new.
    pub(super) fn set_description(
        &mut self,
        now: Instant,
        description: Arc<Description>,
    ) -> (Arc<Description>, bool) {
        match &self.form {
            Form::Described(known) if known.is_same(&description) => {
                return (Arc::clone(known), false);
            }
            Form::Described(_) => self.changed_at = Some(now),
            Form::Undescribed => {}
        }
        self.form = Form::Described(Arc::clone(&description));
        (description, true)
    }

    /// Whether the statement is, or may contain, a command that commits the statements before it.
    pub fn may_commit(&self) -> bool {
        self.script.may_commit
    }

    /// Whether the statement may have an effect although its transaction has none, because it
    /// commits the transaction, or ends it and continues.
    pub fn may_leave_transaction(&self) -> bool {
        self.script.may_commit || self.script.may_go_on
    }

    /// Whether the statement may have committed something in its middle, which no command tag
    /// shows, although the server sent the error `refused`.
    pub(super) fn may_have_committed(&self, sending: Sending, refused: &ServerFields) -> bool {
        match sending {
            Sending::Simple if self.script.is_block => false,
            Sending::Simple | Sending::Extended => self.script.halfway.may_have_committed(refused),
            Sending::Steps { has_left } => has_left,
        }
    }

    /// Whether the text may contain several statements. The server accepts these only by the simple
    /// protocol and without parameters.
    pub fn may_be_script(&self) -> bool {
        self.script.may_be_script
    }

    /// Whether the server refuses all of the text because it ends inside a string, a quoted
    /// identifier or a comment.
    pub(super) fn is_cut(&self) -> bool {
        self.script.is_cut
    }

    /// Whether only the answer shows if the session is in a transaction afterwards.
    pub fn may_move_transaction(&self) -> bool {
        self.script.may_move
    }

    /// Whether the statement may change how the string constants in its own text are read.
    pub(super) fn may_respell(&self) -> bool {
        self.sql.contains('\\') && contains_ignoring_case(&self.sql, "standard_conforming_strings")
    }

    /// Whether the statement is PREPARE TRANSACTION: another session may commit the transaction by
    /// its name.
    pub fn prepares_transaction(&self) -> bool {
        self.script.prepares_transaction
    }

    /// Why this client refuses to send the statement.
    pub fn unfit(&self) -> Option<Unfit> {
        self.script.unfit
    }
}

fn gives_no_values(script: &str) -> bool {
    parts(script).all(|part| !part.is_ambiguous && TextResults::of(part.text) == TextResults::Plain)
}

/// For how long a statement is held after an answer of it could not be read.
const RESTLESS: Duration = Duration::from_secs(60);
/// How many bytes all descriptions may take together.
const MOST_WEIGHT: usize = 16 * 1024 * 1024;
/// The most users' types of which the pool remembers something. If a request in flight still holds
/// the table, adding a type copies the whole table.
const MOST_TYPES: usize = 4096;

/// The statements of a pool, by the small numbers that JavaScript uses for them.
#[derive(Debug, Default)]
pub struct Statements {
    /// Whether a session has shown that its settings give values another text than this client
    /// reads. From then on the pool has each statement described before its first use.
    pub(super) describes_first: bool,
    domains: DomainArrays,
    places: Vec<Option<Statement>>,
    vacant: Vec<u32>,
    /// An upper bound of the bytes that descriptions take. It includes dropped descriptions until
    /// the next time that all are added up.
    weight: usize,
    /// How often statements of this pool have changed the meaning of names for all sessions.
    generation: u64,
    /// Whether a session has a search_path or temporary tables of its own, or is about to get them.
    have_own_names: bool,
}

impl Statements {
    pub fn insert(&mut self, sql: &str) -> StatementId {
        self.insert_verbatim(sql, Verbatim::default())
    }

    /// The same text with other types as text (`verbatim`) is another statement.
    pub fn insert_verbatim(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        let script = Script::of(sql);
        let is_plain_read = !script.may_be_script && is_plain_read(sql);
        let statement = Statement {
            sql: Arc::from(sql),
            form: Form::Undescribed,
            verbatim,
            stats: Stats::default(),
            script,
            may_share: !script.may_be_script && is_all_or_nothing(sql),
            is_plain_read,
            effect: if is_plain_read { Effect::None } else { Effect::of(sql) },
            may_run_twice: is_plain_read && is_sure(sql),
            session_effects: SessionEffects::of(sql, script.may_be_script),
            text_results: TextResults::of(sql),
            restyles: script.may_be_script && names_styles(sql),
            is_plain_script: script.may_be_script && gives_no_values(sql),
            naming: Naming::of(sql),
            changed_at: None,
            described_in: 0,
            invalidated_at: None,
            unread_at: None,
            holders: 0,
            forgotten: false,
        };
        if let Some(index) = self.vacant.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            *place = Some(statement);
            return StatementId(index);
        }
        self.places.push(Some(statement));
        StatementId(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
    }

    pub fn get(&self, id: StatementId) -> Option<&Statement> {
        self.places.get(id.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: StatementId) -> Option<&mut Statement> {
        self.places.get_mut(id.0 as usize)?.as_mut()
    }

    /// Whether `more` types can be remembered. If not, the caller makes the pool forget all types.
    pub fn has_room_for_types(&self, more: usize) -> bool {
        self.domains.count().saturating_add(more) <= MOST_TYPES
    }

    /// Adds types that a server has described, so that arrays of domains are requested in binary.
    pub fn add_types(&mut self, types: &[(u32, UserType)]) {
        types.iter().for_each(|(oid, known)| self.domains.add(*oid, known));
    }

    /// Records that a server has refused to describe types between the statements of a script.
    pub(super) fn refuse_types(&mut self) {
        self.domains.refuse();
    }

    /// The forms in which the statement's results are wanted, by all that is known about types.
    pub fn verbatim(&self, statement: &Statement) -> Verbatim {
        statement.verbatim.with_domains(&self.domains)
    }

    /// Updates a statement's description, and that of one call, by the types that are known now.
    pub fn reform(&mut self, id: StatementId, own: Option<&mut Arc<Description>>) {
        let Some(Some(statement)) = self.places.get_mut(id.0 as usize) else { return };
        let Statement { form, verbatim, .. } = statement;
        if let Form::Described(description) = form {
            description.bring_up(verbatim, &self.domains);
        }
        if let Some(own) = own {
            own.bring_up(verbatim, &self.domains);
        }
    }

    /// The types of a statement's parameters, if they are the same on every connection. `None` if
    /// each use has to ask its server. This is so if no server has described the statement, two
    /// servers have described it differently, a session has a search_path or tables of its own, or
    /// the meaning of names has changed for all sessions since the last description.
    pub fn parameter_types(&self, id: StatementId) -> Option<&[u32]> {
        let statement = self.get(id)?;
        let is_certain = !self.have_own_names
            && statement.changed_at.is_none()
            && statement.described_in == self.generation;
        statement.parameter_types().filter(|_| is_certain)
    }

    /// Replaces the statement's description by `better`, which knows more about the same types.
    pub fn replace_description(
        &mut self,
        id: StatementId,
        earlier: &Description,
        better: &Arc<Description>,
    ) {
        if let Some(Some(statement)) = self.places.get_mut(id.0 as usize)
            && let Form::Described(description) = &mut statement.form
            && description.is_same(earlier)
        {
            *description = Arc::clone(better);
        }
    }

    /// Takes a server's description of a statement. If descriptions take too much memory, all
    /// others are forgotten, and servers describe those statements again at their next use.
    pub fn describe(
        &mut self,
        id: StatementId,
        now: Instant,
        description: Arc<Description>,
    ) -> Arc<Description> {
        let generation = self.generation;
        match self.get_mut(id) {
            Some(statement) => {
                statement.described_in = generation;
                let (known, is_news) = statement.set_description(now, description);
                if is_news {
                    self.weigh(id, &known);
                }
                known
            }
            None => description,
        }
    }

    /// Marks all descriptions so far as a possible cause of an error. The caller may repeat the
    /// transaction on any connection, so each connection prepares the statement again.
    pub fn invalidate(&mut self, id: StatementId, now: Instant) {
        if let Some(statement) = self.get_mut(id) {
            statement.invalidated_at = Some(now);
        }
    }

    /// An answer of the statement could not be read, because no server described the types in it.
    /// The calls that follow are held.
    pub fn note_unread(&mut self, now: Instant, id: StatementId) {
        if let Some(statement) = self.get_mut(id) {
            statement.unread_at = Some(now);
        }
    }

    /// A new call of the statement comes. Its types may have come to rest since.
    pub fn calm_down(&mut self, now: Instant, id: StatementId) {
        if let Some(statement) = self.get_mut(id)
            && statement.unread_at.is_some_and(|at| now >= at + RESTLESS)
        {
            statement.unread_at = None;
        }
    }

    fn weigh(&mut self, id: StatementId, description: &Arc<Description>) {
        self.weight = self.weight.saturating_add(description.weight());
        if self.weight > MOST_WEIGHT {
            let known =
                self.places.iter().flatten().filter_map(|statement| match &statement.form {
                    Form::Described(description) => Some(description.weight()),
                    Form::Undescribed => None,
                });
            self.weight = known.sum::<usize>().saturating_add(description.weight());
            if self.weight > MOST_WEIGHT / 2 {
                for statement in self.places.iter_mut().flatten() {
                    statement.form = Form::Undescribed;
                }
                self.weight = description.weight();
            }
        }
        if let Some(statement) = self.get_mut(id) {
            statement.form = Form::Described(Arc::clone(description));
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Counts that the meaning of names may have changed for all sessions.
    pub fn names_moved(&mut self) {
        self.generation += 1;
    }

    /// Forgets all descriptions, because they are no longer valid.
    pub fn forget_descriptions(&mut self) {
        self.describes_first = false;
        self.domains = DomainArrays::default();
        for statement in self.places.iter_mut().flatten() {
            statement.form = Form::Undescribed;
        }
        self.generation += 1;
    }

    /// A caller with a connection to itself runs the statement there.
    pub fn run_in_lease(&mut self, id: StatementId) {
        let calls_user_code =
            self.get(id).is_some_and(|statement| statement.naming.calls_user_code);
        self.have_own_names |= calls_user_code;
    }

    /// Keeps the statement for a call until [`Self::let_go`]. False if the statement is already
    /// forgotten.
    pub fn hold(&mut self, id: StatementId) -> bool {
        match self.places.get_mut(id.0 as usize).and_then(Option::as_mut) {
            Some(statement) if !statement.forgotten => {
                statement.holders += 1;
                self.have_own_names |= statement.naming.moves_for_session();
                true
            }
            _ => false,
        }
    }

    /// Keeps the statement for one more call. Another call must already hold it.
    pub fn hold_once_more(&mut self, id: StatementId) {
        if let Some(statement) = self.get_mut(id) {
            statement.holders += 1;
        }
    }

    pub fn let_go(&mut self, id: StatementId) {
        if let Some(statement) = self.get_mut(id) {
            statement.holders = statement.holders.saturating_sub(1);
            self.sweep(id);
        }
    }

    /// Called when JavaScript will not name the statement again. Its number is reused once no call
    /// holds it.
    pub fn forget(&mut self, id: StatementId) {
        if let Some(statement) = self.get_mut(id) {
            statement.forgotten = true;
            self.sweep(id);
        }
    }

    fn sweep(&mut self, id: StatementId) {
        if let Some(place) = self.places.get_mut(id.0 as usize)
            && place.as_ref().is_some_and(|s| s.forgotten && s.holders == 0)
        {
            *place = None;
            self.vacant.push(id.0);
        }
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether a statement either has its whole effect or none. This is true for statements that begin
/// with these words. A procedure or a DO block can commit in its middle, and so do VACUUM and
/// CREATE INDEX CONCURRENTLY.
fn is_all_or_nothing(sql: &str) -> bool {
    const WORDS: [&str; 9] =
        ["select", "insert", "update", "delete", "merge", "with", "values", "table", "show"];
    let [first] = first_tokens::<1>(sql);
    first.is_any(&WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_that_take_too_much_are_forgotten_but_for_the_last() {
        let mut statements = Statements::default();
        let types = vec![23; 60_000];
        let description = || Description::new(types.clone(), None, &Verbatim::default());
        let most = MOST_WEIGHT / description().weight();
        let is_known =
            |statements: &Statements, id| statements.get(id).unwrap().parameter_types().is_some();
        let ids: Vec<_> = (0..=most).map(|n| statements.insert(&format!("SELECT {n}"))).collect();
        for (n, id) in ids.iter().enumerate() {
            statements.describe(*id, Instant::ORIGIN, Arc::new(description()));
            let known = ids.iter().filter(|id| is_known(&statements, **id)).count();
            assert_eq!(known, if n < most { n + 1 } else { 1 });
        }
        assert!(is_known(&statements, ids[most]));
        // Statements that JavaScript has forgotten do not count.
        for n in 0..3 * most {
            let id = statements.insert(&format!("SELECT {n}, {n}"));
            statements.describe(id, Instant::ORIGIN, Arc::new(description()));
            assert!(is_known(&statements, ids[most]));
            statements.forget(id);
        }
    }

    #[test]
    fn comments_do_not_hide_what_a_statement_is() {
        let mut statements = Statements::default();
        let mut check = |sql: &str, may_commit: bool, may_share: bool| {
            let id = statements.insert(sql);
            let statement = statements.get(id).unwrap();
            assert_eq!(
                (statement.may_commit(), statement.may_share),
                (may_commit, may_share),
                "{sql}"
            );
        };
        check("/* a /* b */ */ -- c\n COMMIT", true, false);
        check("END;", true, false);
        check("prepare transaction 'x'", true, false);
        check("BEGIN; INSERT INTO t VALUES (1); Commit", true, false);
        check("BEGIN; INSERT INTO t VALUES (1); /* end */ end -- now", true, false);
        check("BEGIN; INSERT INTO t VALUES (1); End Work;", true, false);
        check("DO $$ BEGIN IF true THEN PERFORM 1; END IF; END $$", false, false);
        check("SELECT 1; SELECT CASE WHEN true THEN 1 END AS one", false, false);
        check("/*traceparent='0'*/ SELECT 'commit'", false, true);
        check("(SELECT 1) UNION (SELECT 2)", false, true);
        check("WITH x AS (SELECT 1) TABLE x", false, true);
        check("CALL p()", false, false);
        check("DO $$ COMMIT $$", false, false);
        check("PREPARE p AS SELECT 1", false, false);
        for sql in ["", "/*", "/* x", "--", "/*/", "/**", "(/*é*/"] {
            check(sql, false, false);
        }
    }

    #[test]
    fn a_forgotten_statement_goes_with_its_last_holder() {
        let mut statements = Statements::default();
        let first = statements.insert("SELECT 1");
        assert!(statements.hold(first));
        statements.forget(first);
        assert!(!statements.hold(first));
        assert_eq!(statements.get(first).map(|s| &*s.sql), Some("SELECT 1"));
        statements.let_go(first);
        assert!(statements.get(first).is_none());
        statements.forget(first);
        let second = statements.insert("SELECT 2");
        assert_eq!((first, statements.len()), (second, 1));
    }
}
