//! One request and its answer: which message may come next, and what has come so far.
//!
//! ```text
//! Parsing:    (Close ▶) Parse ▶ ParameterDescription ▶ Describe ▶ Bind ▶ Execute ▶ Complete
//! Describing: Parse ▶ ParameterDescription ▶ Describe ▶ Complete
//! Prepared:   Bind ▶ Execute ▶ Complete; with a pooler ParameterDescription ▶ Describe ▶ Bind ...
//! Steps:      Parse ▶ ParameterDescription ▶ Describe ▶ Bind ▶ Execute ▶ Parse ▶ ... ▶ Complete
//!             Describe ▶ Types ▶ Bind; Types ▶ Undoing ▶ Types, where the question is refused
//! Script:     Execute ▶ Execute ▶ ... (the simple protocol says nothing of Parse and Bind)
//! Execute ▶ Copy ▶ Execute: a COPY to standard output, whose data is dropped.
//! ErrorResponse leads from each step to Refused. ReadyForQuery ends Complete, Refused and a script.
//! The answers to a prelude come before all of these.
//! ```
//!
//! An answer is kept here until ReadyForQuery. Before that, a write is not committed (a deferred
//! constraint can fail after CommandComplete), and a fence may go unnoticed.

mod ending;

use std::sync::Arc;

use bytes::BytesMut;

use super::command::CommandTag;
use super::flight::is_of_text;
use super::prelude::Prelude;
use super::rows::{Rows, TooLarge};
use super::step::{Sending, Step};
use super::steps::Next;
use crate::base::body::NoMemory;
use crate::base::{Error, ServerFields};
pub(in crate::connection) use crate::connection::request::ended::Ended;
use crate::connection::request::ended::StatementResult;
pub(in crate::connection) use crate::connection::request::flight::{
    Asked, Begins, Flight, Parsing, Terms,
};
use crate::connection::session::settings::fails_check;
use crate::connection::statement::prepared::Moment;
use crate::connection::statement::script::Copied;
use crate::connection::statement::{Description, StatementId};
use crate::protocol::backend::{BackendMessage, Field};
use crate::protocol::frontend;
use crate::types::{Shape, Verbatim};

mod row_messages;

/// Bytes that a result takes in addition to its rows.
const RESULT_OVERHEAD: usize = 2 * size_of::<StatementResult>();

#[derive(Debug)]
pub(in crate::connection) struct Exchange {
    pub(in crate::connection) statement: StatementId,
    pub(in crate::connection) flight: Flight,
    prelude: Prelude,
    step: Step,
    /// When the request was sent, and what names meant at that time.
    pub(in crate::connection) moment: Moment,
    verbatim: Verbatim,
    /// How to read the rows of the present result.
    shape: Option<Arc<Shape>>,
    rows: Rows,
    /// How many bytes the answers of all its statements take, and how many they may take.
    held: usize,
    limit: usize,
    /// The answer is too large. What has come of it was dropped, and the rest is skipped.
    too_large: Option<TooLarge>,
    results: Vec<StatementResult>,
    /// One of the statements has completed, whether or not its result was kept.
    has_completed: bool,
    refusal: Option<Box<ServerFields>>,
    /// The step that was due when the server refused.
    refused_at: Step,
    /// How the statement was sent, if the server refused it after it had begun to run it or an
    /// earlier statement.
    begun: Option<Sending>,
    /// The server refused the check before the statement.
    check_failed: bool,
    /// The server warned that its synchronous standbys had not confirmed a commit.
    unreplicated: bool,
    /// One of its statements has committed.
    pub(in crate::connection) committed: bool,
    /// One of its statements has begun a transaction.
    began: bool,
    /// A rule returns rows in a text form that this client does not read. The rows are dropped, as
    /// the extended protocol would not return them at all.
    drops_rows: bool,
    /// A COPY would have transferred data to or from this client.
    copied: Option<Copied>,
    /// The statement may run twice, and its results were requested in the formats of an earlier
    /// description, or of one from another connection.
    guesses: bool,
    /// The session's text is in the forms that this client reads.
    reads_text: bool,
}

/// What the connection has to do after a message of the answer.
pub(in crate::connection) enum Progress {
    Nothing,
    /// The next step of a script is due.
    Step,
    /// The server's description of the statement. [`Exchange::set_description`] continues with the
    /// description that the pool knows now.
    Description(Arc<Description>),
    /// The server waits for the data of a COPY. This client has none. The server may send data too.
    Copy(Copied),
}

impl Exchange {
    pub(in crate::connection) fn new(
        statement: StatementId,
        flight: Flight,
        prelude: Prelude,
        moment: Moment,
        terms: Terms,
    ) -> Self {
        let Terms { verbatim, limit, may_run_twice, reads_text } = terms;
        let step = match flight {
            Flight::Parsing(Parsing { begins: Begins::Close, .. }) => Step::Close,
            Flight::Parsing(Parsing { begins: Begins::Description, .. }) => {
                Step::ParameterDescription
            }
            Flight::Parsing(_) | Flight::Describing { .. } | Flight::Steps(_) => Step::Parse,
            Flight::Prepared { .. } => Step::Bind,
            Flight::Script { .. } => Step::Execute,
            Flight::Prelude => Step::Complete,
        };
        Self {
            guesses: may_run_twice && flight.asked_like().is_some(),
            statement,
            flight,
            prelude,
            step,
            moment,
            verbatim,
            shape: None,
            rows: Rows::default(),
            held: 0,
            limit,
            too_large: None,
            results: Vec::new(),
            has_completed: false,
            refusal: None,
            refused_at: step,
            begun: None,
            check_failed: false,
            unreplicated: false,
            committed: false,
            began: false,
            drops_rows: false,
            copied: None,
            reads_text,
        }
    }

    /// How many bytes of its rows have come.
    pub(in crate::connection) fn held(&self) -> usize {
        self.held
    }

    fn shape_of(&self, fields: Vec<Field>) -> Arc<Shape> {
        Arc::new(Shape::with_verbatim(fields, &self.verbatim))
    }

    /// Counts bytes that are to be kept, and returns whether they may be kept.
    fn hold(&mut self, bytes: usize) -> bool {
        self.held = self.held.saturating_add(bytes);
        if self.held > self.limit {
            self.give_up(TooLarge::ForLimit);
        }
        self.too_large.is_none()
    }

    fn give_up(&mut self, why: TooLarge) {
        self.too_large.get_or_insert(why);
        self.rows = Rows::default();
        self.results = Vec::new();
    }

    /// Skips a RowDescription that is longer than any that a server sends.
    pub(in crate::connection) fn long_description(&mut self) -> Result<(), Error> {
        let is_due = match self.flight {
            Flight::Script { .. } => self.step == Step::Execute,
            _ => self.step == Step::Describe,
        };
        if !is_due || self.prelude.is_pending() {
            return Err(self.unexpected("RowDescription"));
        }
        self.give_up(TooLarge::ForLimit);
        self.step = match self.flight {
            Flight::Parsing(_) => Step::Bind,
            Flight::Describing { .. } => Step::Complete,
            _ => Step::Execute,
        };
        Ok(())
    }

    pub(in crate::connection) fn message(
        &mut self,
        message: BackendMessage<'_>,
    ) -> Result<Progress, Error> {
        use BackendMessage as M;
        match (self.step, &mut self.flight, message) {
            (Step::Refused, _, message) => return Err(self.unexpected(message.name())),
            (Step::Types, Flight::Steps(steps), M::ErrorResponse(fields))
                if steps.is_undone(&fields) =>
            {
                steps.refuse(&fields);
                self.refusal = Some(fields);
                self.step = Step::Undoing;
                return Ok(Progress::Step);
            }
            (_, flight, M::ErrorResponse(mut fields)) => {
                self.refused_at = self.step;
                if let Flight::Steps(steps) = flight
                    && !self.prelude.is_pending()
                {
                    steps.place(&mut fields, self.step);
                }
                self.begun = self.is_at_work().then(|| self.flight.sending(self.step, &fields));
                self.check_failed = self.prelude.is_checking() && fails_check(&fields.code);
                self.refusal = Some(fields);
                self.step = Step::Refused;
                self.rows = Rows::default();
                if matches!(self.flight, Flight::Steps(_)) {
                    return Ok(Progress::Step);
                }
            }
            (_, _, message) if self.prelude.is_pending() => {
                if !self.prelude.accept(&message) {
                    return Err(self.unexpected(message.name()));
                }
            }
            (Step::Close, _, M::CloseComplete) => self.step = Step::Parse,
            (Step::Parse, _, M::ParseComplete) => self.step = Step::ParameterDescription,
            (Step::ParameterDescription, Flight::Steps(steps), M::ParameterDescription(types)) => {
                steps.infer(types);
                self.step = Step::Describe;
            }
            (
                Step::ParameterDescription,
                Flight::Parsing(Parsing { parameter_types, .. })
                | Flight::Describing { parameter_types, .. },
                M::ParameterDescription(types),
            ) => {
                *parameter_types = types;
                self.step = Step::Describe;
            }
            (Step::Describe, _, M::RowDescription(fields)) => {
                return Ok(self.describe(Some(fields)));
            }
            (Step::Describe, _, M::NoData) => return Ok(self.describe(None)),
            (Step::Types, _, M::ParseComplete | M::BindComplete) => {}
            (Step::Types, Flight::Steps(steps), M::CommandComplete(_)) => {
                if !steps.is_answered() {
                    return Ok(Progress::Nothing);
                }
                let types = steps.take_types();
                types.iter().for_each(|(oid, known)| self.verbatim.add(*oid, known));
                self.step = match steps.answered(&types) {
                    Next::Types => Step::Types,
                    Next::Statement => Step::Parse,
                };
                return Ok(Progress::Step);
            }
            (Step::Bind, Flight::Prepared { description, asked, .. }, M::BindComplete) => {
                let shape = |description: &Arc<Description>| match asked {
                    None => description.shape.clone(),
                    Some(asked) => asked.shape_of(description, &self.verbatim),
                };
                self.shape = description.get().and_then(shape);
                self.step = Step::Execute;
            }
            (Step::Bind, _, M::BindComplete) => self.step = Step::Execute,
            (Step::Execute, Flight::Script { reads_text }, M::RowDescription(fields)) => {
                let is_kept = *reads_text || fields.iter().all(|field| is_of_text(field.type_oid));
                // A rule may turn one command into several queries. The server does not say where
                // the first of them ends.
                if self.shape.is_some() {
                    self.complete(CommandTag::EMPTY);
                }
                self.drops_rows = !is_kept;
                let shape = self.shape_of(fields);
                // A script may have an endless answer even if it returns no rows.
                if !self.results.is_empty() {
                    self.hold(shape.weight());
                }
                self.shape = Some(shape);
            }
            (Step::Execute, _, M::CommandComplete(tag)) => self.complete(CommandTag::parse(tag)),
            (Step::Execute, _, M::EmptyQueryResponse) => self.complete(CommandTag::EMPTY),
            (Step::Execute, _, M::CopyInResponse) if self.copied.is_none() => {
                self.copied = Some(Copied::FromStdin);
                return Ok(Progress::Copy(Copied::FromStdin));
            }
            (Step::Execute, _, M::CopyBothResponse) if self.copied.is_none() => {
                self.copied = Some(Copied::Both);
                self.step = Step::Copy;
                return Ok(Progress::Copy(Copied::Both));
            }
            // This client has no place for the data.
            (Step::Execute, _, M::CopyOutResponse) => {
                self.copied = Some(Copied::ToStdout);
                self.step = Step::Copy;
            }
            (Step::Copy, _, M::CopyData(_)) => {}
            (Step::Copy, _, M::CopyDone) => self.step = Step::Execute,
            (_, _, message) => return Err(self.unexpected(message.name())),
        }
        Ok(Progress::Nothing)
    }

    /// Whether the server may have begun to run the statement, or the first of several statements.
    fn is_at_work(&self) -> bool {
        let is_running = matches!(self.step, Step::Execute | Step::Copy | Step::Complete);
        let begins = !self.prelude.is_pending() && !self.flight.is_preparation();
        begins && (is_running || self.has_completed)
    }

    pub(in crate::connection) fn notice(&mut self, fields: &ServerFields) {
        // The routine's name is not translated, unlike the message.
        self.unreplicated |=
            fields.code == "01000" && fields.routine.as_deref() == Some("SyncRepWaitForLSN");
    }

    fn describe(&mut self, fields: Option<Vec<Field>>) -> Progress {
        let (types, next) = match &mut self.flight {
            Flight::Parsing(parsing) => (std::mem::take(&mut parsing.parameter_types), Step::Bind),
            Flight::Describing { parameter_types, .. } => {
                (std::mem::take(parameter_types), Step::Complete)
            }
            Flight::Steps(steps) => {
                self.shape = Description::new(Vec::new(), fields, &self.verbatim).shape;
                let lacks_types =
                    steps.lacks_types(self.shape.as_deref(), self.verbatim.is_refused());
                self.step = if lacks_types { Step::Types } else { Step::Bind };
                return Progress::Step;
            }
            // In these flights no description is expected.
            Flight::Prepared { .. } | Flight::Script { .. } | Flight::Prelude => {
                return Progress::Nothing;
            }
        };
        self.step = next;
        Progress::Description(Arc::new(Description::new(types, fields, &self.verbatim)))
    }

    /// Takes the description that the pool knows. Equal descriptions are one object in the pool, so
    /// that the same code builds their rows.
    pub(in crate::connection) fn set_description(&mut self, known: &Arc<Description>) {
        match &mut self.flight {
            Flight::Parsing(parsing) => {
                self.shape = parsing.asked.shape_of(known, &self.verbatim);
                // Each flight has a cell of its own, which is filled once.
                let _ = parsing.description.set(Arc::clone(known));
            }
            Flight::Describing { description, .. } => *description = Some(Arc::clone(known)),
            _ => {}
        }
    }

    fn complete(&mut self, command: CommandTag) {
        self.committed |= command.commits();
        self.began |= matches!(command.name(), "BEGIN" | "START TRANSACTION");
        let rows = std::mem::take(&mut self.rows);
        let shape = match &mut self.flight {
            Flight::Script { .. } => {
                let is_dropped = std::mem::take(&mut self.drops_rows);
                self.shape.take().filter(|_| !is_dropped)
            }
            Flight::Steps(steps) => {
                self.step = if steps.has_ended() { Step::Complete } else { Step::Parse };
                steps.completed();
                let shape = self.shape.take();
                shape.map(|shape| match steps.held_mut() {
                    Some(held) => held.name_types(shape),
                    None => shape,
                })
            }
            _ => {
                self.step = Step::Complete;
                self.shape.clone()
            }
        };
        self.has_completed = true;
        if self.results.is_empty() {
            // A second result is rare, and a Vec would make room for four.
            self.results.reserve_exact(1);
        } else {
            self.hold(RESULT_OVERHEAD);
            let has_room = self.results.try_reserve(1).map_err(|_| NoMemory);
            self.note(has_room);
        }
        if self.too_large.is_none() {
            self.results.push(StatementResult { shape, rows, command });
        }
    }

    /// Whether this is a script in steps whose last step was not sent.
    pub(in crate::connection) fn has_steps_left(&self) -> bool {
        matches!(&self.flight, Flight::Steps(steps) if !steps.has_ended())
    }

    /// Whether the role has no right to read types between the statements of a script.
    pub(in crate::connection) fn may_not_ask_types(&self) -> bool {
        matches!(&self.flight, Flight::Steps(steps) if steps.may_not_ask())
    }

    pub(in crate::connection) fn is_script(&self) -> bool {
        matches!(self.flight, Flight::Script { .. } | Flight::Steps(_))
    }

    /// Writes the next step.
    pub(in crate::connection) fn go_on(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let shape = self.shape.as_deref();
        match &mut self.flight {
            Flight::Steps(steps) => {
                match self.step {
                    Step::Bind => steps.run(shape, out)?,
                    Step::Types => steps.ask(out)?,
                    Step::Undoing => frontend::sync(out)?,
                    Step::Parse => steps.again(out)?,
                    _ => steps.end(out)?,
                }
                if steps.is_unrun() && steps.has_ended() {
                    self.step = Step::Complete;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a Sync was sent after the request.
    pub(in crate::connection) fn has_synced(&self) -> bool {
        match &self.flight {
            Flight::Script { .. } => false,
            Flight::Steps(steps) => steps.has_ended(),
            _ => true,
        }
    }

    /// Whether the session is being reset before the request. If the server refuses the reset, the
    /// request has not run.
    pub(in crate::connection) fn is_resetting(&self) -> bool {
        self.prelude.is_resetting()
    }

    pub(in crate::connection) fn has_reset(&self) -> bool {
        self.prelude.has_reset()
    }

    /// Whether the check before the request has shown that text comes in the forms that this client
    /// reads.
    pub(in crate::connection) fn has_checked(&self) -> bool {
        self.prelude.has_checked()
    }

    /// ReadyForQuery may come only when no other message is expected.
    pub(in crate::connection) fn check_finished(&self) -> Result<(), Error> {
        let script = matches!(self.flight, Flight::Script { .. }) && self.shape.is_none();
        match self.step {
            Step::Refused => Ok(()),
            _ if self.prelude.is_pending() => Err(self.unexpected("ReadyForQuery")),
            Step::Complete => Ok(()),
            Step::Execute if script => Ok(()),
            _ => Err(self.unexpected("ReadyForQuery")),
        }
    }

    /// The name under which this request prepares its statement.
    pub(in crate::connection) fn preparing(&self) -> Option<&Arc<str>> {
        match &self.flight {
            Flight::Parsing(parsing) if parsing.begins != Begins::Description => {
                parsing.name.as_ref()
            }
            _ => None,
        }
    }

    /// Whether a prepared statement is described in the flight that runs it.
    pub(in crate::connection) fn describes_anew(&self) -> bool {
        matches!(&self.flight, Flight::Parsing(Parsing { begins: Begins::Description, .. }))
    }

    /// The name of the prepared statement that this request uses or prepares.
    pub(in crate::connection) fn name(&self) -> Option<&Arc<str>> {
        match &self.flight {
            Flight::Prepared { name, .. } => Some(name),
            Flight::Parsing(parsing) => parsing.name.as_ref(),
            _ => None,
        }
    }

    fn unexpected(&self, message: &str) -> Error {
        let due = match self.step {
            Step::Refused => self.step.awaits(),
            _ if self.prelude.is_pending() => self.prelude.awaits(),
            step => step.awaits(),
        };
        Error::protocol(format!("the server sent {message} when {due} was due"))
    }
}
