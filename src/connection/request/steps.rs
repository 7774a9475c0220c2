//! A script in steps: its statements are sent by the extended protocol one after the other. Each is
//! described before it runs, so that its results come in binary. The simple protocol returns only
//! text, whose form depends on the session's settings. A single statement with values (`held`) is
//! sent in the same way.
//!
//! A single Sync ends all of them, so that they are one implicit transaction, as in the simple
//! protocol: a BEGIN or COMMIT in one of them applies to the others. A Flush after each Describe
//! makes the server send its answer. The client asks in between for users' types that are not known
//! yet, since arrays of domains come in binary too.
//!
//! Nothing is sent before everything before the script is answered. A pooler gives the server
//! connection back after the last ReadyForQuery that it expects. PgBouncer 1.18 does not count
//! commands without a Sync, and never passes on their answers.
//!
//! The server takes the first command after a Sync for a single command, and lets it commit by
//! itself. So a command that does nothing comes first (`prelude::OPENING`), which shows the server
//! that there are several commands. PostgreSQL before 18 ignores this for DO and CALL, so their
//! code may commit. The steps remember that.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::held::Held;
use super::prelude::Prelude;
use super::step::Step;
use crate::base::{Error, ServerFields};
use crate::connection::introspection::user_types::{self, UserTypes, WAY_BACK};
use crate::connection::statement::Statement;
use crate::connection::statement::control::{block_behind, is_control};
use crate::connection::statement::halfway::Halfway;
use crate::connection::statement::script::parts;
use crate::connection::statement::staleness::{QUERY_CANCELED, Relies};
use crate::protocol::{Format, frontend};
use crate::types::{Column, Shape};

#[derive(Debug)]
pub(in crate::connection) struct Steps {
    sql: Arc<str>,
    /// The statements that were not sent yet.
    left: VecDeque<Range<usize>>,
    /// The statement whose description was requested.
    described: Range<usize>,
    /// The statement that ran last, and what it may have committed.
    running: (Range<usize>, Halfway),
    /// A statement before that one may have committed something.
    has_left: bool,
    phase: Phase,
    /// A transaction block is open, in which a savepoint can stand.
    is_in_block: bool,
    /// Whether the role may read types. Outside of a block a refusal would undo all statements.
    right: Right,
    /// The user's `lock_timeout`, which is set again behind each question outside of a block.
    lock_timeout: String,
    /// The user-made types that were asked for, which of them by the last question, and what the
    /// server has said of them.
    asked: Vec<u32>,
    asking: Range<usize>,
    question: Question,
    /// How many of its statements have no answer yet.
    unanswered: usize,
    /// How often a server was kept from answering, and whether by the last question.
    refusals: u8,
    is_refused: bool,
    types: UserTypes,
    /// Set if this is not a script, but a single statement.
    held: Option<Box<Held>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent.
    Waiting,
    UnderWay,
    /// The Sync was sent.
    Ended,
}

/// The right to read the catalogs in the question for types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Unknown,
    /// The server is being asked for the right. A missing answer counts as no.
    Asked {
        has: bool,
    },
    Granted,
    /// In a transaction block, or once the user's `lock_timeout` was set again.
    Denied,
}

/// The question for types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    ToCatalog,
    /// The catalog lacked a type, which may be newer than the transaction's snapshot.
    ToParser,
}

/// How often a server is asked for types while something keeps it from answering.
const MOST_QUESTIONS: u8 = 3;

/// What follows after an answer about types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Next {
    /// The question for the types themselves.
    Types,
    /// The statement whose results have these types.
    Statement,
}

impl Steps {
    /// `None` if the text can't be split into statements with certainty, because a string depends
    /// on `standard_conforming_strings`, which is not known to be on.
    ///
    /// A text without a proper end is a single step, which the server refuses as a whole.
    pub(in crate::connection) fn of(statement: &Statement, standard_strings: bool) -> Option<Self> {
        let sql = &statement.sql;
        let mut left = VecDeque::new();
        for part in parts(sql) {
            if part.is_ambiguous && !standard_strings {
                return None;
            }
            left.push_back(part.start..part.start + part.text.len());
        }
        if statement.is_cut() {
            left = std::iter::once(0..sql.len()).collect();
        }
        (!left.is_empty()).then(|| Self::new(sql, left, None))
    }

    /// A single statement.
    pub(in crate::connection) fn held(sql: &Arc<str>, held: Held) -> Self {
        Self::new(sql, std::iter::once(0..sql.len()).collect(), Some(Box::new(held)))
    }

    fn new(sql: &Arc<str>, left: VecDeque<Range<usize>>, held: Option<Box<Held>>) -> Self {
        Self {
            sql: Arc::clone(sql),
            left,
            described: 0..0,
            running: (0..0, Halfway::Never),
            has_left: false,
            phase: Phase::Waiting,
            is_in_block: false,
            right: Right::Unknown,
            lock_timeout: "0".to_owned(),
            asked: Vec::new(),
            asking: 0..0,
            question: Question::ToCatalog,
            unanswered: 0,
            refusals: 0,
            is_refused: false,
            types: Vec::new(),
            held,
        }
    }

    /// The command before the script. A script that begins with transaction control has none, since
    /// a failed transaction accepts only its end.
    pub(in crate::connection) fn prelude(&self) -> Prelude {
        let first = self.left.front().and_then(|range| self.sql.get(range.clone()));
        Prelude::opening(self.held.is_none() && first.is_some_and(|first| !is_control(first)))
    }

    pub(in crate::connection) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Sends the first step, once everything that was sent before is answered.
    pub(in crate::connection) fn begin(
        &mut self,
        is_in_block: bool,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.phase = Phase::UnderWay;
        self.is_in_block = is_in_block;
        self.prelude().write(out)?;
        self.describe_next(out)
    }

    /// Requests the description of the next statement.
    fn describe_next(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let Some(next) = self.left.pop_front() else { return self.end(out) };
        let Some(sql) = self.sql.get(next.clone()) else { return self.end(out) };
        let types = self.held.as_deref().map_or(&[][..], Held::declared);
        frontend::parse(out, "", sql, types)?;
        frontend::describe_statement(out, "")?;
        self.described = next;
        frontend::flush(out)
    }

    /// Runs the statement that was described, and requests the next one's description.
    pub(in crate::connection) fn run(
        &mut self,
        shape: Option<&Shape>,
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        if let Some(held) = &mut self.held {
            held.run(shape, out);
            return self.end(out);
        }
        run_unnamed(shape.map_or(&[][..], Shape::columns), out)?;
        self.has_left |= self.running.1 != Halfway::Never;
        let range = self.described.clone();
        let halfway = self.sql.get(range.clone()).map_or(Halfway::ByCode, Halfway::of);
        self.running = (range, halfway);
        self.describe_next(out)
    }

    /// Whether the client has to ask for types of a description before its statement runs. It asks
    /// for each type once.
    pub(in crate::connection) fn lacks_types(
        &mut self,
        shape: Option<&Shape>,
        is_refused: bool,
    ) -> bool {
        if self.right == Right::Denied || is_refused {
            return false;
        }
        let start = self.asked.len();
        let unresolved = match &self.held {
            Some(held) => held.user_types(shape),
            None => shape.map(Shape::unresolved).unwrap_or_default(),
        };
        let unresolved =
            unresolved.into_iter().filter(|oid| !self.asked.contains(oid)).collect::<Vec<_>>();
        self.asked.extend(unresolved);
        self.asking = start..self.asked.len();
        self.question = Question::ToCatalog;
        self.refusals = 0;
        // A statement may have changed the user's `lock_timeout`.
        self.right = Right::Unknown;
        !self.asking.is_empty()
    }

    /// Asks for the types, in place of running the statement that was described. Outside of a
    /// transaction block the first question is whether the role may ask.
    pub(in crate::connection) fn ask(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let oids = self.asked.get(self.asking.clone()).unwrap_or_default();
        let question = match self.question {
            Question::ToCatalog => user_types::question(oids),
            Question::ToParser => user_types::newer_question(oids),
        };
        if self.is_in_block {
            return self.ask_all(&user_types::behind_savepoint(question), out);
        }
        let question = match self.right {
            Right::Unknown => {
                self.right = Right::Asked { has: false };
                return self.ask_all(&user_types::FIRST.map(Cow::Borrowed), out);
            }
            Right::Granted => Some(question),
            Right::Asked { .. } | Right::Denied => None,
        };
        let statements = user_types::bounded(question, &self.lock_timeout);
        self.ask_all(&statements, out)
    }

    fn ask_all(
        &mut self,
        statements: &[Cow<'static, str>],
        out: &mut BytesMut,
    ) -> Result<(), Error> {
        self.unanswered = statements.len();
        for statement in statements {
            frontend::parse(out, "", statement, &[])?;
            run_unnamed(&[], out)?;
        }
        frontend::flush(out)
    }

    /// Takes a row of the answer. An invalid row is dropped.
    pub(in crate::connection) fn row(&mut self, body: &[u8]) {
        match (&mut self.right, self.unanswered) {
            (Right::Asked { has }, 1) => *has = user_types::grants(body),
            (Right::Asked { .. }, left) if left == user_types::FIRST.len() => {
                if let Some(shown) = user_types::shown(body) {
                    shown.clone_into(&mut self.lock_timeout);
                }
            }
            (Right::Asked { .. }, _) => {}
            _ if self.types.len() < self.asked.len() => {
                self.types.extend(user_types::read(body));
            }
            _ => {}
        }
    }

    /// One of the question's statements is answered. Returns whether all are.
    pub(in crate::connection) fn is_answered(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered == 0
    }

    /// Whether a question that a server has refused is undone with its savepoint. A cancel may be
    /// the caller's own. The way back, which may be refused too, has no savepoint.
    pub(in crate::connection) fn is_undone(&self, refused: &ServerFields) -> bool {
        self.is_in_block && !self.is_refused && refused.code != QUERY_CANCELED
    }

    /// A question was refused behind its savepoint.
    pub(in crate::connection) fn refuse(&mut self, refused: &ServerFields) {
        (self.is_refused, self.refusals) = (true, self.refusals.saturating_add(1));
        if self.question == Question::ToCatalog && user_types::is_lasting(&refused.code) {
            self.right = Right::Denied;
        }
    }

    /// Rolls back to the savepoint in front of the question. The server has answered the Sync behind
    /// it.
    pub(in crate::connection) fn undo(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        self.ask_all(&WAY_BACK.map(Cow::Borrowed), out)
    }

    /// The answer is complete: to the question for the right, or for the types, of which it has
    /// these.
    pub(in crate::connection) fn answered(&mut self, types: &UserTypes) -> Next {
        if std::mem::take(&mut self.is_refused) {
            self.question = Question::ToCatalog;
            let asks_again = self.right != Right::Denied && self.refusals < MOST_QUESTIONS;
            return if asks_again { Next::Types } else { Next::Statement };
        }
        match self.right {
            Right::Asked { has } => {
                self.right = if has { Right::Granted } else { Right::Denied };
                Next::Types
            }
            Right::Denied => Next::Statement,
            Right::Unknown | Right::Granted => self.asked_for_types(types),
        }
    }

    /// Whether the statement does not run, since a server was kept from telling the types of its
    /// results each time.
    pub(in crate::connection) fn is_untold(&self) -> bool {
        self.refusals >= MOST_QUESTIONS && self.right != Right::Denied
    }

    fn asked_for_types(&mut self, types: &UserTypes) -> Next {
        let asked = self.asked.get(self.asking.clone()).unwrap_or_default();
        let is_known = |oid: &u32| types.iter().any(|(known, _)| known == oid);
        let is_any_missing = !asked.iter().all(is_known);
        match std::mem::replace(&mut self.question, Question::ToParser) {
            // A single statement is sent again.
            Question::ToCatalog if is_any_missing && self.held.is_none() => Next::Types,
            Question::ToCatalog | Question::ToParser => Next::Statement,
        }
    }

    /// Whether the role has no right to read types.
    pub(in crate::connection) fn may_not_ask(&self) -> bool {
        self.right == Right::Denied
    }

    pub(in crate::connection) fn take_types(&mut self) -> UserTypes {
        let types = std::mem::take(&mut self.types);
        let is_of_types = self.right == Right::Granted;
        if let Some(held) = self.held.as_mut().filter(|_| is_of_types) {
            held.add_types(self.asked.get(self.asking.clone()).unwrap_or_default(), &types);
        }
        types
    }

    /// The types of a single statement's parameters.
    pub(in crate::connection) fn infer(&mut self, parameter_types: Vec<u32>) {
        if let Some(held) = &mut self.held {
            held.infer(parameter_types);
        }
    }

    pub(in crate::connection) fn held_mut(&mut self) -> Option<&mut Held> {
        self.held.as_deref_mut()
    }

    pub(in crate::connection) fn relies(&self) -> Relies {
        self.held.as_ref().map_or(Relies::No, |held| held.relies())
    }

    /// Describes the statement again, by the types that are known now.
    pub(in crate::connection) fn again(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        if self.is_unrun() {
            return self.end(out);
        }
        self.left.push_front(self.described.clone());
        self.describe_next(out)
    }

    /// Whether the statement that was described does not run.
    pub(in crate::connection) fn is_unrun(&self) -> bool {
        self.is_untold() || self.held.as_ref().is_some_and(|held| held.is_unrun())
    }

    /// A statement has completed.
    pub(in crate::connection) fn completed(&mut self) {
        let text = self.sql.get(self.running.0.clone()).unwrap_or_default();
        self.is_in_block = block_behind(text).unwrap_or(self.is_in_block);
    }

    /// Sends the Sync: no further statement runs.
    pub(in crate::connection) fn end(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let has_ended = self.has_ended();
        self.stop();
        if has_ended { Ok(()) } else { frontend::sync(out) }
    }

    /// The Sync was sent.
    pub(in crate::connection) fn stop(&mut self) {
        self.left.clear();
        self.phase = Phase::Ended;
    }

    pub(in crate::connection) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Corrects the position of an error. The server counts from the beginning of the statement,
    /// and the caller from the beginning of the text.
    pub(in crate::connection) fn place(&self, refused: &mut ServerFields, step: Step) {
        let runs = matches!(step, Step::Bind | Step::Execute | Step::Copy);
        let start = if runs { self.running.0.start } else { self.described.start };
        let before = self.sql.get(..start).map_or(0, |before| before.chars().count());
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        refused.position = refused.position.map(|position| position.saturating_add(before));
    }

    /// Whether the statements may have committed something that no command tag shows, judging by
    /// the step at which the server refused one.
    pub(in crate::connection) fn has_left(&self, step: Step, refused: &ServerFields) -> bool {
        let running = self.running.1;
        let by_it = match step {
            Step::Bind => false,
            Step::Execute | Step::Copy => running.may_have_committed(refused),
            _ => running != Halfway::Never,
        };
        self.has_left || by_it
    }
}

/// Binds and runs the unnamed statement, which has no parameters. Without `columns` its results
/// come as text.
fn run_unnamed(columns: &[Column], out: &mut BytesMut) -> Result<(), Error> {
    let results = columns.iter().map(|column| column.field.format);
    let no_parameter =
        |_: usize, _: &mut BytesMut| Err(Error::internal("no parameter was counted"));
    frontend::bind(out, "", "", std::iter::empty::<Format>(), 0, no_parameter, results)?;
    frontend::execute(out, "", 0)
}
