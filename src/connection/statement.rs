//! What the whole pool knows of its statements.
//!
//! A statement is described by the server that runs it first, on whichever connection. From then on
//! every connection of the pool prepares and runs it in one flight, and goes by what it is told
//! there itself: what the others were told is a hint for that one flight.

use std::sync::Arc;

use super::effect::Effect;
use super::habit::Habit;
use super::lexer::{contains_ignoring_case, first_tokens};
use super::naming::Naming;
use super::plain_read::{is_plain_read, is_sure};
use super::script::{Script, Unfit, parts};
use super::step::Sending;
use super::text_results::{TextResults, names_styles};
use super::traces::Traces;
use crate::base::{Instant, ServerFields};
use crate::protocol::{Field, Format};
use crate::types::{Column, DomainArrays, ParameterType, Shape, UserType, Verbatim, is_of_users};

/// Names a statement for as long as floor 7 remembers its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(pub u32);

/// What the server said a statement looks like.
#[derive(Debug)]
pub struct Description {
    /// As the server inferred them.
    pub parameter_types: Vec<u32>,
    /// What values are fitted to, for each of these.
    pub fits: Vec<ParameterType>,
    /// With the formats that we ask for; `None` where the statement returns no rows.
    pub shape: Option<Arc<Shape>>,
    /// The same with text for every column.
    pub text: Option<Arc<Shape>>,
}

impl Description {
    /// `fields` as RowDescription gave them, with whatever formats.
    pub fn new(parameter_types: Vec<u32>, fields: Option<Vec<Field>>, verbatim: &Verbatim) -> Self {
        let in_formats = |format_of: &dyn Fn(&Field) -> Format| {
            let mut fields = fields.clone()?;
            for field in &mut fields {
                field.format = format_of(field);
            }
            Some(Arc::new(Shape::with_verbatim(fields, verbatim)))
        };
        let text = in_formats(&|_| Format::Text);
        let shape = in_formats(&|field| verbatim.result_format(field.type_oid));
        let shape = if shape == text { text.clone() } else { shape };
        let fits = parameter_types.iter().map(|oid| ParameterType::inferred(*oid)).collect();
        Self { parameter_types, fits, shape, text }
    }

    /// Whether a server has said the same, whatever is known of the types besides.
    pub fn is_same(&self, other: &Self) -> bool {
        self.parameter_types == other.parameter_types && self.shape == other.shape
    }

    /// How rows look that come in the formats of `asked`, which another description had.
    pub(super) fn in_formats_of(&self, asked: &Shape, verbatim: &Verbatim) -> Option<Arc<Shape>> {
        // The format of a single column holds for all that there are.
        let all = asked.columns().first().filter(|_| asked.columns().len() == 1);
        let column = |n: usize| all.or_else(|| asked.columns().get(n));
        self.in_formats(verbatim, |n| column(n).map(|column| column.field.format))
    }

    /// The same for any formats. Where there is none for a column, the server has none either, and
    /// refuses.
    pub(super) fn in_formats(
        &self,
        verbatim: &Verbatim,
        format_of: impl Fn(usize) -> Option<Format>,
    ) -> Option<Arc<Shape>> {
        let shape = self.shape.as_ref()?;
        let columns = || shape.columns().iter().enumerate();
        if columns().all(|(n, column)| format_of(n) == Some(column.field.format)) {
            return Some(Arc::clone(shape));
        }
        let in_format = |(n, column): (usize, &Column)| {
            let format = format_of(n).unwrap_or(Format::Text);
            Field { format, ..column.field.clone() }
        };
        Some(Arc::new(Shape::with_verbatim(columns().map(in_format).collect(), verbatim)))
    }

    /// Has its results asked for in the formats that fit what is known of types by now.
    fn bring_up(self: &mut Arc<Self>, verbatim: &Verbatim, domains: &DomainArrays) {
        if let Some(shape) = &self.shape
            && shape.has_user_types()
            && let Some(shape) = shape.with_formats(&verbatim.with_domains(domains))
        {
            let (parameter_types, fits) = (self.parameter_types.clone(), self.fits.clone());
            let (shape, text) = (Some(Arc::new(shape)), self.text.clone());
            *self = Arc::new(Self { parameter_types, fits, shape, text });
        }
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let shape = self.shape.as_ref().map_or(0, |shape| 2 * shape.weight());
        let each = size_of::<u32>() + size_of::<ParameterType>();
        size_of::<Self>() + shape + each * self.parameter_types.len()
    }

    /// The types of users of which nothing is known yet, each once.
    pub fn untold(&self) -> Vec<u32> {
        let pairs = self.parameter_types.iter().zip(&self.fits);
        let mut oids: Vec<_> =
            pairs.filter(|(_, fits)| fits.is_untold()).map(|(oid, _)| *oid).collect();
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// The same with what `tell` knows of such types.
    pub fn told(&self, tell: impl Fn(u32) -> ParameterType) -> Self {
        let pairs = self.parameter_types.iter().zip(&self.fits);
        let fits =
            pairs.map(|(oid, fits)| if fits.is_untold() { tell(*oid) } else { fits.clone() });
        let (shape, text) = (self.shape.clone(), self.text.clone());
        let parameter_types = self.parameter_types.clone();
        Self { fits: fits.collect(), parameter_types, shape, text }
    }
}

/// How a statement can be sent.
#[derive(Clone, Debug)]
pub enum Form {
    /// Never seen by a server: parameters and results travel as text, and the description comes
    /// along.
    Undescribed,
    Described(Arc<Description>),
}

#[derive(Debug)]
pub struct Statement {
    pub sql: Arc<str>,
    pub form: Form,
    pub verbatim: Verbatim,
    pub habit: Habit,
    /// What its text says of the statements in it.
    script: Script,
    pub traces: Traces,
    pub(super) text_results: TextResults,
    /// Whether a script may change what its own results look like as text.
    pub(super) restyles: bool,
    /// Whether it is a script that gives no values but of text.
    pub(super) is_plain_script: bool,
    pub(super) naming: Naming,
    /// When a server described it otherwise than another one before.
    pub(super) changed_at: Option<Instant>,
    /// How often names had moved for all when a server told it last.
    told_in: u64,
    /// When a server last refused it, in a transaction, for what may be due to what was told
    /// before.
    pub(super) doubted_at: Option<Instant>,
    /// Whether it may be sent behind others: refused, it certainly had no effect, whatever it was
    /// at.
    pub may_share: bool,
    /// Whether all of its text is known to do nothing but read.
    pub is_plain_read: bool,
    /// What it may have changed where it has succeeded.
    pub effect: Effect,
    /// Whether it is one that may run twice.
    pub may_run_twice: bool,
    /// Calls that will still ask for it; a forgotten statement goes with the last of them.
    holders: usize,
    forgotten: bool,
}

impl Statement {
    /// As the server inferred them; `None` before it has said so.
    pub fn parameter_types(&self) -> Option<&[u32]> {
        match &self.form {
            Form::Undescribed => None,
            Form::Described(description) => Some(&description.parameter_types),
        }
    }

    /// Whether what is known of it holds in one database alone.
    pub fn has_user_types(&self) -> bool {
        match &self.form {
            Form::Undescribed => false,
            Form::Described(told) => {
                told.parameter_types.iter().any(|oid| is_of_users(*oid))
                    || told.shape.as_deref().is_some_and(Shape::has_user_types)
            }
        }
    }

    /// A server has described it. Returns what is known of it now, and whether that is news.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        told: Arc<Description>,
    ) -> (Arc<Description>, bool) {
        match &self.form {
            Form::Described(known) if known.is_same(&told) => return (Arc::clone(known), false),
            Form::Described(_) => self.changed_at = Some(now),
            Form::Undescribed => {}
        }
        self.form = Form::Described(Arc::clone(&told));
        (told, true)
    }

    /// Whether it is, or may hold, a command that commits what came before it.
    pub fn may_commit(&self) -> bool {
        self.script.may_commit
    }

    /// Whether it may have an effect of its own although its transaction has none: it commits that,
    /// or ends it and goes on.
    pub fn may_leave_transaction(&self) -> bool {
        self.script.may_commit || self.script.may_go_on
    }

    /// Whether it may have committed something in its middle that no command tag tells of, where
    /// the server has refused what it was at.
    pub(super) fn may_have_committed(&self, sending: Sending, refused: &ServerFields) -> bool {
        match sending {
            Sending::Simple if self.script.is_block => false,
            Sending::Simple | Sending::Extended => self.script.halfway.may_have_committed(refused),
            Sending::Steps { has_left } => has_left,
        }
    }

    /// Whether there may be several statements in it, which the server takes by the simple protocol
    /// alone and without parameters.
    pub fn may_be_script(&self) -> bool {
        self.script.may_be_script
    }

    /// Whether only its answer tells if the session is in a transaction behind it.
    pub fn may_move_transaction(&self) -> bool {
        self.script.may_move
    }

    /// Whether it may change how the strings in it are read.
    pub(super) fn may_respell(&self) -> bool {
        self.sql.contains('\\') && contains_ignoring_case(&self.sql, "standard_conforming_strings")
    }

    /// Whether it hands its transaction over to whoever ends that by its name.
    pub fn prepares_transaction(&self) -> bool {
        self.script.prepares_transaction
    }

    /// Why it is not sent.
    pub fn unfit(&self) -> Option<Unfit> {
        self.script.unfit
    }
}

fn gives_no_values(script: &str) -> bool {
    parts(script).all(|part| !part.is_ambiguous && TextResults::of(part.text) == TextResults::Plain)
}

/// What descriptions take together at most.
const MOST_WEIGHT: usize = 16 * 1024 * 1024;
/// Users' types of which something is known. What is told of one more copies it all, where a
/// request is under way.
const MOST_TYPES: usize = 4096;

/// The statements of a pool, by the small numbers that floor 7 uses for them.
#[derive(Debug, Default)]
pub struct Statements {
    /// A session has shown that its settings give values another text than this client reads: the
    /// pool describes each statement before its first use from then on.
    pub(super) describes_first: bool,
    domains: DomainArrays,
    places: Vec<Option<Statement>>,
    vacant: Vec<u32>,
    /// What the descriptions take, and those that have gone since this was reckoned.
    weight: usize,
    /// How often names have come to mean something else for all sessions, as far as those of the
    /// pool show it.
    generation: u64,
    /// A session has, or is to have, a search_path or tables of its own.
    have_own_names: bool,
}

impl Statements {
    pub fn insert(&mut self, sql: &str) -> StatementId {
        self.insert_verbatim(sql, Verbatim::default())
    }

    /// The same text with other choices is another statement.
    pub fn insert_verbatim(&mut self, sql: &str, verbatim: Verbatim) -> StatementId {
        let script = Script::of(sql);
        let is_plain_read = !script.may_be_script && is_plain_read(sql);
        let statement = Statement {
            sql: Arc::from(sql),
            form: Form::Undescribed,
            verbatim,
            habit: Habit::default(),
            script,
            may_share: !script.may_be_script && is_all_or_nothing(sql),
            is_plain_read,
            effect: if is_plain_read { Effect::None } else { Effect::of(sql) },
            may_run_twice: is_plain_read && is_sure(sql),
            traces: Traces::of(sql, script.may_be_script),
            text_results: TextResults::of(sql),
            restyles: script.may_be_script && names_styles(sql),
            is_plain_script: script.may_be_script && gives_no_values(sql),
            naming: Naming::of(sql, script.may_be_script),
            changed_at: None,
            told_in: 0,
            doubted_at: None,
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

    /// Whether so many more types can be known. If not, all that is known of types is forgotten.
    pub fn has_room_for_types(&self, more: usize) -> bool {
        self.domains.count().saturating_add(more) <= MOST_TYPES
    }

    /// A server has told what types are: arrays of domains are asked for in binary from now on.
    pub fn learn_types(&mut self, told: &[(u32, UserType)]) {
        told.iter().for_each(|(oid, known)| self.domains.learn(*oid, known));
    }

    /// A server has refused to tell of types between the statements of a script.
    pub(super) fn refuse_types(&mut self) {
        self.domains.refuse();
    }

    /// How the statement's results are wanted, by all that is known of types.
    pub fn verbatim(&self, statement: &Statement) -> Verbatim {
        statement.verbatim.with_domains(&self.domains)
    }

    /// Brings a statement's description up to what is known of types, and what one call was told.
    pub fn reform(&mut self, id: StatementId, told: Option<&mut Arc<Description>>) {
        let Some(Some(statement)) = self.places.get_mut(id.0 as usize) else { return };
        let Statement { form, verbatim, .. } = statement;
        if let Form::Described(description) = form {
            description.bring_up(verbatim, &self.domains);
        }
        if let Some(told) = told {
            told.bring_up(verbatim, &self.domains);
        }
    }

    /// What the parameters of a statement are, wherever it runs. `None` where the server is to say
    /// that of each use: it has not said it, has said something else before, or may do so, since
    /// names mean something else to some session, or have come to do so for all.
    pub fn parameter_types(&self, id: StatementId) -> Option<&[u32]> {
        let statement = self.get(id)?;
        let is_certain = !self.have_own_names
            && statement.changed_at.is_none()
            && statement.told_in == self.generation;
        statement.parameter_types().filter(|_| is_certain)
    }

    /// What was known of the parameters of a statement is known better now.
    pub fn fit(&mut self, id: StatementId, told: &Description, better: &Arc<Description>) {
        if let Some(Some(statement)) = self.places.get_mut(id.0 as usize)
            && let Form::Described(description) = &mut statement.form
            && description.is_same(told)
        {
            *description = Arc::clone(better);
        }
    }

    /// A server has described a statement. Where descriptions take too much memory all others are
    /// forgotten, and told anew with the next use.
    pub fn describe(
        &mut self,
        id: StatementId,
        now: Instant,
        told: Arc<Description>,
    ) -> Arc<Description> {
        let generation = self.generation;
        match self.get_mut(id) {
            Some(statement) => {
                statement.told_in = generation;
                let (known, is_news) = statement.learn(now, told);
                if is_news {
                    self.weigh(id, &known);
                }
                known
            }
            None => told,
        }
    }

    /// What was told of a statement up to now may have led to an error that can't be healed:
    /// whoever repeats its transaction may do so on any connection.
    pub fn doubt(&mut self, id: StatementId, now: Instant) {
        if let Some(statement) = self.get_mut(id) {
            statement.doubted_at = Some(now);
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

    /// Names may mean something else in all sessions.
    pub fn names_moved(&mut self) {
        self.generation += 1;
    }

    /// What servers have told of them holds no longer.
    pub fn forget_descriptions(&mut self) {
        self.describes_first = false;
        self.domains = DomainArrays::default();
        for statement in self.places.iter_mut().flatten() {
            statement.form = Form::Undescribed;
        }
        self.generation += 1;
    }

    /// A call is going to use the statement: it stays until the call lets go of it.
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

    /// The same for one more call of a statement that one holds already.
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

    /// Floor 7 won't name the statement again; its number is given anew once no call holds it.
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

/// Whether a statement has all of its effect or none, as those have that begin with these words. A
/// procedure or a block of code can commit in its middle, and so do VACUUM and CREATE INDEX
/// CONCURRENTLY.
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
        let told = || Description::new(types.clone(), None, &Verbatim::default());
        let most = MOST_WEIGHT / told().weight();
        let is_known =
            |statements: &Statements, id| statements.get(id).unwrap().parameter_types().is_some();
        let ids: Vec<_> = (0..=most).map(|n| statements.insert(&format!("SELECT {n}"))).collect();
        for (n, id) in ids.iter().enumerate() {
            statements.describe(*id, Instant::ORIGIN, Arc::new(told()));
            let known = ids.iter().filter(|id| is_known(&statements, **id)).count();
            assert_eq!(known, if n < most { n + 1 } else { 1 });
        }
        assert!(is_known(&statements, ids[most]));
        // Those that were forgotten by floor 7 do not count.
        for n in 0..3 * most {
            let id = statements.insert(&format!("SELECT {n}, {n}"));
            statements.describe(id, Instant::ORIGIN, Arc::new(told()));
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
